/** The dashboard for Grafana; run, it writes `dashboards/claude.json`. */
import { writeFileSync } from "node:fs"

interface Query {
  readonly expr: string
  readonly legend?: string
  /** A table shows the last value of each series. */
  readonly instant?: boolean
}

interface Panel {
  readonly title: string
  readonly description: string
  readonly type: "timeseries" | "stat" | "state-timeline" | "table" | "heatmap" | "gauge"
  readonly unit: string
  readonly queries: ReadonlyArray<Query>
  readonly width?: number
  readonly height?: number
  readonly stack?: boolean
  readonly min?: number
  readonly max?: number
  readonly decimals?: number
  /** From which value on which colour. */
  readonly steps?: ReadonlyArray<readonly [from: number | null, color: string]>
  /** What values mean. */
  readonly states?: ReadonlyArray<readonly [value: number, text: string, color: string]>
}

const green = "green"
const yellow = "#EAB839"
const red = "red"

const selector = (labels = "") => `{job=~"$job", instance=~"$instance"${labels && `, ${labels}`}}`
const ofModel = selector(`model=~"$model"`)

const rate = (metric: string, labels = "") => `rate(${metric}${selector(labels)}[$__rate_interval])`
const modelRate = (metric: string, labels = "") => rate(metric, `model=~"$model"${labels && `, ${labels}`}`)

const quantile = (of: number, metric: string, by: string, labels = "") =>
  `histogram_quantile(${of}, sum by (${["le", by].filter((name) => name !== "").join(", ")}) (${
    rate(`${metric}_bucket`, labels)
  }))`

const quantiles = (metric: string, labels = "") =>
  [0.5, 0.95, 0.99].map((of) => ({ expr: quantile(of, metric, "", labels), legend: `p${of * 100}` }))

const model = `model=~"$model"`

const overview: ReadonlyArray<Panel> = [
  {
    title: "Goodput",
    description: "Calls that ended well, a second.",
    type: "stat",
    unit: "reqps",
    width: 4,
    height: 4,
    queries: [{ expr: `sum(${modelRate("anthropic_requests_total", `status="success"`)})` }]
  },
  {
    title: "Calls lost",
    description: "The share of calls that failed, whoever was to blame. Calls that their caller gave up do not count.",
    type: "stat",
    unit: "percentunit",
    width: 4,
    height: 4,
    decimals: 2,
    steps: [[null, green], [0.01, yellow], [0.05, red]],
    queries: [{
      expr: `sum(${modelRate("anthropic_requests_total", `status="error"`)}) / sum(${
        modelRate("anthropic_requests_total", `status!="cancelled"`)
      })`
    }]
  },
  {
    title: "First token, p95",
    description: "From the start of a call to the first content of its stream; 95 of 100 streams are faster.",
    type: "stat",
    unit: "s",
    width: 4,
    height: 4,
    queries: [{ expr: quantile(0.95, "anthropic_time_to_first_token_seconds", "", model) }]
  },
  {
    title: "Dollars an hour",
    description: "What attempts cost at the present pace.",
    type: "stat",
    unit: "currencyUSD",
    width: 4,
    height: 4,
    queries: [{ expr: `sum(${modelRate("anthropic_cost_usd_total")}) * 3600` }]
  },
  {
    title: "Budget left",
    description: "The budget of which the smallest part is left.",
    type: "stat",
    unit: "percentunit",
    width: 4,
    height: 4,
    steps: [[null, red], [0.2, yellow], [0.5, green]],
    queries: [{ expr: `min(anthropic_budget_remaining_usd${selector()} / anthropic_budget_limit_usd${selector()})` }]
  },
  {
    title: "Circuits open",
    description: "Model groups that are not called because the API fails.",
    type: "stat",
    unit: "none",
    width: 4,
    height: 4,
    steps: [[null, green], [1, red]],
    queries: [{ expr: `count(max by (group) (anthropic_circuit_state${selector()}) == 2) or vector(0)` }]
  },
  {
    title: "Goodput and errors, by whose fault",
    description:
      "Calls a second. Faults: caller (the request must change), policy (a limit, budget or circuit of this service refused), provider (the API failed), own (this service).",
    type: "timeseries",
    unit: "reqps",
    stack: true,
    queries: [
      { expr: `sum(${modelRate("anthropic_requests_total", `status="success"`)})`, legend: "success" },
      { expr: `sum by (fault) (${modelRate("anthropic_errors_total")})`, legend: "{{fault}}" }
    ]
  },
  {
    title: "Time to the first token",
    description: "Streams, from the start of the call to the first content, waits and retries included.",
    type: "timeseries",
    unit: "s",
    queries: quantiles("anthropic_time_to_first_token_seconds", model)
  },
  {
    title: "Tokens a second",
    description: "Input is what no cache served and none stored.",
    type: "timeseries",
    unit: "none",
    stack: true,
    queries: [{ expr: `sum by (type) (${modelRate("anthropic_tokens_total")})`, legend: "{{type}}" }]
  },
  {
    title: "Own overhead",
    description: "Time of calls that was spent neither at the API nor waiting.",
    type: "timeseries",
    unit: "s",
    queries: quantiles("anthropic_overhead_seconds")
  },
  {
    title: "Waits, by priority",
    description: "The share of time that calls waited: 1 means that one call waits all the time.",
    type: "timeseries",
    unit: "none",
    stack: true,
    queries: [{ expr: `sum by (priority) (${rate("anthropic_wait_seconds_sum")})`, legend: "{{priority}}" }]
  },
  {
    title: "Queue, by priority",
    description: "Attempts that wait for room in the rate limits.",
    type: "timeseries",
    unit: "none",
    stack: true,
    queries: [{ expr: `sum by (priority) (anthropic_rate_limit_queue${selector()})`, legend: "{{priority}}" }]
  },
  {
    title: "Waits, by tenant",
    description:
      "The share of time that calls of the tenants waited that are named in `monitor: { tenants }`, and of all others.",
    type: "timeseries",
    unit: "none",
    stack: true,
    queries: [{ expr: `sum by (tenant) (${rate("anthropic_wait_seconds_sum")})`, legend: "{{tenant}}" }]
  },
  {
    title: "Queue, by tenant",
    description: "Attempts that wait for room in the rate limits, of the same tenants.",
    type: "timeseries",
    unit: "none",
    stack: true,
    queries: [{ expr: `sum by (tenant) (anthropic_rate_limit_queue${selector()})`, legend: "{{tenant}}" }]
  },
  {
    title: "Rate limits left",
    description: "The share of each limit that has room now. Processes that share limits see the same.",
    type: "timeseries",
    unit: "percentunit",
    min: 0,
    max: 1,
    queries: [{
      expr:
        `min by (group, dimension) (anthropic_rate_limit_remaining${selector()} / anthropic_rate_limit_limit${selector()})`,
      legend: "{{group}} {{dimension}}"
    }]
  },
  {
    title: "Dollars an hour, against last week",
    description: "By model, and all together at the same time last week.",
    type: "timeseries",
    unit: "currencyUSD",
    queries: [
      { expr: `sum by (model) (${modelRate("anthropic_cost_usd_total")}) * 3600`, legend: "{{model}}" },
      {
        expr: `sum(rate(anthropic_cost_usd_total${ofModel}[$__rate_interval] offset 1w)) * 3600`,
        legend: "last week"
      }
    ]
  },
  {
    title: "Cache hits",
    description: "The share of all input tokens that the prompt cache served.",
    type: "timeseries",
    unit: "percentunit",
    min: 0,
    max: 1,
    queries: [{
      expr: `sum by (model) (${modelRate("anthropic_tokens_total", `type="cache_read"`)}) / sum by (model) (${
        modelRate("anthropic_tokens_total", `type!="output"`)
      })`,
      legend: "{{model}}"
    }]
  },
  {
    title: "Budgets left",
    description: "In US dollars. Of a budget that is divided among accounts, the account with the least.",
    type: "timeseries",
    unit: "currencyUSD",
    min: 0,
    queries: [{ expr: `min by (budget) (anthropic_budget_remaining_usd${selector()})`, legend: "{{budget}}" }]
  },
  {
    title: "Circuits",
    description: "The worst state of any process.",
    type: "state-timeline",
    unit: "none",
    states: [[0, "closed", green], [1, "half-open", yellow], [2, "open", red]],
    queries: [{ expr: `max by (group) (anthropic_circuit_state${selector()})`, legend: "{{group}}" }]
  },
  {
    title: "Keys",
    description: "The worst state of any process.",
    type: "state-timeline",
    unit: "none",
    states: [[0, "usable", green], [1, "cooling", yellow], [2, "quarantined", red], [3, "drained", "#808080"]],
    queries: [{ expr: `max by (key) (anthropic_key_state${selector()})`, legend: "{{key}}" }]
  },
  {
    title: "Retries",
    description: "The share of attempts that were retries, and calls that gave up, a second.",
    type: "timeseries",
    unit: "percentunit",
    queries: [
      {
        expr: `sum(${modelRate("anthropic_retries_total")}) / sum(${modelRate("anthropic_attempts_total")})`,
        legend: "retries"
      },
      {
        expr: `sum by (reason) (${modelRate("anthropic_give_ups_total")}) / scalar(sum(${
          modelRate("anthropic_requests_total")
        }))`,
        legend: "given up: {{reason}}"
      }
    ]
  },
  {
    title: "Days until models retire",
    description: "Models that this service uses and whose retirement is announced.",
    type: "table",
    unit: "d",
    decimals: 0,
    steps: [[null, red], [30, yellow], [90, green]],
    queries: [{
      expr: `sort(min by (model) (anthropic_model_retirement_timestamp_seconds${ofModel} - time()) / 86400)`,
      legend: "{{model}}",
      instant: true
    }]
  }
]

const depth: ReadonlyArray<readonly [row: string, panels: ReadonlyArray<Panel>]> = [
  ["Calls", [
    {
      title: "Calls, by model and status",
      description: "Calls that have ended, a second.",
      type: "timeseries",
      unit: "reqps",
      stack: true,
      queries: [{
        expr: `sum by (model, status) (${modelRate("anthropic_requests_total")})`,
        legend: "{{model}} {{status}}"
      }]
    },
    {
      title: "Latency, p95, by model",
      description: "From the start of a call to its end, waits and retries included.",
      type: "timeseries",
      unit: "s",
      queries: [{
        expr: quantile(0.95, "anthropic_request_latency_seconds", "model", model),
        legend: "{{model}}"
      }]
    },
    {
      title: "Calls under way",
      description: "Calls that have begun and not ended, those that wait included.",
      type: "timeseries",
      unit: "none",
      queries: [{ expr: `sum(anthropic_active_requests${selector()})`, legend: "calls" }]
    },
    {
      title: "Errors, by tag",
      description: "Calls that failed, a second.",
      type: "timeseries",
      unit: "reqps",
      stack: true,
      queries: [{ expr: `sum by (error) (${modelRate("anthropic_errors_total")})`, legend: "{{error}}" }]
    },
    {
      title: "Latency",
      description: "How many calls took how long.",
      type: "heatmap",
      unit: "s",
      queries: [{
        expr: `sum by (le) (increase(anthropic_request_latency_seconds_bucket${ofModel}[$__rate_interval]))`,
        legend: "{{le}}"
      }]
    },
    {
      title: "Attempts, by outcome",
      description: "Attempts a second. Refused ones were not sent.",
      type: "timeseries",
      unit: "reqps",
      stack: true,
      queries: [{ expr: `sum by (outcome) (${modelRate("anthropic_attempts_total")})`, legend: "{{outcome}}" }]
    }
  ]],
  ["Waits, retries and circuits", [
    {
      title: "Wait, p95, by what for",
      description: "Calls that did not wait do not count.",
      type: "timeseries",
      unit: "s",
      queries: [{ expr: quantile(0.95, "anthropic_wait_seconds", "for"), legend: "{{for}}" }]
    },
    {
      title: "Wait for limits, p95, by group",
      description: "How long attempts waited for room in the rate limits.",
      type: "timeseries",
      unit: "s",
      queries: [{ expr: quantile(0.95, "anthropic_rate_limit_wait_seconds", "group"), legend: "{{group}}" }]
    },
    {
      title: "Retries, by reason",
      description: "Retries a second, by why the attempt before failed.",
      type: "timeseries",
      unit: "reqps",
      stack: true,
      queries: [{ expr: `sum by (reason) (${modelRate("anthropic_retries_total")})`, legend: "{{reason}}" }]
    },
    {
      title: "Circuits: changes",
      description: "Changes of the phase of a circuit, a minute.",
      type: "timeseries",
      unit: "none",
      queries: [{
        expr: `sum by (group, to) (${rate("anthropic_circuit_transitions_total")}) * 60`,
        legend: "{{group}} {{to}}"
      }]
    },
    {
      title: "Circuits: refusals",
      description: "Attempts a second that a circuit refused, so that they were not sent.",
      type: "timeseries",
      unit: "reqps",
      stack: true,
      queries: [{ expr: `sum by (group) (${rate("anthropic_circuit_refusals_total")})`, legend: "{{group}}" }]
    },
    {
      title: "Moves to another key",
      description: "Attempts a minute that were followed immediately by another one with another key.",
      type: "timeseries",
      unit: "none",
      queries: [{ expr: `sum by (reason) (${rate("anthropic_key_moves_total")}) * 60`, legend: "{{reason}}" }]
    },
    {
      title: "Fallbacks",
      description: "Steps of calls to another model, a minute, by the model that they left and why.",
      type: "timeseries",
      unit: "none",
      stack: true,
      queries: [{
        expr: `sum by (model, reason) (${modelRate("anthropic_fallbacks_total")}) * 60`,
        legend: "{{model}} {{reason}}"
      }]
    },
    {
      title: "Second attempts",
      description: "Second attempts at late streams, a minute, by whether they showed content before the first.",
      type: "timeseries",
      unit: "none",
      stack: true,
      queries: [{
        expr: `sum by (outcome) (${modelRate("anthropic_hedges_total")}) * 60`,
        legend: "{{outcome}}"
      }]
    },
    {
      title: "Predicted output",
      description: "The median of tokens produced divided by tokens predicted. Below 1, the limiter reserves too much.",
      type: "timeseries",
      unit: "none",
      queries: [{ expr: quantile(0.5, "anthropic_rate_limit_output_ratio", "group"), legend: "{{group}}" }]
    }
  ]],
  ["Money and input", [
    {
      title: "Cache: saved and missed",
      description: "Dollars an hour that reading the cache saved, and that input which the cache did not serve cost.",
      type: "timeseries",
      unit: "currencyUSD",
      queries: [
        { expr: `sum(${modelRate("anthropic_cache_saved_usd_total")}) * 3600`, legend: "saved" },
        { expr: `sum(${modelRate("anthropic_cache_missed_usd_total")}) * 3600`, legend: "missed" }
      ]
    },
    {
      title: "Budgets: time to exhaustion",
      description: "At the pace of the last while. A budget that is not spent from has no line.",
      type: "timeseries",
      unit: "s",
      min: 0,
      queries: [{
        expr: `min by (budget) (anthropic_budget_exhaustion_seconds${selector()}) < +Inf`,
        legend: "{{budget}}"
      }]
    },
    {
      title: "Without a price",
      description: "Attempts a minute at models without a price: they are in no cost, and budgets let them through.",
      type: "timeseries",
      unit: "none",
      queries: [
        { expr: `sum(${modelRate("anthropic_unpriced_attempts_total")}) * 60`, legend: "not in the cost" },
        { expr: `sum(${rate("anthropic_budget_unpriced_total")}) * 60`, legend: "let through by budgets" }
      ]
    },
    {
      title: "Findings in input",
      description: "What the sanitizer found, a minute.",
      type: "timeseries",
      unit: "none",
      stack: true,
      queries: [{
        expr: `sum by (kind, action) (${rate("anthropic_input_findings_total")}) * 60`,
        legend: "{{kind}} {{action}}"
      }]
    }
  ]]
]

const datasource = { type: "prometheus", uid: "${datasource}" }

const panelOf = (panel: Panel, id: number, x: number, y: number) => ({
  id,
  type: panel.type,
  title: panel.title,
  description: panel.description,
  datasource,
  gridPos: { x, y, w: panel.width ?? 8, h: panel.height ?? 8 },
  fieldConfig: {
    defaults: {
      unit: panel.unit,
      ...(panel.min === undefined ? {} : { min: panel.min }),
      ...(panel.max === undefined ? {} : { max: panel.max }),
      ...(panel.decimals === undefined ? {} : { decimals: panel.decimals }),
      color: { mode: panel.steps === undefined ? "palette-classic" : "thresholds" },
      thresholds: {
        mode: "absolute",
        steps: (panel.steps ?? [[null, green]]).map(([value, color]) => ({ value, color }))
      },
      mappings: panel.states === undefined ? [] : [{
        type: "value",
        options: Object.fromEntries(
          panel.states.map(([value, text, color], index) => [String(value), { text, color, index }])
        )
      }],
      ...(panel.type === "timeseries"
        ? {
          custom: {
            fillOpacity: panel.stack ? 30 : 8,
            lineWidth: 1,
            showPoints: "never",
            stacking: { mode: panel.stack ? "normal" : "none", group: "A" }
          }
        }
        : {})
    },
    overrides: []
  },
  options: panel.type === "stat"
    ? { reduceOptions: { calcs: ["lastNotNull"] }, graphMode: "area", colorMode: "value" }
    : panel.type === "heatmap"
    ? { calculate: false, yAxis: { unit: "s" }, color: { scheme: "Turbo" }, cellGap: 1 }
    : panel.type === "timeseries"
    ? { legend: { displayMode: "list", placement: "bottom" }, tooltip: { mode: "multi", sort: "desc" } }
    : {},
  ...(panel.type === "table"
    ? {
      transformations: [
        { id: "organize", options: { excludeByName: { Time: true }, renameByName: { Value: "days" } } }
      ]
    }
    : {}),
  targets: panel.queries.map(({ expr, instant, legend }, index) => ({
    refId: String.fromCharCode(65 + index),
    datasource,
    expr,
    legendFormat: legend ?? "",
    instant: instant ?? false,
    range: !instant,
    format: panel.type === "table" ? "table" : panel.type === "heatmap" ? "heatmap" : "time_series"
  }))
})

/** Panels from left to right, in rows of 24 columns. */
const arranged = () => {
  const panels: Array<unknown> = []
  let [id, x, y, height] = [1, 0, 0, 0]
  const place = (panel: Panel) => {
    const width = panel.width ?? 8
    if (x + width > 24) [x, y, height] = [0, y + height, 0]
    panels.push(panelOf(panel, id++, x, y))
    x += width
    height = Math.max(height, panel.height ?? 8)
  }
  const row = (title: string) => {
    ;[x, y, height] = [0, y + height, 1]
    panels.push({ id: id++, type: "row", title, collapsed: false, gridPos: { x: 0, y, w: 24, h: 1 }, panels: [] })
    ;[y, height] = [y + 1, 0]
  }
  for (const panel of overview) place(panel)
  for (const [title, all] of depth) {
    row(title)
    for (const panel of all) place(panel)
  }
  return panels
}

const variable = (name: string, label: string, query: string) => ({
  type: "query",
  name,
  label,
  datasource,
  query: { query, refId: name },
  definition: query,
  refresh: 2,
  includeAll: true,
  multi: true,
  allValue: ".*",
  current: { selected: true, text: ["All"], value: ["$__all"] }
})

const dashboard = {
  uid: "effect-claude",
  title: "Claude",
  tags: ["claude", "effect-claude"],
  schemaVersion: 39,
  version: 1,
  editable: true,
  graphTooltip: 1,
  refresh: "10s",
  time: { from: "now-1h", to: "now" },
  timezone: "browser",
  annotations: {
    list: [{
      name: "Circuits",
      datasource,
      enable: true,
      iconColor: red,
      expr: `sum by (group) (increase(anthropic_circuit_transitions_total${
        selector(`to="open"`)
      }[$__rate_interval])) > 0`,
      titleFormat: "circuit opened",
      textFormat: "{{group}}"
    }]
  },
  templating: {
    list: [
      { type: "datasource", name: "datasource", label: "Data source", query: "prometheus", current: {} },
      variable("job", "Job", "label_values(anthropic_active_requests, job)"),
      variable("instance", "Instance", `label_values(anthropic_active_requests{job=~"$job"}, instance)`),
      variable("model", "Model", `label_values(anthropic_requests_total{job=~"$job"}, model)`)
    ]
  },
  panels: arranged()
}

/** The dashboard as it stands in `dashboards/claude.json`. */
export const json = `${JSON.stringify(dashboard, undefined, 2)}\n`

/** Every query of it, by the title of its panel. */
export const queries: ReadonlyArray<readonly [title: string, expr: string]> = [
  ...[...overview, ...depth.flatMap(([, panels]) => panels)].flatMap(({ queries, title }) =>
    queries.map(({ expr }) => [title, expr] as const)
  ),
  ...dashboard.annotations.list.map(({ expr, name }) => [name, expr] as const)
]

if (import.meta.main) writeFileSync(new URL("../dashboards/claude.json", import.meta.url), json)

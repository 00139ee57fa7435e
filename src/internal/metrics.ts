/**
 * Every metric of this package, in one table: its name, what it counts, its labels and its buckets. `docs/monitoring.md` is generated from it.
 *
 * Labels come from closed sets, so the number of series has a bound that no user, prompt or error text can move.
 */
import * as Context from "effect/Context"
import * as Metric from "effect/Metric"

/** What a label can be: the values themselves, or the set that they come from once a layer is built. */
export const labels = {
  model: "models",
  group: "groups",
  budget: "budgets",
  key: "keys",
  tenant: "tenants",
  status: ["success", "error", "cancelled"],
  outcome: ["completed", "failed", "aborted", "refused"],
  error: [
    "AuthError",
    "BadRequestError",
    "BudgetExceededError",
    "BudgetUnavailableError",
    "CircuitOpenError",
    "ConnectionError",
    "DeadlineExceededError",
    "InputRejectedError",
    "NoUsableKeyError",
    "RateLimitError",
    "RateLimitedLocallyError",
    "ServerError",
    "StreamInterruptedError",
    "UnpricedModelError",
    "other"
  ],
  fault: ["caller", "policy", "provider", "own"],
  type: ["input", "output", "cache_read", "cache_write_5m", "cache_write_1h"],
  retry: ["rate_limit", "overloaded", "server", "connection", "other"],
  giveUp: ["retries", "retry_budget", "deadline", "retry_after"],
  hedge: ["won", "lost"],
  fallback: [
    "overloaded",
    "server",
    "circuitOpen",
    "limited",
    "budget",
    "retired",
    "wait",
    "condition",
    "rejected"
  ],
  wait: ["limits", "key", "circuit", "retry"],
  priority: ["interactive", "standard", "bulk"],
  dimension: ["requests", "input_tokens", "output_tokens", "tokens"],
  to: ["closed", "halfOpen", "open"],
  move: ["authentication", "permission", "billing", "limit", "spend", "busy"],
  kind: [
    "tooLong",
    "control",
    "surrogate",
    "invisible",
    "bidirectional",
    "lookalike",
    "injection",
    "secret",
    "personal"
  ],
  action: ["observe", "clean", "reject"]
} as const

/** What a label takes its values from. */
export type Values = keyof typeof labels

/**
 * - `labels`: the name of each label, and what it takes its values from.
 * - `boundaries`: the upper bounds of the buckets of a histogram.
 */
export interface Definition {
  readonly name: string
  readonly type: "counter" | "gauge" | "histogram"
  readonly description: string
  readonly labels: Readonly<Record<string, Values>>
  readonly boundaries?: ReadonlyArray<number> | undefined
}

const seconds = [0.1, 0.5, 1, 2, 5, 10, 30, 60, 120]

const waits = [0.01, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300]

/** By the names that the code uses. */
export const metrics = {
  requests: {
    name: "anthropic_requests_total",
    type: "counter",
    description: "Calls that have ended",
    labels: { model: "model", status: "status" }
  },
  errors: {
    name: "anthropic_errors_total",
    type: "counter",
    description: "Calls that have failed, by the tag of the error and by whose fault it was",
    labels: { model: "model", error: "error", fault: "fault" }
  },
  latency: {
    name: "anthropic_request_latency_seconds",
    type: "histogram",
    description: "How long calls took from their start to their end, waits and retries included",
    labels: { model: "model" },
    boundaries: seconds
  },
  firstToken: {
    name: "anthropic_time_to_first_token_seconds",
    type: "histogram",
    description: "How long streams took from the start of the call to their first content",
    labels: { model: "model" },
    boundaries: seconds
  },
  active: {
    name: "anthropic_active_requests",
    type: "gauge",
    description: "Calls that have begun and not ended, those that wait included",
    labels: {}
  },
  tokens: {
    name: "anthropic_tokens_total",
    type: "counter",
    description: "Tokens that attempts used; input is what no cache served and none stored",
    labels: { model: "model", type: "type" }
  },
  cost: {
    name: "anthropic_cost_usd_total",
    type: "counter",
    description: "What attempts cost, in US dollars, at the prices of the price book",
    labels: { model: "model" }
  },
  unpriced: {
    name: "anthropic_unpriced_attempts_total",
    type: "counter",
    description: "Attempts that used tokens of a model without a price, so that they are not in the cost",
    labels: { model: "model" }
  },
  cacheSaved: {
    name: "anthropic_cache_saved_usd_total",
    type: "counter",
    description: "What reading prompts from the cache saved, in US dollars",
    labels: { model: "model" }
  },
  cacheMissed: {
    name: "anthropic_cache_missed_usd_total",
    type: "counter",
    description: "What requests that use the cache paid, in US dollars, for input that the cache did not serve",
    labels: { model: "model" }
  },
  attempts: {
    name: "anthropic_attempts_total",
    type: "counter",
    description: "Attempts that have ended; refused ones were not sent",
    labels: { model: "model", outcome: "outcome" }
  },
  retries: {
    name: "anthropic_retries_total",
    type: "counter",
    description: "Retries, by the reason why the attempt before failed",
    labels: { model: "model", reason: "retry" }
  },
  giveUps: {
    name: "anthropic_give_ups_total",
    type: "counter",
    description:
      "Calls that failed with an error that another attempt might have changed, by the reason why there was none",
    labels: { model: "model", reason: "giveUp" }
  },
  hedges: {
    name: "anthropic_hedges_total",
    type: "counter",
    description: "Second attempts at late streams, by whether they showed content before the first",
    labels: { model: "model", outcome: "hedge" }
  },
  fallbacks: {
    name: "anthropic_fallbacks_total",
    type: "counter",
    description: "Steps of calls from a model to another one, by the reason",
    labels: { model: "model", reason: "fallback" }
  },
  waits: {
    name: "anthropic_wait_seconds",
    type: "histogram",
    description:
      "How long calls waited in this process, by what they waited for; calls that did not wait are not counted",
    labels: { for: "wait", priority: "priority", tenant: "tenant" },
    boundaries: waits
  },
  overhead: {
    name: "anthropic_overhead_seconds",
    type: "histogram",
    description: "Time of calls that was spent neither at the API nor waiting",
    labels: {},
    boundaries: [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1]
  },
  retirement: {
    name: "anthropic_model_retirement_timestamp_seconds",
    type: "gauge",
    description: "When a model that is in use retires, in seconds since the epoch",
    labels: { model: "model" }
  },
  limitWaits: {
    name: "anthropic_rate_limit_wait_seconds",
    type: "histogram",
    description: "How long attempts waited for room in the rate limits",
    labels: { group: "group" },
    boundaries: waits
  },
  limitRemaining: {
    name: "anthropic_rate_limit_remaining",
    type: "gauge",
    description: "Requests or tokens that the rate limits have room for now",
    labels: { group: "group", dimension: "dimension" }
  },
  limit: {
    name: "anthropic_rate_limit_limit",
    type: "gauge",
    description: "Requests or tokens a minute that the rate limits allow",
    labels: { group: "group", dimension: "dimension" }
  },
  limitQueue: {
    name: "anthropic_rate_limit_queue",
    type: "gauge",
    description: "Attempts that wait for room in the rate limits",
    labels: { group: "group", priority: "priority", tenant: "tenant" }
  },
  outputRatio: {
    name: "anthropic_rate_limit_output_ratio",
    type: "histogram",
    description: "Output tokens that were produced, divided by those that were predicted",
    labels: { group: "group" },
    boundaries: [0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 4, 8]
  },
  circuit: {
    name: "anthropic_circuit_state",
    type: "gauge",
    description: "0: closed, 1: half-open, 2: open",
    labels: { group: "group" }
  },
  transitions: {
    name: "anthropic_circuit_transitions_total",
    type: "counter",
    description: "Changes of the phase of a circuit",
    labels: { group: "group", to: "to" }
  },
  circuitRefusals: {
    name: "anthropic_circuit_refusals_total",
    type: "counter",
    description: "Attempts that a circuit refused, so that they were not sent",
    labels: { group: "group" }
  },
  budgetRemaining: {
    name: "anthropic_budget_remaining_usd",
    type: "gauge",
    description:
      "What remains of a budget, in US dollars; of a divided one, the least of any account, as this process last saw it",
    labels: { budget: "budget" }
  },
  budgetLimit: {
    name: "anthropic_budget_limit_usd",
    type: "gauge",
    description: "The limit of a budget, in US dollars; of a divided one, that of each account",
    labels: { budget: "budget" }
  },
  budgetExhaustion: {
    name: "anthropic_budget_exhaustion_seconds",
    type: "gauge",
    description: "How long a budget will last at the pace of the last while; infinite while nothing is spent",
    labels: { budget: "budget" }
  },
  budgetUnpriced: {
    name: "anthropic_budget_unpriced_total",
    type: "counter",
    description: "Attempts at models without a price that budgets let through",
    labels: {}
  },
  keyState: {
    name: "anthropic_key_state",
    type: "gauge",
    description: "0: usable, 1: its group cools down, 2: quarantined, 3: drained or removed",
    labels: { key: "key" }
  },
  keyMoves: {
    name: "anthropic_key_moves_total",
    type: "counter",
    description: "Attempts that were followed immediately by another one with another key",
    labels: { reason: "move" }
  },
  findings: {
    name: "anthropic_input_findings_total",
    type: "counter",
    description: "What was found in the texts of requests",
    labels: { kind: "kind", action: "action" }
  }
} as const satisfies Record<string, Definition>

/** The label of a tenant: its name where the monitor was given it, else `other`. */
export const TenantLabel = Context.Reference<(tenant: string | undefined) => string>("effect-claude/TenantLabel", {
  defaultValue: () => () => "other"
})

type LabelsOf<D extends Definition> = { readonly [Name in keyof D["labels"]]: string }

/** One series of a counter. Two that share a metric would look it up by its name at each update, so that each has its own. */
export const counter = <const D extends Definition>(
  { description, name }: D,
  attributes: LabelsOf<D>
): Metric.Counter<number> => Metric.counter(name, { description, incremental: true, attributes })

/** One series of a gauge. */
export const gauge = <const D extends Definition>(
  { description, name }: D,
  attributes: LabelsOf<D>
): Metric.Gauge<number> => Metric.gauge(name, { description, attributes })

/** One series of a histogram. */
export const histogram = <const D extends Definition>(
  { boundaries = [], description, name }: D,
  attributes: LabelsOf<D>
): Metric.Histogram<number> => Metric.histogram(name, { description, boundaries, attributes })

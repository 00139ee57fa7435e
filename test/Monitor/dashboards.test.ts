import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { json, queries } from "../../scripts/dashboard.ts"
import { metrics } from "../../src/internal/metrics.ts"
import * as TestPrometheus from "../utils/prometheus.ts"

const folder = new URL("../../dashboards/", import.meta.url)
const read = (name: string) => readFileSync(new URL(name, folder), "utf8")

/** What Prometheus adds to every series, and to a histogram. */
const added = ["job", "instance", "le"]

const emitted = new Map(
  Object.values(metrics).flatMap(({ labels, name, type }) =>
    (type === "histogram" ? ["_bucket", "_sum", "_count"] : [""]).map((suffix) => [
      `${name}${suffix}`,
      [...Object.keys(labels), ...added]
    ])
  )
)

/** The metrics and labels of a query that nothing emits. */
const unknown = (expr: string): ReadonlyArray<string> => {
  const named = [...expr.matchAll(/\b((?:anthropic|gen_ai)_\w+)(?:\{([^}]*)\})?/g)]
  const labels = new Set(named.flatMap(([, name]) => emitted.get(name!) ?? []))
  const missing = named.flatMap(([, name, selector = ""]) => {
    const known = emitted.get(name!)
    if (known === undefined) return [name!]
    return [...selector.matchAll(/(\w+)\s*(?:=|!=|=~|!~)\s*"/g)].map(([, label]) => label!)
      .filter((label) => !known.includes(label)).map((label) => `${name}{${label}}`)
  })
  const by = [...expr.matchAll(/\bby\s*\(([^)]*)\)/g)].flatMap(([, names]) =>
    names!.split(",").map((name) => name.trim())
  )
  return [...missing, ...by.filter((label) => label !== "" && !labels.has(label))]
}

describe("what reads the metrics", () => {
  it("finds queries of metrics and labels that nothing emits", () => {
    assert.deepStrictEqual(unknown(`sum(rate(anthropic_request_total{job="a"}[5m]))`), ["anthropic_request_total"])
    assert.deepStrictEqual(unknown(`anthropic_requests_total{user="a"}`), ["anthropic_requests_total{user}"])
    assert.deepStrictEqual(unknown(`sum by (tenant) (anthropic_requests_total)`), ["tenant"])
    assert.deepStrictEqual(unknown(`anthropic_request_latency_seconds`), ["anthropic_request_latency_seconds"])
    assert.deepStrictEqual(unknown(`sum by (le) (anthropic_request_latency_seconds_bucket{le="5"})`), [])
  })

  for (const [title, expr] of queries) {
    it(`names what is emitted: ${title}`, () => assert.deepStrictEqual(unknown(expr), [], expr))
  }

  it("shows every metric", () => {
    const shown = queries.map(([, expr]) => expr).join()
    const hidden = Object.values(metrics).map(({ name }) => name).filter((name) => !shown.includes(name))
    assert.deepStrictEqual(hidden.filter((name) => name.startsWith("anthropic_")), [])
  })

  it("is written to the dashboard's file", () => assert.strictEqual(read("claude.json"), json))

  it("alerts only on what is emitted", () => {
    const rules = read("alerts.yml")
    assert.deepStrictEqual(unknown(rules.replaceAll(/^ *(description|summary):.*$/gm, "")), [])
  })

  it.skipIf(!TestPrometheus.isInstalled)("alerts by rules that Prometheus accepts, and whose tests pass", () => {
    const file = (name: string) => new URL(name, folder).pathname
    assert.strictEqual(TestPrometheus.promtool(["check", "rules", file("alerts.yml")]).status, 0)
    const tests = ["alerts.test.yml", "alerts.week.test.yml"]
    const { said, status } = TestPrometheus.promtool(["test", "rules", ...tests.map(file)])
    assert.strictEqual(status, 0, said)
    const tested = new Set(tests.flatMap((name) => read(name).match(/(?<=alertname: )\w+/g) ?? []))
    assert.deepStrictEqual(read("alerts.yml").match(/(?<=alert: )\w+/g)?.filter((name) => !tested.has(name)), [])
  })
})

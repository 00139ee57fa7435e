import { assert, describe, it } from "@effect/vitest"
import * as Conventions from "@opentelemetry/semantic-conventions/incubating"
import { Effect } from "effect"
import { ClaudeService } from "effect-claude"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import { readFileSync } from "node:fs"
import { bound, path, stale } from "../../scripts/metrics.ts"
import { labels, metrics } from "../../src/internal/metrics.ts"
import { conventions } from "../../src/Monitor/internal/genAi.ts"
import { attributesOf, over, tracing } from "../utils/monitors.ts"

const published: ReadonlySet<unknown> = new Set(Object.values(Conventions))

/** Of `docs/gen-ai/client-inference.md` in open-telemetry/semantic-conventions-genai, October 2026; no package has them yet. */
const coming = [
  "gen_ai.client.inference.duration",
  "gen_ai.client.inference.time_to_first_chunk",
  "gen_ai.client.inference.usage.input_tokens",
  "gen_ai.client.inference.usage.output_tokens",
  "gen_ai.client.inference.usage.cache_read.input_tokens",
  "gen_ai.client.inference.usage.cache_write.input_tokens",
  "gen_ai.client.inference.usage.reasoning.output_tokens",
  "gen_ai.client.inference.operation.input_tokens",
  "gen_ai.client.inference.operation.output_tokens"
]

const namesOf = (instruments: Readonly<Record<string, { readonly name: string }>>) =>
  Object.values(instruments).map(({ name }) => name)

describe("the names of metrics", () => {
  it("are those that the conventions publish, today's by the package", () => {
    for (const name of namesOf(conventions.current.metrics)) assert.isTrue(published.has(name), name)
    assert.isTrue(published.has(conventions.current.cacheWrite))
    assert.deepStrictEqual(namesOf(conventions.latest.metrics), coming)
  })

  it("end as Prometheus asks: counters in _total, and nothing else", () => {
    for (const { name, type } of Object.values(metrics)) {
      assert.match(name, /^anthropic_[a-z_]+$/)
      assert.strictEqual(name.endsWith("_total"), type === "counter", name)
    }
    const names = namesOf(metrics)
    assert.strictEqual(new Set(names).size, names.length)
  })

  it.effect("of attributes of spans are published, but for ours", () =>
    Effect.gen(function*() {
      const { spans } = yield* tracing(
        ClaudeService.create({ ...ClaudeTest.hello, temperature: 1, stop_sequences: ["."] } as never)
      )
      const names = spans.flatMap((span) => Object.keys(attributesOf(span)))
      assert.isAbove(names.length, 20)
      for (const name of names) assert.isTrue(name.startsWith("claude.") || published.has(name), name)
    }).pipe(Effect.provide(over(["Hello!"]))))
})

describe("the table of metrics in the documentation", () => {
  it("is what the tables of the code say, and its check fails when it is not", () => {
    const page = readFileSync(path, "utf8")
    assert.deepStrictEqual(stale(page), [])
    assert.lengthOf(stale(page.replace("anthropic_requests_total", "anthropic_calls_total")), 1)
  })

  it("bounds the series", () => {
    assert.isBelow(bound, 5_000)
    assert.include(labels.error, "other")
  })
})

import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as Usage from "effect-claude/Usage"

const reported = {
  input_tokens: 10,
  output_tokens: 3,
  cache_read_input_tokens: 5,
  cache_creation_input_tokens: 30,
  cache_creation: { ephemeral_5m_input_tokens: 10, ephemeral_1h_input_tokens: 20 },
  service_tier: "standard"
}

const Count = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1e12 }))

const onlyTotal = { input_tokens: 5, cache_creation_input_tokens: 300, cache_creation: null }

describe("Usage", () => {
  it("takes over what the API reports", () => {
    assert.deepStrictEqual(
      Usage.fromReported(reported),
      Usage.make({
        inputTokens: 10,
        outputTokens: 3,
        cacheReadTokens: 5,
        cacheWrite5mTokens: 10,
        cacheWrite1hTokens: 20,
        serviceTier: "standard"
      })
    )
  })

  it("counts cache writes that are not split as the ones that were asked for", () => {
    const writes = ({ cacheWrite1hTokens, cacheWrite5mTokens }: Usage.Usage) => [cacheWrite5mTokens, cacheWrite1hTokens]
    assert.deepStrictEqual(writes(Usage.fromReported(onlyTotal)), [300, 0])
    const asked = Usage.fromReported(onlyTotal, () => "1h")
    assert.deepStrictEqual(writes(asked), [0, 300])
    assert.deepStrictEqual(writes(Usage.merge(asked, { cache_creation_input_tokens: 300 }, () => "1h")), [0, 300])
    assert.deepStrictEqual(writes(Usage.fromReported(reported, () => "1h")), [10, 20])
    const short = { ...onlyTotal, cache_creation: { ephemeral_5m_input_tokens: 300 } }
    assert.deepStrictEqual(writes(Usage.fromReported(short, () => "1h")), [300, 0])
  })

  it("keeps the split and the tier of the start when a total comes later", () => {
    const later = Usage.merge(Usage.fromReported(reported), {
      input_tokens: 99,
      output_tokens: 40,
      cache_creation_input_tokens: 35,
      cache_read_input_tokens: null
    })
    assert.deepStrictEqual(
      later,
      Usage.make({
        inputTokens: 99,
        outputTokens: 40,
        cacheReadTokens: 5,
        cacheWrite5mTokens: 15,
        cacheWrite1hTokens: 20,
        serviceTier: "standard"
      })
    )
  })

  it("counts writes of unknown life as five-minute writes", () => {
    const usage = Usage.fromReported({ input_tokens: 1, cache_creation_input_tokens: 7, cache_creation: null })
    assert.strictEqual(usage.cacheWrite5mTokens, 7)
  })

  it("ignores what is no count", () => {
    assert.deepStrictEqual(Usage.fromReported({ input_tokens: -1, output_tokens: Number.NaN }), Usage.zero)
    // JSON of another shape than the types promise.
    assert.deepStrictEqual(
      Usage.fromReported({ input_tokens: "12" as never, server_tool_use: "x" as never }),
      Usage.zero
    )
  })

  it.effect.prop(
    "is the last total, however often totals are repeated",
    { first: Count, last: Count, times: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 5 })) },
    ({ first, last, times }) =>
      Effect.sync(() => {
        let usage = Usage.fromReported({ input_tokens: first, output_tokens: 1 })
        for (let i = 0; i < times; i++) usage = Usage.merge(usage, { input_tokens: last, output_tokens: last })
        assert.deepStrictEqual(usage, Usage.make({ inputTokens: last, outputTokens: last }))
        assert.strictEqual(Usage.promptTokens(usage), last)
      })
  )
})

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

  it("gives cache writes that come later the time to live that was asked for", () => {
    const writes = ({ cacheWrite1hTokens, cacheWrite5mTokens, isAssumed }: Usage.Usage) => [
      cacheWrite5mTokens,
      cacheWrite1hTokens,
      isAssumed
    ]
    const split = (short: number, long: number) => ({
      cache_creation_input_tokens: short + long,
      cache_creation: { ephemeral_5m_input_tokens: short, ephemeral_1h_input_tokens: long }
    })
    const long = Usage.fromReported(split(0, 1_000))
    const grown = { cache_creation_input_tokens: 50_000 }
    assert.deepStrictEqual(writes(Usage.merge(long, grown, () => "1h")), [0, 50_000, undefined])
    assert.deepStrictEqual(writes(Usage.merge(long, grown)), [0, 50_000, undefined])
    assert.deepStrictEqual(writes(Usage.merge(Usage.zero, grown)), [50_000, 0, undefined])
    assert.deepStrictEqual(writes(Usage.merge(Usage.fromReported(split(1_000, 0)), grown, () => "5m")), [
      50_000,
      0,
      undefined
    ])
    // Both were asked for and written: nobody says which of them grew, so it is the dearer one, and no exact figure.
    const both = Usage.fromReported(split(1_000, 1_000))
    assert.deepStrictEqual(writes(Usage.merge(both, grown, () => "1h")), [1_000, 49_000, true])
    assert.deepStrictEqual(writes(Usage.merge(Usage.merge(both, grown, () => "1h"), split(30_000, 20_000))), [
      30_000,
      20_000,
      undefined
    ])
    // A total that shrinks is still the total.
    assert.deepStrictEqual(writes(Usage.merge(both, { cache_creation_input_tokens: 500 })), [0, 500, undefined])
  })

  const iteration = (
    type: string,
    model: string | null | undefined,
    input: number,
    output: number,
    more: object = {}
  ) => ({
    type,
    ...(model === undefined ? undefined : { model }),
    input_tokens: input,
    output_tokens: output,
    cache_read_input_tokens: 0,
    cache_creation_input_tokens: 0,
    cache_creation: null,
    ...more
  })

  it("bills the sum of the iterations, which the totals leave out", () => {
    const usage = Usage.fromReported({
      input_tokens: 23_000,
      output_tokens: 1_000,
      server_tool_use: { web_search_requests: 2 },
      service_tier: "standard",
      iterations: [
        iteration("compaction", null, 180_000, 3_500, { cache_read_input_tokens: 7 }),
        iteration("message", undefined, 23_000, 1_000, { cache_creation_input_tokens: 50 })
      ]
    }, () => "1h")
    assert.deepStrictEqual(
      usage,
      Usage.make({
        inputTokens: 203_000,
        outputTokens: 4_500,
        cacheReadTokens: 7,
        cacheWrite1hTokens: 50,
        webSearchRequests: 2,
        serviceTier: "standard"
      })
    )
  })

  it("keeps apart what another model used, by model", () => {
    const iterations = [
      iteration("message", "claude-sonnet-4-6", 412, 89),
      iteration("advisor_message", "claude-opus-4-8", 100, 10),
      iteration("advisor_message", "claude-opus-4-8", 23, 5),
      iteration("message", "claude-sonnet-4-6", 1_348, 442),
      iteration("of_tomorrow", "claude-fable-5", 3, 1)
    ]
    const usage = Usage.fromReported({ input_tokens: 1_760, output_tokens: 531, iterations })
    assert.deepStrictEqual(
      usage,
      Usage.make({
        inputTokens: 1_760,
        outputTokens: 531,
        others: [
          { model: "claude-opus-4-8", usage: Usage.make({ inputTokens: 123, outputTokens: 15 }) },
          { model: "claude-fable-5", usage: Usage.make({ inputTokens: 3, outputTokens: 1 }) }
        ]
      })
    )
    // A hop that declined used its own model; the last one answered.
    const fallen = [
      iteration("message", "claude-fable-5", 10, 1),
      iteration("fallback_message", "claude-opus-5-5", 20, 2)
    ]
    assert.deepStrictEqual(
      Usage.fromReported({ input_tokens: 30, output_tokens: 3, iterations: fallen }),
      Usage.make({
        inputTokens: 20,
        outputTokens: 2,
        others: [{ model: "claude-fable-5", usage: Usage.make({ inputTokens: 10, outputTokens: 1 }) }]
      })
    )
    assert.deepStrictEqual(Usage.sum(usage, usage).others?.length, 4)
    assert.deepStrictEqual(Usage.merge(usage, { output_tokens: 600 }).others, usage.others)
  })

  it("takes the totals where iterations say nothing", () => {
    const totals = { input_tokens: 10, output_tokens: 3 }
    const usage = Usage.fromReported(totals)
    for (
      const iterations of [null, undefined, [], [null], ["x"], "x", [{ type: "message" }], [{
        type: "advisor_message",
        input_tokens: null,
        output_tokens: "5"
      }]]
    ) {
      assert.deepStrictEqual(
        Usage.fromReported({ ...totals, iterations } as Usage.Reported),
        usage,
        JSON.stringify(iterations)
      )
    }
    const advisor = [iteration("advisor_message", "m", 5, 1)]
    assert.deepStrictEqual(Usage.fromReported({ ...totals, iterations: advisor }), {
      ...usage,
      others: [{ model: "m", usage: Usage.make({ inputTokens: 5, outputTokens: 1 }) }]
    })
  })

  it("assumes what iterations do not say", () => {
    const totals = { input_tokens: 10, output_tokens: 3 }
    const whole = { type: "message", input_tokens: 10, output_tokens: 3 }
    const compaction = { type: "compaction", input_tokens: 100, output_tokens: 20 }
    const cases: ReadonlyArray<readonly [iterations: ReadonlyArray<unknown>, usage: Partial<Usage.Usage>]> = [
      [[{ ...compaction, output_tokens: null }, whole], { inputTokens: 110, outputTokens: 3, isAssumed: true }],
      [[compaction, { type: "message" }], { inputTokens: 110, outputTokens: 23 }],
      [[compaction, { type: "message", input_tokens: 10 }], { inputTokens: 110, outputTokens: 23 }],
      [[compaction], { inputTokens: 110, outputTokens: 23 }],
      [[{ ...compaction, model: 7 }, whole], { inputTokens: 110, outputTokens: 23, isAssumed: true }],
      [[{ type: "advisor_message", model: "not a name", input_tokens: 5, output_tokens: 1 }], {
        inputTokens: 15,
        outputTokens: 4,
        isAssumed: true
      }]
    ]
    for (const [iterations, usage] of cases) {
      const reported = { ...totals, iterations } as Usage.Reported
      assert.deepStrictEqual(Usage.fromReported(reported), Usage.make(usage), JSON.stringify(iterations))
    }
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

import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, FileSystem, Layer, Schema } from "effect"
import { type Attempt, Model, PriceBook, Usage } from "effect-claude"

const november = Date.parse("2026-11-22T12:00:00Z")
const book = PriceBook.make()

const nano = (model: string, usage: Partial<Usage.Usage>, at = november): number | undefined =>
  book.cost({ model, usage: Usage.make(usage), at })?.nanoUsd

/**
 * What 1,000 tokens of each category cost, in nano-dollars, worked by hand from the published prices: input, output, cache writes of
 * five minutes and of an hour, cache reads.
 */
const thousand: Record<string, Record<string, readonly [number, number, number, number, number]>> = {
  "claude-fable-5-2 standard": {
    "standard": [8_000_000, 40_000_000, 10_000_000, 16_000_000, 200_000],
    "batch": [4_000_000, 20_000_000, 5_000_000, 8_000_000, 100_000],
    "us": [8_800_000, 44_000_000, 11_000_000, 17_600_000, 220_000],
    "batch us": [4_400_000, 22_000_000, 5_500_000, 8_800_000, 110_000]
  },
  "claude-fable-5-2 fast": {
    "standard": [16_000_000, 80_000_000, 20_000_000, 32_000_000, 400_000],
    "us": [17_600_000, 88_000_000, 22_000_000, 35_200_000, 440_000]
  },
  "claude-mythos-5-2 standard": {
    "standard": [8_000_000, 40_000_000, 10_000_000, 16_000_000, 200_000],
    "batch": [4_000_000, 20_000_000, 5_000_000, 8_000_000, 100_000],
    "us": [8_800_000, 44_000_000, 11_000_000, 17_600_000, 220_000],
    "batch us": [4_400_000, 22_000_000, 5_500_000, 8_800_000, 110_000]
  },
  "claude-fable-5-1 standard": {
    "standard": [10_000_000, 50_000_000, 12_500_000, 20_000_000, 250_000],
    "batch": [5_000_000, 25_000_000, 6_250_000, 10_000_000, 125_000],
    "us": [11_000_000, 55_000_000, 13_750_000, 22_000_000, 275_000],
    "batch us": [5_500_000, 27_500_000, 6_875_000, 11_000_000, 137_500]
  },
  "claude-mythos-5-1 standard": {
    "standard": [10_000_000, 50_000_000, 12_500_000, 20_000_000, 250_000],
    "batch": [5_000_000, 25_000_000, 6_250_000, 10_000_000, 125_000],
    "us": [11_000_000, 55_000_000, 13_750_000, 22_000_000, 275_000],
    "batch us": [5_500_000, 27_500_000, 6_875_000, 11_000_000, 137_500]
  },
  "claude-fable-5 standard": {
    "standard": [10_000_000, 50_000_000, 12_500_000, 20_000_000, 1_000_000],
    "batch": [5_000_000, 25_000_000, 6_250_000, 10_000_000, 500_000],
    "us": [11_000_000, 55_000_000, 13_750_000, 22_000_000, 1_100_000],
    "batch us": [5_500_000, 27_500_000, 6_875_000, 11_000_000, 550_000]
  },
  "claude-mythos-5 standard": {
    "standard": [10_000_000, 50_000_000, 12_500_000, 20_000_000, 1_000_000],
    "batch": [5_000_000, 25_000_000, 6_250_000, 10_000_000, 500_000],
    "us": [11_000_000, 55_000_000, 13_750_000, 22_000_000, 1_100_000],
    "batch us": [5_500_000, 27_500_000, 6_875_000, 11_000_000, 550_000]
  },
  "claude-opus-5-5 standard": {
    "standard": [4_000_000, 20_000_000, 5_000_000, 8_000_000, 200_000],
    "batch": [2_000_000, 10_000_000, 2_500_000, 4_000_000, 100_000],
    "us": [4_400_000, 22_000_000, 5_500_000, 8_800_000, 220_000],
    "batch us": [2_200_000, 11_000_000, 2_750_000, 4_400_000, 110_000]
  },
  "claude-opus-5-5 fast": {
    "standard": [8_000_000, 40_000_000, 10_000_000, 16_000_000, 400_000],
    "us": [8_800_000, 44_000_000, 11_000_000, 17_600_000, 440_000]
  },
  "claude-opus-5 standard": {
    "standard": [5_000_000, 25_000_000, 6_250_000, 10_000_000, 500_000],
    "batch": [2_500_000, 12_500_000, 3_125_000, 5_000_000, 250_000],
    "us": [5_500_000, 27_500_000, 6_875_000, 11_000_000, 550_000],
    "batch us": [2_750_000, 13_750_000, 3_437_500, 5_500_000, 275_000]
  },
  "claude-opus-5 fast": {
    "standard": [10_000_000, 50_000_000, 12_500_000, 20_000_000, 1_000_000],
    "us": [11_000_000, 55_000_000, 13_750_000, 22_000_000, 1_100_000]
  },
  "claude-opus-4-8 standard": {
    "standard": [5_000_000, 25_000_000, 6_250_000, 10_000_000, 500_000],
    "batch": [2_500_000, 12_500_000, 3_125_000, 5_000_000, 250_000],
    "us": [5_500_000, 27_500_000, 6_875_000, 11_000_000, 550_000],
    "batch us": [2_750_000, 13_750_000, 3_437_500, 5_500_000, 275_000]
  },
  "claude-opus-4-8 fast": {
    "standard": [10_000_000, 50_000_000, 12_500_000, 20_000_000, 1_000_000],
    "us": [11_000_000, 55_000_000, 13_750_000, 22_000_000, 1_100_000]
  },
  "claude-opus-4-7 standard": {
    "standard": [5_000_000, 25_000_000, 6_250_000, 10_000_000, 500_000],
    "batch": [2_500_000, 12_500_000, 3_125_000, 5_000_000, 250_000],
    "us": [5_500_000, 27_500_000, 6_875_000, 11_000_000, 550_000],
    "batch us": [2_750_000, 13_750_000, 3_437_500, 5_500_000, 275_000]
  },
  "claude-opus-4-6 standard": {
    "standard": [5_000_000, 25_000_000, 6_250_000, 10_000_000, 500_000],
    "batch": [2_500_000, 12_500_000, 3_125_000, 5_000_000, 250_000],
    "us": [5_500_000, 27_500_000, 6_875_000, 11_000_000, 550_000],
    "batch us": [2_750_000, 13_750_000, 3_437_500, 5_500_000, 275_000]
  },
  "claude-opus-4-6 fast": {
    "standard": [5_000_000, 25_000_000, 6_250_000, 10_000_000, 500_000],
    "us": [5_500_000, 27_500_000, 6_875_000, 11_000_000, 550_000]
  },
  "claude-opus-4-5-20251101 standard": {
    "standard": [5_000_000, 25_000_000, 6_250_000, 10_000_000, 500_000],
    "batch": [2_500_000, 12_500_000, 3_125_000, 5_000_000, 250_000]
  },
  "claude-opus-4-1-20250805 standard": {
    "standard": [15_000_000, 75_000_000, 18_750_000, 30_000_000, 1_500_000],
    "batch": [7_500_000, 37_500_000, 9_375_000, 15_000_000, 750_000]
  },
  "claude-opus-4-20250514 standard": {
    "standard": [15_000_000, 75_000_000, 18_750_000, 30_000_000, 1_500_000],
    "batch": [7_500_000, 37_500_000, 9_375_000, 15_000_000, 750_000]
  },
  "claude-sonnet-5-5 standard": {
    "standard": [2_000_000, 10_000_000, 2_500_000, 4_000_000, 100_000],
    "batch": [1_000_000, 5_000_000, 1_250_000, 2_000_000, 50_000],
    "us": [2_200_000, 11_000_000, 2_750_000, 4_400_000, 110_000],
    "batch us": [1_100_000, 5_500_000, 1_375_000, 2_200_000, 55_000]
  },
  "claude-sonnet-5 standard": {
    "standard": [2_000_000, 10_000_000, 2_500_000, 4_000_000, 200_000],
    "batch": [1_000_000, 5_000_000, 1_250_000, 2_000_000, 100_000],
    "us": [2_200_000, 11_000_000, 2_750_000, 4_400_000, 220_000],
    "batch us": [1_100_000, 5_500_000, 1_375_000, 2_200_000, 110_000]
  },
  "claude-sonnet-4-6 standard": {
    "standard": [3_000_000, 15_000_000, 3_750_000, 6_000_000, 300_000],
    "batch": [1_500_000, 7_500_000, 1_875_000, 3_000_000, 150_000],
    "us": [3_300_000, 16_500_000, 4_125_000, 6_600_000, 330_000],
    "batch us": [1_650_000, 8_250_000, 2_062_500, 3_300_000, 165_000]
  },
  "claude-sonnet-4-5-20250929 standard": {
    "standard": [3_000_000, 15_000_000, 3_750_000, 6_000_000, 300_000],
    "batch": [1_500_000, 7_500_000, 1_875_000, 3_000_000, 150_000]
  },
  "claude-sonnet-4-20250514 standard": {
    "standard": [3_000_000, 15_000_000, 3_750_000, 6_000_000, 300_000],
    "batch": [1_500_000, 7_500_000, 1_875_000, 3_000_000, 150_000]
  },
  "claude-haiku-5-5 standard": {
    "standard": [100_000, 500_000, 125_000, 200_000, 10_000],
    "batch": [50_000, 250_000, 62_500, 100_000, 5_000],
    "us": [110_000, 550_000, 137_500, 220_000, 11_000],
    "batch us": [55_000, 275_000, 68_750, 110_000, 5_500]
  },
  "claude-haiku-4-5-20251001 standard": {
    "standard": [1_000_000, 5_000_000, 1_250_000, 2_000_000, 100_000],
    "batch": [500_000, 2_500_000, 625_000, 1_000_000, 50_000]
  },
  "claude-3-5-haiku-20241022 standard": {
    "standard": [800_000, 4_000_000, 1_000_000, 1_600_000, 80_000],
    "batch": [400_000, 2_000_000, 500_000, 800_000, 40_000]
  }
}

const tokensOf = ["inputTokens", "outputTokens", "cacheWrite5mTokens", "cacheWrite1hTokens", "cacheReadTokens"] as const

describe("prices", () => {
  for (const [name, modes] of Object.entries(thousand)) {
    const [model = "", speed = ""] = name.split(" ")
    for (const [mode, amounts] of Object.entries(modes)) {
      it(`are those of the page for ${name}, ${mode}`, () => {
        const how = {
          speed,
          serviceTier: mode.startsWith("batch") ? "batch" : "standard",
          inferenceGeo: mode.endsWith("us") ? "us" : "global"
        }
        assert.deepStrictEqual(
          tokensOf.map((category) => nano(model, { ...how, [category]: 1_000 })),
          [...amounts]
        )
        const whole = Usage.make({
          ...how,
          inputTokens: 1_000,
          outputTokens: 1_000,
          cacheWrite5mTokens: 1_000,
          cacheWrite1hTokens: 1_000,
          cacheReadTokens: 1_000,
          webSearchRequests: 3
        })
        const cost = book.cost({ model, usage: whole, at: november })!
        assert.deepStrictEqual(cost.picoUsd, {
          input: amounts[0] * 1_000,
          output: amounts[1] * 1_000,
          cacheWrite5m: amounts[2] * 1_000,
          cacheWrite1h: amounts[3] * 1_000,
          cacheRead: amounts[4] * 1_000,
          webSearch: 30_000_000_000
        })
        assert.strictEqual(cost.nanoUsd, amounts.reduce((sum, amount) => sum + amount, 30_000_000))
      })
    }
  }

  it("are known for every model of the catalogue, save those that none was published for", () => {
    const unpriced = Model.catalogue.models.filter(({ id }) => nano(id, { inputTokens: 1 }) === undefined)
    assert.deepStrictEqual(unpriced.map(({ id }) => id), ["claude-mythos-preview"])
  })

  it("are found by alias", () => {
    for (const model of ["claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5"]) {
      const { id } = Model.find(model)!
      assert.isDefined(nano(model, { inputTokens: 7 }))
      assert.strictEqual(nano(model, { inputTokens: 7 }), nano(id, { inputTokens: 7 }))
    }
  })

  it("are unknown for what nobody priced, and never zero", () => {
    const usage = { inputTokens: 10, outputTokens: 10 }
    assert.isUndefined(nano("a-model-of-tomorrow", usage))
    assert.isUndefined(nano("constructor", usage))
    assert.isUndefined(nano("", usage))
    assert.isUndefined(nano("claude-sonnet-5-5", { ...usage, speed: "fast" }))
    assert.isUndefined(nano("claude-opus-4-7", { ...usage, speed: "fast" }))
    assert.isUndefined(nano("claude-mythos-5-2", { ...usage, speed: "fast" }))
    assert.isUndefined(nano("claude-opus-5", { ...usage, speed: "warp" }))
    assert.isUndefined(nano("claude-opus-5", { ...usage, speed: "fast", serviceTier: "batch" }))
    assert.isUndefined(nano("claude-opus-5", { ...usage, serviceTier: "priority" }))
    assert.isUndefined(nano("claude-opus-5", { ...usage, inferenceGeo: "moon" }))
  })

  it("are those of every region where the answer names none", () => {
    for (const inferenceGeo of ["global", "not_available", ""]) {
      assert.strictEqual(nano("claude-haiku-4-5", { inferenceGeo, inputTokens: 1_000 }), 1_000_000)
    }
  })

  it("of Haiku 5.5 follow the whole prompt, output and cache included", () => {
    const cheap = {
      inputTokens: 40_000,
      cacheReadTokens: 30_000,
      cacheWrite5mTokens: 20_000,
      cacheWrite1hTokens: 10_000
    }
    // 40,000 x 0.10 + 30,000 x 0.01 + 20,000 x 0.125 + 10,000 x 0.20 + 1,000 x 0.50 millionths of a dollar
    assert.strictEqual(nano("claude-haiku-5-5", { ...cheap, outputTokens: 1_000 }), 9_300_000)
    // one token more: 40,001 x 0.50 + 30,000 x 0.05 + 20,000 x 0.625 + 10,000 x 1.00 + 1,000 x 2.50
    const dear = { ...cheap, inputTokens: 40_001, outputTokens: 1_000 }
    assert.strictEqual(nano("claude-haiku-5-5", dear), 46_500_500)
    assert.strictEqual(nano("claude-haiku-5-5", { ...dear, serviceTier: "batch" }), 23_250_250)
    assert.strictEqual(nano("claude-haiku-5-5", { ...dear, inferenceGeo: "us" }), 51_150_550)
    // 25,575,275,000 pico-dollars
    assert.strictEqual(nano("claude-haiku-5-5", { ...dear, serviceTier: "batch", inferenceGeo: "us" }), 25_575_275)
    assert.strictEqual(nano("claude-haiku-5-5", { cacheReadTokens: 100_000 }), 1_000_000)
    assert.strictEqual(nano("claude-haiku-5-5", { cacheReadTokens: 100_001 }), 5_000_050)
    // the length of the answer decides nothing
    assert.strictEqual(nano("claude-haiku-5-5", { inputTokens: 1, outputTokens: 120_000 }), 60_000_100)
    assert.strictEqual(nano("claude-sonnet-5", { inputTokens: 900_000 }), 1_800_000_000)
  })

  const dated: ReadonlyArray<
    readonly [
      what: string,
      model: string,
      usage: Partial<Usage.Usage>,
      day: string,
      before: number,
      after: number | undefined
    ]
  > = [
    ["cache reads of Sonnet 5.5", "claude-sonnet-5-5", { cacheReadTokens: 1_000 }, "2026-10-07", 200_000, 100_000],
    ["other tokens of Sonnet 5.5", "claude-sonnet-5-5", { inputTokens: 1_000 }, "2026-10-07", 2_000_000, 2_000_000],
    ["fast mode of Opus 4.8", "claude-opus-4-8", { speed: "fast", inputTokens: 1 }, "2026-11-30", 10_000, undefined],
    ["standard mode of Opus 4.8", "claude-opus-4-8", { inputTokens: 1 }, "2026-11-30", 5_000, 5_000],
    ["a model before its release", "claude-opus-5-5", { inputTokens: 1 }, "2026-09-22", 4_000, 4_000],
    ["a retired model", "claude-opus-4-1-20250805", { inputTokens: 1 }, "2026-08-05", 15_000, 15_000]
  ]
  for (const [what, model, usage, day, before, after] of dated) {
    it(`change at 00:00 UTC of their day: ${what}`, () => {
      assert.strictEqual(nano(model, usage, Date.parse(day) - 1), before)
      assert.strictEqual(nano(model, usage, Date.parse(day)), after)
    })
  }

  it("say where they come from", () => {
    for (const price of PriceBook.table) {
      assert.isNotNull(/^https:.*, 2026-\d\d/.exec(price.source ?? ""))
      assert.isDefined(price.trust)
    }
    const verified = (model: string, usage: Partial<Usage.Usage>) =>
      book.cost({ model, usage: Usage.make(usage), at: november })?.isVerified
    assert.isTrue(verified("claude-fable-5-2", { inputTokens: 1, outputTokens: 1, webSearchRequests: 1 }))
    for (const category of ["cacheReadTokens", "cacheWrite5mTokens", "cacheWrite1hTokens"]) {
      assert.isFalse(verified("claude-fable-5-2", { inputTokens: 1, [category]: 1 }))
      assert.isFalse(verified("claude-opus-5-5", { speed: "fast", [category]: 1 }))
      assert.isTrue(verified("claude-opus-5", { speed: "fast", [category]: 1 }))
    }
    assert.isFalse(verified("claude-opus-5-5", { speed: "fast", inputTokens: 1 }))
    assert.isTrue(verified("claude-haiku-5-5", { serviceTier: "batch", inputTokens: 1 }))
  })
})

describe("a refusal by the model", () => {
  const usage = Usage.make({ inputTokens: 1_000, outputTokens: 2 })
  const charged = 2_020_000
  const refused = (category: string | undefined, beforeOutput: boolean, at: string) =>
    book.cost({
      model: "claude-sonnet-5",
      usage,
      at: Date.parse(at),
      refusal: { category, beforeOutput }
    })?.nanoUsd

  for (const category of ["bio", "frontier_llm", "reasoning_extraction"]) {
    it(`is charged before any output for ${category}, since 2026-09-24`, () => {
      assert.strictEqual(refused(category, true, "2026-09-23T23:59:59.999Z"), 0)
      assert.strictEqual(refused(category, true, "2026-09-24T00:00:00Z"), charged)
    })
  }

  it("is free before any output for every other category", () => {
    for (const category of ["cyber", "general_harms", "one_of_tomorrow", undefined]) {
      assert.strictEqual(refused(category, true, "2026-11-22"), 0)
    }
  })

  it("is charged once output has begun, whatever its category and day", () => {
    for (const category of ["bio", "cyber", undefined]) {
      assert.strictEqual(refused(category, false, "2026-11-22"), charged)
      assert.strictEqual(refused(category, false, "2026-09-01"), charged)
    }
  })

  it("says what it costs in no category when it is free, and has no price where its model has none", () => {
    const refusal = { category: "cyber", beforeOutput: true }
    const cost = book.cost({ model: "claude-sonnet-5", usage, at: november, refusal })!
    assert.deepStrictEqual(Object.values(cost.picoUsd), [0, 0, 0, 0, 0, 0])
    assert.strictEqual(cost.cacheSavedNanoUsd, 0)
    assert.isTrue(cost.isVerified)
    assert.isUndefined(book.cost({ model: "a-model-of-tomorrow", usage, at: november, refusal }))
  })
})

describe("rounding", () => {
  it("happens once, half up, after the categories were added", () => {
    const us = { serviceTier: "batch", inferenceGeo: "us" }
    // a cache read of Haiku 5.5: 10,000 pico-dollars x 0.5 x 1.1
    const cost = book.cost({
      model: "claude-haiku-5-5",
      usage: Usage.make({ ...us, cacheReadTokens: 1 }),
      at: november
    })!
    assert.strictEqual(cost.picoUsd.cacheRead, 5_500)
    assert.strictEqual(cost.nanoUsd, 6)
    assert.strictEqual(nano("claude-haiku-5-5", { ...us, cacheReadTokens: 2 }), 11)
    // 5,500 + 68,750 pico-dollars are 74.25 nano-dollars; each rounded by itself they would be 75
    assert.strictEqual(nano("claude-haiku-5-5", { ...us, cacheReadTokens: 1, cacheWrite5mTokens: 1 }), 74)
  })

  it("leaves sums of a million small amounts exact", () => {
    const costs = Array.from({ length: 1_000_000 }, (_, i) => nano("claude-haiku-5-5", { cacheReadTokens: i % 7 + 1 })!)
    // 142,857 rounds of 10 x (1 + ... + 7) nano-dollars, and a last 10
    assert.strictEqual(costs.reduce((sum, cost) => sum + cost, 0), 39_999_970)
  })
})

describe("what a cache saved", () => {
  const saved = (usage: Partial<Usage.Usage>, model = "claude-sonnet-5-5") =>
    book.cost({ model, usage: Usage.make(usage), at: november })?.cacheSavedNanoUsd

  it("is what the prompt would have cost more without one", () => {
    assert.strictEqual(saved({ inputTokens: 500, outputTokens: 500 }), 0)
    assert.strictEqual(saved({ cacheReadTokens: 1_000 }), 1_900_000)
    assert.strictEqual(saved({ cacheWrite5mTokens: 1_000 }), -500_000)
    assert.strictEqual(saved({ cacheWrite1hTokens: 1_000 }), -2_000_000)
    assert.strictEqual(saved({ cacheReadTokens: 1_000, serviceTier: "batch", inferenceGeo: "us" }), 1_045_000)
    // the prompt would have been as long
    assert.strictEqual(saved({ cacheReadTokens: 100_001 }, "claude-haiku-5-5"), 45_000_450)
  })
})

const Count = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 2_000_000 }))
const AnyUsage = Schema.Struct({
  inputTokens: Count,
  outputTokens: Count,
  cacheReadTokens: Count,
  cacheWrite5mTokens: Count,
  cacheWrite1hTokens: Count,
  webSearchRequests: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1_000 })),
  serviceTier: Schema.Literals(["standard", "batch"]),
  inferenceGeo: Schema.Literals(["global", "us"])
})
const Priced = Schema.Literals(
  Model.catalogue.models.map(({ id }) => id).filter((id) => id !== "claude-mythos-preview")
)

describe("cost", () => {
  it.effect.prop(
    "is the exact sum of its categories, rounded once",
    { fields: AnyUsage, model: Priced },
    ({ fields, model }) =>
      Effect.sync(() => {
        const { nanoUsd, picoUsd } = book.cost({ model, usage: Usage.make(fields), at: november })!
        const exact = Object.values(picoUsd).reduce((sum, pico) => sum + BigInt(pico), 0n)
        assert.strictEqual(BigInt(nanoUsd), (exact + 500n) / 1000n)
      })
  )

  it.effect.prop(
    "adds up over its categories",
    { fields: AnyUsage, model: Priced },
    ({ fields, model }) =>
      Effect.sync(() => {
        // the prompt stays as long, so that its price does
        const prompt = Usage.promptTokens(Usage.make(fields))
        const { inferenceGeo, serviceTier } = fields
        const long = prompt > 100_000
        const alone = (usage: Partial<Usage.Usage>) => {
          const cost = book.cost({
            model,
            usage: Usage.make({ inferenceGeo, serviceTier, ...usage, inputTokens: long ? 100_001 : 0 }),
            at: november
          })!
          return cost.picoUsd
        }
        const { picoUsd } = book.cost({ model, usage: Usage.make(fields), at: november })!
        assert.strictEqual(alone({ outputTokens: fields.outputTokens }).output, picoUsd.output)
        assert.strictEqual(alone({ webSearchRequests: fields.webSearchRequests }).webSearch, picoUsd.webSearch)
        if (!long) return
        assert.strictEqual(alone({ cacheReadTokens: fields.cacheReadTokens }).cacheRead, picoUsd.cacheRead)
        assert.strictEqual(alone({ cacheWrite5mTokens: fields.cacheWrite5mTokens }).cacheWrite5m, picoUsd.cacheWrite5m)
        assert.strictEqual(alone({ cacheWrite1hTokens: fields.cacheWrite1hTokens }).cacheWrite1h, picoUsd.cacheWrite1h)
      })
  )

  it.effect.prop(
    "never falls when more is used, and is zero for nothing alone",
    { fields: AnyUsage, more: AnyUsage, model: Priced },
    ({ fields, model, more }) =>
      Effect.sync(() => {
        const { inferenceGeo, serviceTier } = fields
        const usage = Usage.make(fields)
        const costOf = (usage: Usage.Usage) => book.cost({ model, usage, at: november })!.nanoUsd
        const longer = { ...Usage.sum(usage, Usage.make(more)), inferenceGeo, serviceTier }
        assert.isAtLeast(costOf(longer), costOf(usage))
        const { webSearchRequests } = usage
        assert.strictEqual(
          costOf(usage) === 0,
          Usage.promptTokens(usage) + usage.outputTokens + webSearchRequests === 0
        )
      })
  )
})

describe("a ceiling", () => {
  const request = (more: Partial<Attempt.Request> = {}): Attempt.Request => ({
    model: "claude-sonnet-5-5",
    max_tokens: 1_000,
    messages: [{ role: "user", content: "hello" }],
    ...more
  })
  const tokens = { inputTokens: 10_000, outputTokens: 1_000, at: november }
  const ceiling = (more?: Partial<Attempt.Request>, options: PriceBook.Options = {}, inputTokens = 10_000) =>
    PriceBook.make(options).ceiling(request(more), { ...tokens, inputTokens })
  const ephemeral = { type: "ephemeral" } as const
  const hour = { type: "ephemeral", ttl: "1h" } as const

  it("charges plain input where no cache can be written", () => {
    assert.strictEqual(ceiling(), 30_000_000)
  })

  it("charges the dearest cache write that the request allows, wherever it allows it", () => {
    const text = { type: "text", text: "hello" } as const
    const at = (cache_control: typeof ephemeral | typeof hour): ReadonlyArray<Partial<Attempt.Request>> => [
      { cache_control },
      { system: [text, { ...text, cache_control }] },
      { tools: [{ name: "a", input_schema: { type: "object" }, cache_control }] },
      { messages: [{ role: "user", content: [{ ...text, cache_control }] }] },
      {
        messages: [{
          role: "user",
          content: [{ type: "tool_result", tool_use_id: "a", content: [{ ...text, cache_control }] }]
        }]
      },
      {
        messages: [{
          role: "user",
          content: [{ type: "document", source: { type: "content", content: [{ ...text, cache_control }] } }]
        }]
      }
    ]
    for (const more of at(ephemeral)) assert.strictEqual(ceiling(more), 35_000_000)
    for (const more of at(hour)) assert.strictEqual(ceiling(more), 50_000_000)
    assert.strictEqual(ceiling({ cache_control: hour, system: [{ ...text, cache_control: ephemeral }] }), 50_000_000)
    assert.strictEqual(ceiling({ cache_control: null, system: [{ ...text, cache_control: null }] }), 30_000_000)
  })

  it("counts the region and the speed that were asked for", () => {
    assert.strictEqual(ceiling({ inference_geo: "us" }), 33_000_000)
    assert.strictEqual(ceiling({ inference_geo: "us", cache_control: hour }), 55_000_000)
    assert.strictEqual(ceiling({}, { defaultInferenceGeo: "us" }), 33_000_000)
    assert.strictEqual(ceiling({ inference_geo: "global" }, { defaultInferenceGeo: "us" }), 30_000_000)
    assert.strictEqual(ceiling({ model: "claude-opus-5", speed: "fast" }), 150_000_000)
    assert.strictEqual(ceiling({ model: "claude-opus-4-6", speed: "fast" }), 75_000_000)
    assert.strictEqual(ceiling({ speed: "standard" }), 30_000_000)
  })

  it("is unknown where there is no price", () => {
    assert.isUndefined(ceiling({ model: "a-model-of-tomorrow" }))
    assert.isUndefined(ceiling({ model: "claude-opus-4-7", speed: "fast" }))
    assert.isUndefined(ceiling({ inference_geo: "moon" }))
  })

  it("takes the dear band of Haiku 5.5 where a prompt may turn out that long", () => {
    const haiku = { model: "claude-haiku-5-5" }
    // 1.3 times 76,923 are 99,999.9; 76,923 x 0.10 + 1,000 x 0.50
    assert.strictEqual(ceiling(haiku, {}, 76_923), 8_192_300)
    // 76,924 x 0.50 + 1,000 x 2.50
    assert.strictEqual(ceiling(haiku, {}, 76_924), 40_962_000)
    assert.strictEqual(ceiling(haiku, {}, 200_000), 102_500_000)
  })

  it("counts as many web searches as are allowed", () => {
    const search = (max_uses?: number | null): Partial<Attempt.Request> => ({
      tools: [{ type: "web_search_20260209", name: "web_search", ...(max_uses === undefined ? {} : { max_uses }) }]
    })
    assert.strictEqual(ceiling(search(3)), 60_000_000)
    assert.strictEqual(ceiling(search()), 130_000_000)
    assert.strictEqual(ceiling(search(null)), 130_000_000)
    assert.strictEqual(ceiling(search(), { maxWebSearches: 2 }), 50_000_000)
    assert.strictEqual(ceiling({ tools: [{ name: "web_search_mine", input_schema: { type: "object" } }] }), 30_000_000)
  })

  it("is rounded up", () => {
    const haiku = request({ model: "claude-haiku-5-5" })
    const one = PriceBook.make({ discount: 0.999 }).ceiling(haiku, { inputTokens: 1, outputTokens: 0, at: november })
    assert.strictEqual(one, 1)
  })

  it.effect.prop(
    "is never below what the request costs within its tokens",
    {
      fields: AnyUsage,
      model: Priced,
      ttl: Schema.Literals(["none", "5m", "1h"]),
      searches: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 3 }))
    },
    ({ fields, model, searches, ttl }) =>
      Effect.sync(() => {
        const usage = Usage.make({
          ...fields,
          serviceTier: "standard",
          cacheReadTokens: ttl === "none" ? 0 : fields.cacheReadTokens,
          cacheWrite5mTokens: ttl === "none" ? 0 : fields.cacheWrite5mTokens,
          cacheWrite1hTokens: ttl === "1h" ? fields.cacheWrite1hTokens : 0,
          webSearchRequests: searches
        })
        const asked = request({
          model,
          inference_geo: fields.inferenceGeo,
          ...(ttl === "none" ? {} : { cache_control: { type: "ephemeral", ttl } }),
          tools: [{ type: "web_search_20250305", name: "web_search", max_uses: searches }]
        })
        const most = book.ceiling(asked, {
          inputTokens: Usage.promptTokens(usage),
          outputTokens: usage.outputTokens,
          at: november
        })!
        assert.isAtLeast(most, book.cost({ model, usage, at: november })!.nanoUsd)
      })
  )
})

describe("options", () => {
  const costOf = (options: PriceBook.Options, model: string, usage: Partial<Usage.Usage>, at = november) =>
    PriceBook.make(options).cost({ model, usage: Usage.make(usage), at })

  it("take a discount off every price", () => {
    const usage = { inputTokens: 1_000, outputTokens: 100, webSearchRequests: 1 }
    // (1,000 x 2 + 100 x 10 + 10,000) millionths of a dollar, less 15 %
    assert.strictEqual(costOf({ discount: 0.15 }, "claude-sonnet-5", usage)?.nanoUsd, 11_050_000)
    assert.strictEqual(costOf({ discount: 1 }, "claude-sonnet-5", usage)?.nanoUsd, 0)
    const some = { discount: { "claude-haiku-4-5": 0.2 } }
    assert.strictEqual(costOf(some, "claude-haiku-4-5-20251001", { inputTokens: 1_000 })?.nanoUsd, 800_000)
    assert.strictEqual(costOf(some, "claude-sonnet-5", { inputTokens: 1_000 })?.nanoUsd, 2_000_000)
  })

  it("round the price of a token once, to pico-dollars, half up", () => {
    const us = { serviceTier: "batch", inferenceGeo: "us", cacheReadTokens: 1 }
    // 5,500 x 0.667 are 3,668.5
    assert.strictEqual(costOf({ discount: 0.333 }, "claude-haiku-5-5", us)?.picoUsd.cacheRead, 3_669)
    // 0.1 x 1.1 x 0.7 in floating point is 0.07700000000000001
    const third = costOf({ discount: 0.3 }, "claude-haiku-5-5", { inferenceGeo: "us", inputTokens: 1_000_000 })
    assert.strictEqual(third?.picoUsd.input, 385_000_000_000)
  })

  it("add prices, with the usual factors for what they leave out", () => {
    const options = { prices: [{ model: "my-model", input: 2, output: 7 }] }
    const usage = {
      inputTokens: 1_000,
      outputTokens: 1_000,
      cacheReadTokens: 1_000,
      cacheWrite5mTokens: 1_000,
      cacheWrite1hTokens: 1_000,
      webSearchRequests: 1
    }
    const cost = costOf(options, "my-model", usage)!
    assert.deepStrictEqual(cost.picoUsd, {
      input: 2_000_000_000,
      output: 7_000_000_000,
      cacheRead: 200_000_000,
      cacheWrite5m: 2_500_000_000,
      cacheWrite1h: 4_000_000_000,
      webSearch: 10_000_000_000
    })
    assert.isTrue(cost.isVerified)
    assert.strictEqual(costOf(options, "claude-sonnet-5", { inputTokens: 1 })?.nanoUsd, 2_000)
  })

  it("replace the prices of a model and speed from their day on", () => {
    const from = {
      prices: [{ model: "claude-sonnet-5-5", from: "2026-10-01", input: 1, output: 9, cacheRead: 0.15 }]
    }
    const read = { cacheReadTokens: 1_000 }
    assert.strictEqual(costOf(from, "claude-sonnet-5-5", read, Date.parse("2026-09-30"))?.nanoUsd, 200_000)
    assert.strictEqual(costOf(from, "claude-sonnet-5-5", read, Date.parse("2026-10-01"))?.nanoUsd, 150_000)
    // the change of the table on 2026-10-07 is gone
    assert.strictEqual(costOf(from, "claude-sonnet-5-5", read)?.nanoUsd, 150_000)

    const always = { prices: [{ model: "claude-haiku-5-5", input: 0.2, output: 1 }] }
    assert.strictEqual(costOf(always, "claude-haiku-5-5", { inputTokens: 200_000 })?.nanoUsd, 40_000_000)
    const opus = { prices: [{ model: "claude-opus-5", input: 1, output: 1 }] }
    assert.strictEqual(costOf(opus, "claude-opus-5", { speed: "fast", inputTokens: 1 })?.nanoUsd, 10_000)
    const alias = { prices: [{ model: "claude-haiku-4-5", input: 3, output: 1 }] }
    assert.strictEqual(costOf(alias, "claude-haiku-4-5-20251001", { inputTokens: 1 })?.nanoUsd, 3_000)
  })

  it("take the later of two prices of the same day", () => {
    const price = { model: "my-model", input: 1, output: 1 }
    assert.strictEqual(
      costOf({ prices: [price, { ...price, input: 4 }] }, "my-model", { inputTokens: 1 })?.nanoUsd,
      4_000
    )
  })

  it("end a price", () => {
    const price = { model: "my-model", input: 1, output: 1, from: "2026-01-01T06:00:00Z", until: "2026-02-01" }
    const at = (instant: string) =>
      costOf({ prices: [price] }, "my-model", { inputTokens: 1 }, Date.parse(instant))?.nanoUsd
    assert.strictEqual(at("2026-01-31T23:59:59.999Z"), 1_000)
    assert.isUndefined(at("2026-02-01T00:00:00Z"))
  })

  it("leave nothing but your own prices where the table is empty", () => {
    const options = { table: [], prices: [{ model: "my-model", input: 1, output: 1 }] }
    assert.isUndefined(costOf(options, "claude-sonnet-5", { inputTokens: 1 }))
    assert.strictEqual(costOf(options, "my-model", { inputTokens: 1 })?.nanoUsd, 1_000)
    assert.deepStrictEqual(PriceBook.prices(options), options.prices)
  })

  it("name the factors of tiers and regions that the table does not know", () => {
    const options = { serviceTiers: { priority: 0.8 }, inferenceGeos: { eu: 1.2 } }
    const usage = { serviceTier: "priority", inferenceGeo: "eu", inputTokens: 1_000, webSearchRequests: 1 }
    assert.strictEqual(costOf(options, "claude-sonnet-5", usage)?.nanoUsd, 11_920_000)
    assert.strictEqual(costOf(options, "claude-sonnet-5", { inputTokens: 1 })?.nanoUsd, 2_000)
  })

  it("are a defect when they make no sense", () => {
    assert.throws(() => PriceBook.make({ discount: 15 }), /0 to 1/)
    assert.throws(() => PriceBook.make({ prices: [{ model: "a", input: -1, output: 1 }] }), /USD/)
    assert.throws(
      () => PriceBook.make({ prices: [{ model: "a", from: "tomorrow", input: 1, output: 1 }] }),
      /2026-10-07/
    )
  })

  it.effect("come from JSON", () =>
    Effect.gen(function*() {
      const options = yield* PriceBook.fromJson(
        `{ "discount": 0.5, "prices": [{ "model": "my-model", "from": "2026-01-01", "input": 1, "output": 5 }] }`
      )
      assert.strictEqual(costOf(options, "my-model", { outputTokens: 1_000 })?.nanoUsd, 2_500_000)
    }))

  it.effect("from JSON are refused when they are not understood", () =>
    Effect.gen(function*() {
      for (
        const text of ["{", "[]", `{ "discuont": 0.1 }`, `{ "discount": "0.1" }`, `{ "prices": [{ "model": "a" }] }`]
      ) {
        assert.isTrue(Exit.isFailure(yield* Effect.exit(PriceBook.fromJson(text))), text)
      }
      const slip = yield* Effect.flip(PriceBook.fromJson(`{ "prices": [{ "model": "a", "input": 1, "ouput": 5 }] }`))
      assert.include(slip.message, "ouput")
    }))

  it.effect("come from a file", () =>
    Effect.gen(function*() {
      const files = FileSystem.layerNoop({
        readFileString: (path) => Effect.succeed(path === "prices.json" ? `{ "discount": 0.25 }` : "no JSON")
      })
      const read = (path: string) =>
        PriceBook.PriceBook.use((book) =>
          Effect.succeed(
            book.cost({ model: "claude-sonnet-5", usage: Usage.make({ inputTokens: 1_000 }), at: november })?.nanoUsd
          )
        ).pipe(Effect.provide(Layer.provide(PriceBook.layerFile(path), files)))
      assert.strictEqual(yield* read("prices.json"), 1_500_000)
      const exit = yield* Effect.exit(read("other.json"))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasFails(exit.cause))
    }))

  describe("on other platforms", () => {
    const bedrock = "us.anthropic.claude-sonnet-4-6-v1:0"
    const vertex = "claude-haiku-4-5@20251001"
    const usage = { inputTokens: 1_000, outputTokens: 100 }
    const of = (options: PriceBook.Options) => (model: string) =>
      PriceBook.make(options).cost({ model, usage: Usage.make(usage), at: november })?.nanoUsd

    it("has no price until it is given one, and never none at all", () => {
      for (const model of [bedrock, vertex, "azure_ai/claude-opus-5-5", "anthropic/claude-sonnet-4.6"]) {
        assert.isUndefined(of({})(model))
        assert.isUndefined(book.ceiling({ model, max_tokens: 10, messages: [] }, { ...usage, at: november }))
      }
    })

    it("has the price that stands under the very name, which holds for nothing else", () => {
      const priced = of({ prices: [{ model: bedrock, input: 3.3, output: 16.5 }] })
      assert.strictEqual(priced(bedrock), 3_300_000 + 1_650_000)
      assert.strictEqual(priced("claude-sonnet-4-6"), 3_000_000 + 1_500_000)
      assert.isUndefined(priced("eu.anthropic.claude-sonnet-4-6-v1:0"))
    })

    it("has the prices of the API times the factor of the platform", () => {
      const priced = of({
        platforms: { bedrock: 1.1, vertex: 1 },
        prices: [{ model: "global.anthropic.claude-opus-5-5", input: 1, output: 1 }]
      })
      assert.strictEqual(priced(bedrock), 3_300_000 + 1_650_000)
      assert.strictEqual(priced(vertex), 1_000_000 + 500_000)
      assert.strictEqual(priced("global.anthropic.claude-opus-5-5"), 1_100_000)
      assert.strictEqual(priced("us.anthropic.claude-opus-5-5"), 4_400_000 + 2_200_000)
      assert.isUndefined(priced("azure_ai/claude-opus-5-5"))
      assert.isUndefined(priced("us.anthropic.claude-of-tomorrow"))
    })
  })
})

/** A price book of two prices, for tests that are about something else. */
import { Layer } from "effect"
import { PriceBook } from "effect-claude"

/** 3 dollars a million tokens of input and 15 of output, whatever the category; `unpriced` has no price. */
export const book = PriceBook.PriceBook.of({
  cost: ({ model, usage }) => {
    if (model === "unpriced") return undefined
    const input = (usage.inputTokens + usage.cacheReadTokens + usage.cacheWrite5mTokens + usage.cacheWrite1hTokens) *
      3_000
    const output = usage.outputTokens * 15_000
    return {
      nanoUsd: input + output,
      picoUsd: {
        input: input * 1e3,
        output: output * 1e3,
        cacheRead: 0,
        cacheWrite5m: 0,
        cacheWrite1h: 0,
        webSearch: 0
      },
      cacheSavedNanoUsd: usage.cacheReadTokens,
      isVerified: true
    }
  },
  ceiling: (_, { inputTokens, outputTokens }) => inputTokens * 3_000 + outputTokens * 15_000
})

export const layer = Layer.succeed(PriceBook.PriceBook, book)

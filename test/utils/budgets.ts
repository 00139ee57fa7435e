/** What tests of budgets share: a price book with one price, and attempts at it. */
import { Layer } from "effect"
import * as Attempt from "effect-claude/Attempt"
import type { CallContext } from "effect-claude/CallContext"
import * as PriceBook from "effect-claude/PriceBook"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import * as Usage from "effect-claude/Usage"

const nothing = { input: 0, output: 0, cacheRead: 0, cacheWrite5m: 0, cacheWrite1h: 0, webSearch: 0 }

/** One nano-dollar a token of any kind, twice as much for `claude-opus-5`; a model whose name has `next` in it has no price. */
export const layerPrices: Layer.Layer<PriceBook.PriceBook> = Layer.succeed(PriceBook.PriceBook, {
  cost: ({ model, usage }) => {
    if (model.includes("next")) return undefined
    const nanoUsd = priceOf(model) * (Usage.promptTokens(usage) + usage.outputTokens)
    return { nanoUsd, picoUsd: nothing, cacheSavedNanoUsd: 0, isVerified: true }
  },
  ceiling: ({ model }, { inputTokens, outputTokens }) =>
    model.includes("next") ? undefined : priceOf(model) * (inputTokens + outputTokens)
})

const priceOf = (model: string): number => model === "claude-opus-5" ? 2 : 1

export interface Sketch
  extends Partial<Pick<CallContext, "user" | "tenant" | "requestType" | "tags" | "expectedCost">>
{
  readonly model?: string
  readonly input?: number
  readonly output?: number
  readonly key?: string
  readonly number?: number
}

export const kinds = new Attempt.CallKinds()

/** An attempt that costs 10 at most. */
export const attemptOf = (
  { input = 4, key, model = "claude-sonnet-5-5", number = 1, output = 6, ...context }: Sketch = {}
): Attempt.MessageAttempt =>
  ClaudeTest.attempt({
    number,
    request: { model, max_tokens: output, messages: [] },
    context,
    estimate: { inputTokens: input, maxOutputTokens: output },
    kind: kinds.of(model, context.requestType),
    // No test opens it.
    key: key === undefined ? null : { label: key, group: "g", secret: undefined as never }
  })

export const sent = (attempt: Attempt.Attempt, usage: Partial<Usage.Usage> = {}) => {
  attempt.outcome = Attempt.Outcome.Aborted({ usage: Usage.make(usage) })
}

export const completed = (
  attempt: Attempt.MessageAttempt,
  usage: Partial<Usage.Usage> = {
    inputTokens: attempt.estimate.inputTokens,
    outputTokens: attempt.estimate.maxOutputTokens
  }
) => {
  attempt.outcome = Attempt.Outcome.Completed({
    usage: Usage.make(usage),
    limits: undefined,
    model: attempt.model,
    requestId: undefined,
    stopReason: "end_turn"
  })
}

import type { Rule } from "./Rule.ts"
import { difference, expectedOutput, priceOf } from "./Rule.ts"

/**
 * Advises to send calls that nobody waits for as a batch, at half the price: calls of the priority `bulk`, without a deadline, not streamed and
 * not in fast mode. The request stays as it is.
 *
 * @category rules
 * @since 0.1.0
 */
export const batchAdvice = (): Rule => ({
  name: "batchAdvice",
  apply: (request, context) => {
    const { call, stream } = context
    if (call.priority !== "bulk" || call.deadline !== undefined || stream) return undefined
    if (request.speed === "fast" || request.max_tokens === 0) return undefined
    const usage = { inputTokens: context.inputTokens(request), outputTokens: expectedOutput(context, request) }
    return {
      what: "nobody waits for this call: as part of a batch it costs half",
      savedNanoUsd: difference(
        priceOf(context, request, usage),
        priceOf(context, request, { ...usage, serviceTier: "batch" })
      )
    }
  }
})

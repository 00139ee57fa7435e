import type { Request } from "../../Request.ts"
import type { Matcher, Rule, RuleContext } from "./Rule.ts"
import { matches, priceOf } from "./Rule.ts"

/**
 * Questions whose answers are a word or a number, in English.
 *
 * @category constants
 * @since 0.1.0
 */
export const shortAnswers: ReadonlyArray<RegExp> = [
  /\b(answer|reply|respond)\s+(only\s+)?(with\s+)?(only\s+)?(a\s+|one\s+|a\s+single\s+)?(yes or no|true or false|word|number|label)\b/i,
  /\b(yes or no|true or false)\s*[?.)]?\s*$/i
]

/**
 * - `when`: which calls are likely to have a short answer. Default {@link shortAnswers}.
 * - `maxTokens`: the `max_tokens` of such calls. Default 512.
 * - `minTokens`: `max_tokens` is never set below this. Default 256.
 * - `headroom`: how many times the longest recent answer of its kind an answer may have. Default 4.
 * - `minCalls`: how many answers of a kind are needed to learn from them. Default 20.
 *
 * @category options
 * @since 0.1.0
 */
export interface ShorterAnswersOptions {
  readonly when?: Matcher | undefined
  readonly maxTokens?: number | undefined
  readonly minTokens?: number | undefined
  readonly headroom?: number | undefined
  readonly minCalls?: number | undefined
}

const mayThinkAtWill = ({ catalogue }: RuleContext, { model, thinking }: Request): boolean =>
  thinking === undefined
    ? catalogue.lookup(model).thinksByDefault
    : thinking.type !== "disabled" && thinking.type !== "enabled"

/**
 * Lowers `max_tokens` if the answer is likely to be short: the question says so, or earlier answers of this request type were short.
 *
 * It limits the worst case and what a budget reserves for it, not the usual cost, so the reported saving is 0. There is always room for a
 * thinking budget beside the answer. If the model decides how much to think, or the request has tools, only earlier answers count and not the
 * question: their tokens include thinking and tool input. Calls without a request type are not learnt from.
 *
 * @category rules
 * @since 0.1.0
 */
export const shorterAnswers = (options: ShorterAnswersOptions = {}): Rule => {
  const { headroom = 4, maxTokens = 512, minCalls = 20, minTokens = 256, when = shortAnswers } = options
  return {
    name: "shorterAnswers",
    apply: (request, context) => {
      const lengths = context.lengths(request.model)
      const isKnown = context.call.requestType !== undefined && lengths !== undefined && lengths.calls >= minCalls
      const learnt = isKnown ? lengths.longest * headroom : undefined
      const isShort = !mayThinkAtWill(context, request) && matches(when, request, context.call) &&
        !request.tools?.length
      const said = isShort ? maxTokens : undefined
      if (learnt === undefined && said === undefined) return undefined
      const budget = request.thinking?.type === "enabled" ? request.thinking.budget_tokens : 0
      const limit = Math.ceil(Math.max(learnt ?? 0, budget + Math.max(said ?? 0, minTokens)))
      if (!(limit < request.max_tokens)) return undefined
      const reserved = priceOf(context, request, { outputTokens: request.max_tokens - limit })
      const less = reserved === undefined
        ? ""
        : `, which reserves ${Number((reserved / 1e9).toPrecision(3))} dollars less`
      return {
        request: { ...request, max_tokens: limit },
        what: `max_tokens ${request.max_tokens} -> ${limit}${less}`,
        savedNanoUsd: 0
      }
    }
  }
}

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
 * - `maxTokens`: what their answer may have. Default 512.
 * - `floor`: no answer gets less than this. Default 256.
 * - `headroom`: learnt answers may be so many times the longest of late. Default 4.
 * - `minCalls`: so many answers of a kind are needed to learn from. Default 20.
 *
 * @category options
 * @since 0.1.0
 */
export interface ShorterAnswersOptions {
  readonly when?: Matcher | undefined
  readonly maxTokens?: number | undefined
  readonly floor?: number | undefined
  readonly headroom?: number | undefined
  readonly minCalls?: number | undefined
}

const mayThinkAtWill = ({ catalogue }: RuleContext, { model, thinking }: Request): boolean =>
  thinking === undefined
    ? catalogue.lookup(model).thinksByDefault
    : thinking.type !== "disabled" && thinking.type !== "enabled"

/**
 * Lowers `max_tokens` where the answer is likely to be short: the question says so, or answers of this request type were short so far.
 *
 * The answer itself costs what it costs. What gets smaller is what a budget has to reserve for the worst case, and the worst case itself,
 * so the saving is 0. A thinking budget always fits in besides the answer. Of a model that thinks as much as it likes nothing is
 * known from the question, only from earlier answers, which have their thinking counted in; and so it is with tools, whose input may be long.
 * Calls without a request type teach nothing: they may be of any kind.
 *
 * @category rules
 * @since 0.1.0
 */
export const shorterAnswers = (options: ShorterAnswersOptions = {}): Rule => {
  const { floor = 256, headroom = 4, maxTokens = 512, minCalls = 20, when = shortAnswers } = options
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
      const limit = Math.ceil(Math.max(learnt ?? 0, budget + Math.max(said ?? 0, floor)))
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

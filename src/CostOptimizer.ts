/**
 * Rules that make requests cheaper. Off unless a layer with rules is provided; each change is reported with its estimated saving.
 *
 * A rule is a value: it takes a request and what is known about the call, and returns another request or nothing. Rules apply in order, each to
 * the result of the one before. The order of the example works well: history is cut before it is counted again, and a breakpoint is set
 * for the model that is finally called.
 *
 * **Example** (A simple task goes to a cheaper model, a long history is cut)
 *
 * ```ts
 * import { CallContext, CostOptimizer, PriceBook } from "effect-claude"
 * import { Effect, Layer } from "effect"
 *
 * const optimizer = CostOptimizer.layer({
 *   rules: [
 *     CostOptimizer.trimHistory({ maxInputTokens: 50_000 }),
 *     CostOptimizer.cheaperModel({ to: "claude-haiku-5-5", when: ["triage", ...CostOptimizer.simpleTasks] }),
 *     CostOptimizer.shorterAnswers(),
 *     CostOptimizer.cacheBreakpoints(),
 *     CostOptimizer.batchAdvice()
 *   ]
 * })
 *
 * const program = Effect.gen(function*() {
 *   const { optimize } = yield* CostOptimizer.CostOptimizer
 *   const { changes, request } = yield* optimize({
 *     model: "claude-opus-5-5",
 *     max_tokens: 1_024,
 *     messages: [{ role: "user", content: "My parcel never came. What kind of complaint is this?" }]
 *   })
 *   return [request.model, changes.map(({ rule }) => rule)]
 * }).pipe(CallContext.annotate({ requestType: "triage" }))
 *
 * Effect.runSync(Effect.provide(program, Layer.provide(optimizer, PriceBook.layer())))
 * // => ["claude-haiku-5-5", ["cheaperModel"]]
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import type { Change, Lengths } from "./Attempt.ts"
import { CallContext } from "./CallContext.ts"
import type { Proposal, Rule, RuleContext } from "./CostOptimizer/internal/Rule.ts"
import * as Estimate from "./Estimate.ts"
import { incompatibility } from "./internal/incompatibility.ts"
import * as Model from "./Model.ts"
import { PriceBook } from "./PriceBook.ts"
import type { Request } from "./Request.ts"

export type { Lengths } from "./Attempt.ts"
export { batchAdvice } from "./CostOptimizer/internal/batchAdvice.ts"
export { cacheBreakpoints, type CacheBreakpointsOptions } from "./CostOptimizer/internal/cacheBreakpoints.ts"
export { cheaperModel, type CheaperModelOptions, simpleTasks } from "./CostOptimizer/internal/cheaperModel.ts"
export type { Matcher, Proposal, Rule, RuleContext } from "./CostOptimizer/internal/Rule.ts"
export { shortAnswers, shorterAnswers, type ShorterAnswersOptions } from "./CostOptimizer/internal/shorterAnswers.ts"
export { trimHistory, type TrimHistoryOptions } from "./CostOptimizer/internal/trimHistory.ts"
export { incompatibility } from "./internal/incompatibility.ts"

/**
 * - `rules`: the rules, in the order in which they apply.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly rules: ReadonlyArray<Rule>
}

/**
 * The request to send, the changes in it, and advice to the caller. Without changes, `request` is the same object that was given.
 *
 * @category models
 * @since 0.1.0
 */
export interface Optimized {
  readonly request: Request
  readonly changes: ReadonlyArray<Change>
  readonly advice: ReadonlyArray<Change>
}

/**
 * Makes requests cheaper.
 *
 * - `optimize`: applies the rules; `stream` says that the answer will be streamed. A rule that throws, proposes an invalid request, or
 *   proposes one that the model would reject ({@link incompatibility}) is skipped, and logged once. All built-in rules together take about 10 ns a
 *   character of the prompt.
 *   `lengths` says how long answers of this kind of call were at a model; rules that ask for lengths know nothing without it.
 *
 * @category services
 * @since 0.1.0
 */
export class CostOptimizer extends Context.Service<CostOptimizer, {
  readonly optimize: (
    request: Request,
    options?: {
      readonly stream?: boolean | undefined
      readonly lengths?: ((model: string) => Lengths | undefined) | undefined
    }
  ) => Effect.Effect<Optimized>
}>()("effect-claude/CostOptimizer") {}

const isProposal = (value: unknown): value is Proposal =>
  Predicate.isObject(value) && Predicate.isString(value["what"]) &&
  (value["savedNanoUsd"] === undefined || Number.isSafeInteger(value["savedNanoUsd"])) &&
  (value["request"] === undefined || isRequest(value["request"]))

const isRequest = (value: unknown): boolean =>
  Predicate.isObject(value) && Predicate.isString(value["model"]) && Number.isInteger(value["max_tokens"]) &&
  Array.isArray(value["messages"]) && value["messages"].length > 0

/** Why the API would reject a request that it would have accepted before the rule. */
const newProblem = (
  before: Request,
  after: Request,
  { at, catalogue, inputTokens }: RuleContext
): string | undefined => {
  const reason = (request: Request) => {
    const model = catalogue.find(request.model)
    return model && incompatibility(model, request, { at, inputTokens: inputTokens(request) })
  }
  const why = reason(after)
  return why === undefined || reason(before) !== undefined ? undefined : `${after.model} ${why}`
}

/** The proposal of a rule, nothing, or the reason why it is skipped. */
const applied = (rule: Rule, request: Request, context: RuleContext): Proposal | string | undefined => {
  const proposal: unknown = rule.apply(request, context)
  if (proposal === undefined) return undefined
  if (!isProposal(proposal)) return "proposes an invalid request"
  const why = proposal.request === undefined ? undefined : newProblem(request, proposal.request, context)
  return why === undefined ? proposal : `makes a request that would be rejected: ${why}`
}

/**
 * Builds the optimizer. All calls that use it share its memory.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(options: Options) {
  const book = yield* PriceBook
  const catalogue = yield* Model.Catalogue
  const { rules } = options
  const optimizer = {}
  const logged = new Set<Rule>()

  const skipped = (rule: Rule, why: string): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (logged.has(rule)) return Effect.void
      logged.add(rule)
      return Effect.logWarning(`CostOptimizer skips the rule ${rule.name} where it ${why}.`)
    })

  const contextOf = (
    call: CallContext,
    at: number,
    stream: boolean,
    lengths: RuleContext["lengths"]
  ): RuleContext => {
    const counted = new WeakMap<Request, number>()
    return {
      call,
      at,
      stream,
      book,
      catalogue,
      inputTokens: (request) => {
        const known = counted.get(request) ?? Estimate.inputTokens(request, catalogue.lookup(request.model))
        counted.set(request, known)
        return known
      },
      lengths,
      optimizer
    }
  }

  return CostOptimizer.of({
    optimize: Effect.fnUntraced(function*(given, { lengths = () => undefined, stream = false } = {}) {
      const context = contextOf(yield* CallContext, yield* Clock.currentTimeMillis, stream, lengths)
      const changes: Array<Change> = []
      const advice: Array<Change> = []
      let current = given
      for (const rule of rules) {
        // an error may quote the request
        const proposal = Result.getOrElse(Result.try(() => applied(rule, current, context)), () => "throws")
        if (proposal === undefined) continue
        if (Predicate.isString(proposal)) {
          yield* skipped(rule, proposal)
          continue
        }
        const { request, savedNanoUsd, what } = proposal
        const change = { rule: rule.name, what, savedNanoUsd }
        if (request === undefined || request === current) {
          advice.push(change)
          continue
        }
        changes.push(change)
        current = request
      }
      return { request: current, changes, advice }
    })
  })
})

/**
 * Applies `rules`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<CostOptimizer, never, PriceBook> =>
  Layer.effect(CostOptimizer, make(options))

/**
 * The optimizer that changes nothing: every request comes back as the object that was given.
 *
 * @category constructors
 * @since 0.1.0
 */
export const off: CostOptimizer["Service"] = {
  optimize: (request) => Effect.succeed({ request, changes: [], advice: [] })
}

/**
 * Changes nothing.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerOff: Layer.Layer<CostOptimizer> = Layer.succeed(CostOptimizer, off)

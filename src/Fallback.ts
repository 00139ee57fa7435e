/**
 * Other models for calls that the one asked for cannot answer now.
 *
 * A call whose model is overloaded, whose circuit is open, whose limits are reached or that a budget cannot pay asks the next model of its rules at once,
 * before it waits for anything. The request is changed only where the next model needs it: `max_tokens` for another tokenizer, thinking that it cannot
 * turn off or budget, sampling parameters, fast mode, and thinking blocks of another line of models, which are left out whole. A model that would refuse
 * it all the same (a forced tool, a prefill, `inference_geo`, a smaller context) is passed over, and the report says why.
 *
 * It is no retry. Where no model answers, the call fails, or waits and is retried, as if the model asked for had failed alone: by its error, and within the
 * retries, the retry budget and the deadline of the call. Nothing moves after the first content of a stream, and a refusal by a model is an answer.
 * Counts of tokens stay with their model.
 *
 * **Example** (An overloaded model)
 *
 * ```ts
 * import { ClaudeError, ClaudeService } from "effect-claude"
 * import { Effect } from "effect"
 * import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
 *
 * const claude = ClaudeService.layer({
 *   api: ClaudeTest.layerApi(new ClaudeError.ServerError({ overloaded: true }), "Hello."),
 *   keys: [ClaudeTest.key],
 *   fallback: [{ to: "claude-haiku-5-5", when: ["overloaded", "circuitOpen"] }]
 * })
 *
 * const program = Effect.map(
 *   ClaudeService.createWithReport({ ...ClaudeTest.hello, model: "claude-sonnet-5-5" }),
 *   ({ fallbacks, waits }) => [fallbacks.map(({ because, from, to }) => `${from} -> ${to}: ${because}`), waits.length]
 * )
 *
 * await Effect.runPromise(Effect.provide(program, claude))
 * // => [["claude-sonnet-5-5 -> claude-haiku-5-5: overloaded"], 0]
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { CallKind, Fallback as Step } from "./Attempt.ts"
import type { CallError } from "./ClaudeError.ts"
import { conditionsOf } from "./Fallback/internal/cause.ts"
import { type Base, Course as Models } from "./Fallback/internal/course.ts"
import type { Rule } from "./internal/fallbackRule.ts"
import * as Model from "./Model.ts"

export type { Base } from "./Fallback/internal/course.ts"
export type { Cause, Condition, Reason, Rule } from "./internal/fallbackRule.ts"

/**
 * The rules, in the order in which a call takes them: after one it goes on with those behind it, each of which is held against the failure of
 * the model before.
 *
 * @category models
 * @since 0.1.0
 */
export type Options = ReadonlyArray<Rule>

/**
 * The way of one call through the models.
 *
 * - `base`: what its next attempt is made of.
 * - `begin`: the next attempt is the first after a wait, at the model asked for.
 * - `next`: after a failure, whether another attempt follows at once: `on` at another model, `back` at one that would only have made it wait, now for as
 *   long as it takes. `pay` takes a token of the retry budget, for a model that the call has asked before.
 *
 * @category models
 * @since 0.1.0
 */
export interface Course {
  readonly base: Base
  readonly begin: () => void
  readonly next: (error: CallError, pay: () => boolean) => "on" | "back" | undefined
}

/**
 * Finds other models for calls.
 *
 * - `rules`: for calls whose `CallContext` has none.
 * - `follow`: the course of a call, or undefined where no rule is for it. Rules of its `CallContext` replace those of the layer. `told` hears of each step.
 *
 * @category services
 * @since 0.1.0
 */
export class Fallback extends Context.Service<Fallback, {
  readonly rules: Options
  readonly follow: (
    base: Base,
    kindOf: (model: string) => CallKind,
    told: (step: Step) => void
  ) => Course | undefined
}>()("effect-claude/Fallback") {}

const check = (rules: Options): void => {
  for (const rule of rules) {
    if (rule.to.trim() === "") throw new RangeError("Fallback: `to` must name a model")
    for (const condition of conditionsOf(rule)) {
      if (typeof condition !== "object") continue
      const millis = Duration.toMillis(condition.wait)
      if (!(millis >= 0)) throw new RangeError(`Fallback: wait must be a duration from 0, and is ${millis} ms`)
    }
  }
}

/**
 * Builds it. Rules that are invalid are a defect.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(options: Options = []) {
  const { lookup } = yield* Model.Catalogue
  const clock = yield* Clock.Clock
  const now = () => clock.currentTimeMillisUnsafe()
  check(options)

  const isFor = ({ facts }: Base) => ({ from, to }: Rule): boolean =>
    lookup(to).id !== facts.id && (from === undefined || [from].flat().some((model) => lookup(model).id === facts.id))

  return Fallback.of({
    rules: options,
    follow: (base, kindOf, told) => {
      const { fallback } = base.context
      const rules = (fallback === undefined ? options : fallback === false ? [] : fallback).filter(isFor(base))
      return rules.length === 0 ? undefined : new Models(base, rules, { kindOf, now, told })
    }
  })
})

/**
 * Asks other models by these rules.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = []): Layer.Layer<Fallback> => Layer.effect(Fallback, make(options))

/**
 * `layer` with rules from configuration.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (options: Config.Wrap<Options>): Layer.Layer<Fallback, Config.ConfigError> =>
  Layer.effect(Fallback, Effect.flatMap(Config.unwrap(options), make))

/**
 * Asks no other model, whatever calls say.
 *
 * @category constructors
 * @since 0.1.0
 */
export const off: Fallback["Service"] = { rules: [], follow: () => undefined }

/**
 * Asks no other model, whatever calls say.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerOff: Layer.Layer<Fallback> = Layer.succeed(Fallback, off)

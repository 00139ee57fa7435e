/**
 * A second attempt for streams whose first content is late. Off unless it is a part of the layer.
 *
 * It learns how long the first content of such calls (model and request type) takes. A stream that is later than nearly all of them is asked for once more, with
 * a key of another group where there is one that may be used at once. Whichever shows content first is the answer; the other one is ended. Both
 * are rows of the ledger with what they cost.
 *
 * - Second attempts cost at most a share of what calls cost. Where the share is short, calls wait longer before they get one.
 * - There is none while the circuit of the model is not closed, where a budget could not pay for 20 more such calls, where it would have to wait for limits or
 *   keys, and after the first content.
 * - Requests that must not run twice have none: those with tools that the API runs, with a container, or in a thread. Nor have whole answers: how long they
 *   take says how much they say.
 *
 * **Example** (The part, and a call that does not want it)
 *
 * ```ts
 * import { CallContext, ClaudeService } from "effect-claude"
 *
 * export const claude = ClaudeService.layer({ hedge: { share: 0.02 } })
 *
 * export const once = ClaudeService.stream({
 *   model: "claude-sonnet-5-5",
 *   max_tokens: 512,
 *   messages: [{ role: "user", content: "Why is the sky blue?" }]
 * }).pipe(CallContext.annotateStream({ hedge: false }))
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { admitted, type CallKind, costOf, type MessageAttempt, type Policy, type Request } from "./Attempt.ts"
import { Delays } from "./Hedge/internal/delays.ts"
import { Purse } from "./Hedge/internal/purse.ts"
import { PriceBook } from "./PriceBook.ts"
import * as Usage from "./Usage.ts"

/**
 * - `quantile`: the first content is late after the time in which this part of such calls showed it, from 0.5 to 0.999. Default 0.95.
 * - `share`: what second attempts may cost, as a part of what calls cost, from 0 to 1. Default 0.02.
 * - `minimumCalls`: nothing is late before so many such calls are known. At most 256. Default 50.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly quantile?: number | undefined
  readonly share?: number | undefined
  readonly minimumCalls?: number | undefined
}

/**
 * Says which attempts are late, and what a second one may cost. As a policy it counts what attempts cost, and refuses none.
 *
 * - `isOn`: whether there are second attempts at all.
 * - `isFor`: whether a call may have one.
 * - `lateAfter`: how many milliseconds after it was sent an attempt is late; undefined while too little is known.
 * - `take`: takes what a second attempt will probably cost, in integer nano-dollars; undefined where the share has not so much.
 * - `learn`: an attempt showed its first content so many milliseconds after it was sent; infinite for one that was late and is given up.
 *
 * @category services
 * @since 0.1.0
 */
export class Hedge extends Context.Service<
  Hedge,
  Policy & {
    readonly isOn: boolean
    readonly isFor: (attempt: MessageAttempt) => boolean
    readonly lateAfter: (attempt: MessageAttempt) => number | undefined
    readonly take: (attempt: MessageAttempt, now: number) => number | undefined
    readonly learn: (attempt: MessageAttempt, millis: number) => void
  }
>()("effect-claude/Hedge") {}

/** What runs twice would do something twice, or go on twice from one place. */
const single = ["thread", "container", "mcp_servers"]

const mayRunTwice = (request: Request): boolean =>
  (request.tools ?? []).every(({ type }) => type === undefined || type === null || type === "custom") &&
  !single.some((field) => field in request)

const settingsOf = ({ minimumCalls = 50, quantile = 0.95, share = 0.02 }: Options) => {
  const check = (name: string, value: number, least: number, most: number): void => {
    if (value >= least && value <= most) return
    throw new RangeError(`Hedge: ${name} must be a number from ${least} to ${most}, and is ${value}`)
  }
  check("quantile", quantile, 0.5, 0.999)
  check("share", share, 0, 1)
  check("minimumCalls", minimumCalls, 1, 256)
  return { minimumCalls, quantile, share }
}

/** Beyond it, what is known says too little. */
const latest = 0.99

/**
 * Builds it. Options out of range are a defect.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(options: Options = {}) {
  const { minimumCalls, quantile, share } = settingsOf(options)
  const book = yield* PriceBook
  const clock = yield* Clock.Clock
  const purse = new Purse(share)
  const kinds = new WeakMap<CallKind, Delays>()

  const delaysOf = ({ kind }: MessageAttempt): Delays => {
    const delays = kinds.get(kind) ?? new Delays()
    kinds.set(kind, delays)
    return delays
  }

  /** A prompt is charged in full, and hardly any output. */
  const expected = ({ estimate: { inputTokens }, isFast, model }: MessageAttempt, at: number): number =>
    book.cost({ model, usage: Usage.make({ inputTokens, ...(isFast ? { speed: "fast" } : undefined) }), at })
      ?.nanoUsd ??
      Infinity

  return Hedge.of({
    isOn: true,
    isFor: ({ context, request }) => context.hedge !== false && mayRunTwice(request),
    lateAfter: (attempt) => {
      const delays = delaysOf(attempt)
      if (delays.calls < minimumCalls) return undefined
      const part = Math.min(Math.max(quantile, 1 - purse.affordable), Math.max(quantile, latest))
      return delays.quantile(part)
    },
    take: (attempt, now) => {
      const nanoUsd = expected(attempt, now)
      return purse.take(nanoUsd) ? nanoUsd : undefined
    },
    learn: (attempt, millis) => delaysOf(attempt).add(millis),
    admit: (attempt) =>
      attempt.endpoint !== "messages" ? admitted : Effect.succeed(Effect.sync(() => {
        const { number, race } = attempt
        const nanoUsd = costOf(book, attempt, clock.currentTimeMillisUnsafe())?.cost?.nanoUsd ?? 0
        const isExtra = race !== undefined && number !== (race.won ?? race.first)
        if (isExtra) purse.settle(race.takenNanoUsd, nanoUsd)
        else if (nanoUsd > 0) purse.earn(nanoUsd)
      }))
  })
})

/**
 * Second attempts for streams whose first content is late.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Hedge, never, PriceBook> => Layer.effect(Hedge, make(options))

/**
 * `layer` with options from configuration.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (options: Config.Wrap<Options>): Layer.Layer<Hedge, Config.ConfigError, PriceBook> =>
  Layer.effect(Hedge, Effect.flatMap(Config.unwrap(options), make))

/**
 * One attempt at a time.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerOff: Layer.Layer<Hedge> = Layer.succeed(
  Hedge,
  Hedge.of({
    isOn: false,
    isFor: () => false,
    lateAfter: () => undefined,
    take: () => undefined,
    learn: () => {},
    admit: () => admitted
  })
)

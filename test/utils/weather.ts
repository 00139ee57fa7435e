/** The whole service over an API whose weather a test makes, in virtual time. */
import type { Message } from "@anthropic-ai/sdk/resources/messages"
import { Clock, type Config, Effect, type Exit, Layer, Random, Stream } from "effect"
import {
  Attempt,
  CallContext,
  CircuitBreaker,
  ClaudeApi,
  ClaudeError,
  ClaudeService,
  CostLedger,
  MessageStream,
  Monitor,
  Usage
} from "effect-claude"
import type * as ClaudeConfig from "effect-claude/ClaudeConfig"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import { TestClock } from "effect/testing"
import { message } from "./http.ts"

export const group = "sonnet-5-5"

export const overloaded = new ClaudeError.ServerError({ overloaded: true, status: 529 })

/** What becomes of an attempt: after `millis` it is answered, or fails. Of a stream, `millis` are those before its content; `breaksAfter` that. */
export interface Fate {
  readonly millis: number
  readonly error?: ClaudeError.ApiError | undefined
  readonly streamMillis?: number | undefined
  readonly breaksWith?: ClaudeError.ApiError | undefined
}

/** Numbers by lot, the same for each seed. */
export const lots = (seed: number): () => number => {
  let state = (seed * 7_919 + 17) % 2_147_483_647
  return () => {
    state = (state * 48_271) % 2_147_483_647
    return state / 2_147_483_647
  }
}

/** A lognormal time. */
export const about = (median: number, lot: () => number, sigma = 0.5): number =>
  median * Math.exp(sigma * Math.sqrt(-2 * Math.log(lot())) * Math.cos(2 * Math.PI * lot()))

const answer = { ...message, usage: { input_tokens: 9, output_tokens: 40 } } as unknown as Message // what nobody reads is left out

const usage: Usage.Usage = { ...Usage.zero, inputTokens: 9, outputTokens: 40 }

const completed = Attempt.Outcome.Completed({
  usage,
  limits: undefined,
  model: undefined,
  requestId: undefined,
  stopReason: "end_turn"
})

export interface Sent {
  readonly at: number
  readonly endpoint: Attempt.Attempt["endpoint"]
}

/** A port that sends nothing: `fate` says what becomes of each attempt. Attempts that are sent are noted in `sent`. */
const port = (fate: (now: number, attempt: Attempt.Attempt) => Fate): ClaudeApi.ClaudeApi["Service"] => {
  /** Waits for the answer as the real port does: no longer than the deadline. */
  const waiting = (attempt: Attempt.Attempt, millis: number, error: ClaudeError.ApiError | undefined) =>
    Effect.gen(function*() {
      const { deadline = Infinity } = attempt.context
      const now = yield* Clock.currentTimeMillis
      const isCut = now + millis >= deadline
      yield* Effect.sleep(isCut ? Math.max(0, deadline - now) : millis)
      const failure = isCut
        ? new ClaudeError.ConnectionError({ reason: "timeout", limit: "deadline", billed: "unknown" })
        : error
      if (failure === undefined) return
      attempt.outcome = Attempt.Outcome.Failed({ usage: Usage.zero, error: failure, limits: undefined })
      return yield* failure
    })
  const begun = (attempt: Attempt.Attempt) =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      attempt.sentAt = now
      attempt.outcome = Attempt.Outcome.Aborted({ usage: Usage.zero })
      return fate(now, attempt)
    })
  const whole = <A>(attempt: Attempt.Attempt, value: A) =>
    Effect.gen(function*() {
      const { error, millis } = yield* begun(attempt)
      yield* waiting(attempt, millis, error)
      attempt.outcome = completed
      return value
    })
  return {
    baseUrl: "https://api.test",
    send: (attempt) => whole(attempt, answer),
    countTokens: (attempt) => whole(attempt, { input_tokens: 9 } as never), // nobody reads it
    models: (attempt) => whole(attempt, []),
    model: (attempt) => whole(attempt, {} as never), // nobody reads it
    stream: (attempt) =>
      Stream.unwrap(Effect.gen(function*() {
        const { breaksWith, error, millis, streamMillis = 0 } = yield* begun(attempt)
        yield* waiting(attempt, millis, error)
        const events = [
          { type: "message_start", message: { ...answer, content: [], stop_reason: null } },
          { type: "content_block_start", index: 0, content_block: { type: "text", text: "", citations: null } },
          { type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "Hello." } }
        ] as unknown as ReadonlyArray<MessageStream.Event> // as the API sends them
        const rest = Effect.gen(function*() {
          yield* waiting(attempt, streamMillis, breaksWith)
          attempt.outcome = completed
          return { type: "message_stop" } as MessageStream.Event
        })
        return Stream.concat(Stream.fromIterable(events), Stream.fromEffect(rest))
      }))
  }
}

/** How a call ended. */
export interface Ended {
  readonly at: number
  readonly endedAt: number
  readonly exit: Exit.Exit<unknown, ClaudeError.CallError | ClaudeError.StreamError>
}

export interface Seen {
  readonly sent: ReadonlyArray<Sent>
  readonly calls: ReadonlyArray<Ended>
  readonly transitions: ReadonlyArray<CircuitBreaker.Transition>
}

export const create = ClaudeService.create(ClaudeTest.hello)

/** What a reader who stops after the first content makes. */
export const readALittle = ClaudeService.stream(ClaudeTest.hello).pipe(
  Stream.filter(MessageStream.isContent),
  Stream.take(1),
  Stream.runDrain
)

export interface Weather {
  readonly seed: number
  readonly seconds: number
  /** What happens at a time, in milliseconds since the beginning. Calls a second at a second of time, or so many callers who call again as soon as they have an answer. */
  readonly perSecond: ((second: number) => number) | { readonly callers: number; readonly pauseMillis: number }
  readonly fate: (now: number, lot: () => number, attempt: Attempt.Attempt) => Fate
  readonly call?:
    | ((
      lot: () => number
    ) => Effect.Effect<unknown, ClaudeError.CallError | ClaudeError.StreamError, ClaudeService.ClaudeService>)
    | undefined
  readonly options?: ClaudeConfig.Options | undefined
}

/** Where limits are not known yet, calls that hang hold up others; that is not the matter here. */
const limiter = { limits: { requestsPerMinute: 1_000_000 } }

/** What keeps records of calls decides about none. */
const dry = { monitor: Monitor.layerOff, ledger: CostLedger.layerOff }

/** What was seen while a service worked in this weather. */
export const watched = (
  { call = () => create, fate, options, perSecond, seconds, seed }: Weather
): Effect.Effect<Seen, Config.ConfigError> =>
  Effect.gen(function*() {
    const lot = lots(seed)
    const start = yield* Clock.currentTimeMillis
    const sent: Array<Sent> = []
    const calls: Array<Ended> = []
    const transitions: Array<CircuitBreaker.Transition> = []
    const api = Layer.succeed(
      ClaudeApi.ClaudeApi,
      port((now, attempt) => {
        const at = now - start
        sent.push({ at, endpoint: attempt.endpoint })
        return fate(at, lot, attempt)
      })
    )
    const program = Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.CircuitBreaker
      yield* Effect.forkScoped(
        Stream.runForEach(breaker.transitions, (transition) =>
          Effect.sync(() => transitions.push({ ...transition, at: transition.at - start }))),
        { startImmediately: true }
      )
      const one = Effect.suspend(() =>
        Effect.gen(function*() {
          const at = yield* Clock.currentTimeMillis
          const exit = yield* Effect.exit(call(lot))
          calls.push({ at: at - start, endedAt: (yield* Clock.currentTimeMillis) - start, exit })
        })
      )
      if (typeof perSecond === "object") {
        for (let caller = 0; caller < perSecond.callers; caller++) {
          const pause = Effect.suspend(() =>
            Effect.sleep(perSecond.pauseMillis * (0.5 + lot()))
          )
          yield* Effect.forkScoped(Effect.forever(Effect.andThen(one, pause)))
        }
        return yield* TestClock.adjust(seconds * 1_000)
      }
      yield* Effect.forkScoped(Effect.gen(function*() {
        for (let at = 0; at < seconds * 1_000;) {
          const rate = perSecond(Math.floor(at / 1_000))
          const wait = 1_000 / Math.max(1, rate)
          if (rate > 0) yield* Effect.forkScoped(one)
          yield* Effect.sleep(wait)
          at += wait
        }
      }))
      // What is still under way then ends.
      yield* TestClock.adjust(seconds * 1_000 + 400_000)
    })
    yield* Effect.scoped(program).pipe(
      Effect.provide(ClaudeService.layerWithParts({ limiter, ...dry, ...options, api, keys: [ClaudeTest.key] })),
      Random.withSeed(`weather ${seed}`)
    )
    return { sent, calls, transitions }
  }) as Effect.Effect<Seen, Config.ConfigError>

export const tagOf = ({ exit }: Ended): string =>
  exit._tag === "Success"
    ? "answered"
    : exit.cause.reasons.map((reason) => reason._tag === "Fail" ? reason.error._tag : reason._tag).join()

export const isRefused = (call: Ended): boolean => tagOf(call) === "CircuitOpenError"

export const isLost = (call: Ended): boolean => call.exit._tag === "Failure"

/** When the circuit was first closed again after a time, in milliseconds since then; Infinity if never. */
export const closedAfter = ({ transitions }: Seen, at: number): number => {
  const before = [...transitions].reverse().find((transition) => transition.at <= at)
  if (before === undefined || before.to === "closed") return 0
  return (transitions.find((transition) => transition.at > at && transition.to === "closed")?.at ?? Infinity) - at
}

export const openings = ({ transitions }: Seen, from = 0): number =>
  transitions.filter((transition) => transition.from === "closed" && transition.to === "open" && transition.at >= from)
    .length

/** Attempts that were sent within a time. */
export const sentWithin = ({ sent }: Seen, from: number, to: number): number =>
  sent.filter(({ at, endpoint }) => endpoint === "messages" && at >= from && at < to).length

export const deadline = CallContext.withDeadline

/**
 * When a failed attempt is retried: the schedule, the retry budget that all calls share, and the deadline rule.
 *
 * The SDK never retries, so nothing else does. Do not wrap calls in another `Effect.retry`: the retries would multiply.
 *
 * **Example** (More retries, or a custom schedule)
 *
 * ```ts
 * import { RetryPolicy } from "effect-claude"
 * import { Schedule } from "effect"
 *
 * export const patient = RetryPolicy.layer({ retries: 6, cap: "1 minute" })
 *
 * export const custom = RetryPolicy.layer({
 *   schedule: Schedule.min([RetryPolicy.schedule(), Schedule.during("20 seconds")])
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import type { CallContext } from "./CallContext.ts"
import type { ApiError, DeadlineExceededError } from "./ClaudeError.ts"
import {
  type Changed,
  type Elsewhere,
  hintOf,
  type Listener,
  type Progress,
  retrying
} from "./RetryPolicy/internal/attempts.ts"
import { Budget } from "./RetryPolicy/internal/budget.ts"

export type { Changed, Elsewhere, Listener, Progress } from "./RetryPolicy/internal/attempts.ts"

/**
 * What chance does to a backoff `b`, so that calls that failed together do not come back together.
 *
 * - `half`: between half of `b` and all of it.
 * - `full`: between nothing and all of it, which spreads callers most.
 * - `decorrelated`: between `base` and three times the wait before, up to `cap`.
 * - `none`: `b`.
 *
 * @category models
 * @since 0.1.0
 */
export type Jitter = "half" | "full" | "decorrelated" | "none"

/**
 * - `retries`: attempts after the first. Default 3.
 * - `base`: the first wait after a transient failure. Default 0.5 seconds.
 * - `throttledBase`: the first wait after a refusal for rate limits or overload. Default 1 second.
 * - `cap`: waits double up to this. Default 30 seconds.
 * - `jitter`: what chance does to waits. Default `half`.
 * - `maxRetryAfter`: the call fails where the server asks for a longer wait than this. Default 60 seconds.
 *
 * @category options
 * @since 0.1.0
 */
export interface ScheduleOptions {
  readonly retries?: number | undefined
  readonly base?: Duration.Input | undefined
  readonly throttledBase?: Duration.Input | undefined
  readonly cap?: Duration.Input | undefined
  readonly jitter?: Jitter | undefined
  readonly maxRetryAfter?: Duration.Input | undefined
}

/**
 * Bounds retries across all calls. A retry costs one token. A call that succeeds brings back what its retries cost, and earns `earned` besides: so
 * brownouts, in which retries help, use up nothing, while at a dead API only first attempts go out once the tokens are spent, and as many retries as
 * come back with time, which is all that light traffic needs. Without a token, a failed attempt is not retried. Nor is it after 50
 * retries, or half of `capacity` where that is more, without a call that succeeded.
 *
 * - `capacity`: tokens at the start and at most. Default 100.
 * - `earned`: tokens for each success. Default 0.1.
 * - `perMinute`: tokens that come back each minute, whatever happens. Default 5.
 *
 * @category options
 * @since 0.1.0
 */
export interface RetryBudget {
  readonly capacity?: number | undefined
  readonly earned?: number | undefined
  readonly perMinute?: number | undefined
}

type Priority = CallContext["priority"]

/**
 * - `schedule` replaces the default one; of `ScheduleOptions` only `maxRetryAfter` then applies. With any schedule, an error
 *   that is not retryable ends the call, and the wait that the server asks for is the least wait.
 * - `budget`: default 100 tokens, 0.1 for each success and 5 a minute; `false` for retries without a budget.
 * - `circuitWait`: how long a call waits in total for an open circuit instead of failing with `CircuitOpenError`, for all calls or for each
 *   priority: `{ interactive: 0 }` lets interactive callers fail immediately. A call that may not be retried never waits. Default 15 seconds.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options extends ScheduleOptions {
  readonly schedule?: Schedule.Schedule<unknown, ApiError> | undefined
  readonly budget?: RetryBudget | false | undefined
  readonly circuitWait?: Duration.Input | { readonly [Name in Priority]?: Duration.Input | undefined } | undefined
}

/**
 * Runs the attempts of a call.
 *
 * - `ApiError`s are retried by the schedule; every other failure ends the call, except for the next.
 * - After a `CircuitOpenError` the call asks again when the circuit may admit it, or soon after it has `changed`, as long as it has waited no longer
 *   than `circuitWait` for circuits, its deadline allows, and it may be retried at all. Nothing was sent, so this uses up neither a retry nor the retry budget.
 * - A failure after which `mayMove` holds is followed by another attempt at once. That is no retry, and uses up nothing.
 * - So is one after which `elsewhere` knows a `next` attempt. Where that fails too, and those after it, the call goes on as if the first of them had failed
 *   alone: its error decides about waits and retries, and is the error of the call.
 * - A wait that would end after the deadline of the caller fails immediately with `DeadlineExceededError`. So does an attempt
 *   that fails after the deadline.
 * - The error of a call is its last one; `lastError` is the error of the API before that, and `billed` the worst of all attempts.
 *
 * @category services
 * @since 0.1.0
 */
export class RetryPolicy extends Context.Service<RetryPolicy, {
  readonly retry: <A, E, R>(
    attempt: (progress: Progress) => Effect.Effect<A, E | ApiError, R>,
    mayMove?: (error: E | ApiError) => Effect.Effect<boolean>,
    listener?: Listener,
    changed?: Changed,
    elsewhere?: Elsewhere
  ) => Effect.Effect<A, E | ApiError | DeadlineExceededError, R>
}>()("effect-claude/RetryPolicy") {}

const isThrottled = (error: ApiError): boolean =>
  error._tag === "RateLimitError" || (error._tag === "ServerError" && error.overloaded)

/**
 * The default schedule: retryable errors only, exponential backoff with jitter, and never less than the server asks for.
 *
 * - **Shape**: the backoff of wait `n` (from 1) is `base * 2^(n-1)` up to `cap`, and `jitter` says what chance makes of it. Where the server
 *   asks for a wait, the wait is that plus a random part of the backoff, so that callers refused together do not return
 *   together. Each response counts anew.
 * - **Ends** after `retries` waits, at an error that is not retryable, and at a server wait above `maxRetryAfter`.
 * - **Output**: the number of retries before this one.
 *
 * @category constructors
 * @since 0.1.0
 */
export const schedule = (options: ScheduleOptions = {}): Schedule.Schedule<number, ApiError> => {
  const cap = Duration.toMillis(options.cap ?? "30 seconds")
  const usual = Duration.toMillis(options.base ?? "500 millis")
  const throttled = Duration.toMillis(options.throttledBase ?? "1 second")
  const { jitter = "half", retries = 3 } = options
  const maxRetryAfter = Duration.toMillis(options.maxRetryAfter ?? "60 seconds")
  return Schedule.fromStepWithMetadata(Effect.sync(() => {
    let before: number | undefined
    return ({ attempt, input }: Schedule.InputMetadata<ApiError>) => {
      const hint = hintOf(input)
      if (attempt > retries || !input.isRetryable || hint > maxRetryAfter) return Cause.done(attempt - 1)
      const base = Math.min(cap, isThrottled(input) ? throttled : usual)
      const backoff = Math.min(cap, base * 2 ** (attempt - 1))
      return Effect.map(Random.next, (random): [number, Duration.Duration] => {
        const waits = {
          none: backoff,
          full: backoff * random,
          half: backoff * (1 + random) / 2,
          decorrelated: Math.min(cap, base + random * Math.max(0, (before ?? base) * 3 - base))
        }
        before = waits[jitter]
        return [attempt - 1, Duration.millis(Math.round(hint > 0 ? hint + random * backoff : before))]
      })
    }
  }))
}

const defaultCircuitWait = "15 seconds"

/** The longest that a call of each priority waits for circuits, in milliseconds. */
const circuitWaitOf = ({ circuitWait }: Options): (priority: Priority) => number => {
  if (typeof circuitWait === "object" && ["interactive", "standard", "bulk"].some((name) => name in circuitWait)) {
    const waits = circuitWait as { readonly [Name in Priority]?: Duration.Input | undefined } // no duration has such a field
    return (priority) => Duration.toMillis(waits[priority] ?? defaultCircuitWait)
  }
  const millis = Duration.toMillis((circuitWait as Duration.Input | undefined) ?? defaultCircuitWait)
  return () => millis
}

/**
 * Builds the policy. All calls that use this value share its retry budget.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(options: Options = {}) {
  const rules = options.schedule ?? schedule(options)
  const rulesOf = (retries: number | undefined) =>
    retries === undefined || options.schedule !== undefined ? rules : schedule({ ...options, retries })
  const mayRetry = options.schedule !== undefined || (options.retries ?? 3) > 0
  const base = Duration.toMillis(options.base ?? "500 millis")
  const circuitWait = circuitWaitOf(options)
  const maxRetryAfter = Duration.toMillis(options.maxRetryAfter ?? "60 seconds")
  const { capacity = 100, earned = 0.1, perMinute = 5 } = options.budget === false
    ? { capacity: Infinity }
    : options.budget ?? {}
  const budget = new Budget({ capacity, earned, perMinute }, yield* Clock.Clock)

  return RetryPolicy.of({
    retry: retrying({ base, budget, circuitWait, maxRetryAfter, mayRetry, rulesOf })
  })
})

/**
 * Retries by `options`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<RetryPolicy> => Layer.effect(RetryPolicy, make(options))

/**
 * `layer` with options from configuration, which cannot hold a schedule.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<Omit<Options, "schedule">>
): Layer.Layer<RetryPolicy, Config.ConfigError> =>
  Layer.effect(RetryPolicy, Effect.flatMap(Config.unwrap(options), make))

/**
 * Never retries. The deadline of the caller still applies.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerOff: Layer.Layer<RetryPolicy> = layer({ retries: 0 })

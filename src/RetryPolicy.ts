/**
 * When a failed attempt is made again: the schedule, the retry budget shared by all calls, and the deadline rule.
 *
 * The SDK never retries, so this is the one owner of retries. Do not wrap calls in another `Effect.retry`: it would
 * multiply.
 *
 * **Example** (More patience, or a schedule of one's own)
 *
 * ```ts
 * import { RetryPolicy } from "effect-claude"
 * import { Schedule } from "effect"
 *
 * export const patient = RetryPolicy.layer({ retries: 6, cap: "1 minute" })
 *
 * export const own = RetryPolicy.layer({
 *   schedule: Schedule.min([RetryPolicy.schedule(), Schedule.during("20 seconds")])
 * })
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
import * as Pull from "effect/Pull"
import * as Random from "effect/Random"
import * as Ref from "effect/Ref"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import { CallContext } from "./CallContext.ts"
import { type ApiError, DeadlineExceededError, isApiError } from "./ClaudeError.ts"

/**
 * - `retries`: attempts after the first. Default 3.
 * - `base`: the first wait after a transient failure. Default 0.5 seconds.
 * - `throttledBase`: the first wait after a refusal for rate limits or overload. Default 1 second.
 * - `cap`: waits double up to this. Default 30 seconds.
 * - `maxRetryAfter`: a server that asks for a longer wait is not waited for. Default 60 seconds.
 *
 * @category options
 * @since 0.1.0
 */
export interface ScheduleOptions {
  readonly retries?: number | undefined
  readonly base?: Duration.Input | undefined
  readonly throttledBase?: Duration.Input | undefined
  readonly cap?: Duration.Input | undefined
  readonly maxRetryAfter?: Duration.Input | undefined
}

/**
 * The tokens that retries cost, shared by all calls. A retry costs one token, a call that succeeds earns `earned`; when
 * they are used up, only first attempts go out.
 *
 * - `capacity`: tokens at the start and at most. Default 100.
 * - `earned`: tokens for each success. Default 0.1.
 *
 * @category options
 * @since 0.1.0
 */
export interface RetryBudget {
  readonly capacity?: number | undefined
  readonly earned?: number | undefined
}

/**
 * `schedule` replaces the default one, and then of `ScheduleOptions` only `maxRetryAfter` counts: whatever the schedule, an
 * error that is not retryable ends the call, and what the server asks for is waited. `budget: false` means that retries
 * cost nothing.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options extends ScheduleOptions {
  readonly schedule?: Schedule.Schedule<unknown, ApiError> | undefined
  readonly budget?: RetryBudget | false | undefined
}

/**
 * The attempt that is about to be made: its number (1 for the first) and the milliseconds waited before each retry.
 *
 * @category models
 * @since 0.1.0
 */
export interface Progress {
  readonly number: number
  readonly waitedMillis: ReadonlyArray<number>
}

/**
 * Runs the attempts of a call.
 *
 * - `ApiError`s are retried as the schedule says; every other failure ends the call.
 * - No wait begins that would end after the deadline of the caller: `DeadlineExceededError` comes at once. An attempt
 *   that fails after the deadline ends the call with it too.
 *
 * @category services
 * @since 0.1.0
 */
export class RetryPolicy extends Context.Service<RetryPolicy, {
  readonly retry: <A, E, R>(
    attempt: (progress: Progress) => Effect.Effect<A, E | ApiError, R>
  ) => Effect.Effect<A, E | ApiError | DeadlineExceededError, R>
}>()("effect-claude/RetryPolicy") {}

const isThrottled = (error: ApiError): boolean =>
  error._tag === "RateLimitError" || (error._tag === "ServerError" && error.overloaded)

/**
 * The default schedule: retryable errors only, exponential waits with jitter, and what the server asks for as a floor.
 *
 * - **Shape**: wait `n` (from 1) is `base * 2^(n-1)` up to `cap`, times a random factor from 0.5 to 1. Where the server
 *   asks for a wait, that is waited first and a random part of the backoff is added, so that callers refused together
 *   do not come back together. Each response is asked anew.
 * - **Ends** after `retries` waits, at an error that is not retryable, and at a hint above `maxRetryAfter`.
 * - **Output**: the number of retries before this one.
 *
 * @category constructors
 * @since 0.1.0
 */
export const schedule = (options: ScheduleOptions = {}): Schedule.Schedule<number, ApiError> => {
  const base = Duration.toMillis(options.base ?? "500 millis")
  const throttledBase = Duration.toMillis(options.throttledBase ?? "1 second")
  const cap = Duration.toMillis(options.cap ?? "30 seconds")
  const maxRetryAfter = Duration.toMillis(options.maxRetryAfter ?? "60 seconds")
  return Schedule.recurs(options.retries ?? 3).pipe(
    Schedule.setInputType<ApiError>(),
    Schedule.while(({ input }) => input.isRetryable && hintOf(input) <= maxRetryAfter),
    Schedule.addDelay(({ attempt, input }) => {
      const backoff = Math.min(cap, (isThrottled(input) ? throttledBase : base) * 2 ** (attempt - 1))
      return Effect.map(Random.next, (random) => {
        const hint = hintOf(input)
        return Duration.millis(Math.round(hint > 0 ? hint + random * backoff : backoff * (1 + random) / 2))
      })
    })
  )
}

const hintOf = (error: ApiError): number => error.retryAfter === undefined ? 0 : Duration.toMillis(error.retryAfter)

/**
 * Builds the policy. Its retry budget is shared by all calls that use this value.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(options: Options = {}) {
  const rules = options.schedule ?? schedule(options)
  const maxRetryAfter = Duration.toMillis(options.maxRetryAfter ?? "60 seconds")
  const budget = options.budget === false ? { capacity: Infinity } : options.budget ?? {}
  const capacity = budget.capacity ?? 100
  const earned = budget.earned ?? 0.1
  const tokens = yield* Ref.make(capacity)

  const earn = Ref.update(tokens, (left) => Math.min(capacity, left + earned))
  const spend = Ref.modify(tokens, (left) => left >= 1 ? [true, left - 1] : [false, left])
  const giveBack = Ref.update(tokens, (left) => Math.min(capacity, left + 1))

  return RetryPolicy.of({
    retry: <A, E, R>(attempt: (progress: Progress) => Effect.Effect<A, E | ApiError, R>) =>
      Effect.gen(function*() {
        const { deadline = Infinity } = yield* CallContext
        const waitedMillis: Array<number> = []
        let nextWait:
          | ((now: number, error: ApiError) => Pull.Pull<[unknown, Duration.Duration], never, unknown>)
          | undefined
        let lastError: ApiError | undefined
        while (true) {
          const number = waitedMillis.length + 1
          const began = deadline === Infinity ? 0 : yield* Clock.currentTimeMillis
          if (began >= deadline) return yield* new DeadlineExceededError({ lastError, attempts: number - 1 })

          const result = yield* Effect.result(attempt({ number, waitedMillis }))
          if (Result.isSuccess(result)) {
            yield* earn
            return result.success
          }
          const error = result.failure
          if (!isApiError(error)) return yield* Effect.fail(error)
          lastError = error

          const now = yield* Clock.currentTimeMillis
          nextWait ??= yield* Schedule.toStep(rules)
          const hint = hintOf(error)
          const wait = error.isRetryable && hint <= maxRetryAfter
            ? yield* Pull.matchEffect(nextWait(now, error), {
              onSuccess: ([, wait]) => Effect.succeed(Math.max(hint, Duration.toMillis(wait))),
              onDone: () => Effect.succeed(undefined),
              onFailure: Effect.failCause
            })
            : undefined
          if (now >= deadline || (wait !== undefined && now + wait >= deadline)) {
            return yield* new DeadlineExceededError({ lastError, attempts: number })
          }
          if (wait === undefined || !(yield* spend)) return yield* Effect.fail(error)
          yield* Effect.onInterrupt(Effect.sleep(wait), () => giveBack)
          waitedMillis.push(wait)
        }
      })
  })
})

/**
 * Retries as `options` say.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<RetryPolicy> => Layer.effect(RetryPolicy, make(options))

/**
 * `layer` with options from configuration. A schedule is code and not among them.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<Omit<Options, "schedule">>
): Layer.Layer<RetryPolicy, Config.ConfigError> =>
  Layer.effect(RetryPolicy, Effect.flatMap(Config.unwrap(options), make))

/**
 * The policy that never retries. The deadline of the caller is kept.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerOff: Layer.Layer<RetryPolicy> = layer({ retries: 0 })

/** The attempts of one call: what follows each that fails, and what the call fails with in the end. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Pull from "effect/Pull"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import { CallContext } from "../../CallContext.ts"
import {
  type ApiError,
  type Billed,
  type CallError,
  type CircuitOpenError,
  DeadlineExceededError,
  isApiError,
  isRefusal
} from "../../ClaudeError.ts"
import type { Budget } from "./budget.ts"
import * as History from "./history.ts"

/**
 * The next attempt: its number (1 for the first), the milliseconds waited before each retry, how many attempts have moved to another key since
 * the last retry, how many attempts were sent `beside` those of the policy (whoever sends one counts it), and what is known of those before: how they were billed at worst, and the last error of the API.
 *
 * @category models
 * @since 0.1.0
 */
export interface Progress {
  readonly number: number
  readonly waitedMillis: ReadonlyArray<number>
  readonly moves: number
  readonly billed: Billed
  readonly lastError: ApiError | undefined
  readonly beside: { sent: number }
}

/**
 * Hears of what the policy does about one call.
 *
 * - `retrying`: an attempt has failed, or was refused by an open circuit, and will be followed by another after a wait in milliseconds.
 * - `gaveUp`: an attempt has failed with an error that another might have changed, and there is none: no retries are left, no tokens in the budget of
 *   all calls, no time before the deadline, or the server asks for a longer wait than is allowed.
 *
 * @category models
 * @since 0.1.0
 */
export interface Listener {
  readonly retrying: (error: ApiError | CircuitOpenError, waitMillis: number) => void
  readonly gaveUp: (error: ApiError, reason: "retries" | "retry_budget" | "deadline" | "retry_after") => void
}

/**
 * Where else a call may be made than at the model that it asks for.
 *
 * - `next`: after a failure, whether another attempt follows at once: `on`, elsewhere, or `back` where the call has been before, which makes what failed
 *   since of no account. `pay` takes a token of the retry budget, where there is one, for an attempt that repeats one of this call.
 * - `begin`: the next attempt is the first after a wait.
 *
 * @category models
 * @since 0.1.0
 */
export interface Elsewhere {
  readonly next: (error: CallError, pay: () => boolean) => "on" | "back" | undefined
  readonly begin: () => void
}

/**
 * Completes when attempts may go that the circuit has refused: it has closed, or its mode or its options were changed.
 *
 * @category models
 * @since 0.1.0
 */
export type Changed = (refusal: CircuitOpenError) => Effect.Effect<void>

/** What all calls share. */
export interface Settings {
  readonly budget: Budget
  readonly rulesOf: (retries: number | undefined) => Schedule.Schedule<unknown, ApiError>
  /** Whether calls are retried that say nothing about it. */
  readonly mayRetry: boolean
  /** Milliseconds, as are the others. */
  readonly base: number
  readonly maxRetryAfter: number
  readonly circuitWait: (priority: CallContext["priority"]) => number
}

const unchanging: Changed = () => Effect.never

const isOpenCircuit = (error: unknown): error is CircuitOpenError =>
  isRefusal(error) && error._tag === "CircuitOpenError"

type Step = (now: number, error: ApiError) => Pull.Pull<[unknown, Duration.Duration], never, unknown>

/** The milliseconds until the next attempt; infinite where the schedule has ended. */
const waitBy = (step: Step, now: number, error: ApiError): Effect.Effect<number> =>
  Pull.matchEffect(step(now, error), {
    onSuccess: ([, wait]) => Effect.succeed(Duration.toMillis(wait)),
    onDone: () => Effect.succeed(Infinity),
    onFailure: Effect.failCause
  })

const isSent = (error: unknown): error is ApiError => !isRefusal(error) && isApiError(error)

const isCallError = (error: unknown): error is CallError => isRefusal(error) || isApiError(error)

const errorOf = <E>(history: History.History, error: E): E =>
  history === History.none || !isCallError(error) ? error : History.inLightOf(history, error)

export const hintOf = (error: ApiError): number =>
  error.retryAfter === undefined ? 0 : Duration.toMillis(error.retryAfter)

/** What became of the attempts of a call so far. */
class Past {
  history = History.none
  private counted = 0
  private readonly beside: Progress["beside"]
  /** Tokens that it has taken. */
  tokens = 0
  /** A token was taken for an attempt, and nothing was sent for it. */
  private isPaidAhead = false
  private before = History.none
  /** The failure that made the call go elsewhere. */
  private first: History.Failed | undefined
  private readonly budget: Budget

  constructor(budget: Budget, beside: Progress["beside"]) {
    this.budget = budget
    this.beside = beside
  }

  get sent(): number {
    return this.counted + this.beside.sent
  }

  /** One more has failed. */
  add(error: unknown): void {
    this.before = this.history
    if (!isSent(error)) return
    this.counted++
    this.history = History.after(this.history, error)
    this.isPaidAhead = false
  }

  /** Takes a token for the next attempt, where there is one. */
  readonly pay = (): boolean => {
    if (!this.isPaidAhead && this.budget.take()) {
      this.isPaidAhead = true
      this.tokens++
    }
    return this.isPaidAhead
  }

  /** Gives back the token of an attempt that is not sent. */
  refund(): void {
    if (this.isPaidAhead) this.budget.giveBack()
  }

  /** Whether another attempt follows at once, elsewhere. */
  goesOn(error: unknown, elsewhere: Elsewhere | undefined): boolean {
    if (elsewhere === undefined || !isCallError(error)) return false
    const next = elsewhere.next(error, this.pay)
    if (next !== undefined) this.first = next === "back" ? undefined : this.first ?? { error, before: this.before }
    return next !== undefined
  }

  /** The failure that decides, and the error of the call where it ends with that. */
  outcome<E>(last: E): { readonly error: E; readonly ended: E } {
    const { before, first, history, sent } = this
    this.first = undefined
    return first === undefined
      ? { error: last, ended: errorOf(before, last) }
      // It was what the call failed with before.
      : { error: first.error as E, ended: History.ofFirst(first, history, sent) as E }
  }
}

/** Runs the attempts of calls, as `RetryPolicy` says. */
export const retrying = ({ base, budget, circuitWait, maxRetryAfter, mayRetry, rulesOf }: Settings) =>
  Effect.fnUntraced(function*<A, E, R>(
    attempt: (progress: Progress) => Effect.Effect<A, E | ApiError, R>,
    mayMove?: (error: E | ApiError) => Effect.Effect<boolean>,
    listener?: Listener,
    changed: Changed = unchanging,
    elsewhere?: Elsewhere
  ) {
    const context = yield* CallContext
    const { priority, retries } = context
    const waitedMillis: Array<number> = []
    let past: Past | undefined // most calls have none
    const beside = { sent: 0 }
    let step: Step | undefined
    let moves = 0
    let circuitMillis = 0 // that it has waited for circuits
    const outOfTime = () => new DeadlineExceededError({ ...past?.history, attempts: past?.sent ?? beside.sent })
    while (true) {
      const began = context.deadline === undefined ? 0 : yield* Clock.currentTimeMillis
      if (began >= (context.deadline ?? Infinity)) return yield* outOfTime()

      const number = 1 + (past?.sent ?? beside.sent)
      const history = past?.history ?? History.none
      const result = yield* Effect.result(attempt({ number, waitedMillis, moves, beside, ...history }))
      if (Result.isSuccess(result)) {
        if (budget.isDrawnOn) budget.earn(past?.tokens ?? 0)
        return result.success
      }
      past ??= new Past(budget, beside)
      past.add(result.failure)
      if (mayMove !== undefined && (yield* mayMove(result.failure))) {
        moves++
        continue
      }
      moves = 0
      if (past.goesOn(result.failure, elsewhere)) continue
      const { ended, error } = past.outcome(result.failure)
      const now = yield* Clock.currentTimeMillis
      const { deadline = Infinity } = context
      if (isOpenCircuit(error)) {
        // Those that were refused together do not come back together.
        const apart = Math.ceil((yield* Random.next) * base)
        const wait = Math.max(1, Duration.toMillis(error.retryAfter)) + apart
        const most = (retries === undefined ? mayRetry : retries >= 1) ? circuitWait(priority) : 0
        if (circuitMillis + wait <= most && now + wait < deadline) {
          listener?.retrying(error, wait)
          yield* Effect.raceFirst(Effect.sleep(wait), Effect.andThen(changed(error), Effect.sleep(apart)))
          circuitMillis += Math.max(1, (yield* Clock.currentTimeMillis) - now)
          elsewhere?.begin()
          continue
        }
      }
      if (!isSent(error)) {
        past.refund()
        return yield* Effect.fail(ended)
      }

      step ??= yield* Schedule.toStep(rulesOf(retries))
      const hint = hintOf(error)
      const mayWait = error.isRetryable && hint <= maxRetryAfter && waitedMillis.length < (retries ?? Infinity)
      const wait = mayWait ? Math.max(hint, yield* waitBy(step, now, error)) : Infinity
      if (deadline < Infinity && (now >= deadline || (wait < Infinity && now + wait >= deadline))) {
        if (error.isRetryable) listener?.gaveUp(error, "deadline")
        past.refund()
        return yield* outOfTime()
      }
      // A wait without end is the end of a schedule.
      if (wait === Infinity || !past.pay()) {
        const reason = wait < Infinity ? "retry_budget" : hint > maxRetryAfter ? "retry_after" : "retries"
        if (error.isRetryable) listener?.gaveUp(error, reason)
        past.refund()
        return yield* Effect.fail(ended)
      }
      listener?.retrying(error, wait)
      yield* Effect.onInterrupt(Effect.sleep(wait), () => Effect.sync(() => budget.giveBack()))
      waitedMillis.push(wait)
      elsewhere?.begin()
    }
  })

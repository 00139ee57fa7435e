/** Traffic through a limiter in virtual time, in front of a server that books what arrives and refuses what it has no room for. */
import { Clock, Effect, Exit, Fiber, Redacted } from "effect"
import * as Attempt from "effect-claude/Attempt"
import type { CallContext } from "effect-claude/CallContext"
import type { RateLimitedLocallyError } from "effect-claude/ClaudeError"
import type * as RateLimiter from "effect-claude/RateLimiter"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import * as Usage from "effect-claude/Usage"
import { TestClock } from "effect/testing"
import { some } from "./thorough.ts"

export const minute = 60_000

/** The seeds that a law about traffic is held against. */
export const seeds = some([1, 2, 3, 4, 5])

/** Chance that is the same in each run. */
export const chance = (seed: number) => {
  let state = seed * 0x9e3779b1 >>> 0
  return (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let x = Math.imul(state ^ (state >>> 15), state | 1)
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32
  }
}

/** One call: when it comes, what it needs and says of itself, and how long its answer takes. */
export interface Call {
  readonly at: number
  readonly input: number
  readonly context?: Partial<CallContext>
  readonly millis?: number
}

/** What became of a call: when it was sent, or why not. */
export interface Sent extends Call {
  readonly sentAt: number | undefined
  readonly refused: RateLimitedLocallyError | undefined
  readonly refusedAt: number | undefined
}

/** Calls that come by chance, so many a minute on average. */
export const poisson = (
  next: () => number,
  perMinute: number,
  minutes: number,
  call: Omit<Call, "at"> | (() => Omit<Call, "at">)
): ReadonlyArray<Call> => {
  const calls: Array<Call> = []
  for (let at = 0;;) {
    at += -Math.log(1 - next()) * minute / perMinute
    if (at >= minutes * minute) return calls
    calls.push({ at: Math.floor(at), ...typeof call === "function" ? call() : call })
  }
}

const kind = new Attempt.CallKind()

/** Lets calls come to a limiter for so long, and returns what became of each, in their order. A call that was not sent by then is left. */
export const traffic = Effect.fnUntraced(function*(
  calls: ReadonlyArray<Call>,
  minutes: number,
  limiterOf: (call: Call) => RateLimiter.RateLimiter["Service"]
) {
  const began = yield* Clock.currentTimeMillis
  const one = Effect.fnUntraced(function*(call: Call, into: { sentAt: number | undefined }) {
    yield* Effect.sleep(call.at)
    const attempt = ClaudeTest.attempt({
      model: "claude-opus-5-5",
      estimate: { inputTokens: call.input, maxOutputTokens: 0 },
      context: call.context,
      kind,
      key: { label: "k", group: "g", secret: Redacted.make("s") }
    })
    const use = Effect.gen(function*() {
      into.sentAt = (yield* Clock.currentTimeMillis) - began
      attempt.outcome = Attempt.Outcome.Aborted({ usage: Usage.zero })
      yield* Effect.sleep(call.millis ?? 1_000)
      attempt.outcome = Attempt.Outcome.Completed({
        usage: Usage.make({ inputTokens: call.input }),
        limits: undefined,
        model: undefined,
        requestId: undefined,
        stopReason: undefined
      })
    })
    yield* Attempt.guard(limiterOf(call), attempt, use)
  })
  const fibers = yield* Effect.forEach(calls, (call) =>
    Effect.gen(function*() {
      const into = { sentAt: undefined as number | undefined, refusedAt: undefined as number | undefined }
      const fiber = yield* Effect.forkChild(
        Effect.onError(one(call, into), () =>
          Effect.map(Clock.currentTimeMillis, (now) => {
            into.refusedAt = now - began
          }))
      )
      return { call, into, fiber }
    }))
  for (let second = 0; second < minutes * 60; second++) yield* TestClock.adjust("1 second")
  const sent: Array<Sent> = []
  for (const { call, fiber, into } of fibers) {
    const exit = fiber.pollUnsafe()
    const refused = exit !== undefined && Exit.isFailure(exit) ? yield* Effect.flip(Fiber.join(fiber)) : undefined
    sent.push({ ...call, sentAt: into.sentAt, refused, refusedAt: refused && into.refusedAt })
  }
  yield* Fiber.interruptAll(fibers.map(({ fiber }) => fiber))
  return sent
})

/** How long those waited that were sent, and the others until the end. */
export const waits = (sent: ReadonlyArray<Sent>, minutes: number): ReadonlyArray<number> =>
  sent.map(({ at, sentAt }) => (sentAt ?? minutes * minute) - at).sort((a, b) => a - b)

export const quantile = (sorted: ReadonlyArray<number>, part: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? NaN

/** The least that the bucket of a server would have held: below zero where it would have refused. */
export const lowest = (sent: ReadonlyArray<Sent>, perMinute: number): number => {
  let level = perMinute
  let at = 0
  let least = level
  for (const { input, sentAt } of [...sent].sort((a, b) => (a.sentAt ?? Infinity) - (b.sentAt ?? Infinity))) {
    if (sentAt === undefined) break
    level = Math.min(perMinute, level + (sentAt - at) * perMinute / minute) - input
    at = sentAt
    least = Math.min(least, level)
  }
  return least
}

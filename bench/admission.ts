/**
 * What it costs to admit and settle an attempt that need not wait, through limiter and breaker as a call goes through them: the check of the
 * breaker, three buckets, the permit, and back.
 *
 * - `cost_ratio`: CPU of a million of those to that of a million times `consume` from one token bucket in memory of `effect/persistence`.
 * - `growth_ratio`: CPU of one where 10,000 are held to that where one is: results in the window of the breaker (`window`), attempts in flight
 *   (`inFlight`), or callers in the queue of the limiter (`queue`). There, one is a caller that joins the queue, one that is granted and
 *   settled, and one that joins and leaves.
 */
import { Effect, Exit, Fiber, Layer, ManagedRuntime, Scope } from "effect"
import { RateLimiter as EffectLimiter } from "effect/persistence"
import * as Attempt from "../src/Attempt.ts"
import * as CircuitBreaker from "../src/CircuitBreaker.ts"
import * as ClaudeApi from "../src/ClaudeApi.ts"
import * as RateLimiter from "../src/RateLimiter.ts"
import * as ClaudeTest from "../src/testing/ClaudeTest.ts"
import * as Usage from "../src/Usage.ts"
import type { Row, Run } from "./run.ts"
import { alternate, median, type Slice } from "./utils/sideBySide.ts"

const sliceSize = 20_000
const rounds = 50
const many = 10_000

const estimate = { inputTokens: 1_000, maxOutputTokens: 1_000 }
const completed = Attempt.Outcome.Completed({
  usage: { ...Usage.zero, inputTokens: 900, outputTokens: 300 },
  limits: undefined,
  model: undefined,
  requestId: undefined,
  stopReason: undefined
})

const plain = ClaudeTest.attempt({ model: "claude-sonnet-5-5", estimate, key: null })

const attempt = (): Attempt.Attempt => ({ ...plain })

/** Room for whatever comes. */
const wide: RateLimiter.Limits = {
  requestsPerMinute: 1e12,
  inputTokensPerMinute: 1e15,
  outputTokensPerMinute: 1e15
}

/** Limiter and breaker the way a call passes them. */
const admission = async (breaking: CircuitBreaker.Options = {}) => {
  const runtime = ManagedRuntime.make(Layer.merge(
    RateLimiter.layer({ limits: wide }),
    CircuitBreaker.layer(breaking).pipe(Layer.provide(ClaudeApi.layer()))
  ))
  const policy = Effect.gen(function*() {
    const breaker = yield* CircuitBreaker.CircuitBreaker
    const { admit } = Attempt.both(yield* RateLimiter.RateLimiter, breaker)
    return { admit: (made: Attempt.Attempt) => Effect.flatMap(breaker.check(made), () => admit(made)) }
  })
  return { runtime, policy: await runtime.runPromise(policy) }
}

/** The same effect so many times in one fiber. */
const times = (count: number, each: () => Effect.Effect<unknown, unknown>): Effect.Effect<void, unknown> => {
  let left = count
  return Effect.whileLoop({ while: () => left-- > 0, body: each, step: () => {} })
}

const once = (policy: Attempt.Policy<unknown>) => () => {
  const made = attempt()
  return Effect.flatMap(policy.admit(made), (settle) => {
    made.outcome = completed
    return settle
  })
}

const slice = (
  runtime: { readonly runPromise: (effect: Effect.Effect<void, unknown>) => Promise<void> },
  each: () => Effect.Effect<unknown, unknown>,
  count = sliceSize
): Slice =>
() => runtime.runPromise(times(count, each)).then(() => [0])

const report = async (
  tell: (row: Row) => void,
  names: { readonly metric: string; readonly case: string; readonly peer: string },
  ours: Slice,
  theirs: Slice,
  count = sliceSize
): Promise<void> => {
  const pairs = await alternate(rounds, ours, theirs)
  const row = { case: names.case, n: rounds * count }
  const micros = (figures: ReadonlyArray<number>) => median(figures) / count
  tell({
    ...row,
    metric: "cpu",
    value: micros(pairs.map(({ ours }) => ours.cpuMicros)),
    unit: "us",
    peer: "effect-claude"
  })
  tell({
    ...row,
    metric: "cpu",
    value: micros(pairs.map(({ theirs }) => theirs.cpuMicros)),
    unit: "us",
    peer: names.peer
  })
  tell({
    ...row,
    metric: names.metric,
    value: median(pairs.map(({ ours, theirs }) => ours.cpuMicros / theirs.cpuMicros)),
    unit: "ratio",
    peer: names.peer
  })
}

const consume = async () => {
  const runtime = ManagedRuntime.make(EffectLimiter.layer.pipe(Layer.provide(EffectLimiter.layerStoreMemory)))
  const limiter = await runtime.runPromise(EffectLimiter.RateLimiter)
  // A token each millisecond, and more than all that are taken here.
  const options = { algorithm: "token-bucket", window: "1000 hours", limit: 3_600_000_000, key: "key" } as const
  return { runtime, each: () => limiter.consume(options) }
}

/** Limiter and breaker with so many attempts that were admitted and are not settled. */
const withInFlight = async (count: number) => {
  const { policy, runtime } = await admission()
  await runtime.runPromise(times(count, () => policy.admit(attempt())))
  return { runtime, each: once(policy) }
}

const withWindow = async (windowSize: number) => {
  const { policy, runtime } = await admission({ windowSize })
  await runtime.runPromise(times(windowSize, once(policy)))
  return { runtime, each: once(policy) }
}

/** A limiter whose bucket holds one attempt, with so many callers in its queue. */
const withQueue = async (count: number) => {
  const runtime = ManagedRuntime.make(RateLimiter.layer({
    limits: { inputTokensPerMinute: estimate.inputTokens },
    maxQueue: count + 2
  }))
  const limiter = await runtime.runPromise(RateLimiter.RateLimiter)
  const scope = Scope.makeUnsafe()
  const queue: Array<Fiber.Fiber<Attempt.Settle, unknown>> = []
  const join = Effect.suspend(() => Effect.forkIn(limiter.admit(attempt()), scope, { startImmediately: true }))
  const add = Effect.map(join, (waiter) => queue.push(waiter))
  let at = 0
  const each = () =>
    Effect.gen(function*() {
      yield* add
      const leaver = yield* join
      yield* Fiber.interrupt(leaver)
      yield* yield* Fiber.join(queue[at++]!)
      if (at < many) return
      queue.splice(0, at)
      at = 0
    })
  await runtime.runPromise(times(count + 1, () => add))
  return { runtime, each, close: () => runtime.runPromise(Scope.close(scope, Exit.void)) }
}

export const run: Run = async (tell) => {
  const peer = await consume()
  const { policy, runtime } = await admission()
  await report(
    tell,
    { metric: "cost_ratio", case: "uncontended", peer: "effect/persistence" },
    slice(runtime, once(policy)),
    slice(peer.runtime, peer.each)
  )
  const holders = { window: withWindow, inFlight: withInFlight }
  for (const [name, make] of Object.entries(holders)) {
    const [ours, theirs] = [await make(many), await make(1)]
    await report(
      tell,
      { metric: "growth_ratio", case: name, peer: "effect-claude with 1" },
      slice(ours.runtime, ours.each),
      slice(theirs.runtime, theirs.each)
    )
  }
  const count = 2_000
  const [ours, theirs] = [await withQueue(many), await withQueue(1)]
  await report(
    tell,
    { metric: "growth_ratio", case: "queue", peer: "effect-claude with 1" },
    slice(ours.runtime, ours.each, count),
    slice(theirs.runtime, theirs.each, count),
    count
  )
  await Promise.all([ours.close(), theirs.close()])
}

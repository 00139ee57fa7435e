/** Breakers around one way to send a call: ours and its peers, set up as alike as they allow. */
import * as Cockatiel from "cockatiel"
import { Duration, Effect, Layer, ManagedRuntime, Schedule } from "effect"
import { CircuitBreaker as EffectBreaker } from "effect/persistence"
import Opossum from "opossum"
import * as Attempt from "../../src/Attempt.ts"
import * as CircuitBreaker from "../../src/CircuitBreaker.ts"
import * as ClaudeApi from "../../src/ClaudeApi.ts"
import { ConnectionError, ServerError } from "../../src/ClaudeError.ts"
import * as RetryPolicy from "../../src/RetryPolicy.ts"
import * as ClaudeTest from "../../src/testing/ClaudeTest.ts"
import * as Usage from "../../src/Usage.ts"

/** The caller did not wait for the end. */
export class LeftError extends Error {}

/** Sends a call; `refused` means that the breaker did not let it go. What is sent rejects with a `LeftError` where its caller left. */
export interface Side {
  readonly name: string
  readonly call: (send: () => Promise<void>) => Promise<"answered" | "failed" | "refused">
  readonly close: () => Promise<void>
}

/**
 * - `inARow`: opens after so many failures in a row.
 * - `rate`: opens when half of the calls of ten seconds failed, of at least 50.
 */
export type Trip = "inARow" | "rate"

export const consecutiveFailures = 10
export const openMillis = 5_000
export const windowMillis = 10_000
export const minimumCalls = 50
/** What takes longer is slow to ours, and cut off by the peers that have a time limit instead. */
export const slowMillis = 10_000

const usage = Usage.zero
const failed = Attempt.Outcome.Failed({ usage, error: new ServerError({ overloaded: true }), limits: undefined })
const left = Attempt.Outcome.Failed({
  usage,
  error: new ConnectionError({ reason: "timeout", limit: "deadline" }),
  limits: undefined
})
const completed = Attempt.Outcome.Completed({
  usage,
  limits: undefined,
  model: undefined,
  requestId: undefined,
  stopReason: undefined
})

const plain = ClaudeTest.attempt({ model: "claude-sonnet-5-5", key: null })

const attempt = (): Attempt.Attempt => ({ ...plain })

/** It retries nothing; where callers wait for a circuit, they do that by the rule of the retry policy. */
const effectClaude = (name: string, options: CircuitBreaker.Options, circuitWait: Duration.Input = 0): Side => {
  const runtime = ManagedRuntime.make(
    Layer.merge(
      CircuitBreaker.layer(options).pipe(Layer.provide(ClaudeApi.layer())),
      RetryPolicy.layer({ schedule: Schedule.recurs(0), circuitWait })
    )
  )
  return {
    name,
    call: (send) =>
      runtime.runPromise(
        Effect.gen(function*() {
          const breaker = yield* CircuitBreaker.CircuitBreaker
          const made = attempt()
          const use = Effect.promise(() =>
            send().then(() => completed, (error) => error instanceof LeftError ? left : failed)
          ).pipe(
            Effect.map((outcome) => (made.outcome = outcome))
          )
          const { retry } = yield* RetryPolicy.RetryPolicy
          const guarded = Attempt.guard(breaker, made, use)
          const outcome = yield* Duration.toMillis(circuitWait) > 0 ? retry(() => guarded) : guarded
          return outcome === completed ? "answered" as const : "failed" as const
        }).pipe(Effect.catchTag("CircuitOpenError", () => Effect.succeed("refused" as const)))
      ),
    close: () => runtime.dispose()
  }
}

/** As its defaults are. */
export const defaults = (): Side => effectClaude("effect-claude", {})

/** As its defaults are, with callers who wait for it as cockatiel's do, if no longer than this. */
export const waiting = (): Side => effectClaude("effect-claude", {}, "90 seconds")

export const ours = (trip: Trip, slow: boolean): Side =>
  effectClaude("effect-claude", {
    ...(trip === "inARow"
      ? { consecutiveFailures, failureRate: Infinity }
      : { failureRate: 0.5, windowDuration: windowMillis, minimumCalls }),
    ...(slow ? { slowCallDuration: slowMillis, slowCallRate: 0.5 } : undefined),
    openDuration: openMillis,
    maxOpenDuration: openMillis,
    jitter: 0
  })

export const cockatiel = (trip: Trip, slow: boolean): Side => {
  const breaker = Cockatiel.circuitBreaker(Cockatiel.handleAll, {
    halfOpenAfter: openMillis,
    breaker: trip === "inARow"
      ? new Cockatiel.ConsecutiveBreaker(consecutiveFailures)
      : new Cockatiel.SamplingBreaker({
        threshold: 0.5,
        duration: windowMillis,
        minimumRps: minimumCalls / (windowMillis / 1_000)
      })
  })
  const policy = slow
    ? Cockatiel.wrap(breaker, Cockatiel.timeout(slowMillis, Cockatiel.TimeoutStrategy.Aggressive))
    : breaker
  return {
    name: "cockatiel",
    call: (send) =>
      policy.execute(send).then(
        () => "answered",
        (error) => error instanceof Cockatiel.BrokenCircuitError ? "refused" : "failed"
      ),
    close: () => Promise.resolve()
  }
}

/** It knows rates only: failures in a row are those of a window of one second. */
export const opossum = (trip: Trip, slow: boolean): Side => {
  const breaker = new Opossum((send: () => Promise<void>) => send(), {
    timeout: slow ? slowMillis : false,
    resetTimeout: openMillis,
    errorThresholdPercentage: 50,
    rollingCountTimeout: trip === "inARow" ? 1_000 : windowMillis,
    rollingCountBuckets: 10,
    rollingPercentilesEnabled: false,
    volumeThreshold: trip === "inARow" ? consecutiveFailures : minimumCalls
  })
  return {
    name: "opossum",
    call: (send) =>
      breaker.fire(send).then(
        () => "answered",
        (error) => error.code === "EOPENBREAKER" ? "refused" : "failed"
      ),
    close: async () => breaker.shutdown()
  }
}

/** It counts calls, not time: as many as there are in the window at the rate of this bench. */
export const effect = (trip: Trip, slow: boolean): Side => {
  const runtime = ManagedRuntime.make(
    EffectBreaker.layer({
      tripPolicy: trip === "inARow"
        ? EffectBreaker.consecutive(consecutiveFailures)
        : EffectBreaker.rate({ threshold: 0.5, size: windowMillis / 20, minimumCalls }),
      openDuration: Duration.millis(openMillis)
    }).pipe(Layer.provide(EffectBreaker.layerStoreMemory()))
  )
  return {
    name: "effect/persistence",
    call: (send) =>
      runtime.runPromise(
        Effect.gen(function*() {
          const breaker = yield* EffectBreaker.CircuitBreaker
          const sent = Effect.tryPromise({ try: send, catch: () => "failed" as const })
          const limited = slow
            ? Effect.timeoutOrElse(sent, { duration: slowMillis, orElse: () => Effect.fail("failed" as const) })
            : sent
          yield* breaker.execute(limited, { key: "api" })
          return "answered" as const
        }).pipe(Effect.catch((error) => Effect.succeed(error === "failed" ? "failed" as const : "refused" as const)))
      ),
    close: () => runtime.dispose()
  }
}

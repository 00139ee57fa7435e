/** Keys of several organizations over a simulated API, and what became of them. */
import { Effect, Fiber } from "effect"
import * as KeyPool from "effect-claude/KeyPool"
import * as Simulator from "effect-claude/testing/Simulator"
import { TestClock } from "effect/testing"
import { driven, hello, settle } from "./http.ts"

export const keyOf = (label: string, organization: string, more: Partial<Simulator.Key> = {}): Simulator.Key => ({
  key: `sk-ant-${label}`,
  label,
  organization,
  workspace: `wrkspc-${organization}`,
  ...more
})

export const a = keyOf("a", "org-a")
export const b = keyOf("b", "org-b")
export const c = keyOf("c", "org-c")

export const retry = { retries: 0 }

/** The value of an effect that runs in virtual time. */
export const value = <A, E, R>(effect: Effect.Effect<A, E, R>, seconds?: number): Effect.Effect<A, E, R> =>
  Effect.flatMap(driven(effect, seconds), (exit) => exit)

/** Lets time go on only while no request is made or answered. */
export const patiently = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect)
    let seen = -1
    while (fiber.pollUnsafe() === undefined) {
      yield* settle
      const { open, total } = yield* Simulator.Simulator.use(({ requests }) => requests)
      if (total + open === seen) yield* TestClock.adjust("100 millis")
      seen = total + open
    }
    return yield* Fiber.join(fiber)
  })

/** The keys of requests that were billed, in their order. */
export const labels = Effect.map(
  Effect.flatMap(Simulator.Simulator, ({ bill }) => bill),
  ({ rows }) => rows.map(({ key }) => key)
)

/** Requests that were made. */
export const total = Effect.map(Effect.flatMap(Simulator.Simulator, ({ requests }) => requests), ({ total }) => total)

export const keys = Effect.flatMap(KeyPool.KeyPool, ({ snapshot }) => snapshot)

export const states = Effect.map(keys, (keys) => Object.fromEntries(keys.map(({ label, state }) => [label, state])))

export const inFlight = Effect.map(keys, (keys) => keys.reduce((sum, key) => sum + key.inFlight, 0))

export const question = (i: number) => ({ ...hello, messages: [{ role: "user" as const, content: `Question ${i}` }] })

/** A circuit whose state is a machine of this process. */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { Circuit } from "./circuit.ts"
import type { Machine } from "./machine.ts"

export const make = (machine: Machine, clock: Clock.Clock): Circuit => {
  const atNow = <A>(f: (now: number) => A): Effect.Effect<A> => Effect.sync(() => f(clock.currentTimeMillisUnsafe()))
  return {
    isClosed: () => machine.phase === "closed",
    enter: (now) => machine.enter(now),
    peek: atNow((now) => machine.peek(now)),
    admit: atNow((now) => machine.admit(now)),
    settle: (permit, result) => machine.settle(permit, result, clock.currentTimeMillisUnsafe()),
    view: atNow((now) => machine.view(now)),
    save: Effect.sync(() => machine.save()),
    restore: (saved) => atNow((now) => machine.restore(saved, now))
  }
}

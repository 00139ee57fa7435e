/** A circuit whose state is a machine of this process. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { Circuit } from "./circuit.ts"
import type { Machine } from "./machine.ts"

const atNow = <A>(f: (now: number) => A): Effect.Effect<A> =>
  Clock.clockWith((clock) => Effect.succeed(f(clock.currentTimeMillisUnsafe())))

export const make = (machine: Machine): Circuit => ({
  peek: atNow((now) => machine.peek(now)),
  admit: atNow((now) => machine.admit(now)),
  settle: (permit, result) => atNow((now) => machine.settle(permit, result, now)),
  view: atNow((now) => machine.view(now)),
  save: Effect.sync(() => machine.save()),
  restore: (saved) => atNow((now) => machine.restore(saved, now))
})

import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Ref } from "effect"
import { InputSanitizer } from "effect-claude"

describe("the machines", () => {
  it.effect("are built in steps, between which others have their turn", () =>
    Effect.gen(function*() {
      const turns = yield* Ref.make(0)
      const counting = yield* Effect.forkChild(
        Effect.forever(Effect.andThen(Ref.update(turns, (n) => n + 1), Effect.yieldNow))
      )
      // Two at a time build them once.
      yield* Effect.all([InputSanitizer.make(), InputSanitizer.make()], { concurrency: 2 }).pipe(Effect.scoped)
      yield* Fiber.interrupt(counting)
      assert.isAtLeast(yield* Ref.get(turns), 200)
    }))
})

import { assert, describe, it, vi } from "@effect/vitest"
import { Effect, Fiber, Ref } from "effect"

describe("the machines", () => {
  it.effect("are built in steps, between which others have their turn", () =>
    Effect.gen(function*() {
      vi.resetModules() // they are built once in a process
      const { machines, prepare } = yield* Effect.promise(() =>
        import("../../../src/InputSanitizer/internal/phrases.ts")
      )
      const turns = yield* Ref.make(0)
      const counting = yield* Effect.forkChild(
        Effect.forever(Effect.andThen(Ref.update(turns, (n) => n + 1), Effect.yieldNow))
      )
      yield* Effect.all([prepare, prepare], { concurrency: 2 })
      yield* Fiber.interrupt(counting)
      assert.isAtLeast(yield* Ref.get(turns), 200)
      assert.strictEqual(machines(), machines())
    }))
})

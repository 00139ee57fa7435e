/** For what another process learns in the background. */
import { assert } from "@effect/vitest"
import { Effect } from "effect"

export const eventually = <A>(
  effect: Effect.Effect<A>,
  holds: (value: A) => boolean,
  seconds = 10
): Effect.Effect<A> =>
  Effect.gen(function*() {
    for (let left = seconds * 100; left > 0; left--) {
      const value = yield* effect
      if (holds(value)) return value
      yield* Effect.sleep(10)
    }
    const value = yield* effect
    assert.isTrue(holds(value), `still ${JSON.stringify(value)}`)
    return value
  })

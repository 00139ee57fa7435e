/** Removes rows that are too old or too many, now and then. */
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Ask } from "./client.ts"

/** Rows that are removed in one step. */
const stepRows = 1_000

export const start = Effect.fnUntraced(function*(
  ask: Ask,
  { every, keepMillis, keepRows }: {
    readonly every: Duration.Input
    readonly keepMillis: number
    readonly keepRows: number
  }
): Effect.fn.Return<void, never, Scope.Scope> {
  const clock = yield* Clock.Clock
  const step = Effect.suspend(() =>
    ask({ _tag: "Trim", before: clock.currentTimeMillisUnsafe() - keepMillis, keep: keepRows, limit: stepRows })
  )
  yield* Effect.sleep(every).pipe(
    Effect.andThen(
      Effect.repeat(Effect.tap(step, Effect.yieldNow), { while: ({ removed }) => removed >= stepRows })
    ),
    Effect.catch((error) => Effect.logWarning(`CostLedger: old rows could not be removed. ${error.message}`)),
    Effect.forever,
    Effect.forkScoped
  )
})

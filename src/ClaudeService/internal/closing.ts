/** The end of a service: attempts that still run are settled before their policies end, and later ones are a defect. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type Policy, type Settle } from "../../Attempt.ts"

const ended = Effect.suspend(() =>
  Effect.die(
    new Error(
      "ClaudeService: a call was made after its layer had ended. Keep the layer alive as long as anything calls: provide it around the whole " +
        "program, and wait for background fibers before it ends."
    )
  )
)

/**
 * The policy until the scope closes. Then the attempts that it admitted are settled by what is known of them, which is `Aborted` for those that run, and
 * their number is logged.
 */
export const make = Effect.fnUntraced(function*<Own>(
  { admit }: Policy<Own>
): Effect.fn.Return<Policy<Own>, never, Scope.Scope> {
  const open = new Set<Settle>()
  let isEnded = false

  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      isEnded = true
      const left = [...open]
      if (left.length === 0) return Effect.void
      return Effect.andThen(
        Effect.forEach(left, Effect.exit, { discard: true }),
        Effect.logWarning(
          `ClaudeService: ${left.length} attempts were still running when the layer ended. They were settled as aborted; what they cost is estimated.`
        )
      )
    })
  )

  /** Settles once: when its attempt ends, or when the service does. */
  const keep = (settle: Settle): Settle => {
    const once: Settle = Effect.suspend(() => open.delete(once) ? settle : Effect.void)
    open.add(once)
    return once
  }

  return {
    admit: (attempt) =>
      Effect.suspend(() =>
        isEnded
          ? ended
          : Effect.flatMap(
            admit(attempt),
            (settle) => isEnded ? Effect.andThen(settle, ended) : Effect.succeed(keep(settle))
          )
      )
  }
})

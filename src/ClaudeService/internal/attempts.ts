/** The attempts of a call, one after the other: retries, and moves to other keys. */
import type * as Effect from "effect/Effect"
import type { Attempt } from "../../Attempt.ts"
import type { ApiError, Refusal } from "../../ClaudeError.ts"
import type { KeyPool } from "../../KeyPool.ts"
import type { Progress, RetryPolicy } from "../../RetryPolicy.ts"

/** Makes attempts from what all of them share. */
export type Attempts = <A extends Attempt, B>(
  base: Omit<A, "number" | "previous" | "moves">,
  run: (attempt: A, progress: Progress) => Effect.Effect<B, ApiError | Refusal>
) => Effect.Effect<B, ApiError | Refusal>

export const make = (
  { retry }: RetryPolicy["Service"],
  { mayMove }: Pick<KeyPool["Service"], "mayMove">
): Attempts =>
<A extends Attempt, B>(
  base: Omit<A, "number" | "previous" | "moves">,
  run: (attempt: A, progress: Progress) => Effect.Effect<B, ApiError | Refusal>
) => {
  let last: A | undefined
  return retry(
    (progress) => {
      // What is left out of the base is given here.
      last = { ...base, number: progress.number, moves: progress.moves, previous: last } as unknown as A
      return run(last, progress)
    },
    () => last !== undefined && mayMove(last)
  )
}

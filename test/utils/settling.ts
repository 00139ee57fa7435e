/** For tests that admit an attempt in one place and settle it in another. */
import { Effect } from "effect"
import type { Attempt, Policy, Settle } from "effect-claude/Attempt"

const settlements = new WeakMap<Attempt, Settle>()

export const admit = <Own>(policy: Policy<Own>, attempt: Attempt): Effect.Effect<void, Own> =>
  Effect.map(policy.admit(attempt), (settle) => {
    settlements.set(attempt, settle)
  })

/** Settles an attempt once; one that was not admitted is left alone. */
export const settle = (attempt: Attempt): Effect.Effect<void> =>
  Effect.suspend(() => {
    const settle = settlements.get(attempt) ?? Effect.void
    settlements.delete(attempt)
    return settle
  })

/** What a call has tried since its last retry. */
import type { Attempt, Key } from "../../Attempt.ts"
import { verdictOf } from "./verdict.ts"

export interface Tried {
  readonly keys: ReadonlySet<Key>
  /** Those whose limits it met. */
  readonly groups: ReadonlySet<string>
  /** It has waited in vain for the limits of one group, in case those of another have room soon. */
  readonly hasWaited: boolean
}

const nothing: Tried = { keys: new Set(), groups: new Set(), hasWaited: false }

/** What the last attempt, and as many before it, have tried. */
export const triedBy = (last: Attempt | undefined, before: number): Tried => {
  if (last === undefined || before < 0) return nothing
  const keys = new Set<Key>()
  const groups = new Set<string>()
  let hasWaited = false
  for (let attempt: Attempt | undefined = last, left = before; attempt !== undefined && left >= 0; left--) {
    const { isUnaffordable, key, outcome, patience, previous }: Attempt = attempt
    if (key !== undefined) {
      const verdict = verdictOf(attempt)?._tag
      // The limiter had no room for it, and it would have waited there for good.
      const isRefused = outcome._tag === "NotSent" && patience === undefined && isUnaffordable !== true
      if (outcome._tag !== "NotSent" || isUnaffordable === true) keys.add(key)
      if (verdict === "Limit" || verdict === "Spend" || isRefused) groups.add(key.group)
    }
    hasWaited ||= outcome._tag === "NotSent" && isUnaffordable !== true && patience !== undefined && patience > 0
    attempt = previous
  }
  return { keys, groups, hasWaited }
}

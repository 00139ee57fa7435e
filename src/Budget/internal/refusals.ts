/** Refusals that nothing but time, credit or another limit can change, remembered so that no call waits for room that it cannot get. */
import { BoundedMap } from "../../internal/boundedMap.ts"
import type { Decision, Refused, Reserve } from "./data.ts"

/** It would not fit either if all that runs cost nothing. */
export const isFinal = ({ limitNanoUsd, reservedNanoUsd, spentNanoUsd }: Refused, neededNanoUsd: number): boolean =>
  reservedNanoUsd <= 0 || spentNanoUsd + neededNanoUsd > limitNanoUsd

/** For how long another process's change may go unnoticed. */
const keptMillis = 1_000

const maxKept = 10_000

/** Of a store in another process, which is not asked twice for one attempt. */
export class Refusals {
  private kept = new BoundedMap<string, { readonly refused: Refused; readonly nanoUsd: number; readonly at: number }>(
    maxKept
  )

  note(decision: Decision | undefined, nanoUsd: number, at: number): void {
    if (decision?._tag !== "Refused") return
    const { limitNanoUsd, spentNanoUsd } = decision
    if (isFinal(decision, nanoUsd) && spentNanoUsd + nanoUsd > limitNanoUsd) {
      this.kept.set(decision.account.key, { refused: decision, nanoUsd, at })
    }
  }

  /** Why it would be refused. */
  of({ accounts, nanoUsd }: Reserve, now: number): Refused | undefined {
    if (this.kept.size === 0) return undefined
    for (const { key } of accounts) {
      const known = this.kept.peek(key)
      if (known === undefined) continue
      if (Math.abs(now - known.at) >= keptMillis) this.kept.delete(key)
      else if (nanoUsd >= known.nanoUsd) return known.refused
    }
    return undefined
  }

  clear(): void {
    this.kept = new BoundedMap(maxKept)
  }
}

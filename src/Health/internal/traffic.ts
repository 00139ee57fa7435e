/** What calls have shown. */
import type { CallRecord } from "../../Monitor.ts"

/** How a call or a probe ended, in milliseconds since the epoch; `began` is when it was made. */
export interface Seen {
  readonly at: number
  readonly began: number
  readonly model: string
  readonly error?: string | undefined
  readonly message?: string | undefined
}

/** So many failures in a row are a reason, for so long after the last of them. */
const maxFailures = 5
const failuresMillis = 60_000

export class Traffic {
  lastSuccess: Seen | undefined
  lastError: Seen | undefined
  private failures = 0

  add(record: CallRecord): void {
    if (record.operation !== "chat" || record.status === "cancelled") return
    const { at: began, error, fault, message, model, servedModel } = record
    const seen: Seen = { at: began + record.latencyMillis, began, model: servedModel ?? model, error, message }
    if (record.status === "success") {
      this.failures = 0
      this.lastSuccess = seen
      return
    }
    this.lastError = seen
    // Other faults say nothing about the next call, or are seen in the state of keys and budgets.
    if (fault === "provider") this.failures++
  }

  isFailing(now: number): boolean {
    return this.failures >= maxFailures && now - (this.lastError?.at ?? 0) < failuresMillis
  }

  /** Whether a call that began since then has succeeded. */
  hasServedSince(at: number): boolean {
    return this.lastSuccess !== undefined && this.lastSuccess.began > at
  }
}

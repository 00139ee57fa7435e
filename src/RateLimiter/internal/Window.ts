/**
 * How many attempts may go out at once before any limit is known. The buckets keep to limits that are configured or that headers reported lately.
 *
 * A few at first. Each that succeeds adds one, a refusal halves them. The API refuses at once: an attempt that has been under way for a while was let in,
 * adds one like a success, and holds up no other.
 */
import type * as Clock from "effect/Clock"
import type { InFlight } from "./InFlight.ts"
import type { Limits } from "./Limits.ts"
import { forgetMillis } from "./State.ts"
import type { Report } from "./Store.ts"

type Bound =
  /** Limits are configured. */
  | { readonly _tag: "Configured" }
  /** Headers reported limits, which hold until then. */
  | { readonly _tag: "Observed"; readonly until: number }
  /** No limit is known: so many at once. */
  | { readonly _tag: "Unknown"; readonly window: number }

const firstWindow = 4

/** What has been under way for so long was let in. */
const letInMillis = 2_000

const unknown: Bound = { _tag: "Unknown", window: firstWindow }

export const isConfigured = (limits: Limits): boolean =>
  limits.requestsPerMinute !== undefined || limits.inputTokensPerMinute !== undefined ||
  limits.outputTokensPerMinute !== undefined || limits.tokensPerMinute !== undefined

const boundBy = (limits: Limits): Bound => isConfigured(limits) ? { _tag: "Configured" } : unknown

export class Window {
  private bound: Bound
  /** Of whom nobody knows yet whether the API lets them in, the oldest first. */
  private fresh: Array<InFlight> = []
  /** How many of those in flight it let in. */
  private letIn = 0

  constructor(limits: Limits) {
    this.bound = boundBy(limits)
  }

  reset(limits: Limits): void {
    this.bound = boundBy(limits)
  }

  /** Whether another may go out beside so many that were admitted. */
  isOpen(admitted: number, clock: Clock.Clock): boolean {
    if (this.bound._tag === "Configured") return true
    const now = clock.currentTimeMillisUnsafe()
    this.note(now)
    return this.isWithin(now) || admitted - this.letIn < this.size
  }

  /** How long that takes at most for one behind so many. */
  opensIn(behind: number, admitted: number, clock: Clock.Clock): number {
    if (this.isOpen(admitted, clock)) return 0
    const { fresh } = this
    const first = fresh[behind % Math.max(1, fresh.length)]
    const rounds = Math.floor(behind / Math.max(1, fresh.length))
    const passed = first === undefined ? 0 : clock.currentTimeMillisUnsafe() - first.admittedAt
    return Math.max(0, letInMillis - passed) + rounds * letInMillis
  }

  sent(one: InFlight): void {
    if (this.bound._tag === "Configured") return
    this.note(one.admittedAt)
    this.fresh.push(one)
  }

  settled(one: InFlight, now: number, { observed, pause }: Report): void {
    const wasLetIn = one.standing === "letIn"
    one.standing = "over"
    if (wasLetIn) this.letIn--
    if (this.bound._tag === "Configured") return
    if (observed !== undefined) return this.observed(now)
    // What was let in has been counted as a success.
    const isSuccess = one.attempt.outcome._tag === "Completed" && !wasLetIn
    if (!this.isWithin(now)) this.resize(this.size + (isSuccess ? 1 : 0))
    if (pause !== undefined && !this.isWithin(now)) this.resize(Math.max(1, Math.floor(this.size / 2)))
  }

  observed(now: number): void {
    if (this.bound._tag !== "Configured") this.bound = { _tag: "Observed", until: now + forgetMillis }
  }

  private get size(): number {
    return this.bound._tag === "Unknown" ? this.bound.window : firstWindow
  }

  private isWithin(now: number): boolean {
    return this.bound._tag === "Observed" && now <= this.bound.until
  }

  private resize(window: number): void {
    this.bound = { _tag: "Unknown", window }
  }

  private note(now: number): void {
    const { fresh } = this
    let past = 0
    for (; past < fresh.length; past++) {
      const first = fresh[past]!
      if (first.standing === "over") continue
      // Where the clock was set back, it says nothing.
      if (Math.abs(now - first.admittedAt) < letInMillis) break
      first.standing = "letIn"
      this.letIn++
      if (!this.isWithin(now)) this.resize(this.size + 1)
    }
    if (past > 0) this.fresh = fresh.slice(past)
  }
}

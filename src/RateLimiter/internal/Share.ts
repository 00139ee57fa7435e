/** The part of the limits that a process goes on with while it does not reach the store: what was last seen, divided by the processes that were seen. */
import type * as Attempt from "../../Attempt.ts"
import { add, type Amounts, dimensions, type MutableAmounts, subtract, zero } from "./Amounts.ts"
import * as Buckets from "./Buckets.ts"
import type { Levels } from "./BucketSet.ts"
import type { Limits } from "./Limits.ts"
import { isTooLarge, make, type State } from "./State.ts"
import type { Ask, Report, Reservation, Ticket } from "./Store.ts"

/** The place of an attempt among those that were admitted out of a share. */
interface ShareTicket extends Ticket {
  readonly share: Share
}

/** What the store has to learn of a share that is given up. */
export interface Account {
  readonly usage: Amounts
  readonly reserved: Amounts
  readonly pause: { readonly reason: "spend" | "throttle"; readonly millis: number } | undefined
}

const divided = (limits: Limits, by: number): Limits => {
  const part = (value: number | undefined) => value === undefined ? undefined : value / by
  return {
    requestsPerMinute: part(limits.requestsPerMinute),
    inputTokensPerMinute: part(limits.inputTokensPerMinute),
    outputTokensPerMinute: part(limits.outputTokensPerMinute),
    tokensPerMinute: part(limits.tokensPerMinute)
  }
}

const dividedHeaders = (limits: Partial<Attempt.Limits>, by: number): Attempt.Limits => {
  const part = (seen: Attempt.Limit | undefined) =>
    seen && { ...seen, limit: seen.limit / by, remaining: seen.remaining / by }
  return {
    requests: part(limits.requests),
    tokens: part(limits.tokens),
    inputTokens: part(limits.inputTokens),
    outputTokens: part(limits.outputTokens)
  }
}

export class Share {
  /** Used and reserved out of this share. */
  private readonly used: MutableAmounts = { ...zero }
  private readonly reserved: MutableAmounts = { ...zero }
  /** What came back of attempts that the store had admitted. */
  private readonly returned: MutableAmounts = { ...zero }
  private readonly state: State
  private readonly processes: number
  /** The limits of all, and this process's part of them. */
  private limits: Limits
  private part: Limits

  /** `known`: the buckets as last seen, at `now`. */
  constructor(known: State, processes: number, limits: Limits, now: number) {
    const state = make(known.burstMillis, now)
    for (const dimension of dimensions) {
      const bucket = known.buckets[dimension]
      if (bucket === undefined) continue
      state.buckets[dimension] = {
        perMinute: bucket.perMinute / processes,
        capacity: Math.max(1, bucket.capacity / processes),
        level: (bucket.level - known.reserved[dimension]) / processes,
        observed: bucket.observed === undefined ? undefined : bucket.observed / processes
      }
    }
    state.pausedUntil = known.pausedUntil
    state.closed = known.closed
    const { ramp } = known
    state.ramp = ramp && { ...ramp, perMinute: ramp.perMinute / processes, until: ramp.until / processes }
    this.state = state
    this.processes = processes
    this.limits = limits
    this.part = divided(limits, processes)
    // Limits of which the store has said nothing are divided too.
    Buckets.configure(state, this.part)
  }

  static of(ticket: Ticket): Share | undefined {
    return "share" in ticket ? (ticket as ShareTicket).share : undefined // only `reserve` makes such tickets
  }

  levels(now: number): Levels {
    return Buckets.levels(Buckets.view(this.state, now), this.state.burstMillis, 1 / this.processes)
  }

  /** A request that is larger than the share, but not than the whole, waits for all of the share and overdraws it. */
  reserve(ask: Ask, limits: Limits, now: number): Reservation {
    const { processes, state } = this
    if (limits !== this.limits) {
      this.limits = limits
      this.part = divided(limits, processes)
      Buckets.configure(state, this.part)
    }
    Buckets.advance(state, now)
    const { size = ask.usage.inputTokens } = ask
    if (isTooLarge(state.buckets, state.burstMillis * processes, size)) return { _tag: "TooLarge" }
    const reservation = Buckets.reserve(state, { ...ask, size: 0, flow: undefined }, now)
    if (reservation._tag !== "Granted") return reservation
    add(this.used, ask.usage)
    add(this.reserved, ask.reserve)
    const ticket: ShareTicket = { ...reservation.ticket, share: this }
    return { ...reservation, ticket }
  }

  /** Takes in what became of an attempt that was admitted out of this share. */
  report(report: Report, now: number): void {
    const { observed, release, usage } = report
    add(this.used, usage)
    subtract(this.reserved, release)
    const part = observed && { ...observed, limits: dividedHeaders(observed.limits, this.processes) }
    Buckets.report(this.state, { ...report, observed: part }, now)
  }

  /** Takes in what became of an attempt that the store had admitted; `usage` is what it used beyond what it had reserved. */
  return(ticket: Ticket, usage: Amounts, pause: Report["pause"], now: number): void {
    subtract(this.returned, usage)
    this.correct(ticket, usage, pause, now)
  }

  private correct(ticket: Ticket, usage: Amounts, pause: Report["pause"], now: number): void {
    Buckets.report(this.state, { ticket, usage, release: zero, observed: undefined, pause }, now)
  }

  /**
   * What was used out of this share: by how much less it holds than it would with no use. What was refilled meanwhile is there in the store's
   * buckets as well, as far as they were not full. `known`: the buckets as last seen, at `now`.
   */
  account(known: State, now: number): Account {
    const { processes, returned, state } = this
    Buckets.advance(state, now)
    const usage = { ...this.used }
    for (const dimension of dimensions) {
      const bucket = state.buckets[dimension]
      if (bucket === undefined) continue
      const whole = known.buckets[dimension]
      const unused = whole === undefined
        ? bucket.capacity
        : (whole.level - known.reserved[dimension]) / processes + returned[dimension]
      usage[dimension] = Math.min(usage[dimension], Math.max(0, unused - bucket.level))
    }
    const millis = Math.max(0, state.pausedUntil - now)
    return {
      usage,
      reserved: { ...this.reserved },
      pause: millis > 0 ? { reason: state.closed ? "spend" : "throttle", millis } : undefined
    }
  }
}

/**
 * A bucket set of this process in a store that processes share.
 *
 * An admission is one batch; what became of other attempts goes along with it, or follows in the background soon. Batches and reports are numbered, so
 * that the store takes in each once whether its answer arrived or not: a report is sent until it is acknowledged, and a grant whose answer was
 * given up goes back with the next batch. While the store does not answer, a process admits out of its `Share`.
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { Outbox, type StoreClient } from "../../internal/storeClient.ts"
import { add, minus, type MutableAmounts, plus, subtract, zero } from "./Amounts.ts"
import * as Buckets from "./Buckets.ts"
import type { BucketSet, Levels, Need, Reserved } from "./BucketSet.ts"
import type { Limits } from "./Limits.ts"
import { Share } from "./Share.ts"
import { make as makeState, type State } from "./State.ts"
import type { Ask, Batch, Known, Pause, Reply, Report, Ticket, View } from "./Store.ts"

/**
 * How far ahead reservations are made: most callers that wait for their turn among processes are asked for once. No further, since nothing of another
 * class passes by a reservation; who has to wait longer stays in line, and the store saves up for it.
 */
const aheadMillis = 1_000

/** Reports beyond so many are merged. */
const maxReports = 64

/** When so many reports wait they are sent at once. */
const manyReports = 16

/** What is yet to be reported. A pause is kept by its end on the clock of this process. */
interface Pending extends Pick<Report, "usage" | "ticket" | "observed"> {
  readonly pause: { readonly reason: Pause["reason"]; readonly until: number } | undefined
}

/** Usage adds up; the headers of the attempt that was sent last stand, and the pause that ends last. */
const merge = (a: Pending, b: Pending): Pending => {
  const newer = a.observed !== undefined && (b.observed === undefined || a.ticket.sequence > b.ticket.sequence) ? a : b
  return {
    usage: plus(a.usage, b.usage),
    ticket: newer.ticket,
    observed: newer.observed,
    pause: a.pause !== undefined && (b.pause === undefined || a.pause.until > b.pause.until) ? a.pause : b.pause
  }
}

const reportOf = ({ observed, pause, ticket, usage }: Pending, now: number): Report => ({
  ticket,
  usage,
  release: zero,
  observed,
  pause: pause && { reason: pause.reason, millis: Math.max(0, pause.until - now) }
})

export type Done = Extract<Reply, { readonly _tag: "Done" }>

/** A batch, and the same with what the process knows, for a store that has other buckets. */
export interface Outgoing {
  readonly batch: Batch
  readonly withKnown: () => Batch
}

/** What the sessions of one store have in common. */
export interface Link {
  readonly client: StoreClient<Outgoing, Done>
  readonly clock: Clock.Clock
  /** How long a report waits for an admission to go along with. */
  readonly flushMillis: number
  /** How many processes share the limits, until the store answers. */
  readonly processes: number
  readonly run: <A>(effect: Effect.Effect<A>) => Fiber.Fiber<A>
  /** Sends the news of a session in the background, after so long. */
  readonly flush: (session: Session, millis: number) => void
}

/** A bucket set of this process. */
export class Session implements BucketSet {
  readonly isShared = true
  private readonly link: Link
  private readonly process: string
  private readonly key: string
  /** The buckets as the store last showed them. */
  private readonly mirror: State
  private processes: number
  private epoch = 0
  private calls = 0
  /** The last batch whose answer is known. */
  private answered = 0
  /** Batches that have no answer yet, in their order. */
  private readonly open = new Set<number>()
  private abandoned: ReadonlyArray<number> = []
  private readonly outbox = new Outbox<Pending>(maxReports, merge)
  private readonly reserved: MutableAmounts = { ...zero }
  private limits: Limits = {}
  /** While the store is lost. */
  private share: Share | undefined
  isFlushPlanned = false

  constructor(link: Link, process: string, key: string, burstMillis: number) {
    this.link = link
    this.process = process
    this.key = key
    this.mirror = makeState(burstMillis, this.now)
    this.processes = link.processes
  }

  private get now(): number {
    return this.link.clock.currentTimeMillisUnsafe()
  }

  get hasNews(): boolean {
    return this.outbox.size > 0 || this.abandoned.length > 0
  }

  private adopt(view: View, now: number): void {
    const { mirror } = this
    this.epoch = view.epoch
    this.processes = Math.max(1, view.processes)
    mirror.at = mirror.observedAt = now
    mirror.limits = this.limits
    Object.assign(mirror.buckets, view.buckets)
    Object.assign(mirror.reserved, view.reserved)
    mirror.pausedUntil = now + view.pausedMillis
    mirror.closed = view.closed
    mirror.ramp = view.ramp && { ...view.ramp, from: now + view.ramp.from }
  }

  private known(): Known {
    const { buckets, closed, pausedMillis, ramp } = Buckets.view(this.mirror, this.now)
    return { buckets, closed, pausedMillis, ramp }
  }

  private outgoing(ask: Ask | undefined, ends: boolean): Outgoing & { readonly upTo: number } {
    const { limits, link, outbox } = this
    const { now } = this
    const call = ++this.calls
    const acknowledged = (this.open.values().next().value ?? call) - 1
    this.open.add(call)
    // While the store is lost only what was sent before is sent again, so that the rest can be merged.
    const sent = outbox.size - outbox.unsent
    const { items, number } = outbox.take(link.client.isLost && sent > 0 && !ends ? sent : outbox.size)
    const sender = {
      process: this.process,
      call,
      acknowledged,
      answered: this.answered,
      abandoned: this.abandoned.filter((one) => one <= acknowledged),
      reserved: { ...this.reserved },
      epoch: this.epoch,
      firstReport: number,
      known: undefined,
      ends
    }
    const batch = {
      key: this.key,
      burstMillis: this.mirror.burstMillis,
      // A store that knows nothing has no buckets to take from.
      limits: ask !== undefined || this.epoch === 0 ? limits : undefined,
      reports: items.map((report) => reportOf(report, now)),
      ask,
      read: true,
      sender
    }
    return {
      batch,
      withKnown: () => ({ ...batch, limits, sender: { ...sender, known: this.known() } }),
      upTo: number + items.length - 1
    }
  }

  /** One batch; undefined where it has no answer in time. */
  exchange(ask: Ask | undefined, ends = false): Effect.Effect<Done | undefined> {
    return Effect.suspend(() => {
      const { client, flush } = this.link
      const outgoing = this.outgoing(ask, ends)
      const { abandoned, call } = outgoing.batch.sender!
      return Effect.map(client.step(outgoing), (reply) => {
        this.open.delete(call)
        if (reply?.view === undefined) {
          if (ask !== undefined) this.abandoned = [...this.abandoned, call]
          if (!ends) flush(this, 0)
          return undefined
        }
        this.abandoned = this.abandoned.filter((one) => !abandoned.includes(one))
        this.answered = Math.max(this.answered, call)
        this.outbox.acknowledge(outgoing.upTo)
        this.adopt(reply.view, this.now)
        if (ask !== undefined && reply.reservation?._tag === "Granted") add(this.reserved, ask.reserve)
        return reply
      })
    })
  }

  /** The share of this process, out of what was last seen. */
  private alone(now: number): Share {
    if (this.share !== undefined) return this.share
    Buckets.advance(this.mirror, now)
    const share = new Share(this.mirror, this.processes, this.limits, now)
    for (const report of this.outbox.pending) {
      share.return(report.ticket, report.usage, reportOf(report, now).pause, now)
    }
    return this.share = share
  }

  /** The store is back: what was done alone is to be reported. */
  rejoin(): void {
    this.giveUpShare()
    if (this.hasNews) this.link.flush(this, 0)
  }

  private giveUpShare(): void {
    const { now, share } = this
    if (share === undefined) return
    this.share = undefined
    Buckets.advance(this.mirror, now)
    const { pause, reserved, usage } = share.account(this.mirror, now)
    add(this.reserved, reserved)
    this.outbox.push({
      usage,
      ticket: { sequence: 0, used: zero },
      observed: undefined,
      pause: pause && { reason: pause.reason, until: now + pause.millis }
    })
  }

  /** Tells the store that the process ends. */
  end(): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.calls === 0) return Effect.void
      this.giveUpShare()
      return Effect.asVoid(this.exchange(undefined, true))
    })
  }

  reserve(limits: Limits, need: Need, leftMillis: number): Effect.Effect<Reserved> {
    return Effect.suspend(() => {
      const { mirror, now } = this
      const isNew = limits !== this.limits
      this.limits = limits
      const ask = { ...need, withinMillis: Math.max(0, Math.min(aheadMillis, leftMillis)) }
      if (this.link.client.isLost) return Effect.succeed({ reservation: this.alone(now).reserve(ask, limits, now) })
      // A clock that was set back prolongs no pause.
      if (now < mirror.at) Buckets.advance(mirror, now)
      const waitMillis = Math.ceil(mirror.pausedUntil - now)
      return waitMillis > ask.withinMillis && !isNew
        ? Effect.succeed({ reservation: { _tag: "Full", waitMillis, closed: mirror.closed } })
        : this.ask(ask)
    })
  }

  /** Asks the store. A caller that leaves meanwhile gets back what comes for it. */
  private ask(ask: Ask): Effect.Effect<Reserved> {
    let hasLeft = false
    let ticket: Ticket | undefined
    const giveBack = Effect.suspend(() => {
      hasLeft = true
      return ticket === undefined ? Effect.void : this.report({
        ticket,
        usage: minus(zero, ask.usage),
        release: ask.reserve,
        observed: undefined,
        pause: undefined
      })
    })
    const fiber = this.link.run(Effect.flatMap(this.exchange(ask), (reply) => {
      ticket = reply?.reservation?._tag === "Granted" ? reply.reservation.ticket : undefined
      return Effect.as(hasLeft ? giveBack : Effect.void, reply)
    }))
    return Fiber.await(fiber).pipe(
      Effect.onInterrupt(() => giveBack),
      Effect.map((exit): Reserved => {
        const reservation = Exit.isSuccess(exit) ? exit.value?.reservation : undefined
        if (reservation !== undefined) return { reservation }
        const { now } = this
        const alone = this.alone(now).reserve(ask, this.limits, now)
        // The store may be back by now.
        if (!this.link.client.isLost) this.rejoin()
        return { reservation: alone }
      })
    )
  }

  report(report: Report): Effect.Effect<void> {
    return Effect.sync(() => {
      const { link, now } = this
      const { observed, pause, release, ticket, usage } = report
      const origin = Share.of(ticket)
      if (origin !== undefined && origin === this.share) return origin.report(report, now)
      const share = link.client.isLost ? this.alone(now) : undefined
      subtract(this.reserved, release)
      this.outbox.push({
        usage,
        ticket,
        // What was admitted alone has no place in the order of all.
        observed: origin === undefined ? observed : undefined,
        pause: pause && { reason: pause.reason, until: now + pause.millis }
      })
      // What all had reserved was not free when the share was divided.
      if (share !== undefined) return share.return(ticket, minus(usage, release), pause, now)
      link.flush(this, pause !== undefined || this.outbox.size >= manyReports ? 0 : link.flushMillis)
    })
  }

  get levels(): Effect.Effect<Levels> {
    return Effect.sync(() => {
      const { mirror, now } = this
      return this.link.client.isLost
        ? this.alone(now).levels(now)
        : Buckets.levels(Buckets.view(mirror, now), mirror.burstMillis, 1)
    })
  }
}

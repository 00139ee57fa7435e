/**
 * One bucket set with its queue: admits at once where nobody waits and there is room, else in turn. While somebody waits a fiber asks for
 * the first of the queue; nothing runs otherwise.
 */
import type * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type { Attempt, Settle } from "../../Attempt.ts"
import {
  type Amounts,
  type Ask,
  dimensions,
  forgetMillis,
  isTooLarge,
  type Levels,
  minutesOf,
  type Report,
  type Slot,
  type Ticket,
  waitAt,
  zero
} from "./Buckets.ts"
import type { Limits } from "./Limits.ts"
import { Queue, type Waiter } from "./Queue.ts"

/**
 * The buckets of one group, wherever they are kept.
 *
 * - `reserve`: one atomic step that takes all dimensions or none. It ends within a bound that the store documents, and does
 *   not fail: a store that is out of reach decides by itself what it can answer for.
 * - `report`: takes note and returns; nobody waits for it to arrive.
 * - `levels`: as last seen.
 *
 * @category models
 * @since 0.1.0
 */
export interface BucketSet {
  readonly reserve: (ask: Ask) => Effect.Effect<Slot>
  readonly report: (report: Report) => Effect.Effect<void>
  readonly levels: Effect.Effect<Levels>
}

/** Why one is not admitted, and the wait that it would have been. */
export interface Refused {
  readonly reason: "deadline" | "queueFull" | "tooLarge" | "closed"
  readonly waitMillis: number | undefined
}

/** What an attempt takes on admission: `charge` and, for output that is predicted, `hold`. */
export interface Need {
  readonly charge: Amounts
  readonly hold: Amounts
}

/** What follows in the same step on being admitted, at once or after a wait, or not. */
export interface Door<out E> {
  readonly admitted: (ticket: Ticket, waited: boolean) => Effect.Effect<Settle>
  readonly refused: (refused: Refused) => Effect.Effect<never, E>
}

interface Waiting extends Waiter {
  readonly ask: Need
  readonly admitted: Deferred.Deferred<Ticket, Refused>
  ticket: Ticket | undefined
}

export interface GroupOptions {
  readonly buckets: BucketSet
  readonly clock: Clock.Clock
  readonly scope: Scope.Scope
  readonly aheadMillis: number
  readonly burstMillis: number
  readonly maxQueue: number
  /** Looks at the attempts that are under way: what they used so far is charged as it arrives. */
  readonly look: Effect.Effect<void>
}

/** While somebody waits, the attempts that are under way are looked at this often. */
const tickMillis = 250

/** How many attempts go out at once before any limit is known; each that succeeds adds one. */
const firstWindow = 4

const plus = (a: Amounts, b: Amounts): Amounts => ({
  requests: a.requests + b.requests,
  inputTokens: a.inputTokens + b.inputTokens,
  outputTokens: a.outputTokens + b.outputTokens,
  tokens: a.tokens + b.tokens
})

const minus = (a: Amounts): Amounts => ({
  requests: -a.requests,
  inputTokens: -a.inputTokens,
  outputTokens: -a.outputTokens,
  tokens: -a.tokens
})

/** Whether there may be no room for one more, as far as is known, when others are asking for about as much. */
const isCrowded = (levels: Levels, { charge, hold }: Need, asking: number): boolean => {
  let known = false
  for (const dimension of dimensions) {
    const level = levels[dimension]
    if (level === undefined) continue
    known = true
    if ((charge[dimension] + hold[dimension]) * (asking + 1) > level.free) return true
  }
  return !known || levels.pausedMillis > 0
}

export class Group {
  readonly buckets: BucketSet
  private limits: Limits
  /** Attempts that have what they asked for and are not settled, those whose slot has not begun included. */
  private taken = 0
  private readonly options: GroupOptions
  private readonly queue = new Queue<Waiting>()
  private window = firstWindow
  /** When headers last told of limits. */
  private learntAt: number | undefined
  /** The one that left the queue for a slot that is booked and has not begun. */
  private booked: Waiting | undefined
  /** How many wait for such a slot without ever having been in the queue. */
  private kept = 0
  /** How many ask without having been in the queue, and have no answer yet. */
  private asking = 0
  private pumping = false
  /** Something changed since the pump last asked. */
  private stirred = false
  private resume: (() => void) | undefined

  constructor(limits: Limits, options: GroupOptions) {
    this.limits = limits
    this.options = options
    this.buckets = options.buckets
  }

  /** Those whose slot is booked and has not begun. */
  private get ahead(): number {
    return this.kept + (this.booked === undefined ? 0 : 1)
  }

  get waiting(): number {
    return this.queue.size + this.ahead
  }

  /** Attempts that were admitted and are not settled. */
  get underway(): number {
    return this.taken - this.ahead
  }

  /** Whether another attempt may go out as far as the buckets do not know: before any limit is known, a few at a time. */
  private get isOpen(): boolean {
    return this.taken < this.window || this.limits.requestsPerMinute !== undefined ||
      this.limits.inputTokensPerMinute !== undefined || this.limits.outputTokensPerMinute !== undefined ||
      this.limits.tokensPerMinute !== undefined || this.isLearnt
  }

  /** Whether headers told of limits and those are not forgotten. */
  private get isLearnt(): boolean {
    return this.learntAt !== undefined && this.options.clock.currentTimeMillisUnsafe() - this.learntAt <= forgetMillis
  }

  /** Headers told of limits. */
  learnt(): void {
    const wasOpen = this.isOpen
    this.learntAt = this.options.clock.currentTimeMillisUnsafe()
    // When they are forgotten it begins anew.
    this.window = firstWindow
    if (!wasOpen) this.wake()
  }

  /** One that was admitted is settled; who waits may look again. */
  answered(succeeded: boolean, limited: boolean): void {
    this.taken--
    if (succeeded) this.window++
    if (limited) this.window = Math.max(1, Math.floor(this.window / 2))
    this.wake()
  }

  wake(): void {
    this.stirred = true
    this.resume?.()
  }

  /** Holds new limits from now on, for those who wait as well. Asking for nothing tells the store. */
  setLimits(limits: Limits): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.limits = limits
      return Effect.map(this.buckets.reserve(this.ask({ charge: zero, hold: zero }, 0)), () => this.wake())
    })
  }

  private ask({ charge, hold }: Need, withinMillis: number): Ask {
    return { limits: this.limits, charge, hold, withinMillis }
  }

  private giveBack({ charge, hold }: Need, ticket: Ticket): Effect.Effect<void> {
    return this.buckets.report({ ticket, charge: minus(charge), release: hold, observed: undefined, pause: undefined })
  }

  /** The longest wait for a slot that is worth booking. */
  private within(deadline: number | undefined): number {
    const { aheadMillis, clock } = this.options
    return deadline === undefined || aheadMillis === 0
      ? aheadMillis
      : Math.max(0, Math.min(aheadMillis, deadline - clock.currentTimeMillisUnsafe()))
  }

  /** Runs uninterruptibly, save where it waits. */
  admit<E>({ context: { deadline, priority } }: Attempt, need: Need, door: Door<E>): Effect.Effect<Settle, E> {
    if (this.waiting > 0 || !this.isOpen) return this.enqueue(priority, deadline, need, door)
    if (this.asking === 0) return this.askAtOnce(priority, deadline, need, door)
    // Those that come at once and will have to wait do so in the queue, in the order of their priorities, and are not all booked.
    return Effect.flatMap(this.buckets.levels, (levels) =>
      this.waiting > 0 || isCrowded(levels, need, this.asking)
        ? this.enqueue(priority, deadline, need, door)
        : this.askAtOnce(priority, deadline, need, door))
  }

  private askAtOnce<E>(
    priority: Waiting["priority"],
    deadline: number | undefined,
    need: Need,
    door: Door<E>
  ): Effect.Effect<Settle, E> {
    this.taken++
    this.asking++
    return Effect.flatMap(this.buckets.reserve(this.ask(need, this.within(deadline))), (slot) => {
      this.asking--
      if (slot.ticket === undefined) {
        this.taken--
        return this.enqueue(priority, deadline, need, door)
      }
      // A store elsewhere takes its time to answer.
      if (slot.waitMillis === 0) return door.admitted(slot.ticket, this.options.aheadMillis > 0)
      return Effect.flatMap(this.keep(need, slot.ticket, slot.waitMillis), (ticket) => door.admitted(ticket, true))
    })
  }

  /** Waits for a slot that is booked. */
  private keep(need: Need, ticket: Ticket, millis: number): Effect.Effect<Ticket> {
    this.kept++
    return Effect.interruptible(Effect.sleep(millis)).pipe(
      Effect.as(ticket),
      Effect.onExit((exit) => {
        this.kept--
        this.wake()
        if (Exit.isSuccess(exit)) return Effect.void
        this.taken--
        return this.giveBack(need, ticket)
      })
    )
  }

  private enqueue<E>(
    priority: Waiting["priority"],
    deadline: number | undefined,
    ask: Need,
    door: Door<E>
  ): Effect.Effect<Settle, E> {
    const inTurn = Effect.flatMap(this.buckets.levels, (levels): Effect.Effect<Ticket, Refused> => {
      const { clock, maxQueue, scope } = this.options
      const need = plus(ask.charge, ask.hold)
      if (isTooLarge(levels, this.options.burstMillis / levels.share, ask.charge)) {
        return Effect.fail({ reason: "tooLarge", waitMillis: undefined })
      }
      const waitMillis = this.expected(levels, priority, need)
      if (levels.closed) return Effect.fail({ reason: "closed", waitMillis })
      if (this.waiting >= maxQueue) return Effect.fail({ reason: "queueFull", waitMillis })
      const leftMillis = deadline === undefined ? undefined : deadline - clock.currentTimeMillisUnsafe()
      if (leftMillis !== undefined && waitMillis >= leftMillis) return Effect.fail({ reason: "deadline", waitMillis })
      const waiter: Waiting = { priority, need, ask, admitted: Deferred.makeUnsafe(), ticket: undefined }
      this.queue.add(waiter)
      if (this.queue.peek() === waiter) this.wake()
      const granted = Deferred.await(waiter.admitted)
      const inTime = leftMillis === undefined ? granted : Effect.timeoutOrElse(granted, {
        duration: leftMillis,
        orElse: () => Effect.fail<Refused>({ reason: "deadline", waitMillis })
      })
      const waited = Effect.onExit(
        Effect.interruptible(inTime),
        (exit) => Exit.isSuccess(exit) ? Effect.void : this.leave(waiter)
      )
      if (this.pumping) return waited
      this.pumping = true
      return Effect.andThen(Effect.forkIn(Effect.interruptible(this.pump()), scope), waited)
    })
    return Effect.matchEffect(inTurn, {
      onFailure: door.refused,
      onSuccess: (ticket) => door.admitted(ticket, true)
    })
  }

  /** The wait of one that comes now, as far as it can be known. */
  private expected(levels: Levels, priority: Waiting["priority"], need: Amounts): number {
    const { all, same, share } = this.queue.ahead(priority)
    const inTurn = waitAt(levels, plus(all, need), 1)
    const byShare = waitAt(levels, plus(same, need), share)
    return Math.max(levels.pausedMillis, Math.min(inTurn, byShare))
  }

  /** Gives up a place, or what was granted in the same instant. */
  private leave(waiter: Waiting): Effect.Effect<void> {
    return Effect.suspend(() => {
      const first = this.queue.peek() === waiter
      if (this.queue.remove(waiter)) {
        if (first) this.wake()
        return Effect.void
      }
      if (this.booked === waiter) {
        this.booked = undefined
        Deferred.doneUnsafe(waiter.admitted, Exit.interrupt())
      }
      const { ask, ticket } = waiter
      if (ticket === undefined) return Effect.void
      waiter.ticket = undefined
      this.taken--
      return Effect.andThen(this.giveBack(ask, ticket), Effect.sync(() => this.wake()))
    })
  }

  /** Sleeps for so long, or until something changed. */
  private pause(millis: number): Effect.Effect<void> {
    if (this.stirred) return Effect.void
    const woken = Effect.callback<void>((resume) => {
      this.resume = () => {
        this.resume = undefined
        resume(Effect.void)
      }
      return Effect.sync(() => {
        this.resume = undefined
      })
    })
    return millis === Infinity ? woken : Effect.asVoid(Effect.timeoutOption(woken, millis))
  }

  /** Serves the queue until it is empty. */
  private readonly pump = Effect.fnUntraced(function*(this: Group) {
    while (true) {
      const waiter = this.queue.peek()
      if (waiter === undefined) {
        this.pumping = false
        return
      }
      this.stirred = false
      yield* this.options.look
      if (!this.isOpen || this.kept > 0) {
        // The head of a stream that is under way may tell of limits.
        yield* this.pause(this.kept > 0 ? Infinity : tickMillis)
        continue
      }
      const slot = yield* this.buckets.reserve(this.ask(waiter.ask, this.options.aheadMillis))
      if (slot.ticket !== undefined) {
        yield* this.grant(waiter, slot.ticket, slot.waitMillis)
      } else if (slot.waitMillis === Infinity || slot.closed) {
        this.queue.remove(waiter)
        Deferred.doneUnsafe(waiter.admitted, Exit.fail(refusal(slot)))
      } else {
        yield* this.pause(this.taken > 0 ? Math.min(slot.waitMillis, tickMillis) : slot.waitMillis)
      }
    }
  })

  private readonly grant = Effect.fnUntraced(
    function*(this: Group, waiter: Waiting, ticket: Ticket, waitMillis: number) {
      const levels = yield* this.buckets.levels
      this.queue.served(waiter, minutesOf(levels, waiter.need))
      if (!this.queue.remove(waiter)) return yield* this.giveBack(waiter.ask, ticket)
      this.taken++
      waiter.ticket = ticket
      if (waitMillis > 0) {
        this.booked = waiter
        // It may leave meanwhile. The time is not read: a clock that is set back must not prolong the wait.
        yield* Effect.raceFirst(Effect.sleep(waitMillis), Effect.exit(Deferred.await(waiter.admitted)))
        if (this.booked !== waiter) return
        this.booked = undefined
      }
      Deferred.doneUnsafe(waiter.admitted, Exit.succeed(ticket))
    }
  )
}

const refusal = ({ closed, waitMillis }: Slot): Refused => ({
  reason: closed ? "closed" : "tooLarge",
  waitMillis: closed ? waitMillis : undefined
})

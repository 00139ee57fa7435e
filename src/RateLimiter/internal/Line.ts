/** The callers that wait for room in one group. While somebody waits a fiber asks for the first of the queue; nothing runs otherwise. */
import type * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import { type Amounts, dimensions, minus, plus, zero } from "./Amounts.ts"
import type { BucketSet, Levels, Need } from "./BucketSet.ts"
import type { Waiter } from "./Lane.ts"
import { Queue } from "./Queue.ts"
import { capacityOf, estimateSlack, minute } from "./State.ts"
import type { Ticket } from "./Store.ts"

/** Why an attempt is not admitted, and how long it would have to wait. */
export type Refused =
  | { readonly _tag: "Deadline" | "QueueFull" | "Closed" | "Paused"; readonly waitMillis: number }
  | { readonly _tag: "TooLarge"; readonly limit: number }

/** What one that waited has: its place, and whom to tell what it used in the end. */
export interface Turn {
  readonly ticket: Ticket
  readonly used: (amounts: Amounts) => void
}

interface Waiting extends Waiter {
  readonly each: Need
  readonly deadline: number | undefined
  readonly admitted: Deferred.Deferred<Turn, Refused>
  turn: Turn | undefined
}

/** What serves the first of the queue. */
type Server =
  /** Nobody waits. */
  | { readonly _tag: "Idle" }
  /** It asks for room. `isStale`: something changed since it began. */
  | { readonly _tag: "Asking"; isStale: boolean }
  /** It sleeps until there may be room, or something changes. */
  | { readonly _tag: "Sleeping"; readonly wake: () => void }
  /** It waits with the caller, who left the queue for a reservation that begins later. */
  | { readonly _tag: "Booked"; readonly waiter: Waiting }

/** The group whose callers wait here. */
export interface Served {
  readonly buckets: BucketSet
  readonly clock: Clock.Clock
  readonly scope: Scope.Scope
  readonly maxQueue: number
  /** The longest pause that is waited for. */
  readonly maxPauseMillis: number
  /** Whether another attempt may go out, as far as the buckets do not know. */
  readonly isOpen: boolean
  /** How long that takes at most for one behind so many. */
  readonly opensIn: (behind: number) => number
  /** How many wait for a reservation that begins later, without having been in the queue. */
  readonly early: number
  /** Attempts that have what they asked for and are not settled. */
  admitted: number
  /** Looks at the attempts in flight: what they used so far is taken as it arrives. */
  readonly look: () => Effect.Effect<void>
  readonly reserve: (need: Need, leftMillis: number) => ReturnType<BucketSet["reserve"]>
}

/** While somebody waits, the attempts in flight are looked at this often, and the buckets asked. */
const tickMillis = 250

/** They are asked this often where nothing is in flight: who does not ask loses what was saved up. */
const askMillis = 1_000

const idle: Server = { _tag: "Idle" }

export class Line {
  private readonly group: Served
  private readonly queue = new Queue<Waiting>()
  private server: Server = idle
  /** The end of the last pause for which those were refused who cannot wait for it. */
  private pausedUntil = 0

  constructor(group: Served) {
    this.group = group
  }

  /** How many wait, the one whose reservation has not begun included. */
  get size(): number {
    return this.queue.size + this.booked
  }

  /** 1 while one has a reservation that has not begun, else 0. */
  get booked(): number {
    return this.server._tag === "Booked" ? 1 : 0
  }

  /** Something changed: there may be room for the first. */
  wake(): void {
    if (this.server._tag === "Asking") this.server.isStale = true
    else if (this.server._tag === "Sleeping") this.server.wake()
  }

  /**
   * Waits in turn. Uninterruptible, except for the wait. One that only tries for a while is not refused because the limits are not known yet: how long
   * that takes at most says little about how long it will.
   */
  wait(who: Pick<Waiter, "priority" | "flow" | "weight">, deadline: number | undefined, need: Need, isTry: boolean) {
    return Effect.flatMap(this.group.buckets.levels, (levels): Effect.Effect<Turn, Refused> => {
      const { clock, early, maxPauseMillis, maxQueue, scope } = this.group
      const { size = need.usage.inputTokens } = need
      if (size > estimateSlack * maxInput(levels)) return Effect.fail(tooLarge(levels))
      const waiter: Waiting = {
        ...who,
        need: plus(need.usage, need.reserve),
        each: { ...need, waits: true },
        deadline,
        admitted: Deferred.makeUnsafe(),
        turn: undefined
      }
      const inTurnMillis = this.expected(levels, waiter)
      const waitMillis = Math.max(inTurnMillis, this.group.opensIn(this.queue.size))
      if (levels.closed) return Effect.fail({ _tag: "Closed", waitMillis })
      if (levels.pausedMillis > maxPauseMillis) return Effect.fail({ _tag: "Paused", waitMillis })
      const leftMillis = deadline === undefined ? undefined : deadline - clock.currentTimeMillisUnsafe()
      const late: Refused = { _tag: "Deadline", waitMillis }
      if (leftMillis !== undefined && (isTry ? inTurnMillis : waitMillis) >= leftMillis) return Effect.fail(late)
      if (this.size + early >= maxQueue && !this.makeRoom(levels, waiter)) {
        return Effect.fail({ _tag: "QueueFull", waitMillis })
      }
      this.queue.add(waiter)
      if (this.queue.isHead(waiter)) this.wake()
      const granted = Deferred.await(waiter.admitted)
      const inTime = leftMillis === undefined
        ? granted
        : Effect.timeoutOrElse(granted, { duration: leftMillis, orElse: () => Effect.fail(late) })
      const waited = Effect.onExit(
        Effect.interruptible(inTime),
        (exit) => Exit.isSuccess(exit) ? Effect.void : this.leave(waiter)
      )
      if (this.server !== idle) return waited
      this.server = { _tag: "Asking", isStale: false }
      return Effect.andThen(Effect.forkIn(Effect.interruptible(this.serve()), scope), waited)
    })
  }

  /** How long one that comes now will wait by the limits that are known. */
  private expected(levels: Levels, waiter: Waiter): number {
    const { all, own, ownShare, same, share } = this.queue.ahead(waiter)
    const inTurn = waitAt(levels, plus(all, waiter.need), 1)
    const byShare = waitAt(levels, plus(same, waiter.need), share)
    const byOwnShare = waitAt(levels, plus(own, waiter.need), ownShare)
    return Math.max(levels.pausedMillis, Math.min(inTurn, byShare, byOwnShare))
  }

  /** Whether somebody left a full queue for one that comes. */
  private makeRoom(levels: Levels, waiter: Waiting): boolean {
    const displaced = this.queue.displaced(waiter)
    if (displaced === undefined) return false
    this.queue.remove(displaced)
    this.refuse(displaced, { _tag: "QueueFull", waitMillis: this.expected(levels, displaced) })
    return true
  }

  private refuse(waiter: Waiting, refused: Refused): void {
    this.queue.remove(waiter)
    Deferred.doneUnsafe(waiter.admitted, Exit.fail(refused))
  }

  /** Refuses those who cannot wait for the end of a pause. */
  private pause({ pausedMillis }: Levels): void {
    const now = this.group.clock.currentTimeMillisUnsafe()
    const until = now + pausedMillis
    if (pausedMillis === 0 || until <= this.pausedUntil) return
    this.pausedUntil = until
    const isTooLong = pausedMillis > this.group.maxPauseMillis
    for (const waiter of this.queue.waiters) {
      const isLate = waiter.deadline !== undefined && waiter.deadline <= until
      if (isTooLong || isLate) this.refuse(waiter, { _tag: isLate ? "Deadline" : "Paused", waitMillis: pausedMillis })
    }
  }

  /** Gives up a place, or what was granted in the same instant. */
  private leave(waiter: Waiting): Effect.Effect<void> {
    return Effect.suspend(() => {
      const isFirst = this.queue.isHead(waiter)
      if (this.queue.remove(waiter)) {
        if (isFirst) this.wake()
        return Effect.void
      }
      if (this.server._tag === "Booked" && this.server.waiter === waiter) {
        this.server = { _tag: "Asking", isStale: false }
        Deferred.doneUnsafe(waiter.admitted, Exit.interrupt())
      }
      const { each, turn } = waiter
      if (turn === undefined) return Effect.void
      waiter.turn = undefined
      this.group.admitted--
      turn.used(zero)
      return Effect.andThen(giveBack(this.group.buckets, each, turn.ticket), Effect.sync(() => this.wake()))
    })
  }

  /** Sleeps for so long, or until something changes. */
  private sleep(millis: number): Effect.Effect<void> {
    if (this.server._tag === "Asking" && this.server.isStale) return Effect.void
    const woken = Effect.callback<void>((resume) => {
      const wake = () => {
        this.server = { _tag: "Asking", isStale: true }
        resume(Effect.void)
      }
      this.server = { _tag: "Sleeping", wake }
    })
    return millis === Infinity ? woken : Effect.asVoid(Effect.timeoutOption(woken, millis))
  }

  /** Serves the queue until it is empty. */
  private readonly serve = Effect.fnUntraced(function*(this: Line) {
    const { group } = this
    while (true) {
      const { heads } = this.queue
      if (heads.length === 0) {
        this.server = idle
        return
      }
      this.server = { _tag: "Asking", isStale: false }
      yield* group.look()
      if (!group.isOpen || group.early > 0) {
        // The head of a stream in flight may report limits.
        yield* this.sleep(group.early > 0 ? Infinity : tickMillis)
        continue
      }
      // Where the first has no room, those of other classes may, beside what is kept for it.
      let waitMillis = group.admitted > 0 ? tickMillis : askMillis
      for (const waiter of heads) {
        const wait = this.queue.isHead(waiter) ? yield* this.ask(waiter) : 0
        waitMillis = Math.min(waitMillis, wait)
        if (wait === 0) break
      }
      if (waitMillis > 0) yield* this.sleep(waitMillis)
    }
  })

  /** Asks for the first of a class: how long it has to wait, 0 where it is answered. */
  private readonly ask = Effect.fnUntraced(function*(this: Line, waiter: Waiting) {
    const { group } = this
    const { reservation } = yield* group.reserve(waiter.each, Infinity)
    if (reservation._tag === "Granted") {
      yield* this.grant(waiter, reservation.ticket, reservation.waitMillis)
      return 0
    }
    const levels = yield* group.buckets.levels
    if (reservation._tag === "TooLarge" || reservation.closed) {
      this.refuse(waiter, reservation._tag === "Full" ? { ...reservation, _tag: "Closed" } : tooLarge(levels))
      return 0
    }
    this.pause(levels)
    return Math.max(1, reservation.waitMillis)
  })

  private readonly grant = Effect.fnUntraced(
    function*(this: Line, waiter: Waiting, ticket: Ticket, waitMillis: number) {
      const { group, queue } = this
      const levels = yield* group.buckets.levels
      const counted = queue.served(waiter, minutesOf(levels, waiter.need))
      if (!queue.remove(waiter)) return yield* giveBack(group.buckets, waiter.each, ticket)
      group.admitted++
      const turn: Turn = { ticket, used: (amounts) => counted(minutesOf(levels, amounts)) }
      waiter.turn = turn
      if (waitMillis > 0) {
        const booked: Server = { _tag: "Booked", waiter }
        this.server = booked
        // It may leave meanwhile. The time is not read: a clock that is set back must not prolong the wait.
        yield* Effect.raceFirst(Effect.sleep(waitMillis), Effect.exit(Deferred.await(waiter.admitted)))
        if (this.server !== booked) return
        this.server = { _tag: "Asking", isStale: false }
      }
      Deferred.doneUnsafe(waiter.admitted, Exit.succeed(turn))
    }
  )
}

export const giveBack = (
  buckets: BucketSet,
  { reserve, usage }: Pick<Need, "reserve" | "usage">,
  ticket: Ticket
): Effect.Effect<unknown> =>
  buckets.report({ ticket, usage: minus(zero, usage), release: reserve, observed: undefined, pause: undefined })

/** The most input that there is ever room for at once. */
const maxInput = ({ burstMillis, inputTokens, share, tokens }: Levels): number =>
  capacityOf(Math.min(inputTokens?.perMinute ?? Infinity, tokens?.perMinute ?? Infinity) / share, burstMillis)

const tooLarge = (levels: Levels): Refused => ({ _tag: "TooLarge", limit: Math.floor(maxInput(levels)) })

/** When there is room for `need`, in milliseconds from now, if a part `share` of the refill goes to it. */
const waitAt = (levels: Levels, need: Amounts, share: number): number => {
  let wait = 0
  for (const dimension of dimensions) {
    const level = levels[dimension]
    if (level === undefined || need[dimension] === 0) continue
    wait = Math.max(wait, (need[dimension] - level.free) * minute / (level.perMinute * share))
  }
  return Math.ceil(wait)
}

/** How many minutes of refill a need takes, in the dimension that is the scarcest for it. */
const minutesOf = (levels: Levels, need: Amounts): number => {
  let minutes = 0
  for (const dimension of dimensions) {
    const level = levels[dimension]
    if (level !== undefined) minutes = Math.max(minutes, need[dimension] / level.perMinute)
  }
  return minutes
}

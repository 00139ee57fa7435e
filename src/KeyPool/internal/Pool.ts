/** Which key an attempt gets, and what its end says about the key. Every change is one synchronous step. */
import * as Arr from "effect/Array"
import type * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { type Attempt, waited } from "../../Attempt.ts"
import { type ApiError, NoUsableKeyError, type RateLimitedLocallyError, type Refusal } from "../../ClaudeError.ts"
import { type Backoff, everything, isConfirmed, Member } from "./Member.ts"
import { maxNewsMillis, type News } from "./news.ts"
import { reasonOf } from "./reasons.ts"
import { Registry } from "./Registry.ts"
import { Signal } from "./signal.ts"
import { make as makeStrategy, type StrategyName } from "./strategies.ts"
import type { Candidates, Environment, Strategy } from "./strategy.ts"
import type { MoveReason } from "./telemetry.ts"
import { type Tried, triedBy } from "./tried.ts"
import { scopeOf, subjectOf, type Verdict, verdictOf } from "./verdict.ts"

export interface Settings extends Environment {
  readonly clock: Clock.Clock
  readonly strategy: StrategyName | undefined
  readonly maxRetryAfterMillis: number
  readonly maxQueue: number
  readonly checkMillis: number
  readonly maxCheckMillis: number
  /** Counts a move. */
  readonly moved: (reason: MoveReason) => void
}

/** When the first key that is cooling down may be used again; `Infinity` where none is. */
interface Later {
  readonly until: number
}

/** What a search for a key has found. */
interface Found {
  /** Keys that may be used now. */
  readonly free: ReadonlyArray<Member>
  /** The same, where an attempt would have to wait for the limiter. */
  readonly busy: ReadonlyArray<Member>
  /** Keys of which one rejection is known: better than none. */
  readonly doubtful: ReadonlyArray<Member>
  /** When the first of those that cool down may be used. */
  readonly until: number
}

/** For how long a call waits for the limits of a group before it looks at others again. */
const patienceMillis = 1_000

/** Waits that differ by less count as equal. */
const equalMillis = 250

/** Those whose groups have room soonest, or not much later. */
const soonest = (busy: ReadonlyArray<Member>, scope: string, now: number): ReadonlyArray<Member> => {
  const waitOf = ({ group }: Member) => Math.max(0, (group.roomAt(scope, now) ?? now) - now)
  const longest = 1.5 * Math.min(...busy.map(waitOf)) + equalMillis
  return busy.filter((member) => waitOf(member) <= longest)
}

export class Pool {
  readonly registry = new Registry(() => this.keysChanged())
  /** Given with every change. */
  readonly changes = new Signal()
  /** Given with changes that let a key be used. */
  private readonly openings = new Signal()
  /** The keys that take part. */
  private open: ReadonlyArray<Member> = []
  /** The same while all are of one group and nothing else keeps any of them from being used. */
  private untroubled: Candidates | undefined
  /** The only one of them, then. */
  only: Member | undefined
  private strategyName: StrategyName = "weighted"
  private strategy: Strategy
  private waiting = 0
  /** Of a store that can change. */
  news: News | undefined
  readonly settings: Settings

  constructor(settings: Settings) {
    this.settings = settings
    this.strategy = makeStrategy(this.strategyName, settings)
  }

  private get now(): number {
    return this.settings.clock.currentTimeMillisUnsafe()
  }

  /** A key for an attempt. Runs uninterruptibly, except where it waits. */
  take(attempt: Attempt): Effect.Effect<Member, NoUsableKeyError> {
    const { now } = this
    const isFree = !attempt.moves && attempt.context.keyGroup === undefined
    const chosen = isFree && this.untroubled !== undefined
      ? this.pick(attempt, this.untroubled, now)
      : this.choose(attempt, now)
    return chosen instanceof Member ? Effect.succeed(chosen) : this.wait(attempt, chosen, now, now)
  }

  private pick(attempt: Attempt, candidates: Candidates, now: number): Member {
    return this.strategy.pick(attempt, candidates, now) as Member // it gives one of those it gets
  }

  /** A key that may be used now, or when there is one. */
  private choose(attempt: Attempt, now: number): Member | Later {
    const moves = attempt.moves ?? 0
    const tried = triedBy(attempt.previous, moves - 1)
    const { busy, doubtful, free, until } = this.search(attempt, tried, now)
    const others = attempt.otherThan === undefined ? [] : free.filter(({ key }) => key.group !== attempt.otherThan)
    const all = [others, free, soonest(busy, scopeOf(attempt), now), doubtful].find(Arr.isReadonlyArrayNonEmpty)
    if (all === undefined) return { until }
    const member = this.pick(attempt, all, now)
    attempt.patience = this.patience(member, [...free, ...busy], free.includes(member), tried, moves)
    return member
  }

  /** How long an attempt may wait for the limits of a group: not at all where another may have room, else for a while, but only once. */
  private patience(
    { group }: Member,
    others: ReadonlyArray<Member>,
    isFree: boolean,
    { hasWaited }: Tried,
    moves: number
  ): number | undefined {
    const isAlone = others.every((other) => other.group === group)
    // Each key and each group can fail the call once.
    if (isAlone || hasWaited || moves >= this.open.length + this.registry.groups.size) return undefined
    return isFree ? 0 : patienceMillis
  }

  private search(attempt: Attempt, tried: Tried, now: number): Found {
    const { keyGroup } = attempt.context
    const scope = scopeOf(attempt)
    const subject = subjectOf(attempt)
    const free: Array<Member> = []
    const busy: Array<Member> = []
    const doubtful: Array<Member> = []
    let until = Infinity
    for (const member of this.open) {
      const { group, key } = member
      if (keyGroup !== undefined && key.group !== keyGroup) continue
      if (tried.keys.has(key) || tried.groups.has(key.group)) continue
      const quarantine = member.quarantinedFor(subject)
      if (quarantine !== undefined && isConfirmed(quarantine)) continue
      const cooling = group.coolingFor(scope, now)
      if (cooling !== undefined) until = Math.min(until, cooling.until)
      else if (quarantine !== undefined) doubtful.push(member)
      else if (group.roomAt(scope, now) !== undefined) busy.push(member)
      else free.push(member)
    }
    return { free, busy, doubtful, until }
  }

  /** Waits until a key has cooled down, or another comes, perhaps with what the store is about to say; `began` is when it began to wait. */
  private wait(
    attempt: Attempt,
    { until }: Later,
    began: number,
    now: number
  ): Effect.Effect<Member, NoUsableKeyError> {
    const { maxQueue, maxRetryAfterMillis } = this.settings
    const deadline = Math.min(attempt.context.deadline ?? Infinity, attempt.waitUntil ?? Infinity)
    const isNewsDue = until === Infinity && this.news?.isReading === true
    const end = isNewsDue ? Math.min(deadline, began + maxNewsMillis) : until
    const mayWait = isNewsDue ? now < end : until < deadline && until - began <= maxRetryAfterMillis
    if (!mayWait || this.waiting >= maxQueue) return Effect.fail(this.refusal(attempt, until, now))
    const { version } = this.openings
    this.waiting++
    return Effect.interruptible(this.openings.await(version, end - now)).pipe(
      Effect.onExit(() => {
        this.waiting--
        waited(attempt, "key", this.now - now)
        return Effect.void
      }),
      Effect.flatMap(() => {
        const { now } = this
        const chosen = this.choose(attempt, now)
        return chosen instanceof Member ? Effect.succeed(chosen) : this.wait(attempt, chosen, began, now)
      })
    )
  }

  private refusal(attempt: Attempt, until: number, now: number): NoUsableKeyError {
    const reasons = [...this.registry.members.values()].map((member) =>
      [member.key.label, reasonOf(member, attempt, now)] as const
    )
    return new NoUsableKeyError({
      reasons: Object.fromEntries(reasons),
      retryAfter: until === Infinity ? undefined : Duration.millis(until - now),
      attempts: attempt.number - 1
    })
  }

  /**
   * Whether an attempt that failed is followed by another one at once, with another key: where its key or its group is at fault, or the limiter
   * or a budget of the key had no room for it. Where the others cool down, the next attempt waits: after a limit only if that is shorter than to wait for the same group.
   */
  mayMove(attempt: Attempt, error: ApiError | Refusal): boolean {
    const reason = this.reasonToMove(attempt, error)
    if (reason !== undefined) this.settings.moved(reason)
    return reason !== undefined
  }

  private reasonToMove(attempt: Attempt, error: ApiError | Refusal): MoveReason | undefined {
    const { now } = this
    const verdict = verdictOf(attempt)
    if (error._tag === "RateLimitedLocallyError") return this.hasRoomElsewhere(attempt, error, now) ? "busy" : undefined
    if (error._tag === "BudgetExceededError") {
      attempt.isUnaffordable = error.isOfKey
      return error.isOfKey === true && this.hasOther(attempt, now) ? "budget" : undefined
    }
    if (verdict === undefined) return undefined
    const { busy, doubtful, free, until } = this.search(attempt, triedBy(attempt, attempt.moves ?? 0), now)
    if (free.length + busy.length + doubtful.length === 0 && !this.isWorthWaiting(attempt, verdict, until, now)) {
      return undefined
    }
    return verdict._tag === "Limit" ? "limit" : verdict.reason
  }

  /** Whether the store has perhaps replaced the key that an attempt was rejected with. */
  isMaybeReplaced(attempt: Attempt): boolean {
    const member = this.registry.members.get(attempt.key?.label ?? "")
    return verdictOf(attempt)?.reason === "authentication" && member?.isStored === true && member.key === attempt.key
  }

  private hasRoomElsewhere(attempt: Attempt, { retryAfter }: RateLimitedLocallyError, now: number): boolean {
    if (attempt.patience !== undefined) {
      const wait = retryAfter === undefined ? 0 : Duration.toMillis(retryAfter)
      this.registry.groups.get(attempt.key?.group ?? "")?.setBusy(scopeOf(attempt), now + wait, now)
      return true
    }
    return this.registry.groups.size > 1 && this.hasOther(attempt, now)
  }

  /** Whether a key that the call has not tried may be used now. */
  private hasOther(attempt: Attempt, now: number): boolean {
    const { busy, free } = this.search(attempt, triedBy(attempt, attempt.moves ?? 0), now)
    return free.length + busy.length > 0
  }

  private isWorthWaiting({ context }: Attempt, verdict: Verdict, until: number, now: number): boolean {
    if (verdict._tag !== "Limit") return until < Infinity
    const { deadline = Infinity } = context
    return until < deadline && until - now < Math.min(verdict.millis, this.settings.maxRetryAfterMillis)
  }

  /** An attempt has given its key back. */
  settled(attempt: Attempt, member: Member): void {
    if (member.inFlight === 0 && member.idle !== undefined) {
      Deferred.doneUnsafe(member.idle, Effect.void)
      member.idle = undefined
    }
    const { outcome } = attempt
    const { now } = this
    this.strategy.settled?.(attempt, member, now)
    if (outcome._tag === "Failed") this.judge(attempt, member, now)
    else if (outcome._tag === "Completed" && member.quarantines.size > 0) {
      member.succeeded(subjectOf(attempt), attempt.sentAt ?? 0)
      if (member.quarantines.size === 0) this.opened()
    }
  }

  private judge(attempt: Attempt, member: Member, now: number): void {
    const verdict = verdictOf(attempt)
    if (verdict === undefined) return
    switch (verdict._tag) {
      case "Key":
      case "Model": {
        const subject = verdict._tag === "Key" ? everything : subjectOf(attempt)
        member.rejected(subject, verdict.reason, attempt.sentAt ?? now, now, this.backoff)
        return this.changed()
      }
      case "Limit":
      case "Spend": {
        // In a pool of one group there is nowhere to go: the limiter paces its calls.
        if (this.registry.groups.size < 2) return
        const scope = verdict._tag === "Spend" ? everything : scopeOf(attempt)
        member.group.cool({ scope, from: now, until: now + verdict.millis, reason: verdict.reason })
        return this.changed()
      }
    }
  }

  /** The first check follows at once; the waits before others double. */
  readonly backoff: Backoff = (checks, now) => {
    const { checkMillis, maxCheckMillis } = this.settings
    return checks === 0 ? now : now + Math.min(maxCheckMillis, checkMillis * 2 ** (checks - 1))
  }

  /** Checks a quarantined key as soon as no other is being checked. */
  recheck(label: string): boolean {
    const member = this.registry.members.get(label)
    if (member === undefined) return false
    member.checkNow(this.now)
    this.changed()
    return true
  }

  /** Forgets cooldowns that have ended. */
  expire(now: number): void {
    let any = false
    for (const group of this.registry.groups.values()) any = group.expire(now) || any
    if (any) this.opened()
  }

  private keysChanged(): void {
    const { groups, members } = this.registry
    this.open = [...members.values()].filter((member) => member.isOpen)
    const name = this.settings.strategy ?? (groups.size > 1 ? "prefixAffinity" : "weighted")
    if (name !== this.strategyName) {
      this.strategyName = name
      this.strategy = makeStrategy(name, this.settings)
    }
    this.strategy.changed?.([...members.values()])
    this.opened()
  }

  /** Something has changed for the better: calls that wait look again. */
  opened(): void {
    this.changed()
    this.openings.give()
  }

  changed(): void {
    const { groups } = this.registry
    const isSound = this.open.every(({ quarantines }) => quarantines.size === 0)
    const isTroubled = groups.size > 1 || !isSound || [...groups.values()].some(({ cooldowns }) => cooldowns.size > 0)
    this.untroubled = !isTroubled && Arr.isReadonlyArrayNonEmpty(this.open) ? this.open : undefined
    this.only = this.untroubled?.length === 1 ? this.open[0] : undefined
    this.changes.give()
  }
}

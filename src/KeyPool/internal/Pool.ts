/** The keys of a pool, which of them an attempt gets, and what becomes of them. Every change is one synchronous step. */
import * as Arr from "effect/Array"
import type * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import type { Attempt, Key } from "../../Attempt.ts"
import { NoUsableKeyError } from "../../ClaudeError.ts"
import { type Backoff, everything, Group, isConfirmed, Member, type Quarantine } from "./Member.ts"
import { reasonOf } from "./reasons.ts"
import { make as makeStrategy, type StrategyName } from "./strategies.ts"
import type { Candidates, Environment, Strategy } from "./strategy.ts"
import { scopeOf, subjectOf, verdictOf } from "./verdict.ts"

export interface Settings extends Environment {
  readonly clock: Clock.Clock
  readonly strategy: StrategyName | undefined
  readonly maxRetryAfterMillis: number
  readonly maxQueue: number
  readonly checkMillis: number
  readonly maxCheckMillis: number
}

/** When the first key that is cooling down may be used again; `Infinity` where none is. */
interface Later {
  readonly until: number
}

export class Pool {
  /** Every key, by label. */
  readonly members = new Map<string, Member>()
  /** Those that take part. */
  private open: ReadonlyArray<Member> = []
  /** The same while nothing else keeps any of them from being used. */
  private untroubled: Candidates | undefined
  /** The only one of them, then. */
  only: Member | undefined
  private groups = new Map<string, Group>()
  private strategy: Strategy
  private strategyName: StrategyName = "weighted"
  private waiting = 0
  /** Counts changes; `news` is done with the next. */
  version = 0
  private news: Deferred.Deferred<void> | undefined
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
    const { now, untroubled } = this
    const isFree = untroubled !== undefined && !attempt.moves && attempt.context.keyGroup === undefined
    const chosen = isFree ? this.pick(attempt, untroubled, now) : this.choose(attempt, now)
    return chosen instanceof Member ? Effect.succeed(chosen) : this.wait(attempt, chosen, now, now)
  }

  private pick(attempt: Attempt, candidates: Candidates, now: number): Member {
    return this.strategy.pick(attempt, candidates, now) as Member // it gives one of those it gets
  }

  /** An attempt has given its key back. */
  settled(attempt: Attempt, member: Member): void {
    if (member.inFlight === 0 && member.idle !== undefined) {
      Deferred.doneUnsafe(member.idle, Effect.void)
      member.idle = undefined
    }
    const { outcome } = attempt
    this.strategy.settled?.(attempt, member, this.now)
    if (outcome._tag === "Failed") this.judge(attempt, member)
    else if (outcome._tag === "Completed" && member.quarantines.size > 0) {
      member.succeeded(subjectOf(attempt), attempt.sentAt ?? 0)
      if (member.quarantines.size === 0) this.changed()
    }
  }

  private judge(attempt: Attempt, member: Member): void {
    const verdict = verdictOf(attempt)
    if (verdict === undefined) return
    const { now } = this
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
        if (this.groups.size < 2) return
        const scope = verdict._tag === "Spend" ? everything : scopeOf(attempt)
        member.group.cool({ scope, until: now + verdict.millis, reason: verdict.reason })
        return this.changed()
      }
    }
  }

  /** The first check follows at once; the waits before others double. */
  readonly backoff: Backoff = (checks, now) => {
    const { checkMillis, maxCheckMillis } = this.settings
    return checks === 0 ? now : now + Math.min(maxCheckMillis, checkMillis * 2 ** (checks - 1))
  }

  /** A key that may be used now, or when there is one. */
  private choose(attempt: Attempt, now: number): Member | Later {
    const sound: Array<Member> = []
    const doubtful: Array<Member> = []
    let until = Infinity
    const scope = scopeOf(attempt)
    const subject = subjectOf(attempt)
    for (const member of this.eligible(attempt, triedBy(attempt.previous, (attempt.moves ?? 0) - 1))) {
      const cooling = member.group.coolingFor(scope, now)
      if (cooling !== undefined) until = Math.min(until, cooling.until)
      else if (member.quarantinedFor(subject) === undefined) sound.push(member)
      else doubtful.push(member)
    }
    if (Arr.isArrayNonEmpty(sound)) return this.pick(attempt, sound, now)
    return Arr.isArrayNonEmpty(doubtful) ? this.pick(attempt, doubtful, now) : { until }
  }

  /** The keys that an attempt might use, now or once they have cooled down. */
  private eligible(attempt: Attempt, { groups, keys }: Tried): ReadonlyArray<Member> {
    const { keyGroup } = attempt.context
    const subject = subjectOf(attempt)
    return this.open.filter((member) => {
      const isOpen = (keyGroup === undefined || member.key.group === keyGroup) && !keys.has(member.key) &&
        !groups.has(member.key.group)
      const quarantine = isOpen ? member.quarantinedFor(subject) : undefined
      return isOpen && (quarantine === undefined || !isConfirmed(quarantine))
    })
  }

  /** Waits until a key has cooled down, or another comes; `began` is when it began to wait. */
  private wait(
    attempt: Attempt,
    { until }: Later,
    began: number,
    now: number
  ): Effect.Effect<Member, NoUsableKeyError> {
    const { maxQueue, maxRetryAfterMillis } = this.settings
    const mayWait = until < (attempt.context.deadline ?? Infinity) && until - began <= maxRetryAfterMillis
    if (!mayWait || this.waiting >= maxQueue) return Effect.fail(this.refusal(attempt, until, now))
    return Effect.suspend(() => {
      this.waiting++
      return Effect.interruptible(this.awaitNews(this.version, until - now))
    }).pipe(
      Effect.ensuring(Effect.sync(() => {
        this.waiting--
      })),
      Effect.flatMap(() => {
        const { now } = this
        const chosen = this.choose(attempt, now)
        return chosen instanceof Member ? Effect.succeed(chosen) : this.wait(attempt, chosen, began, now)
      })
    )
  }

  private refusal(attempt: Attempt, until: number, now: number): NoUsableKeyError {
    const reasons = [...this.members.values()].map((member) =>
      [member.key.label, reasonOf(member, attempt, now)] as const
    )
    return new NoUsableKeyError({
      reasons: Object.fromEntries(reasons),
      retryAfter: until === Infinity ? undefined : Duration.millis(until - now),
      attempts: attempt.number - 1
    })
  }

  /**
   * Whether an attempt that failed is made again at once, with another key. It waits for a key that cools down where there is no better
   * one, and for a limit only where that ends earlier than the one it met.
   */
  mayMove(attempt: Attempt): boolean {
    const verdict = verdictOf(attempt)
    if (verdict === undefined) return false
    const { now } = this
    const { deadline = Infinity } = attempt.context
    const scope = scopeOf(attempt)
    const longest = verdict._tag === "Limit" ? Math.min(verdict.millis, this.settings.maxRetryAfterMillis) : Infinity
    return this.eligible(attempt, triedBy(attempt, attempt.moves ?? 0)).some(({ group }) => {
      const cooling = group.coolingFor(scope, now)
      return cooling === undefined || verdict._tag !== "Limit" ||
        (cooling.until < now + longest && cooling.until < deadline)
    })
  }

  /** Puts in what is new, takes out what is gone; keys that stay the same keep what is known about them. */
  replace(keys: ReadonlyArray<Key>): void {
    const labels = new Set(keys.map(({ label }) => label))
    for (const { isStored, key } of this.members.values()) {
      if (isStored && !labels.has(key.label)) this.drop(key.label)
    }
    for (const key of keys) this.put(key, true)
    this.keysChanged()
  }

  add(key: Key): void {
    this.put(key, false)
    this.keysChanged()
  }

  private put(key: Key, isStored: boolean): void {
    const before = this.members.get(key.label)
    const isSame = before !== undefined && before.key.group === key.group && Equal.equals(before.key.secret, key.secret)
    if (isSame) {
      before.weight = key.weight ?? 1
      before.isDraining = false
      return
    }
    if (before !== undefined) before.isRemoved = true
    const group = this.groups.get(key.group) ?? new Group(key.group)
    this.groups.set(key.group, group)
    this.members.set(key.label, new Member(key, group, isStored))
  }

  private drop(label: string): boolean {
    const member = this.members.get(label)
    if (member !== undefined) member.isRemoved = true
    return this.members.delete(label)
  }

  remove(label: string): boolean {
    const found = this.drop(label)
    this.keysChanged()
    return found
  }

  setWeight(label: string, weight: number): boolean {
    const member = this.members.get(label)
    if (member === undefined) return false
    member.weight = weight
    this.keysChanged()
    return true
  }

  /** Gives it to no new attempts, and waits until none uses it. */
  drain(label: string): Effect.Effect<boolean> {
    return Effect.suspend(() => {
      const member = this.members.get(label)
      if (member === undefined) return Effect.succeed(false)
      member.isDraining = true
      this.keysChanged()
      if (member.inFlight === 0) return Effect.succeed(true)
      return Effect.as(Deferred.await(member.idle ??= Deferred.makeUnsafe()), true)
    })
  }

  /** Checks a quarantined key as soon as no other is being checked. */
  recheck(label: string): boolean {
    const member = this.members.get(label)
    if (member === undefined) return false
    member.checkNow(this.now)
    this.changed()
    return true
  }

  /** After the keys, or their weights, were changed. */
  private keysChanged(): void {
    const members = [...this.members.values()]
    this.groups = new Map(members.map(({ group }) => [group.name, group]))
    this.open = members.filter((member) => member.isOpen)
    const name = this.settings.strategy ?? (this.groups.size > 1 ? "prefixAffinity" : "weighted")
    if (name !== this.strategyName) {
      this.strategyName = name
      this.strategy = makeStrategy(name, this.settings)
    }
    this.strategy.changed?.(members)
    this.changed()
  }

  /** After any change: tells everybody who waits. */
  changed(): void {
    const members = [...this.members.values()]
    const isTroubled = members.some(({ group, quarantines }) => quarantines.size > 0 || group.cooldowns.size > 0)
    this.untroubled = !isTroubled && Arr.isReadonlyArrayNonEmpty(this.open) ? this.open : undefined
    this.only = this.untroubled?.length === 1 ? this.open[0] : undefined
    this.version++
    if (this.news !== undefined) Deferred.doneUnsafe(this.news, Effect.void)
    this.news = undefined
  }

  /** Until something changes that is newer than `version`, or so many milliseconds. */
  awaitNews(version: number, millis: number): Effect.Effect<void> {
    if (this.version !== version || millis <= 0) return Effect.void
    const news = Deferred.await(this.news ??= Deferred.makeUnsafe())
    return millis === Infinity ? news : Effect.asVoid(Effect.timeoutOption(news, millis))
  }

  /** Forgets cooldowns that have ended. */
  expire(now: number): void {
    let any = false
    for (const group of this.groups.values()) {
      const before = group.cooldowns.size
      group.expire(now)
      any ||= group.cooldowns.size < before
    }
    if (any) this.changed()
  }

  /** The quarantine whose check is due first. */
  nextCheck(): { readonly member: Member; readonly quarantine: Quarantine } | undefined {
    let next: { readonly member: Member; readonly quarantine: Quarantine } | undefined
    for (const member of this.members.values()) {
      for (const quarantine of member.quarantines.values()) {
        if (!quarantine.isLifted && quarantine.checkAt < (next?.quarantine.checkAt ?? Infinity)) {
          next = { member, quarantine }
        }
      }
    }
    return next
  }

  /** When the first cooldown ends. */
  nextEnd(): number {
    let next = Infinity
    for (const { cooldowns } of this.groups.values()) {
      for (const { until } of cooldowns.values()) next = Math.min(next, until)
    }
    return next
  }
}

/** What a call has tried since its last retry. */
interface Tried {
  readonly keys: ReadonlySet<Key>
  /** Those whose limits it met. */
  readonly groups: ReadonlySet<string>
}

const untried: Tried = { keys: new Set(), groups: new Set() }

/** What the last attempt, and as many before it, have tried. */
const triedBy = (last: Attempt | undefined, before: number): Tried => {
  if (last === undefined || before < 0) return untried
  const keys = new Set<Key>()
  const groups = new Set<string>()
  for (let attempt: Attempt | undefined = last, left = before; attempt !== undefined && left >= 0; left--) {
    if (attempt.key !== undefined) {
      keys.add(attempt.key)
      const verdict = verdictOf(attempt)?._tag
      if (verdict === "Limit" || verdict === "Spend") groups.add(attempt.key.group)
    }
    attempt = attempt.previous
  }
  return { keys, groups }
}

/** A key of the pool, and the group that its limits belong to. */
import type * as Deferred from "effect/Deferred"
import type { Key } from "../../Attempt.ts"
import type { RateLimitError } from "../../ClaudeError.ts"
import { BoundedMap } from "../../internal/boundedMap.ts"
import type * as Strategy from "./strategy.ts"
import type { Rejection } from "./verdict.ts"

/** From when until when a group cools down, and why. */
export interface Cooldown {
  readonly scope: string
  readonly from: number
  readonly until: number
  readonly reason: RateLimitError["limit"]
}

/** For how long a group counts as busy once the limiter had no room at once. Then it is asked again. */
const busyMillis = 250

/** A clock that is set back by more than this ends cooldowns: nobody knows how much of them is over. */
const slackMillis = 1_000

const holdsAt = ({ from, until }: Cooldown, now: number): boolean => from - slackMillis <= now && now < until

/** The cooldowns of a group that belong to no model group: spend limits. */
export const everything = "*"

/** An organization or workspace: its keys share limits. */
export class Group {
  readonly name: string
  readonly cooldowns = new Map<string, Cooldown>()
  /** By scope: when the limiter has room again, and until when that is believed. */
  private readonly busy = new Map<string, { readonly roomAt: number; readonly until: number }>()

  constructor(name: string) {
    this.name = name
  }

  /** A cooldown ends with the later of two hints. */
  cool(cooldown: Cooldown): void {
    const { from, scope, until } = cooldown
    const before = this.cooldowns.get(scope)
    if (before === undefined || until > before.until || !holdsAt(before, from)) this.cooldowns.set(scope, cooldown)
  }

  /** The last one to end of those that hold for a scope now. */
  coolingFor(scope: string, now: number): Cooldown | undefined {
    if (this.cooldowns.size === 0) return undefined
    return this.cooling(now).reduce<Cooldown | undefined>((last, cooldown) => {
      const holds = cooldown.scope === everything || cooldown.scope === scope
      return holds && (last === undefined || cooldown.until > last.until) ? cooldown : last
    }, undefined)
  }

  cooling(now: number): ReadonlyArray<Cooldown> {
    return [...this.cooldowns.values()].filter((cooldown) => holdsAt(cooldown, now))
  }

  /** Forgets the cooldowns that have ended, and says whether there are any. */
  expire(now: number): boolean {
    const before = this.cooldowns.size
    for (const cooldown of this.cooldowns.values()) {
      if (!holdsAt(cooldown, now)) this.cooldowns.delete(cooldown.scope)
    }
    return this.cooldowns.size < before
  }

  /** When the limiter has room again, where it had none just now. */
  roomAt(scope: string, now: number): number | undefined {
    const busy = this.busy.get(scope)
    const isKnown = busy !== undefined && now < busy.until && busy.until <= now + busyMillis
    return isKnown ? busy.roomAt : undefined
  }

  setBusy(scope: string, roomAt: number, now: number): void {
    this.busy.set(scope, { roomAt, until: now + busyMillis })
  }
}

/**
 * A key that was rejected. One rejection may be a mistake of the API: until a second one, by a check or another attempt, the key is used where there is no
 * other.
 *
 * - `subject`: `everything`, or the model that the key may not use.
 * - `rejections`: how many in a row, without a success between.
 * - `checks`: how many checks did not end it; their back-off grows with them.
 * - `since`: when it began, or was lifted. What was sent before says nothing new.
 * - `isLifted`: a check succeeded. It is forgotten with the first success of an attempt.
 */
export interface Quarantine {
  readonly subject: string
  readonly reason: Rejection
  readonly rejections: number
  readonly checks: number
  readonly checkAt: number
  readonly since: number
  readonly isLifted: boolean
}

/** When the next check is due after so many. */
export type Backoff = (checks: number, now: number) => number

export const isConfirmed = ({ rejections }: Quarantine): boolean => rejections > 1

/** The most models that are remembered as refused to one key. */
const maxSubjects = 100

export class Member implements Strategy.Member {
  readonly key: Key
  readonly group: Group
  /** Whether the key store gave it, and may take it back. */
  readonly isStored: boolean
  weight: number
  /** The weight that the store gave it. */
  private offered: number
  inFlight = 0
  isDraining = false
  isRemoved = false
  /** Done when nothing is in flight any more, for who waits for that. */
  idle: Deferred.Deferred<void> | undefined
  /** By subject. */
  readonly quarantines = new BoundedMap<string, Quarantine>(maxSubjects)

  constructor(key: Key, group: Group, isStored: boolean) {
    this.key = key
    this.group = group
    this.isStored = isStored
    this.weight = this.offered = key.weight ?? 1
  }

  /** A weight that the store gives it anew replaces one that was set since. */
  offer(weight = 1): void {
    if (weight !== this.offered) this.weight = this.offered = weight
  }

  /** Whether it takes part at all. */
  get isOpen(): boolean {
    return this.weight > 0 && !this.isDraining
  }

  /** The quarantine that holds for a subject. */
  quarantinedFor(subject: string): Quarantine | undefined {
    if (this.quarantines.size === 0) return undefined
    return this.holding().reduce<Quarantine | undefined>((worst, quarantine) => {
      const holds = quarantine.subject === everything || quarantine.subject === subject
      return holds && quarantine.rejections > (worst?.rejections ?? 0) ? quarantine : worst
    }, undefined)
  }

  holding(): ReadonlyArray<Quarantine> {
    return [...this.quarantines.values()].filter(({ isLifted }) => !isLifted)
  }

  /** An attempt succeeded. */
  succeeded(subject: string, sentAt: number): void {
    for (const name of [everything, subject]) {
      const quarantine = this.quarantines.peek(name)
      if (quarantine !== undefined && sentAt > quarantine.since) this.quarantines.delete(name)
    }
  }

  /** An attempt, or a check, was rejected. */
  rejected(subject: string, reason: Rejection, sentAt: number, now: number, backoff: Backoff): void {
    const before = this.quarantines.peek(subject)
    if (before !== undefined && sentAt <= before.since) return
    const rejections = before === undefined ? 1 : before.rejections + 1
    const checks = before === undefined ? 0 : before.checks + 1
    const checkAt = backoff(checks, now)
    this.quarantines.set(subject, { subject, reason, rejections, checks, checkAt, since: now, isLifted: false })
  }

  /** A check ended. `isAccepted` is undefined where it found nothing out. */
  checked(subject: string, isAccepted: boolean | undefined, now: number, backoff: Backoff): void {
    const before = this.quarantines.peek(subject)
    if (before === undefined || before.isLifted) return
    const checks = before.checks + 1
    const rejections = before.rejections + (isAccepted === false ? 1 : 0)
    const next = { ...before, rejections, checks, checkAt: backoff(checks, now) }
    this.quarantines.set(subject, isAccepted === true ? { ...before, since: now, isLifted: true } : next)
  }

  checkNow(now: number): void {
    for (const quarantine of this.holding()) this.quarantines.set(quarantine.subject, { ...quarantine, checkAt: now })
  }
}

/** A key of the pool, and the group that its limits belong to. */
import type * as Deferred from "effect/Deferred"
import type { Key } from "../../Attempt.ts"
import type { RateLimitError } from "../../ClaudeError.ts"
import { BoundedMap } from "../../internal/boundedMap.ts"
import type * as Strategy from "./strategy.ts"
import type { Rejection } from "./verdict.ts"

/** Until when a group cools down, and why. */
export interface Cooldown {
  readonly scope: string
  readonly until: number
  readonly reason: RateLimitError["limit"]
}

/** The cooldowns of a group that belong to no model group: spend limits. */
export const everything = "*"

/** An organization or workspace: its keys share limits. */
export class Group {
  readonly name: string
  readonly cooldowns = new Map<string, Cooldown>()

  constructor(name: string) {
    this.name = name
  }

  /** A cooldown ends with the later of two hints. */
  cool(cooldown: Cooldown): void {
    const { scope, until } = cooldown
    if (until > (this.cooldowns.get(scope)?.until ?? -Infinity)) this.cooldowns.set(scope, cooldown)
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
    return [...this.cooldowns.values()].filter(({ until }) => until > now)
  }

  /** Forgets the cooldowns that have ended. */
  expire(now: number): void {
    for (const { scope, until } of this.cooldowns.values()) {
      if (until <= now) this.cooldowns.delete(scope)
    }
  }
}

/**
 * A key that was rejected.
 *
 * - `subject`: `everything`, or the model that the key may not use.
 * - `strikes`: how often in a row, without a success between. The back-off of its checks grows with them.
 * - `liftedAt`: when a check succeeded; the strikes are forgotten with the first success of an attempt that was sent after that.
 */
export interface Quarantine {
  readonly subject: string
  readonly reason: Rejection
  readonly strikes: number
  readonly checkAt: number
  readonly liftedAt: number | undefined
}

/** The most models that are remembered as refused to one key. */
const maxSubjects = 100

export class Member implements Strategy.Member {
  readonly key: Key
  readonly group: Group
  /** Whether the key store gave it, and may take it back. */
  readonly isStored: boolean
  weight: number
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
    this.weight = key.weight ?? 1
  }

  /** Whether it takes part at all. */
  get isOpen(): boolean {
    return this.weight > 0 && !this.isDraining
  }

  /** The quarantine that holds for a subject. */
  quarantinedFor(subject: string): Quarantine | undefined {
    if (this.quarantines.size === 0) return undefined
    const holding = this.holding()
    return holding.find((quarantine) => quarantine.subject === everything) ??
      holding.find((quarantine) => quarantine.subject === subject)
  }

  holding(): ReadonlyArray<Quarantine> {
    return [...this.quarantines.values()].filter(({ liftedAt }) => liftedAt === undefined)
  }

  /** An attempt succeeded: what was lifted before it was sent is forgotten. */
  succeeded(subject: string, sentAt: number): void {
    for (const name of [everything, subject]) {
      const liftedAt = this.quarantines.peek(name)?.liftedAt
      if (liftedAt !== undefined && sentAt >= liftedAt) this.quarantines.delete(name)
    }
  }

  /** An attempt, or a check, was rejected. What was sent before a quarantine was lifted is old news. */
  rejected(subject: string, reason: Rejection, sentAt: number, checkAt: (strikes: number) => number): void {
    const before = this.quarantines.peek(subject)
    if (before !== undefined && (before.liftedAt === undefined || sentAt < before.liftedAt)) return
    this.strike(subject, reason, checkAt)
  }

  strike(subject: string, reason: Rejection, checkAt: (strikes: number) => number): void {
    const strikes = (this.quarantines.peek(subject)?.strikes ?? 0) + 1
    this.quarantines.set(subject, { subject, reason, strikes, checkAt: checkAt(strikes), liftedAt: undefined })
  }

  lift(subject: string, now: number): void {
    const quarantine = this.quarantines.peek(subject)
    if (quarantine !== undefined) this.quarantines.set(subject, { ...quarantine, liftedAt: now })
  }

  checkNow(now: number): void {
    for (const quarantine of this.holding()) this.quarantines.set(quarantine.subject, { ...quarantine, checkAt: now })
  }
}

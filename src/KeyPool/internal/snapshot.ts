/** A pool as others see it. */
import * as Duration from "effect/Duration"
import { everything, type Member } from "./Member.ts"
import { ofCooldown, ofQuarantine } from "./reasons.ts"

/**
 * What stands in the way of a key.
 *
 * - `usable`: nothing.
 * - `cooling`: its group reached a rate limit or a spend limit, for at least one model group.
 * - `quarantined`: the API did not accept it, or its account cannot pay. It is checked again until it is accepted.
 * - `drained`: it is given to no new attempts.
 * - `removed`: it is not in the pool any more. Only `changes` say this.
 *
 * @category models
 * @since 0.1.0
 */
export type KeyState = "usable" | "cooling" | "quarantined" | "drained" | "removed"

/**
 * A key of the pool at one moment.
 *
 * - `weight`: its share of the traffic relative to other keys.
 * - `inFlight`: attempts that use it now.
 * - `reasons`: what stands in its way, a sentence each; also the models that it may not use while it is `usable` for others.
 * - `retryAfter`: the time until the last cooldown of its group ends, or until it is checked again.
 *
 * @category models
 * @since 0.1.0
 */
export interface Snapshot {
  readonly label: string
  readonly group: string
  readonly state: KeyState
  readonly weight: number
  readonly inFlight: number
  readonly reasons: ReadonlyArray<string>
  readonly retryAfter: Duration.Duration | undefined
}

/**
 * A key changed its state. `from` is undefined for one that is new; `at` is in milliseconds since the epoch.
 *
 * @category models
 * @since 0.1.0
 */
export interface Change {
  readonly label: string
  readonly group: string
  readonly from: KeyState | undefined
  readonly to: KeyState
  readonly at: number
}

export const stateOf = (member: Member, now: number): KeyState => {
  if (member.isDraining) return "drained"
  if (member.quarantinedFor(everything) !== undefined) return "quarantined"
  return member.group.cooling(now).length > 0 ? "cooling" : "usable"
}

export const snapshotOf = (member: Member, now: number): Snapshot => {
  const { group, inFlight, key: { label }, weight } = member
  const quarantines = member.holding()
  const cooldowns = group.cooling(now)
  const ends = [...cooldowns.map(({ until }) => until), ...quarantines.map(({ checkAt }) => checkAt)]
  return {
    label,
    group: group.name,
    state: stateOf(member, now),
    weight,
    inFlight,
    reasons: [...quarantines.map(ofQuarantine), ...cooldowns.map((cooldown) => ofCooldown(cooldown, member, now))],
    retryAfter: ends.length === 0 ? undefined : Duration.millis(Math.max(0, Math.max(...ends) - now))
  }
}

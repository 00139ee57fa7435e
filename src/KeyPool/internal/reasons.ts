/** Why a key cannot be used, in words. */
import * as Duration from "effect/Duration"
import type { Attempt } from "../../Attempt.ts"
import { limitTexts } from "../../internal/limitTexts.ts"
import { type Cooldown, everything, type Member, type Quarantine } from "./Member.ts"
import { scopeOf, subjectOf } from "./verdict.ts"

const rejections = {
  authentication: "the API did not accept it",
  permission: "the API refused it permission",
  billing: "its account cannot pay"
} as const

export const ofQuarantine = ({ reason, subject }: Quarantine): string =>
  `quarantined: ${rejections[reason]}${subject === everything ? "" : ` for ${subject}`}`

export const ofCooldown = ({ reason, until }: Cooldown, { group }: Member, now: number): string =>
  `cooling down: ${limitTexts[reason]} of ${group.name} was reached, ${
    Duration.format(Duration.millis(until - now))
  } left`

/** Why an attempt cannot use it now. */
export const reasonOf = (member: Member, attempt: Attempt, now: number): string => {
  const { keyGroup } = attempt.context
  if (keyGroup !== undefined && member.group.name !== keyGroup) return `not of the group ${keyGroup}`
  if (member.isDraining) return "drained"
  if (member.weight === 0) return "its weight is 0"
  const quarantine = member.quarantinedFor(subjectOf(attempt))
  if (quarantine !== undefined) return ofQuarantine(quarantine)
  const cooldown = member.group.coolingFor(scopeOf(attempt), now)
  return cooldown === undefined ? "it failed this call" : ofCooldown(cooldown, member, now)
}

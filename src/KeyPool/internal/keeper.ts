/** What a pool does off the path of calls: it ends cooldowns, checks quarantined keys, and tells what has changed. */
import type * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type Attempt, Outcome } from "../../Attempt.ts"
import { CallContext } from "../../CallContext.ts"
import type { ClaudeApi } from "../../ClaudeApi.ts"
import type { ApiError } from "../../ClaudeError.ts"
import type { Feed } from "../../internal/feed.ts"
import type * as Model from "../../Model.ts"
import { everything, type Member, type Quarantine } from "./Member.ts"
import type { Pool } from "./Pool.ts"
import { ofQuarantine } from "./reasons.ts"
import { type Change, type KeyState, stateOf } from "./snapshot.ts"
import type { Telemetry } from "./telemetry.ts"
import { verdictOf } from "./verdict.ts"

export interface Surroundings {
  readonly api: ClaudeApi["Service"]
  readonly lookup: Model.Catalogue["lookup"]
  readonly feed: Feed<Change>
  readonly telemetry: Telemetry
  readonly clock: Clock.Clock
  readonly scope: Scope.Scope
  /** Reads the keys of the store again. */
  readonly reload: Effect.Effect<void>
}

/** The longest that a check may take. */
const maxCheck = "30 seconds"

interface Due {
  readonly member: Member
  readonly quarantine: Quarantine
}

/** Runs forever. */
export const run = (pool: Pool, surroundings: Surroundings): Effect.Effect<never> => {
  const { clock, feed, scope, telemetry } = surroundings
  const told = new Map<Member, KeyState>()
  let isChecking = false

  const tell = (member: Member, to: KeyState, at: number): Effect.Effect<void> => {
    const from = told.get(member)
    if (from === to) return Effect.void
    if (to === "removed") told.delete(member)
    else told.set(member, to)
    const { group, label } = member.key
    // A key that took the place of another goes on under its label.
    const isReplaced = to === "removed" && pool.registry.members.has(label)
    if (!isReplaced) telemetry.state(label, to)
    return feed.subscribers === 0 ? Effect.void : feed.publish({ label, group, from, to, at })
  }

  // A check that is further away than any may be was set before the clock was set back.
  const isDue = ({ quarantine: { checkAt } }: Due, now: number): boolean =>
    checkAt <= now || checkAt > now + pool.settings.maxCheckMillis

  const step = Effect.gen(function*() {
    const { version } = pool.changes
    const now = clock.currentTimeMillisUnsafe()
    pool.expire(now)
    const members = new Set(pool.registry.members.values())
    for (const member of told.keys()) {
      if (!members.has(member)) yield* tell(member, "removed", now)
    }
    for (const member of members) yield* tell(member, stateOf(member, now), now)
    const next = isChecking ? undefined : nextCheck(pool)
    if (next !== undefined && isDue(next, now)) {
      isChecking = true
      const done = Effect.sync(() => {
        isChecking = false
        pool.opened()
      })
      return yield* Effect.forkIn(Effect.ensuring(check(pool, surroundings, next.member, next.quarantine), done), scope)
    }
    yield* pool.changes.await(version, Math.min(nextEnd(pool), next?.quarantine.checkAt ?? Infinity) - now)
  })
  return Effect.forever(step)
}

/** The quarantine whose check is due first. */
const nextCheck = ({ registry }: Pool): Due | undefined => {
  let next: Due | undefined
  for (const member of registry.members.values()) {
    for (const quarantine of member.holding()) {
      if (quarantine.checkAt < (next?.quarantine.checkAt ?? Infinity)) next = { member, quarantine }
    }
  }
  return next
}

/** When the first cooldown ends. */
const nextEnd = ({ registry }: Pool): number => {
  let next = Infinity
  for (const { cooldowns } of registry.groups.values()) {
    for (const { until } of cooldowns.values()) next = Math.min(next, until)
  }
  return next
}

/** Asks the API, free of charge, whether it takes a key again. */
const check = (
  pool: Pool,
  { api, clock, lookup, reload }: Surroundings,
  member: Member,
  quarantine: Quarantine
): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { subject } = quarantine
    if (member.isStored) yield* reload
    if (member.isRemoved) return
    const model = subject === everything || subject === "models" ? "" : subject
    const attempt: Attempt = {
      callId: `check-${member.key.label}`,
      number: 1,
      endpoint: model === "" ? "models" : "countTokens",
      model,
      facts: lookup(model),
      context: Context.get(Context.empty(), CallContext),
      key: member.key,
      outcome: Outcome.NotSent()
    }
    const asked: Effect.Effect<unknown, ApiError> = model === ""
      ? api.models(attempt)
      : api.countTokens(attempt, { model, messages: [{ role: "user", content: "." }] })
    yield* Effect.exit(Effect.timeoutOption(asked, maxCheck))
    const now = clock.currentTimeMillisUnsafe()
    const verdict = verdictOf(attempt)
    if (verdict?._tag === "Key" && subject !== everything) {
      member.rejected(everything, verdict.reason, now, now, pool.backoff)
    }
    const accepted = isAccepted(attempt, subject)
    member.checked(subject, accepted, now, pool.backoff)
    if (accepted === true) yield* Effect.logInfo(`KeyPool: the API accepts the key "${member.key.label}" again.`)
    // The first check that fails makes it certain.
    else if (accepted === false && quarantine.checks === 0) {
      yield* Effect.logWarning(`KeyPool: the key "${member.key.label}" is ${ofQuarantine(quarantine)}.`)
    }
  })

/** Whether the API takes the key again; undefined where a check did not find out. */
const isAccepted = (attempt: Attempt, subject: string): boolean | undefined => {
  const { outcome } = attempt
  if (outcome._tag !== "Failed") return outcome._tag === "Completed" ? true : undefined
  switch (outcome.error._tag) {
    case "AuthError":
      return subject === everything && verdictOf(attempt)?._tag === "Model"
    case "BadRequestError":
    case "RateLimitError":
      return true
    case "ConnectionError":
    case "ServerError":
      return undefined
  }
}

/** What a pool does off the path of calls: it ends cooldowns, checks quarantined keys, and tells what has changed. */
import type * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import { type Attempt, Outcome } from "../../Attempt.ts"
import { CallContext } from "../../CallContext.ts"
import type { ClaudeApi } from "../../ClaudeApi.ts"
import type { ApiError } from "../../ClaudeError.ts"
import type { Feed } from "../../internal/feed.ts"
import type * as Model from "../../Model.ts"
import { everything, type Member, type Quarantine } from "./Member.ts"
import type { Pool } from "./Pool.ts"
import { type Change, type KeyState, stateOf } from "./snapshot.ts"
import { verdictOf } from "./verdict.ts"

export interface Surroundings {
  readonly api: ClaudeApi["Service"]
  readonly lookup: Model.Catalogue["lookup"]
  readonly feed: Feed<Change>
  readonly clock: Clock.Clock
  readonly scope: Scope.Scope
  /** Reads the keys of the store again. */
  readonly reload: Effect.Effect<void>
}

/** The longest that a check may take. */
const maxCheck = "30 seconds"

/** The most keys that have a metric of their own. */
const maxLabels = 100

const gauge = Metric.gauge("anthropic_key_state", {
  description: "0: usable, 1: its group cools down, 2: quarantined, 3: drained or removed"
})

const codes: Readonly<Record<KeyState, number>> = { usable: 0, cooling: 1, quarantined: 2, drained: 3, removed: 3 }

/** Sets the gauge of a key, as long as there are not too many. */
const gauges = () => {
  const known = new Map<string, Metric.Metric<number, unknown>>()
  return (key: string, state: KeyState): Effect.Effect<void> => {
    const own = known.get(key) ?? (known.size < maxLabels ? Metric.withAttributes(gauge, { key }) : undefined)
    if (own === undefined) return Effect.void
    known.set(key, own)
    return Metric.update(own, codes[state])
  }
}

/** Runs forever. */
export const run = (pool: Pool, surroundings: Surroundings): Effect.Effect<never> => {
  const { clock, feed, scope } = surroundings
  const told = new Map<Member, KeyState>()
  const setGauge = gauges()
  let isChecking = false

  const tell = (member: Member, to: KeyState, at: number): Effect.Effect<void> => {
    const from = told.get(member)
    if (from === to) return Effect.void
    if (to === "removed") told.delete(member)
    else told.set(member, to)
    const { group, label } = member.key
    // A key that took the place of another goes on under its label.
    const isReplaced = to === "removed" && pool.members.has(label)
    return Effect.andThen(
      isReplaced ? Effect.void : setGauge(label, to),
      feed.subscribers === 0 ? Effect.void : feed.publish({ label, group, from, to, at })
    )
  }

  const step = Effect.gen(function*() {
    const { version } = pool
    const now = clock.currentTimeMillisUnsafe()
    pool.expire(now)
    const members = new Set(pool.members.values())
    for (const member of told.keys()) {
      if (!members.has(member)) yield* tell(member, "removed", now)
    }
    for (const member of members) yield* tell(member, stateOf(member, now), now)
    const next = isChecking ? undefined : pool.nextCheck()
    if (next !== undefined && next.quarantine.checkAt <= now) {
      isChecking = true
      const done = Effect.sync(() => {
        isChecking = false
        pool.changed()
      })
      return yield* Effect.forkIn(Effect.ensuring(check(pool, surroundings, next.member, next.quarantine), done), scope)
    }
    yield* pool.awaitNews(version, Math.min(pool.nextEnd(), next?.quarantine.checkAt ?? Infinity) - now)
  })
  return Effect.forever(step)
}

/** Asks the API, free of charge, whether it takes a key again. */
const check = (
  pool: Pool,
  { api, clock, lookup, reload }: Surroundings,
  member: Member,
  { subject }: Quarantine
): Effect.Effect<void> =>
  Effect.gen(function*() {
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
    member.checked(subject, isAccepted(attempt, subject), now, pool.backoff)
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

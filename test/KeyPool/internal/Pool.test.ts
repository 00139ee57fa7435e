import { assert, describe, it } from "@effect/vitest"
import { type Clock, Duration, Effect, Redacted } from "effect"
import type * as Attempt from "effect-claude/Attempt"
import { AuthError, BudgetExceededError, RateLimitedLocallyError, RateLimitError } from "effect-claude/ClaudeError"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import { Pool } from "../../../src/KeyPool/internal/Pool.ts"
import { failed } from "../../utils/attempts.ts"

const start = 1_000_000

/** A pool of keys, each of its own group, whose clock is set by hand. */
const poolOf = (...labels: ReadonlyArray<string>) => {
  const clock = { now: start }
  const pool = new Pool({
    clock: { currentTimeMillisUnsafe: () => clock.now } as Clock.Clock,
    random: () => 0,
    strategy: "roundRobin",
    maxRetryAfterMillis: 60_000,
    maxQueue: 10,
    checkMillis: 1_000,
    maxCheckMillis: 300_000,
    moved: () => {}
  })
  pool.registry.replace(labels.map((label) => ({ label, group: `org-${label}`, secret: Redacted.make(label) })))
  const take = (previous?: Attempt.Attempt, moves = 0) => {
    const attempt: Attempt.Attempt = { ...ClaudeTest.attempt({ key: null }), previous, moves }
    attempt.key = Effect.runSync(pool.take(attempt)).key
    return attempt
  }
  const memberOf = ({ key }: Attempt.Attempt) => pool.registry.members.get(key!.label)!
  return { clock, pool, take, memberOf }
}

const noRoom = new RateLimitedLocallyError({
  group: "sonnet-5.5",
  reason: "elsewhere",
  retryAfter: Duration.seconds(12),
  attempts: 0
})

const noBudget = new BudgetExceededError({
  budget: "each",
  limitNanoUsd: 0,
  spentNanoUsd: 0,
  reservedNanoUsd: 0,
  neededNanoUsd: 1,
  isOfKey: true,
  attempts: 0
})

const rejected = new AuthError({ kind: "authentication" })

describe("a call for which no group has room", () => {
  it("asks each group, waits for one of them a second, and then for one until it has room", () => {
    const { pool, take } = poolOf("a", "b")
    const patience: Array<number | undefined> = []
    let attempt = take()
    for (let moves = 1; attempt.patience !== undefined; moves++) {
      patience.push(attempt.patience)
      assert.isTrue(pool.mayMove(attempt, noRoom))
      attempt = take(attempt, moves)
    }
    assert.deepStrictEqual(patience, [0, 0, 1_000])
  })

  it("has not waited in vain where its key failed afterwards, or a budget of the key had no room", () => {
    for (const error of [rejected, noBudget]) {
      const { memberOf, pool, take } = poolOf("a", "b", "c")
      let attempt = take()
      for (let moves = 1; moves <= 3; moves++) {
        assert.isTrue(pool.mayMove(attempt, noRoom))
        attempt = take(attempt, moves)
      }
      assert.strictEqual(attempt.patience, 1_000)
      if (error === rejected) {
        attempt.outcome = failed(error)
        pool.settled(attempt, memberOf(attempt))
      }
      assert.isTrue(pool.mayMove(attempt, error))
      // The limits of the next group are not waited for without end.
      assert.strictEqual(take(attempt, 4).patience, 1_000)
    }
  })
})

describe("a group without room", () => {
  it("is asked again after a moment, and at once where the clock is set back", () => {
    for (const millis of [250, -3_600_000]) {
      const { clock, pool, take } = poolOf("a", "b")
      const first = take()
      assert.isTrue(pool.mayMove(first, noRoom))
      assert.deepStrictEqual([take(), take()].map(({ key }) => key?.label), ["b", "b"])
      clock.now += millis
      assert.sameMembers([take(), take()].map(({ key }) => key?.label), ["a", "b"])
    }
  })
})

describe("a cooldown", () => {
  const throttled = failed(new RateLimitError({ limit: "requests", retryAfter: Duration.seconds(7) }))

  const cooled = (...labels: ReadonlyArray<string>) => {
    const all = poolOf(...labels)
    const attempt = all.take()
    attempt.outcome = throttled
    all.pool.settled(attempt, all.memberOf(attempt))
    return all
  }

  it("leaves no trace when it has ended: the only key is again given without any search", () => {
    const { clock, pool } = cooled("a", "b")
    pool.registry.remove("b")
    const only = () => pool.only?.key.label
    assert.isUndefined(only())
    clock.now += 7_000
    pool.expire(clock.now)
    assert.strictEqual(only(), "a")
  })

  it("ends at once where the clock is set back, since nobody knows when it began", () => {
    const { clock, pool, take } = cooled("a", "b")
    assert.deepStrictEqual([take(), take()].map(({ key }) => key?.label), ["b", "b"])
    clock.now -= 3_600_000
    pool.expire(clock.now)
    assert.sameMembers([take(), take()].map(({ key }) => key?.label), ["a", "b"])
    assert.strictEqual(pool.registry.groups.get("org-a")?.cooldowns.size, 0)
  })

  it("outlives a clock that is set right by a little", () => {
    const { clock, pool, take } = cooled("a", "b")
    clock.now -= 100
    pool.expire(clock.now)
    assert.deepStrictEqual([take(), take()].map(({ key }) => key?.label), ["b", "b"])
  })
})

import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import * as CircuitBreaker from "effect-claude/CircuitBreaker"
import * as CircuitBreakerRedis from "effect-claude/CircuitBreaker/Redis"
import { Redis } from "effect/persistence"
import * as Script from "../../../src/CircuitBreaker/internal/script.ts"
import { rules as standard } from "../../utils/circuits.ts"
import * as TestRedis from "../../utils/redis.ts"

type Batch = CircuitBreaker.Batch
type Rules = CircuitBreaker.Rules

const quiet: Omit<Batch, "key" | "rules"> = {
  epoch: 0,
  counts: [],
  tripped: false,
  trials: [],
  ask: false,
  openShare: 1,
  proposal: undefined
}

const results: ReadonlyArray<CircuitBreaker.Result | undefined> = [
  "success",
  "failure",
  "slowSuccess",
  "slowFailure",
  undefined
]

/** What the two must agree on; epochs, rounds and slots of time are each one's own. */
const shown = ({ granted, openings, openMillis, permits, phase, room }: CircuitBreaker.Reply, byTime: boolean) => ({
  phase,
  openings,
  openMillis,
  permits: phase === "halfOpen" ? permits : 0,
  granted: granted > 0,
  room: byTime ? 0 : room
})

/** Random rules. Open times pass between two steps; slots and the first rounds of half-open calls never do. */
const drawRules = (draw: (below: number) => number): Rules => {
  const halfOpenCalls = 1 + draw(2)
  const rate = () => draw(8) === 0 ? Infinity : (1 + draw(100)) / 100
  return {
    windowSize: draw(2) === 0 ? 1 + draw(30) : 0,
    windowDuration: 1e10,
    consecutiveFailures: Infinity,
    failureRate: rate(),
    slowCallRate: rate(),
    minimumCalls: draw(8) === 0 ? Infinity : 1 + draw(8),
    openDuration: 1,
    maxOpenDuration: 1,
    jitter: 0,
    halfOpenCalls,
    successThreshold: 1 + draw(halfOpenCalls),
    halfOpenDuration: draw(3) === 0 ? 1 : 1e9
  }
}

describe.skipIf(!TestRedis.isInstalled)("the script of a circuit", () => {
  it.live("does what the step does, batch by batch", () =>
    Effect.gen(function*() {
      const server = yield* TestRedis.server({ durable: false })
      const layer = Layer.provide(CircuitBreakerRedis.layerStore(), TestRedis.connection(server))
      const redis = Context.get(yield* Layer.build(layer), CircuitBreaker.Store)
      const seen = new Set<string>()
      let chance = 41
      const draw = (below: number) => {
        chance = (chance * 48_271) % 2_147_483_647
        return chance % below
      }
      for (let schedule = 0; schedule < 80; schedule++) {
        const rules = drawRules(draw)
        const key = `schedule-${schedule}`
        let state: CircuitBreaker.State | undefined
        let now = 1e14
        /** What each one answered last, and the last round of half-open calls that it granted. */
        const last = [0, 1].map(() => ({ epoch: 0, slot: 0, round: 0 }))
        const steps = [
          (batch: Batch) =>
            Effect.sync(() => {
              const [next, reply] = CircuitBreaker.step(state, batch, now)
              state = next
              return reply
            }),
          redis.step
        ]
        /** Slots and rounds in a batch are told from the last ones. */
        const both = Effect.fnUntraced(function*(batch: Partial<Batch>, title: string, isLate = false) {
          const full = { ...quiet, key, rules, ...batch }
          const replies = yield* Effect.forEach(steps, (step, side) => {
            const { epoch, round, slot } = last[side]!
            return step({
              ...full,
              epoch: isLate ? epoch - 1 : epoch,
              counts: full.counts.map((count) => ({ ...count, index: Math.max(0, slot + count.index) })),
              trials: full.trials.map((trial) => ({ ...trial, round: round + trial.round }))
            })
          })
          const [ours, theirs] = replies.map((reply) => shown(reply, rules.windowSize === 0))
          assert.deepStrictEqual(theirs, ours, title)
          const [isNew, isNewThere] = replies.map(({ epoch }, side) => epoch !== last[side]!.epoch)
          assert.strictEqual(isNewThere, isNew, title)
          for (const [side, { epoch, granted, slot }] of replies.entries()) {
            last[side] = { epoch, slot, round: granted || last[side]!.round }
          }
          return replies[0]!
        })
        let { phase } = yield* both({}, "")
        let slept = ""
        for (let at = 0; at < 50; at++) {
          const place = `${last[0]!.epoch} ${phase} ${last[0]!.round}`
          // Its open time is over, its round too where it is short, and it stays closed long enough to have recovered.
          if (slept !== place) {
            slept = place
            now += 10
            yield* Effect.sleep(4)
          }
          const before = phase
          const counts = () =>
            Array.from({ length: 1 + draw(3) }, () => draw(12) - (rules.windowSize > 0 ? 10 : 11))
              .sort((a, b) => a - b)
              .map((index) => ({ index, calls: draw(4) - (draw(4) === 0 ? 1 : 0), failures: draw(3), slow: draw(2) }))
          const trials = () =>
            Array.from({ length: 1 + draw(2) }, () => ({ round: -draw(2), result: results[draw(5)] }))
          // While it tries, permits and verdicts matter most.
          const kind = phase === "closed" || draw(3) === 0 ? draw(12) : draw(2) === 0 ? 4 : 7
          const batch: Partial<Batch> = kind < 4
            ? { counts: counts() }
            : kind < 7
            ? { ask: true }
            : kind < 9
            ? { trials: trials() }
            : kind === 9
            ? { tripped: draw(3) === 0, counts: counts() }
            : kind === 10
            ? {
              proposal: {
                when: (["ifNone", "ifWorse", "always"] as const)[draw(3)]!,
                isOpen: draw(2) === 0,
                waitMillis: draw(2),
                openings: draw(4),
                openMillis: draw(3),
                closedMillis: 0,
                window: null
              }
            }
            : { trials: trials(), counts: counts(), ask: true, openShare: 0.5 }
          const title = `schedule ${schedule}, step ${at}: ${JSON.stringify(batch)} under ${JSON.stringify(rules)}`
          phase = (yield* both(batch, title, draw(10) === 0)).phase
          seen.add(`${before} ${phase}`)
        }
      }
      // All but from closed to half-open at once.
      assert.strictEqual(seen.size, 8)
    }).pipe(Effect.scoped))

  it.live("sets keys to expire and stores no more than numbers", () =>
    Effect.gen(function*() {
      const server = yield* TestRedis.server({ durable: false })
      const redis = Context.get(yield* Layer.build(TestRedis.connection(server)), Redis.Redis)
      const run = redis.eval(
        Redis.script((key: string, batch: string) => [key, batch], { numberOfKeys: 1, lua: Script.lua })
          .withReturnType<Script.Answer>()
      )
      const batch = { ...quiet, key: "k", rules: { ...standard, windowSize: 0, minimumCalls: Infinity } }
      const [, , epoch] = yield* run("k", Script.args(batch, 5_000))
      const index = Math.floor(Date.now() / 3_000)
      yield* run("k", Script.args({ ...batch, epoch, counts: [{ index, calls: 3, failures: 1, slow: 1 }] }, 5_000))
      const left = yield* redis.send<number>("PTTL", "k")
      assert.isTrue(left > 0 && left <= 5_000)
      const values = yield* redis.send<ReadonlyArray<string>>("HVALS", "k")
      assert.isTrue(values.every((value) => /^[\d:]+$/.test(value)))
      assert.include(values, `${index}:3:1:1`)
    }).pipe(Effect.scoped))
})

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
  results: [],
  early: 0,
  tripped: false,
  round: 0,
  returned: 0,
  ask: false,
  openShare: 1,
  proposal: undefined
}

const results: ReadonlyArray<CircuitBreaker.Result> = ["success", "failure", "slowSuccess", "slowFailure"]

/** What the two must agree on; epochs and rounds are each one's own. */
const shown = ({ granted, openings, openMillis, permits, phase }: CircuitBreaker.Reply) => ({
  phase,
  openings,
  openMillis,
  permits: phase === "halfOpen" ? permits : 0,
  granted: granted > 0
})

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
      for (let schedule = 0; schedule < 60; schedule++) {
        const halfOpenCalls = 1 + draw(3)
        const rules: Rules = {
          windowSize: draw(2) === 0 ? 1 + draw(8) : 0,
          windowDuration: 1e9,
          consecutiveFailures: Infinity,
          failureRate: (1 + draw(120)) / 100,
          slowCallRate: (1 + draw(120)) / 100,
          minimumCalls: draw(8) === 0 ? Infinity : 1 + draw(8),
          // Open times pass between two steps; those of half-open calls never do.
          openDuration: 1,
          maxOpenDuration: 1,
          jitter: 0,
          halfOpenCalls,
          successThreshold: 1 + draw(halfOpenCalls),
          halfOpenDuration: 1e9
        }
        const key = `schedule-${schedule}`
        let state: CircuitBreaker.State | undefined
        let now = 1e6
        const ours = (batch: Batch) => {
          const [next, reply] = CircuitBreaker.step(state, batch, now)
          state = next
          return reply
        }
        const both = Effect.fnUntraced(function*(batch: Partial<Batch>, isLate = false) {
          const full = { ...quiet, key, rules, ...batch }
          const [here, there] = isLate ? [epochs[0] - 1, epochs[1] - 1] : epochs
          const [roundHere, roundThere] = rounds
          const replies = [
            ours({ ...full, epoch: here, round: roundHere + full.round }),
            yield* redis.step({ ...full, epoch: there, round: roundThere + full.round })
          ] as const
          assert.deepStrictEqual(shown(replies[1]), shown(replies[0]), `schedule ${schedule}: ${JSON.stringify(batch)}`)
          assert.strictEqual(replies[1].epoch === epochs[1], replies[0].epoch === epochs[0])
          epochs = [replies[0].epoch, replies[1].epoch]
          if (replies[0].granted > 0) rounds = [replies[0].granted, replies[1].granted]
          return replies[0]
        })
        let epochs: readonly [number, number] = [0, 0]
        let rounds: readonly [number, number] = [0, 0]
        let { phase } = yield* both({})
        let slept = 0
        for (let at = 0; at < 40; at++) {
          // Its open time is over, and it stays closed long enough to have recovered.
          if (phase !== "halfOpen" && slept !== epochs[0]) {
            slept = epochs[0]
            now += 10
            yield* Effect.sleep(4)
          }
          const before = phase
          const kind = draw(12)
          const batch: Partial<Batch> = kind < 5
            ? { results: Array.from({ length: 1 + draw(4) }, () => results[draw(4)]!), early: draw(5) - 2 }
            : kind < 8
            ? { ask: true }
            : kind === 8
            ? { returned: 1, round: draw(2), early: -draw(2) }
            : kind === 9
            ? { tripped: draw(3) === 0, early: draw(3) }
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
            : { results: [results[draw(4)]!], ask: true, openShare: 0.5 }
          phase = (yield* both(batch, draw(10) === 0)).phase
          seen.add(`${before} ${phase}`)
        }
      }
      // All but open to closed by anything but a state from outside.
      assert.isAtLeast(seen.size, 8)
    }).pipe(Effect.scoped), 60_000)

  it.live("sets keys to expire and stores no more than numbers", () =>
    Effect.gen(function*() {
      const server = yield* TestRedis.server({ durable: false })
      const redis = Context.get(yield* Layer.build(TestRedis.connection(server)), Redis.Redis)
      const run = redis.eval(
        Redis.script((key: string, batch: string) => [key, batch], { numberOfKeys: 1, lua: Script.lua })
          .withReturnType<Script.Answer>()
      )
      const batch = { ...quiet, key: "k", rules: { ...standard, windowSize: 0, minimumCalls: Infinity } }
      const [, epoch] = yield* run("k", Script.args(batch, 5_000))
      yield* run("k", Script.args({ ...batch, epoch, results: ["failure", "success", "slowSuccess"] }, 5_000))
      const left = yield* redis.send<number>("PTTL", "k")
      assert.isTrue(left > 0 && left <= 5_000)
      const values = yield* redis.send<ReadonlyArray<string>>("HVALS", "k")
      assert.isTrue(values.every((value) => /^[\d:]+$/.test(value)))
    }).pipe(Effect.scoped))
})

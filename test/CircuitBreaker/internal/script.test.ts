import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { Redis } from "effect/persistence"
import type { Permit, Result, Rules } from "../../../src/CircuitBreaker/internal/circuit.ts"
import { Machine } from "../../../src/CircuitBreaker/internal/machine.ts"
import * as Script from "../../../src/CircuitBreaker/internal/script.ts"
import type { Report } from "../../../src/CircuitBreaker/internal/shared.ts"
import * as TestRedis from "../../utils/redis.ts"

const script = Redis.script((key: string, args: ReadonlyArray<string | number>) => [key, ...args], {
  numberOfKeys: 1,
  lua: Script.lua
}).withReturnType<Script.Answer>()

const quiet: Report = {
  epoch: 0,
  results: "",
  early: 0,
  row: false,
  round: 0,
  back: 0,
  ask: false,
  factor: 1,
  propose: "ifNone",
  openMillis: -1,
  openings: 0,
  openedMillis: 0
}

describe.skipIf(!TestRedis.isInstalled)("the script of a circuit", () => {
  it.live("does step by step what the machine does", () =>
    Effect.gen(function*() {
      const server = yield* TestRedis.server({ durable: false })
      const context = yield* Layer.build(TestRedis.connection(server))
      const run = Context.get(context, Redis.Redis).eval(script)
      const seen = new Set<string>()
      let chance = 41
      const draw = (below: number) => {
        chance = (chance * 48_271) % 2_147_483_647
        return chance % below
      }
      for (let schedule = 0; schedule < 150; schedule++) {
        const trials = 1 + draw(3)
        const rules: Rules = {
          window: draw(2) === 0 ? { _tag: "Calls", size: 1 + draw(8) } : { _tag: "Time", millis: 1e9 },
          inARow: draw(3) === 0 ? Infinity : 1 + draw(6),
          failureRate: (1 + draw(120)) / 100,
          slowRate: (1 + draw(120)) / 100,
          minimumCalls: 1 + draw(8),
          // Open times pass between two steps; those of trials never do.
          openMillis: 1,
          maxOpenMillis: 1,
          jitter: 0,
          trials,
          successes: 1 + draw(trials),
          halfOpenMillis: 1e9
        }
        const machine = new Machine(rules, () => {}, () => 0)
        let now = 1e6
        let permits: Array<Permit> = []
        /** The failures in a row up to now, as a process counts them. */
        let row = 0
        const step = (report: Partial<Report>) =>
          Effect.map(
            run(`schedule-${schedule}`, Script.args(rules, { ...quiet, ...report }, 60_000)),
            ([phase, epoch, , , , , granted]) => ({ phase: Script.phases[phase]!, epoch, granted })
          )
        let { epoch } = yield* step({})
        for (let at = 0; at < 40; at++) {
          if (machine.phase === "open") {
            now += 10
            yield* Effect.sleep(2)
          }
          const before = machine.phase
          const kind = draw(10)
          let answer: Effect.Success<ReturnType<typeof step>>
          if (before === "closed") {
            // One report of several results; the machine ignores those after an opening just as the script does.
            const results = Array.from({ length: 1 + draw(4) }, () => draw(4) as Result)
            for (const result of results) {
              const admission = machine.phase === "closed" ? machine.admit(now) : undefined
              if (admission?._tag === "Permit") machine.settle(admission, result, now)
            }
            let longest = 0
            for (const result of results) longest = Math.max(longest, row = result % 2 === 1 ? row + 1 : 0)
            const report = { results: results.join(""), row: longest >= rules.inARow }
            answer = yield* step({ ...report, epoch: kind === 0 ? epoch - 1 : epoch })
            if (kind === 0) {
              // A report of another stretch changes nothing.
              assert.strictEqual(answer.epoch, epoch)
              answer = yield* step({ ...report, epoch })
            }
          } else if (before === "open" || kind < 4) {
            const admission = machine.admit(now)
            answer = yield* step({ ask: true })
            assert.strictEqual(answer.granted > 0, admission._tag === "Permit")
            // The rounds of the script are the script's own.
            if (admission._tag === "Permit") permits.push(admission)
          } else {
            const permit = permits.pop()
            if (permit === undefined) continue
            const result = kind < 6 ? undefined : draw(4) as Result
            machine.settle(permit, result, now)
            answer = yield* step(
              result === undefined ? { epoch, back: 1, round: permit.round } : { epoch, results: `${result}` }
            )
          }
          if (answer.epoch !== epoch) row = 0
          if (answer.epoch !== epoch && machine.phase !== "halfOpen") permits = []
          assert.strictEqual(answer.phase, machine.phase, `schedule ${schedule}, step ${at} from ${before}`)
          seen.add(`${before} ${answer.phase}`)
          epoch = answer.epoch
        }
      }
      assert.strictEqual(seen.size, 6)
    }).pipe(Effect.scoped), 60_000)

  it.live("takes early attempts under way for successes, as many as are left of all that it was told", () =>
    Effect.gen(function*() {
      const server = yield* TestRedis.server({ durable: false })
      const redis = Context.get(yield* Layer.build(TestRedis.connection(server)), Redis.Redis)
      const rules: Rules = {
        window: { _tag: "Calls", size: 100 },
        inARow: Infinity,
        failureRate: 0.5,
        slowRate: Infinity,
        minimumCalls: 1,
        openMillis: 1000,
        maxOpenMillis: 1000,
        jitter: 0,
        trials: 1,
        successes: 1,
        halfOpenMillis: 1000
      }
      const [, epoch] = yield* redis.eval(script)("k", Script.args(rules, quiet, 5_000))
      const reports = [
        { early: 3, results: "1" },
        { early: 2, results: "11" },
        { early: -4, results: "000" },
        { early: -1, results: "0" },
        { early: -5, results: "1" }
      ]
      const opened: Array<boolean> = []
      for (const report of reports) {
        const [phase] = yield* redis.eval(script)("k", Script.args(rules, { ...quiet, ...report, epoch }, 5_000))
        opened.push(phase === 1)
      }
      assert.deepStrictEqual(opened, [false, false, false, false, true])
    }).pipe(Effect.scoped))

  it.live("sets keys to expire and stores no more than numbers", () =>
    Effect.gen(function*() {
      const server = yield* TestRedis.server({ durable: false })
      const redis = Context.get(yield* Layer.build(TestRedis.connection(server)), Redis.Redis)
      const rules: Rules = {
        window: { _tag: "Time", millis: 1000 },
        inARow: 2,
        failureRate: Infinity,
        slowRate: Infinity,
        minimumCalls: Infinity,
        openMillis: 1000,
        maxOpenMillis: 1000,
        jitter: 0,
        trials: 1,
        successes: 1,
        halfOpenMillis: 1000
      }
      const [, epoch] = yield* redis.eval(script)("k", Script.args(rules, quiet, 5_000))
      yield* redis.eval(script)("k", Script.args(rules, { ...quiet, epoch, results: "1020" }, 5_000))
      const left = yield* redis.send<number>("PTTL", "k")
      assert.isTrue(left > 0 && left <= 5_000)
      const values = yield* redis.send<ReadonlyArray<string>>("HVALS", "k")
      assert.isTrue(values.every((value) => /^[\d:]+$/.test(value)))
    }).pipe(Effect.scoped))
})

/** The whole service in a process that is killed in the middle of its work, and started again. */
import { assert, describe, it } from "@effect/vitest"
import { Array as Arr, Effect, Layer, Stream } from "effect"
import * as Budget from "effect-claude/Budget"
import * as CostLedger from "effect-claude/CostLedger"
import * as Simulator from "effect-claude/testing/Simulator"
import * as SimulatorServer from "effect-claude/testing/SimulatorServer"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { accounts, flushMillis, leaseMillis, path } from "./utils/spendingProcess.ts"
import * as TestSqlite from "./utils/sqlite.ts"

const calls = 2_000

interface Run {
  /** When this process heard that a call was answered. */
  readonly answered: ReadonlyMap<number, number>
  readonly isDone: boolean
  readonly killedAt: number
}

/** Makes the calls of these numbers, and kills the process when so many are answered. */
const run = (url: string, filename: string, numbers: ReadonlyArray<number>, killAfter: number) =>
  Effect.promise(async (): Promise<Run> => {
    const args = ["--disable-warning=ExperimentalWarning", path, url, filename, JSON.stringify(numbers)]
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] })
    const answered = new Map<number, number>()
    let isDone = false
    let killedAt = Infinity
    // The last line of one that is killed may be cut: it counts only with its end.
    let rest = ""
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n")
      rest = lines.pop() ?? ""
      for (const line of lines) {
        if (line === "done") isDone = true
        else if (/^\d+$/.test(line)) answered.set(Number(line), Date.now())
      }
      if (answered.size < killAfter) return
      child.kill("SIGKILL")
      killedAt = Math.min(killedAt, Date.now())
    })
    await once(child, "close")
    return { answered, isDone, killedAt }
  })

describe("a process that is killed", () => {
  it.live(
    "loses no row but those of the last moment, has none twice, and its reservations have lapsed",
    () =>
      Effect.gen(function*() {
        const simulator = yield* Simulator.Simulator
        const { url } = yield* SimulatorServer.SimulatorServer
        const filename = yield* TestSqlite.filename
        const runs: Array<Run> = []
        const answered = new Set<number>()
        for (const killAfter of [400, 500, Infinity]) {
          const left = Arr.makeBy(calls, (n) => n).filter((n) => !answered.has(n))
          const one = yield* run(url, filename, left, killAfter)
          assert.strictEqual(one.isDone, killAfter === Infinity)
          one.answered.forEach((_, n) => answered.add(n))
          runs.push(one)
        }
        assert.strictEqual(answered.size, calls)

        yield* Effect.gen(function*() {
          const ledger = yield* CostLedger.CostLedger
          const rows = yield* Stream.runCollect(ledger.rows({ from: 0, to: Infinity }))
          assert.strictEqual(new Set(rows.map(({ attempt, callId }) => `${callId} ${attempt}`)).size, rows.length)
          const completed = new Set(
            rows.filter(({ outcome }) => outcome === "completed").map(({ tags }) => Number(tags.n))
          )
          // Twice the interval: a batch may have been under way.
          for (const { answered, killedAt, isDone } of runs) {
            for (const [n, at] of answered) {
              if (isDone || at < killedAt - 2 * flushMillis) {
                assert.isTrue(completed.has(n), `call ${n} is not in the ledger`)
              }
            }
          }

          const bill = yield* simulator.bill
          const byRequest = Arr.groupBy(rows, ({ requestId = "" }) => requestId)
          let lost = 0
          for (const { nanoUsd, requestId } of bill.rows) {
            const found = byRequest[requestId] ?? []
            assert.isAtMost(found.length, 1)
            if (found[0] === undefined) lost += nanoUsd ?? 0
            else if (found[0].confidence === "exact") assert.strictEqual(found[0].nanoUsd, nanoUsd)
          }

          yield* Effect.sleep(leaseMillis)
          const [state] = yield* (yield* Budget.Budget).snapshot
          const spent = rows.reduce((sum, row) => sum + (row.nanoUsd ?? 0), 0)
          assert.strictEqual(state!.reservedNanoUsd, 0)
          // What a killed process did not get to settle had been reserved, and is told of as such.
          assert.isAtLeast(state!.spentNanoUsd, spent)
          assert.isAtMost(state!.spentNanoUsd - state!.lapsedNanoUsd, spent + lost)
        }).pipe(Effect.provide(accounts(filename)))
      }).pipe(
        Effect.scoped,
        Effect.provide(
          SimulatorServer.layer().pipe(
            Layer.provideMerge(Simulator.layer({
              billRows: calls * 3,
              latency: { firstToken: "10 millis" },
              faults: [
                { fault: Simulator.Fault.Status({ status: 529 }), when: { probability: 0.02 } },
                { fault: Simulator.Fault.Truncate({ after: { bytes: 20 } }), when: { probability: 0.02 } }
              ]
            }))
          )
        )
      )
  )
})

/** A process of its own that is stopped under load. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import * as Simulator from "effect-claude/testing/Simulator"
import * as SimulatorServer from "effect-claude/testing/SimulatorServer"
import { start } from "../utils/drainingProcess.ts"
import { eventually } from "../utils/eventually.ts"
import * as OtlpReceiver from "../utils/otlpReceiver.ts"
import * as TestSqlite from "../utils/sqlite.ts"

const status = (url: string) => Effect.promise(async () => (await fetch(url)).status)

describe("a process under load", () => {
  it.live("loses no call, no ledger row and no span to SIGTERM, and says that it is alive and not ready meanwhile", () =>
    Effect.gen(function*() {
      const { url } = yield* SimulatorServer.SimulatorServer
      const { requests } = yield* Simulator.Simulator
      const received = yield* OtlpReceiver.make
      const filename = yield* TestSqlite.filename
      const running = start(url, filename, received.url)
      yield* Effect.addFinalizer(() => Effect.sync(running.kill))
      const server = yield* Effect.promise(() => running.url)
      assert.strictEqual(yield* status(`${server}/health/ready`), 200)
      yield* eventually(requests, ({ open, total }) => total > 60 && open >= 10)
      running.stop()
      yield* eventually(status(`${server}/health/ready`), (status) => status === 503)
      assert.strictEqual(yield* status(`${server}/health/live`), 204)
      const { open } = yield* requests
      assert.isAbove(open, 0)

      const [counts, code] = yield* Effect.promise(() => running.ended)
      const { byStatus, total } = yield* requests
      assert.deepStrictEqual(counts, { answered: total, failed: 0, interrupted: 0 })
      assert.strictEqual(byStatus[200], total)
      assert.strictEqual(code, 130)
      const sql = yield* TestSqlite.connection({ filename })
      const rows = yield* sql<{ n: number }>`SELECT count(*) AS n FROM effect_claude_ledger WHERE outcome = 'completed'`
      assert.strictEqual(rows[0]?.n, total)
      const attempts = received.spans.filter(({ name }) => name === "claude.attempt")
      assert.strictEqual(attempts.length, total)
      const parents = new Set(received.spans.map(({ spanId }) => String(spanId)))
      assert.isTrue(attempts.every(({ parentSpanId }) => parents.has(String(parentSpanId))))
    }).pipe(
      Effect.scoped,
      Effect.provide(
        SimulatorServer.layer().pipe(
          Layer.provideMerge(Simulator.layer({ latency: { firstToken: "150 millis", perToken: "5 millis" } }))
        )
      )
    ))
})

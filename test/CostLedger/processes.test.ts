/** Several processes on one ledger, and one that is killed. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, type Scope } from "effect"
import * as Sqlite from "effect-claude/Sqlite"
import { SqlClient } from "effect/sql"
import { type Place, start } from "../utils/ledgerProcess.ts"
import * as TestPostgres from "../utils/postgres.ts"
import * as TestSqlite from "../utils/sqlite.ts"

/** Each call in the ledger with how often it is there. */
const callsIn = ({ kind, name }: Place) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const table = sql(kind === "postgres" ? `${name}ledger` : "effect_claude_ledger")
    const found = yield* sql<
      { call: string; n: unknown }
    >`SELECT call_id AS call, count(*) AS n FROM ${table} GROUP BY 1`
    return new Map(found.map(({ call, n }) => [call, Number(n)]))
  }).pipe(
    Effect.provide(Layer.fresh(kind === "postgres" ? TestPostgres.layer : Sqlite.layer({ filename: name }))),
    Effect.orDie
  )

const suite = (place: Effect.Effect<Place, never, Scope.Scope>) => {
  it.live(
    "loses no row that was written when it is killed, and repeats none when it starts again",
    () =>
      Effect.gen(function*() {
        const at = yield* place
        const names = (count: number) => Array.from({ length: count }, (_, index) => `a-${index}`)
        let known = 0
        for (const until of [1, 700, 1_500]) {
          const running = start("a", 1e9, at)
          yield* Effect.addFinalizer(() => Effect.promise(running.kill))
          while (running.written() < until) yield* Effect.sleep(1)
          yield* Effect.promise(running.kill)
          known = Math.max(known, running.written())
          const calls = yield* callsIn(at)
          for (const name of names(known)) assert.strictEqual(calls.get(name), 1, name)
          assert.isTrue([...calls.values()].every((times) => times === 1))
        }
        const last = start("a", known + 5_000, at)
        assert.isTrue(yield* Effect.promise(() => last.ended))
        const calls = yield* callsIn(at)
        for (const name of names(known + 5_000)) assert.strictEqual(calls.get(name), 1, name)
      }).pipe(Effect.scoped)
  )

  it.live("has the rows of all processes that start and write at once", () =>
    Effect.gen(function*() {
      const at = yield* place
      const running = ["a", "b", "c"].map((name) => start(name, 2_000, at))
      for (const one of running) assert.isTrue(yield* Effect.promise(() => one.ended))
      const calls = yield* callsIn(at)
      assert.strictEqual(calls.size, 6_000)
      assert.isTrue([...calls.values()].every((times) => times === 1))
    }).pipe(Effect.scoped))
}

describe("a process with a ledger in a SQLite file", () => {
  suite(Effect.map(TestSqlite.filename, (name): Place => ({ kind: "sqlite", name })))
})

describe.skipIf(!TestPostgres.isThere)("a process with a ledger in PostgreSQL", () => {
  suite(Effect.map(TestPostgres.prefix, (name): Place => ({ kind: "postgres", name })))
})

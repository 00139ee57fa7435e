import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Layer, Logger, Schema, Stream } from "effect"
import * as Attempt from "effect-claude/Attempt"
import * as CostLedger from "effect-claude/CostLedger"
import * as CostLedgerSql from "effect-claude/CostLedger/Sql"
import * as PriceBook from "effect-claude/PriceBook"
import * as Sqlite from "effect-claude/Sqlite"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import * as Usage from "effect-claude/Usage"
import type { SqlClient, SqlError } from "effect/sql"
import { renameSync, writeFileSync } from "node:fs"
import { DatabaseSync } from "node:sqlite"
import * as TestSqlite from "./utils/sqlite.ts"

const withTable = Effect.fnUntraced(function*(options: Sqlite.Options = { filename: ":memory:" }) {
  const sql = yield* TestSqlite.connection(options)
  yield* sql`CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, n INTEGER, x TEXT UNIQUE)`
  return sql
})

const ids = (sql: SqlClient.SqlClient) =>
  Effect.map(sql<{ id: number }>`SELECT id FROM t ORDER BY id`, (rows) => rows.map(({ id }) => id))

const reasonOf = <A>(effect: Effect.Effect<A, SqlError.SqlError>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => reason)

/** Runs its work while another connection holds the lock of writers. */
const whileLocked = Effect.fnUntraced(function*<A, E>(
  sql: SqlClient.SqlClient,
  work: (release: Effect.Effect<void>) => Effect.Effect<A, E>
) {
  const blocker = yield* Effect.forkChild(sql.withTransaction(Effect.never), { startImmediately: true })
  return yield* work(Effect.asVoid(Fiber.interrupt(blocker)))
})

/** Node 22, and the first of Node 24, give a text up to its first NUL alone. */
const isCut = new DatabaseSync(":memory:").prepare("SELECT 'a' || char(0) || 'b' AS x").get()?.["x"] === "a"
const textOf = (text: string): string => isCut ? text.replaceAll("\0", "") : text

describe("Sqlite", () => {
  it.effect("gives rows, values and changes", () =>
    Effect.gen(function*() {
      const sql = yield* withTable()
      yield* sql`INSERT INTO t ${sql.insert([{ id: 1, n: 10, x: "a" }, { id: 2, n: 20, x: "b" }])}`
      const query = sql<{ id: number; n: number; x: string }>`SELECT * FROM t WHERE n > ${15}`
      assert.deepStrictEqual((yield* query).map((row) => ({ ...row })), [{ id: 2, n: 20, x: "b" }])
      assert.deepStrictEqual(yield* query.values, [[2, 20, "b"]])
      assert.deepStrictEqual((yield* query).map((row) => ({ ...row })), [{ id: 2, n: 20, x: "b" }])
      assert.deepInclude(yield* sql`DELETE FROM t`.raw, { changes: 2 })
    }).pipe(Effect.scoped))

  it.effect("streams more rows than it reads at once", () =>
    Effect.gen(function*() {
      const sql = yield* withTable()
      yield* sql`WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 1024)
        INSERT INTO t SELECT i, i, i FROM c`
      const stream = sql<{ id: number }>`SELECT id FROM t ORDER BY id`.stream
      const read = yield* Stream.runCollect(stream)
      assert.deepStrictEqual(read.map(({ id }) => id), yield* ids(sql))
      assert.strictEqual(read.length, 1024)
      const some = yield* Stream.runCollect(Stream.take(stream, 3))
      assert.deepStrictEqual(some.map(({ id }) => id), [1, 2, 3])
    }).pipe(Effect.scoped))

  it.effect.prop(
    "gives back what it was given, and integers as integers",
    {
      n: Schema.Int.check(Schema.isBetween({ minimum: Number.MIN_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER })),
      x: Schema.String
    },
    ({ n, x }) =>
      Effect.gen(function*() {
        const sql = yield* withTable()
        const text = textOf(Buffer.from(x).toString()) // in a text without broken surrogates
        yield* sql`INSERT INTO t ${sql.insert({ id: 1, n, x: text })}`
        assert.deepStrictEqual(yield* sql`SELECT n, x, typeof(n), typeof(${n}) FROM t`.values, [[
          n,
          text,
          "integer",
          "integer"
        ]])
      }).pipe(Effect.scoped)
  )

  it.effect("binds what SQLite has no type for", () =>
    Effect.gen(function*() {
      const sql = yield* withTable()
      const values = sql`SELECT ${true}, ${null}, ${new Date(0)}, ${0.5}, ${2n ** 60n} / 2 = ${2n ** 59n}`.values
      assert.deepStrictEqual(yield* values, [[1, null, "1970-01-01T00:00:00.000Z", 0.5, 1]])
    }).pipe(Effect.scoped))

  it.effect("refuses an integer that a number cannot hold, and gives it as a text", () =>
    Effect.gen(function*() {
      const sql = yield* withTable()
      yield* sql`INSERT INTO t (id, n) VALUES (1, ${2 ** 53 - 1}), (2, 2)`
      assert.strictEqual((yield* reasonOf(sql`SELECT sum(n) FROM t`))._tag, "UnknownError")
      assert.deepStrictEqual(yield* sql`SELECT CAST(sum(n) AS TEXT) FROM t`.values, [["9007199254740993"]])
    }).pipe(Effect.scoped))

  it.effect("says why a statement failed", () =>
    Effect.gen(function*() {
      const sql = yield* withTable()
      yield* sql`INSERT INTO t ${sql.insert({ id: 1, n: 1, x: "a" })}`
      const unique = yield* reasonOf(sql`INSERT INTO t ${sql.insert({ id: 2, n: 1, x: "a" })}`)
      assert.deepInclude(unique, { _tag: "UniqueViolation", constraint: "t.x" })
      assert.strictEqual(
        (yield* reasonOf(sql`INSERT INTO t ${sql.insert({ id: 1, n: 1, x: "b" })}`))._tag,
        "ConstraintError"
      )
      const nonsense = yield* reasonOf(sql`SELEC`)
      assert.strictEqual(nonsense.message, "SQLite: near \"SELEC\": syntax error")
      const folder = yield* reasonOf(
        Effect.scoped(Effect.provide(Effect.void, Sqlite.layer({ filename: "/nowhere/x" })))
      )
      assert.strictEqual(folder._tag, "ConnectionError")
    }).pipe(Effect.scoped))

  it.effect("answers after more statements than stay compiled", () =>
    Effect.gen(function*() {
      const sql = yield* withTable()
      for (let n = 0; n < 500; n++) {
        assert.deepStrictEqual(yield* sql.unsafe(`SELECT ${n % 200}, ?`, [n]).values, [[n % 200, n]])
      }
    }).pipe(Effect.scoped))

  describe("a transaction", () => {
    it.effect("commits all or nothing", () =>
      Effect.gen(function*() {
        const sql = yield* withTable()
        const insert = (id: number) => sql`INSERT INTO t ${sql.insert({ id, n: 0, x: null })}`
        yield* sql.withTransaction(Effect.andThen(insert(1), insert(2)))
        yield* Effect.exit(sql.withTransaction(Effect.andThen(insert(3), Effect.fail("no"))))
        yield* Effect.exit(sql.withTransaction(Effect.andThen(insert(4), Effect.die("no"))))
        yield* Effect.exit(sql.withTransaction(Effect.andThen(insert(5), insert(1))))
        assert.deepStrictEqual(yield* ids(sql), [1, 2])
      }).pipe(Effect.scoped))

    it.effect("undoes an inner one alone", () =>
      Effect.gen(function*() {
        const sql = yield* withTable()
        const insert = (id: number) => sql`INSERT INTO t ${sql.insert({ id, n: 0, x: null })}`
        yield* sql.withTransaction(Effect.gen(function*() {
          yield* insert(1)
          yield* Effect.exit(sql.withTransaction(Effect.andThen(insert(2), Effect.fail("no"))))
          yield* sql.withTransaction(insert(3))
        }))
        assert.deepStrictEqual(yield* ids(sql), [1, 3])
      }).pipe(Effect.scoped))

    it.effect("is undone when it is interrupted, and others go on", () =>
      Effect.gen(function*() {
        const sql = yield* withTable()
        const insert = (id: number) => sql`INSERT INTO t ${sql.insert({ id, n: 0, x: null })}`
        const running = yield* Effect.forkChild(sql.withTransaction(Effect.andThen(insert(1), Effect.never)), {
          startImmediately: true
        })
        const waiting = yield* Effect.forkChild(sql.withTransaction(insert(2)), { startImmediately: true })
        const next = yield* Effect.forkChild(insert(3), { startImmediately: true })
        yield* Fiber.interrupt(waiting)
        yield* Fiber.interrupt(running)
        yield* Fiber.join(next)
        assert.deepStrictEqual(yield* ids(sql), [3])
      }).pipe(Effect.scoped))

    it.effect("whose commit fails is undone", () =>
      Effect.gen(function*() {
        const sql = yield* withTable()
        yield* sql`CREATE TABLE child (t INTEGER REFERENCES t(id) DEFERRABLE INITIALLY DEFERRED)`
        const orphan = sql.withTransaction(sql`INSERT INTO child VALUES (7)`)
        assert.strictEqual((yield* reasonOf(orphan))._tag, "ConstraintError")
        yield* sql.withTransaction(sql`INSERT INTO t (id) VALUES (7)`)
        assert.deepStrictEqual(yield* sql`SELECT count(*) FROM child`.values, [[0]])
      }).pipe(Effect.scoped))
  })

  describe("two connections to one file", () => {
    it.live("write after one left a stream before its end", () =>
      Effect.gen(function*() {
        const filename = yield* TestSqlite.filename
        const here = yield* withTable({ filename, busyTimeout: "50 millis" })
        const there = yield* withTable({ filename, busyTimeout: "50 millis" })
        yield* here`WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 600)
          INSERT INTO t (id) SELECT i FROM c`
        yield* Stream.runDrain(Stream.take(here`SELECT id FROM t`.stream, 1))
        const reader = yield* Effect.forkChild(
          Stream.runForEach(here`SELECT id FROM t`.stream, () => Effect.never),
          { startImmediately: true }
        )
        yield* Fiber.interrupt(reader)
        yield* there`INSERT INTO t (id) VALUES (601)`
        yield* here`INSERT INTO t (id) VALUES (602)`
        assert.strictEqual((yield* ids(here)).length, 602)
      }).pipe(Effect.scoped))

    it.live("lose nothing that both write at once", () =>
      Effect.gen(function*() {
        const filename = yield* TestSqlite.filename
        const both = [yield* withTable({ filename }), yield* withTable({ filename })]
        yield* both[0]!`INSERT INTO t (id, n) VALUES (1, 0)`
        const add = (sql: SqlClient.SqlClient) =>
          sql.withTransaction(Effect.gen(function*() {
            const [row] = yield* sql<{ n: number }>`SELECT n FROM t`
            yield* Effect.yieldNow
            yield* sql`UPDATE t SET n = ${(row?.n ?? NaN) + 1}`
          }))
        yield* Effect.forEach(both, (sql) => Effect.replicateEffect(add(sql), 50), { concurrency: "unbounded" })
        assert.deepStrictEqual(yield* both[1]!`SELECT n FROM t`.values, [[100]])
      }).pipe(Effect.scoped))

    it.live("open it at once", () =>
      Effect.gen(function*() {
        const filename = yield* TestSqlite.filename
        yield* Effect.forEach(Array.from({ length: 8 }), () => withTable({ filename }), { concurrency: "unbounded" })
      }).pipe(Effect.scoped))

    it.live("wait for each other", () =>
      Effect.gen(function*() {
        const filename = yield* TestSqlite.filename
        const [here, there] = [yield* withTable({ filename }), yield* withTable({ filename })]
        yield* whileLocked(there, (release) =>
          Effect.gen(function*() {
            const write = yield* Effect.forkChild(here`INSERT INTO t (id) VALUES (1)`, { startImmediately: true })
            const begin = yield* Effect.forkChild(here.withTransaction(here`INSERT INTO t (id) VALUES (2)`), {
              startImmediately: true
            })
            yield* Effect.sleep(30)
            assert.isUndefined(write.pollUnsafe())
            yield* release
            yield* Fiber.join(write)
            yield* Fiber.join(begin)
          }))
        assert.deepStrictEqual(yield* ids(there), [1, 2])
      }).pipe(Effect.scoped))

    it.live("say that they waited too long", () =>
      Effect.gen(function*() {
        const filename = yield* TestSqlite.filename
        const there = yield* withTable({ filename })
        const here = yield* withTable({ filename, busyTimeout: "30 millis" })
        const reason = yield* whileLocked(there, () => reasonOf(here.withTransaction(Effect.void)))
        assert.strictEqual(reason._tag, "LockTimeoutError")
        assert.isTrue(reason.isRetryable)
      }).pipe(Effect.scoped))

    it.live("can be interrupted while they wait, and are free then", () =>
      Effect.gen(function*() {
        const filename = yield* TestSqlite.filename
        const [here, there] = [yield* withTable({ filename }), yield* withTable({ filename })]
        yield* whileLocked(there, (release) =>
          Effect.gen(function*() {
            const begin = yield* Effect.forkChild(here.withTransaction(Effect.void), { startImmediately: true })
            yield* Effect.sleep(10)
            yield* Fiber.interrupt(begin)
            const exit = yield* Fiber.await(begin)
            assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
            assert.deepStrictEqual(yield* ids(here), [])
            yield* release
            yield* here.withTransaction(here`INSERT INTO t (id) VALUES (1)`)
          }))
        assert.deepStrictEqual(yield* ids(there), [1])
      }).pipe(Effect.scoped))
  })
})

describe("a file that is deleted while it is open", () => {
  it.effect("fails every statement with what happened and what to do, until it is back", () =>
    Effect.gen(function*() {
      const filename = yield* TestSqlite.filename
      const sql = yield* TestSqlite.connection({ filename })
      yield* sql`CREATE TABLE t (n INTEGER)`
      renameSync(filename, `${filename}.away`)
      for (const statement of [sql`INSERT INTO t VALUES (1)`, sql.withTransaction(sql`SELECT 1`), sql`SELECT 1`]) {
        const error = yield* Effect.flip(statement)
        assert.strictEqual(error.reason._tag, "ConnectionError")
        assert.include(error.reason.message, `${filename} was deleted or replaced while it was open`)
        assert.include(error.reason.message, "restart the program")
      }
      writeFileSync(filename, "")
      assert.strictEqual((yield* Effect.flip(sql`SELECT 1`)).reason._tag, "ConnectionError")
      renameSync(`${filename}.away`, filename)
      yield* sql`INSERT INTO t VALUES (1)`
      assert.lengthOf(yield* sql`SELECT n FROM t`, 1)
    }).pipe(Effect.scoped))

  it.effect("loses no row: they wait, and who reports is told why", () =>
    Effect.gen(function*() {
      const filename = yield* TestSqlite.filename
      const layer = CostLedger.layerNoDeps().pipe(
        Layer.provide([
          PriceBook.layer(),
          CostLedgerSql.layerStore().pipe(Layer.provide(Layer.fresh(Sqlite.layer({ filename }))))
        ])
      )
      yield* Effect.gen(function*() {
        const ledger = yield* CostLedger.CostLedger
        renameSync(filename, `${filename}.away`)
        const attempt = ClaudeTest.attempt()
        yield* Attempt.guard(
          ledger,
          attempt,
          Effect.sync(() => {
            attempt.outcome = Attempt.Outcome.Aborted({ usage: Usage.zero })
          })
        )
        const error = yield* Effect.flip(ledger.report())
        assert.include(error.message, "The store of the ledger cannot be reached: ")
        assert.include(error.message, "was deleted or replaced")
        assert.deepInclude(yield* ledger.status, { pendingRows: 1, lostRows: 0 })
        renameSync(`${filename}.away`, filename)
        assert.strictEqual((yield* ledger.report()).total.attempts, 1)
      }).pipe(Effect.provide(layer))
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))))
})

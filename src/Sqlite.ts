/**
 * A `SqlClient` of `effect/sql` over a SQLite file, by the `node:sqlite` of Node: an embedded store for data that outlives the process.
 *
 * - **One connection**, used by one statement or transaction at a time. Others wait for it, and that wait can be interrupted. A stream of rows
 *   holds the connection until it ends, so do not run another statement of the same client while you read one.
 * - **Several processes** may share one file on a local disk: it is in WAL mode, and a transaction takes the write lock when it begins. While
 *   another process holds the lock, a statement waits without blocking the thread, at most `busyTimeout`; then it fails with the reason
 *   `LockTimeoutError`.
 * - **Durability**: committed data survives a crash of the process. A power loss may lose the last commits, but does not corrupt the file.
 * - **A file that is deleted or replaced** while it is open would take what is written with it: from then on statements fail with a `ConnectionError`
 *   that says so.
 * - **Integers** are exact up to 2^53 (9 million dollars in nano-dollars). A `bigint` parameter may be larger; a larger integer in a result fails
 *   the statement, so read it by `CAST(x AS TEXT)`.
 * - **A statement blocks the thread while it runs**, since `node:sqlite` is synchronous. Node 22 calls it experimental and warns once.
 * - **A text with a NUL in it** is stored whole; Node 22 and early versions of Node 24 read it up to the NUL alone.
 *
 * **Example** (A table in memory)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SqlClient } from "effect/sql"
 * import * as Sqlite from "effect-claude/Sqlite"
 *
 * const program = Effect.gen(function*() {
 *   const sql = yield* SqlClient.SqlClient
 *   yield* sql`CREATE TABLE spent (user TEXT PRIMARY KEY, nano_usd INTEGER NOT NULL)`
 *   yield* sql`INSERT INTO spent ${sql.insert({ user: "ada", nano_usd: 1_500_000 })}`
 *   return yield* sql<{ nano_usd: number }>`SELECT nano_usd FROM spent`
 * }).pipe(Effect.provide(Sqlite.layer({ filename: ":memory:" })))
 *
 * const [row] = await Effect.runPromise(program)
 *
 * row?.nano_usd // => 1_500_000
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as Result from "effect/Result"
import * as Semaphore from "effect/Semaphore"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import { classifySqliteError, ConnectionError, SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import * as Stream from "effect/Stream"
import { statSync } from "node:fs"
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite"

/**
 * - `filename`: of the database. It is created if it is missing; its folder is not. `:memory:` gives a database that ends with the layer.
 * - `busyTimeout`: how long a statement waits for the lock of another process. Default 5 seconds.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly filename: string
  readonly busyTimeout?: Duration.Input | undefined
}

/** Statements that stay compiled. */
const maxStatements = 128

/** How often a statement tries to get a lock. */
const pollMillis = 5

/** Rows of a stream that are read at once. */
const chunkSize = 256

/** `node:sqlite` names SQLite's code `errcode`; `classifySqliteError` reads `errno`. */
const toError = (cause: unknown): SqlError => {
  const error = cause instanceof Error ? cause : new Error("unknown", { cause })
  if ("errcode" in error) Object.assign(error, { errno: error.errcode })
  return new SqlError({ reason: classifySqliteError(error, { message: `SQLite: ${error.message}` }) })
}

const attempt = <A>(step: () => A): Effect.Effect<A, SqlError> => Effect.try({ try: step, catch: toError })

const isBusy = (error: SqlError): boolean => error.reason._tag === "LockTimeoutError"

const take = (iterator: Iterator<object>, count: number): Array<object> => {
  const chunk: Array<object> = []
  while (chunk.length < count) {
    const next = iterator.next()
    if (next.done === true) break
    chunk.push(next.value)
  }
  return chunk
}

/** The identity of a file; undefined where it is not there, or where the file system knows none. */
const inodeOf = (filename: string): number | undefined =>
  statSync(filename, { throwIfNoEntry: false })?.ino || undefined

const gone = (filename: string): Effect.Effect<never, SqlError> =>
  Effect.fail(
    new SqlError({
      reason: new ConnectionError({
        cause: undefined,
        message:
          `SQLite: ${filename} was deleted or replaced while it was open, and what is written now would be lost. ` +
          "Put it back, or restart the program to begin with another file."
      })
    })
  )

/** A number would be bound as a float, which changes the results of division and `typeof`. */
const bind = (value: unknown): SQLInputValue => {
  if (typeof value === "string") return value
  if (typeof value === "number") return Number.isSafeInteger(value) ? BigInt(value) : value
  if (typeof value === "boolean") return value ? 1n : 0n
  if (value === undefined) return null
  return value instanceof Date ? value.toISOString() : value as SQLInputValue // what remains is refused by SQLite itself
}

/**
 * Opens the database.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(options: Options) {
  const busyMillis = Duration.toMillis(options.busyTimeout ?? "5 seconds")

  /** Only the wait can be interrupted: the caller must learn that a transaction has begun. */
  const patiently = Effect.fnUntraced(function*<A>(step: Effect.Effect<A, SqlError>, busy: SqlError) {
    const end = (yield* Clock.currentTimeMillis) + busyMillis
    while ((yield* Clock.currentTimeMillis) < end) {
      yield* Effect.interruptible(Effect.sleep(pollMillis))
      const result = yield* Effect.result(step)
      if (Result.isSuccess(result)) return result.success
      if (!isBusy(result.failure)) return yield* result.failure
    }
    return yield* busy
  })
  const locked = <A>(step: () => A): Effect.Effect<A, SqlError> => {
    const once = Effect.suspend(() => !db.isTransaction && isGone() ? gone(options.filename) : attempt(step))
    return Effect.catchIf(once, isBusy, (busy) => patiently(once, busy))
  }

  const db = yield* Effect.acquireRelease(
    Effect.try({
      try: () => new DatabaseSync(options.filename, { timeout: 0 }),
      catch: (cause) =>
        new SqlError({
          reason: new ConnectionError({
            cause,
            message: `SQLite: cannot open ${options.filename}. Does its folder exist?`
          })
        })
    }),
    (db) => Effect.sync(() => db.close())
  )
  const inode = inodeOf(options.filename)
  const isGone = () => inode !== undefined && inodeOf(options.filename) !== inode
  yield* locked(() => db.exec("PRAGMA journal_mode = WAL"))
  yield* locked(() => db.exec("PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY"))

  const statements = new Map<string, StatementSync>()
  const prepared = (sql: string): StatementSync => {
    const statement = statements.get(sql) ?? db.prepare(sql)
    statements.delete(sql)
    statements.set(sql, statement)
    if (statements.size > maxStatements) statements.delete(statements.keys().next().value ?? sql)
    return statement
  }
  const unprepared = (sql: string) => db.prepare(sql)

  const rows = (get: (sql: string) => StatementSync): Connection["execute"] => (sql, params, transform) =>
    locked(() => {
      const statement = get(sql)
      statement.setReturnArrays(false)
      const found = statement.all(...params.map(bind))
      return transform === undefined ? found : transform(found)
    })
  const values = (get: (sql: string) => StatementSync): Connection["executeValues"] => (sql, params) =>
    locked(() => {
      const statement = get(sql)
      statement.setReturnArrays(true)
      // The type of `all` does not know of the line above.
      return statement.all(...params.map(bind)) as unknown as ReadonlyArray<ReadonlyArray<unknown>>
    })

  const connection: Connection = {
    execute: rows(prepared),
    executeUnprepared: rows(unprepared),
    executeValues: values(prepared),
    executeValuesUnprepared: values(unprepared),
    executeRaw: (sql, params) => locked(() => prepared(sql).run(...params.map(bind))),
    executeStream: (sql, params, transform) =>
      Stream.unwrap(Effect.map(
        // An iterator that is not closed keeps its table locked, and this connection at an old snapshot.
        Effect.acquireRelease(
          locked(() => db.prepare(sql).iterate(...params.map(bind))),
          (iterator) => Effect.sync(() => iterator.return?.())
        ),
        (iterator) =>
          Stream.paginate(undefined, () =>
            Effect.map(attempt(() => take(iterator, chunkSize)), (chunk) => {
              const next = chunk.length < chunkSize ? Option.none() : Option.some(undefined)
              return [transform === undefined ? chunk : transform(chunk), next]
            }))
      ))
  }

  const semaphore = yield* Semaphore.make(1)
  return yield* SqlClient.make({
    ...SqlClient.makeSqliteAcquirers({
      connection: Effect.succeed(connection),
      semaphore,
      isTransaction: () => db.isTransaction
    }),
    compiler: Statement.makeCompilerSqlite(),
    driver: "node-sqlite",
    beginTransaction: "BEGIN IMMEDIATE",
    prepareTransactionControls: true,
    releaseSavepoint: (name) => `RELEASE SAVEPOINT ${name}`,
    spanAttributes: [["db.system.name", "sqlite"], ["db.namespace", options.filename]]
  })
})

/**
 * Opens a client for the file, and closes it with the layer.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<SqlClient.SqlClient, SqlError> =>
  Layer.effect(SqlClient.SqlClient, make(options)).pipe(Layer.provide(Reactivity.layer))

/**
 * `layer` with options from configuration.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<SqlClient.SqlClient, Config.ConfigError | SqlError> =>
  Layer.effect(SqlClient.SqlClient, Effect.flatMap(Config.unwrap(options), make)).pipe(Layer.provide(Reactivity.layer))

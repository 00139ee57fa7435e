/** The PostgreSQL of the tests, at `TEST_POSTGRES_URL` or on this machine, and names in it that end with their test. */
import { PgClient } from "@effect/sql-pg"
import { Context, Effect, Layer, Redacted, type Scope } from "effect"
import { SqlClient, type SqlError } from "effect/sql"
import { randomBytes } from "node:crypto"
import { postgresUrl } from "./ledgerProcess.ts"

export const url = postgresUrl

/** A pool of connections to it, or to what stands in between at another port. */
export const layerAt = (port = new URL(url).port): Layer.Layer<SqlClient.SqlClient, SqlError.SqlError> => {
  const at = new URL(url)
  at.port = port
  return Layer.fresh(PgClient.layer({ url: Redacted.make(at.href), maxConnections: 4, connectTimeout: "2 seconds" }))
}

export const layer = layerAt()

/** One more pool of connections, as a process of its own has. */
export const connection: Effect.Effect<SqlClient.SqlClient, never, Scope.Scope> = Effect.map(
  Layer.build(Layer.orDie(layer)),
  Context.get(SqlClient.SqlClient)
)

const canConnect = await Effect.runPromise(
  Effect.scoped(Effect.flatMap(Layer.build(layer), (services) => Context.get(services, SqlClient.SqlClient)`SELECT 1`))
    .pipe(
      Effect.as(true),
      Effect.timeout("5 seconds"),
      Effect.catch(() => Effect.succeed(false))
    )
)

if (!canConnect) {
  const line = "PostgreSQL is not to be had at TEST_POSTGRES_URL or 127.0.0.1:5432: what needs it was not tested."
  if (process.env["CI"] === "true") throw new Error(line)
  console.warn(line)
}

/** Whether there is one. */
export const isThere: boolean = canConnect

/** A prefix of table names that nobody else has. The tables that begin with it are dropped in the end. */
export const prefix: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => `test_${randomBytes(6).toString("hex")}_`),
  (prefix) =>
    Effect.scoped(Effect.gen(function*() {
      const sql = yield* connection
      const tables = yield* sql<
        { name: string }
      >`SELECT tablename AS name FROM pg_tables WHERE starts_with(tablename, ${prefix})`
      for (const { name } of tables) yield* sql`DROP TABLE ${sql(name)}`
    })).pipe(Effect.orDie)
)

let schemas = 0

/** A schema that nobody else uses; it is dropped in the end. */
export const schema: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.suspend(() => {
    const name = `test_${randomBytes(6).toString("hex")}_${++schemas}`
    return Effect.as(execute(`CREATE SCHEMA ${name}`), name)
  }),
  (name) => execute(`DROP SCHEMA ${name} CASCADE`)
)

const execute = (statement: string): Effect.Effect<void> =>
  Effect.scoped(Effect.flatMap(connection, (sql) => sql.unsafe(statement))).pipe(Effect.orDie)

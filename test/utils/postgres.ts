/** Schemas of a PostgreSQL server that end with their test. */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted, type Scope } from "effect"
import { Reactivity } from "effect/reactivity"
import type { SqlClient } from "effect/sql"
import { connect } from "node:net"

/** Where the server is: the URL of `TEST_POSTGRES_URL`, or the usual place on this machine. */
export const url = process.env.TEST_POSTGRES_URL ?? "postgres://postgres@127.0.0.1:5432/test"

/** Whether there is a server. */
export const isRunning = await new Promise<boolean>((resolve) => {
  const { hostname, port } = new URL(url)
  const socket = connect({ host: hostname, port: Number(port || 5432) })
  const end = (found: boolean) => {
    socket.destroy()
    resolve(found)
  }
  socket.once("connect", () => end(true))
  socket.once("error", () => end(false))
})

if (!isRunning) {
  const what = `There is no PostgreSQL at ${new URL(url).host}: the tests that need it do not run.`
  if (process.env.CI === "true") throw new Error(what)
  console.warn(what)
}

/** One more pool of connections, as a process of its own has. */
export const connection = (port = new URL(url).port): Layer.Layer<SqlClient.SqlClient> => {
  const at = new URL(url)
  at.port = port
  return Layer.fresh(Layer.orDie(PgClient.layer({ url: Redacted.make(at.href), maxConnections: 4 })))
}

let schemas = 0

/** A schema that nobody else uses. */
export const schema: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.suspend(() => {
    const name = `test_${process.pid}_${Date.now().toString(36)}_${++schemas}`
    return Effect.as(execute(`CREATE SCHEMA ${name}`), name)
  }),
  (name) => execute(`DROP SCHEMA ${name} CASCADE`)
)

const execute = (statement: string): Effect.Effect<void> =>
  Effect.scoped(
    Effect.gen(function*() {
      const sql = yield* PgClient.makeClient({ url: Redacted.make(url) })
      yield* sql.unsafe(statement)
    }).pipe(Effect.provide(Reactivity.layer), Effect.orDie)
  )

/** The ledger of `--ledger` or `CLAUDE_LEDGER`: a SQLite file, or Postgres where its client is installed. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as CostLedgerSql from "../../CostLedger/Sql.ts"
import * as Sqlite from "../../Sqlite.ts"
import { addressOf } from "./address.ts"
import { CommandError, UsageError } from "./failure.ts"
import { load } from "./peer.ts"

const isUrl = (target: string): boolean => /^[a-z][a-z0-9+.-]*:\/\//i.test(target)

/** What the flags say. */
export interface Flags {
  readonly ledger: string | undefined
  readonly ledgerPrefix: string | undefined
}

/** Where the ledger is. */
export interface Target {
  readonly address: Redacted.Redacted<string>
  readonly prefix: string
}

export const targetOf = (flags: Flags) =>
  Effect.map(
    addressOf(flags.ledger, "CLAUDE_LEDGER"),
    (address): Target | undefined =>
      address === undefined ? undefined : { address, prefix: flags.ledgerPrefix ?? "effect_claude_" }
  )

export const required = (flags: Flags) =>
  Effect.filterOrFail(
    targetOf(flags),
    (target) => target !== undefined,
    () =>
      new UsageError({ message: "Which ledger? Give a SQLite file or a URL of Postgres as --ledger or CLAUDE_LEDGER." })
  )

const postgres = (url: Redacted.Redacted<string>) =>
  Effect.map(
    load("@effect/sql-pg", "A ledger in Postgres", () => import("@effect/sql-pg/PgClient")),
    (PgClient): Layer.Layer<SqlClient.SqlClient, SqlError> =>
      PgClient.layer({ url, connectTimeout: "5 seconds", applicationName: "effect-claude" })
  )

const clientOf = Effect.fnUntraced(function*({ address }: Target, mustExist: boolean) {
  const text = Redacted.value(address)
  if (isUrl(text)) {
    return /^postgres(?:ql)?:/i.test(text)
      ? yield* postgres(address)
      : yield* new UsageError({ message: "A ledger is a SQLite file, or a URL that starts with postgres://." })
  }
  const fs = yield* FileSystem.FileSystem
  if (mustExist && !(yield* fs.exists(text))) {
    return yield* new CommandError({ message: `There is no ledger ${text}. Check --ledger or CLAUDE_LEDGER.` })
  }
  return Sqlite.layer({ filename: text })
})

/** Building a ledger creates its tables, which a report should not. */
const assertTables = Effect.fnUntraced(function*(prefix: string) {
  const sql = yield* SqlClient.SqlClient
  yield* Effect.mapError(
    sql`SELECT 1 FROM ${sql(`${prefix}ledger`)} LIMIT 1`,
    (error) =>
      error.reason._tag === "ConnectionError" ? error : new CommandError({
        message: `The database has no ledger whose tables begin with ${prefix}. Check --ledger and --ledger-prefix.`
      })
  )
})

/** The ledger as a part of the service, over the prices that it is given; one that is not there is created, or refused. */
export const layer = (target: Target, missing: "create" | "refuse") =>
  Layer.unwrap(Effect.map(clientOf(target, missing === "refuse"), (client) => {
    const ledger = CostLedgerSql.layer({ prefix: target.prefix })
    const tables = missing === "refuse" ? assertTables(target.prefix) : Effect.void
    return Layer.unwrap(Effect.as(tables, ledger)).pipe(Layer.provide(client))
  }))

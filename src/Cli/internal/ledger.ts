/** The ledger of `--ledger` or `CLAUDE_LEDGER`: a SQLite file, or Postgres where its client is installed. */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as CostLedgerSql from "../../CostLedger/Sql.ts"
import * as Sqlite from "../../Sqlite.ts"
import { CommandError, UsageError } from "./failure.ts"
import { load } from "./peer.ts"
import { hasPassword } from "./redact.ts"

const isUrl = (target: string): boolean => /^[a-z][a-z0-9+.-]*:\/\//i.test(target)

/** Where the ledger is: the flag, or the environment, which alone may hold a password. */
export const targetOf = Effect.fnUntraced(function*(flag: string | undefined) {
  if (flag !== undefined) {
    return hasPassword(flag)
      ? yield* new UsageError({
        message: "A URL with a password can be seen by everybody on this machine: give it as CLAUDE_LEDGER instead."
      })
      : Redacted.make(flag, { label: "CLAUDE_LEDGER" })
  }
  return Option.getOrUndefined(yield* Config.option(Config.Redacted("CLAUDE_LEDGER")))
})

export const required = (flag: string | undefined) =>
  Effect.filterOrFail(
    targetOf(flag),
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

const client = Effect.fnUntraced(function*(target: Redacted.Redacted<string>, mustExist: boolean) {
  const text = Redacted.value(target)
  if (isUrl(text)) {
    return /^postgres(?:ql)?:/i.test(text)
      ? yield* postgres(target)
      : yield* new UsageError({ message: "A ledger is a SQLite file, or a URL that starts with postgres://." })
  }
  const fs = yield* FileSystem.FileSystem
  if (mustExist && !(yield* fs.exists(text))) {
    return yield* new CommandError({ message: `There is no ledger ${text}. Check --ledger or CLAUDE_LEDGER.` })
  }
  return Sqlite.layer({ filename: text })
})

/** The ledger as a part of the service, over the prices that it is given. */
export const layer = (target: Redacted.Redacted<string>, options: { readonly mustExist?: boolean } = {}) =>
  Layer.unwrap(
    Effect.map(client(target, options.mustExist === true), (sql) => Layer.provide(CostLedgerSql.layer(), sql))
  )

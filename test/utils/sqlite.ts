/** SQLite files that end with their test. */
import { Context, Effect, Layer, type Scope } from "effect"
import * as Sqlite from "effect-claude/Sqlite"
import { SqlClient } from "effect/sql"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

/** The name of a file that is not there yet. */
export const filename: Effect.Effect<string, never, Scope.Scope> = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-claude-sqlite-"))),
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
  ),
  (folder) => join(folder, "test.db")
)

/** One more connection to it, as a process of its own has. */
export const connection = (
  options: Sqlite.Options
): Effect.Effect<SqlClient.SqlClient, never, Scope.Scope> =>
  Effect.map(Layer.build(Layer.orDie(Layer.fresh(Sqlite.layer(options)))), Context.get(SqlClient.SqlClient))

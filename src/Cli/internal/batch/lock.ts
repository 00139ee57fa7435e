/** Keeps two runs off one file of answers. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Predicate from "effect/Predicate"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import { DatabaseSync } from "node:sqlite"
import { CommandError } from "../failure.ts"

/** The file as every path to it names it. */
const canonical = Effect.fnUntraced(function*(file: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  if (yield* fs.exists(file)) return yield* fs.realPath(file)
  const folder = path.dirname(file)
  if (!(yield* fs.exists(folder))) {
    return yield* new CommandError({ message: `There is no folder ${folder} for --out.` })
  }
  return path.join(yield* fs.realPath(folder), path.basename(file))
})

const codeOf = (cause: unknown): unknown => Predicate.hasProperty(cause, "errcode") ? cause.errcode : undefined

const busy = 5

/** The number that SQLite keeps in the head of a database. */
const numberOf = (db: DatabaseSync, pragma: "user_version" | "application_id"): unknown =>
  db.prepare(`PRAGMA ${pragma}`).get()?.[pragma]

/** Whether the lock that `db` holds is that of the file that `path` names now: its last owner may have removed the one that was opened. */
const isCurrent = (path: string, token: number): Effect.Effect<boolean> =>
  Effect.orElseSucceed(
    Effect.try(() => {
      const db = new DatabaseSync(path, { readOnly: true })
      const found = numberOf(db, "application_id")
      db.close()
      return found === token
    }),
    () => false
  )

/** Takes the lock of an open database and leaves who has it; undefined where another process has it. */
const take = (db: DatabaseSync, token: number): Effect.Effect<boolean, unknown> =>
  Effect.catch(
    Effect.try({
      try: () => {
        db.exec("PRAGMA journal_mode = MEMORY; BEGIN IMMEDIATE")
        db.exec(`PRAGMA user_version = ${process.pid}; PRAGMA application_id = ${token}; COMMIT; BEGIN IMMEDIATE`)
        return true
      },
      catch: (cause) => cause
    }),
    (cause) => codeOf(cause) === busy ? Effect.succeed(false) : Effect.fail(cause)
  )

/** How often a lock file may vanish between opening and locking it. */
const tries = 10

/**
 * Locks a file until the scope closes, by the lock of a small database beside it, `FILE.lock`. The operating system gives that up when its process
 * ends, however it ends, so a lock is never stale.
 */
export const acquire = Effect.fnUntraced(function*(
  file: string
): Effect.fn.Return<
  void,
  CommandError | Effect.Error<ReturnType<typeof canonical>>,
  Scope.Scope | FileSystem.FileSystem | Path.Path
> {
  const fs = yield* FileSystem.FileSystem
  const path = `${yield* canonical(file)}.lock`
  const cannot = () =>
    new CommandError({
      message:
        `${path} cannot be locked, so another run might write ${file} too. Remove that file, or write the answers to a local disk.`
    })
  const token = yield* Random.nextIntBetween(1, 2 ** 31 - 1)

  const once = Effect.gen(function*() {
    const db = yield* Effect.acquireRelease(
      Effect.try({ try: () => new DatabaseSync(path, { timeout: 0 }), catch: cannot }),
      (db) => Effect.sync(() => db.close())
    )
    if (!(yield* Effect.mapError(take(db, token), cannot))) {
      const pid = yield* Effect.orElseSucceed(Effect.try(() => numberOf(db, "user_version")), () => 0)
      const who = typeof pid === "number" && pid > 0 ? ` (process ${pid})` : ""
      return yield* new CommandError({
        message: `Another run${who} is writing ${file}. Wait until it ends, or give another file as --out.`
      })
    }
    if (!(yield* isCurrent(path, token))) return false
    // It is removed before its lock is given up.
    yield* Effect.addFinalizer(() => Effect.ignore(fs.remove(path)))
    return true
  })

  for (let left = tries; left > 0; left--) if (yield* once) return
  return yield* cannot()
})

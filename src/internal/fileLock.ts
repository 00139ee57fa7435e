/**
 * Locks a file between programs, by the lock of a small SQLite database beside it, `FILE.lock`. The operating system gives that up when its process
 * ends, however it ends, so a lock is never stale.
 */
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import { readlinkSync, realpathSync, rmSync } from "node:fs"
import { basename, dirname, join, resolve } from "node:path"
import { pid } from "node:process"
import type { DatabaseSync } from "node:sqlite"

/** The file as every path to it names it, also before it is there. Fails with the error of the system where its folder cannot be found. */
export const canonical = (path: string, links = 40): Effect.Effect<string, unknown> => {
  const attempt = (run: () => string) => Effect.try({ try: run, catch: (error) => error })
  const linked = Effect.flatMap(
    attempt(() => readlinkSync(path)),
    (link) => links === 0 ? Effect.fail({ code: "ELOOP" }) : canonical(resolve(dirname(path), link), links - 1)
  )
  const missing = attempt(() => join(realpathSync(dirname(path)), basename(path)))
  const is = (...codes: ReadonlyArray<string>) => (error: unknown) =>
    codes.some((code) => codeOf(error, "code") === code)
  return attempt(() => realpathSync(path)).pipe(
    Effect.catchIf(is("ENOENT"), () => Effect.catchIf(linked, is("ENOENT", "EINVAL"), () => missing))
  )
}

const codeOf = (error: unknown, name: "code" | "errcode"): unknown =>
  Predicate.hasProperty(error, name) ? error[name] : undefined

/**
 * A file could not be locked.
 *
 * - `isHeld`: another program has the lock; where it has not, the file `lock` beside it cannot be used.
 * - `process`: the id of that program, where it is known.
 */
export class FileLockError extends Data.TaggedError("FileLockError")<{
  readonly lock: string
  readonly isHeld: boolean
  readonly process: number | undefined
}> {
  get reason(): string {
    const who = this.process === undefined ? "another program" : `another program (process ${this.process})`
    return this.isHeld ? `${who} holds the lock ${this.lock}` : `${this.lock} cannot be used as a lock`
  }
  get remedy(): string {
    return this.isHeld
      ? "Wait until it ends, or end it."
      : "Check that its folder can be written and is on a local disk, and remove it if it is something else."
  }
}

/** The code of SQLite for a lock that somebody else has. */
const busy = 5

/** How often a lock of somebody else is looked at. */
const pollMillis = 50

/** A number that SQLite keeps in the head of a database. */
const numberOf = (db: DatabaseSync, pragma: "user_version" | "application_id"): number =>
  Number(db.prepare(`PRAGMA ${pragma}`).get()?.[pragma])

/** Takes the lock of an open database, and leaves who has it. */
const take = (db: DatabaseSync, token: number): void => {
  db.exec("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; BEGIN IMMEDIATE")
  db.exec(`PRAGMA user_version = ${pid}; PRAGMA application_id = ${token}; COMMIT; BEGIN IMMEDIATE`)
}

type Open = (options?: { readonly readOnly?: boolean }) => DatabaseSync

/** Whether the lock with this token is that of the file that is there now: its last owner may have removed the one that was opened. */
const isCurrent = (open: Open, token: number): Effect.Effect<boolean> =>
  Effect.acquireUseRelease(
    Effect.try(() => open({ readOnly: true })),
    (db) => Effect.try(() => numberOf(db, "application_id") === token),
    (db) => Effect.sync(() => db.close())
  ).pipe(Effect.orElseSucceed(() => false))

/** The process that has the lock, where it left its number. */
const holderOf = (db: DatabaseSync): Effect.Effect<number | undefined> =>
  Effect.orElseSucceed(Effect.try(() => numberOf(db, "user_version") || undefined), () => undefined)

/** Tries once: the database that has the lock, else why not. */
const attempt = (open: Open, lock: string): Effect.Effect<DatabaseSync, FileLockError> =>
  Effect.gen(function*() {
    const failed = (isHeld: boolean, process?: number) => new FileLockError({ lock, isHeld, process })
    const token = yield* Random.nextIntBetween(1, 2 ** 31 - 1)
    const db = yield* Effect.try({ try: () => open(), catch: () => failed(false) })
    return yield* Effect.try({ try: () => take(db, token), catch: (error) => codeOf(error, "errcode") === busy }).pipe(
      Effect.catch((isHeld) =>
        isHeld
          ? Effect.flatMap(holderOf(db), (process) => Effect.fail(failed(true, process)))
          : Effect.fail(failed(false))
      ),
      Effect.andThen(isCurrent(open, token)),
      Effect.filterOrFail((is) => is, () => failed(true)),
      Effect.as(db),
      Effect.onError(() => Effect.sync(() => db.close()))
    )
  })

/**
 * Locks a file until the scope closes, and waits up to `waitMillis` for who has it. The file need not exist, its folder must. Needs a local disk.
 */
export const acquire = Effect.fnUntraced(function*(
  file: string,
  waitMillis: number
): Effect.fn.Return<void, FileLockError, Scope.Scope> {
  const lock = yield* Effect.match(canonical(file), {
    onFailure: () => `${file}.lock`, // which then cannot be opened
    onSuccess: (path) => `${path}.lock`
  })
  const { DatabaseSync } = yield* Effect.promise(() => import("node:sqlite"))
  const once = attempt((options) => new DatabaseSync(lock, { ...options, timeout: 0 }), lock)
  const end = (yield* Clock.currentTimeMillis) + waitMillis
  const patiently: Effect.Effect<DatabaseSync, FileLockError> = Effect.catch(
    once,
    (error) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) =>
        error.isHeld && now < end
          ? Effect.andThen(Effect.interruptible(Effect.sleep(pollMillis)), patiently)
          : Effect.fail(error))
  )
  yield* Effect.acquireRelease(patiently, (db) =>
    // It is removed while it is locked: who opens it from now on makes another one.
    Effect.andThen(Effect.ignore(Effect.try(() => rmSync(lock))), Effect.sync(() => db.close())))
})

/** Files that hold secrets: read whole, with a bound, and written so that a reader sees the old one or the new one. */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import { randomUUID } from "node:crypto"
import * as fs from "node:fs/promises"
import { basename, dirname, join } from "node:path"
import { platform } from "node:process"
import * as FileLock from "../../internal/fileLock.ts"
import { KeyStoreError } from "./source.ts"

/** The largest file that can hold keys. */
const maxBytes = 1024 * 1024

const codeOf = (error: unknown): string =>
  Predicate.hasProperty(error, "code") && Predicate.isString(error.code) ? error.code : "an unknown error"

/** What an operation on a file fails with: its path and the code of the system. */
export const failed = (store: string, path: string, doing: string) => (error: unknown): KeyStoreError => {
  const code = codeOf(error)
  const isDenied = code === "EACCES" || code === "EPERM"
  return new KeyStoreError({
    store,
    kind: isDenied ? "denied" : "unreachable",
    reason: `${path} cannot be ${doing} (${code})`,
    remedy: isDenied ? `Give this user access to ${path}.` : undefined
  })
}

const attempt = <A>(store: string, path: string, doing: string, run: () => Promise<A>) =>
  Effect.tryPromise({ try: run, catch: failed(store, path, doing) })

const missing = new Set(["ENOENT", "ENOTDIR"])

/** Undefined where there is no such file. */
export const found = <A>(
  store: string,
  path: string,
  run: () => Promise<A>
): Effect.Effect<A | undefined, KeyStoreError> =>
  Effect.tryPromise({ try: run, catch: (error) => error }).pipe(
    Effect.catch((error) =>
      missing.has(codeOf(error)) ? Effect.succeed(undefined) : Effect.fail(failed(store, path, "read")(error))
    )
  )

/** A file that was read, and when it was changed last. */
export interface File {
  readonly bytes: Uint8Array
  readonly changedAt: string
}

const hasModes = platform !== "win32"

/** Without `O_NONBLOCK`, which Windows does not have, opening a pipe that nobody writes to would wait for good. */
const toRead = fs.constants.O_RDONLY | (hasModes ? fs.constants.O_NONBLOCK : 0)

const octal = (mode: number): string => (mode & 0o777).toString(8).padStart(4, "0")

/** What is read of an open file is what was looked at, even if its name is given to another one meanwhile. */
const readOpen = (store: string, path: string, handle: fs.FileHandle, isPrivate: boolean) =>
  Effect.gen(function*() {
    const stat = yield* attempt(store, path, "read", () => handle.stat())
    const refuse = (kind: "invalid" | "permissions", reason: string, remedy?: string) =>
      new KeyStoreError({ store, kind, reason, remedy })
    if (!stat.isFile()) return yield* refuse("invalid", `${path} is not a file`)
    if (stat.size > maxBytes) return yield* refuse("invalid", `${path} is larger than 1 MiB`)
    if (isPrivate && hasModes && (stat.mode & 0o077) !== 0) {
      return yield* refuse(
        "permissions",
        `${path} can be accessed by other users (mode ${octal(stat.mode)})`,
        `Run chmod 600 ${path}, and replace its keys if others may have read them.`
      )
    }
    const bytes = yield* attempt(store, path, "read", () => handle.readFile())
    return { bytes: new Uint8Array(bytes), changedAt: stat.mtime.toISOString() }
  })

/** The content of a file, undefined where there is none. A private one is refused where other users have access. */
export const read = (
  store: string,
  path: string,
  options: { readonly isPrivate: boolean }
): Effect.Effect<File | undefined, KeyStoreError> =>
  Effect.acquireUseRelease(
    found(store, path, () => fs.open(path, toRead)),
    (handle) => handle === undefined ? Effect.succeed(undefined) : readOpen(store, path, handle, options.isPrivate),
    (handle) => handle === undefined ? Effect.void : Effect.ignore(Effect.tryPromise(() => handle.close()))
  )

const opened = <A>(
  store: string,
  path: string,
  flags: string,
  use: (handle: fs.FileHandle) => Effect.Effect<A, KeyStoreError>
) =>
  Effect.acquireUseRelease(
    attempt(store, path, "written", () => fs.open(path, flags, 0o600)),
    use,
    (handle) => Effect.ignore(Effect.tryPromise(() => handle.close()))
  )

/** Writes a file beside the one it is to replace, as this user's alone. */
const writeBeside = (store: string, path: string, bytes: Uint8Array) =>
  opened(store, path, "wx", (handle) =>
    Effect.andThen(
      attempt(store, path, "written", () => handle.writeFile(bytes)),
      attempt(store, path, "written", () => handle.sync())
    ))

/** Makes a renaming last over a crash of the machine, on systems where a folder can be flushed. */
const flushFolder = (store: string, path: string) =>
  Effect.ignore(opened(store, path, "r", (handle) => attempt(store, path, "written", () => handle.sync())))

/** How long another program may change a file before this one gives up. */
const lockWaitMillis = 10_000

/** What one program after the other does with a file, whatever path leads there. */
export const alone = <A, E>(
  store: string,
  path: string,
  effect: Effect.Effect<A, E>
): Effect.Effect<A, E | KeyStoreError> => {
  const lock = Effect.mapError(
    FileLock.acquire(path, lockWaitMillis),
    ({ reason, remedy }) => new KeyStoreError({ store, kind: "unreachable", reason, remedy })
  )
  return attempt(store, dirname(path), "created", () => fs.mkdir(dirname(path), { recursive: true, mode: 0o700 })).pipe(
    Effect.andThen(lock),
    Effect.andThen(effect),
    Effect.scoped
  )
}

/**
 * Replaces a file, or creates it, for this user alone. Whoever reads it meanwhile sees the old one or the new one, and so does
 * the next reader after a crash. A link stays one.
 */
export const write = (
  store: string,
  path: string,
  bytes: Uint8Array
): Effect.Effect<void, KeyStoreError> =>
  Effect.gen(function*() {
    const target = yield* Effect.mapError(FileLock.canonical(path), failed(store, path, "written"))
    const folder = dirname(target)
    const beside = join(folder, `.${basename(target)}.${randomUUID()}`)
    yield* writeBeside(store, beside, bytes).pipe(
      Effect.andThen(attempt(store, path, "replaced", () => fs.rename(beside, target))),
      Effect.onError(() => Effect.ignore(Effect.tryPromise(() => fs.rm(beside, { force: true }))))
    )
    yield* flushFolder(store, folder)
  }).pipe(Effect.uninterruptible)

/** A process that locks a file until it ends: `node lockProcess.ts FILE`. It prints `locked` when it has the lock. */
import { Effect, type Scope } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"
import { acquire } from "../../src/internal/fileLock.ts"

const path = fileURLToPath(import.meta.url)

if (process.argv[1] === path) {
  await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
    yield* acquire(process.argv[2] ?? "", 0)
    console.log("locked")
    yield* Effect.sleep("1 hour")
  })))
}

export interface Holder {
  readonly pid: number | undefined
  /** Ends the process by SIGKILL, which it cannot notice. */
  readonly kill: Effect.Effect<void>
}

const killed = (child: ChildProcess): Effect.Effect<void> =>
  Effect.promise(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill("SIGKILL")
    await once(child, "close")
  })

/** A process that has the lock of a file by now, and is killed with the scope. */
export const holding = (file: string): Effect.Effect<Holder, never, Scope.Scope> =>
  Effect.gen(function*() {
    const child = yield* Effect.acquireRelease(
      Effect.sync(() => spawn(process.execPath, [path, file], { stdio: ["ignore", "pipe", "inherit"] })),
      killed
    )
    yield* Effect.promise(() => once(child.stdout, "data"))
    return { pid: child.pid, kill: killed(child) }
  })

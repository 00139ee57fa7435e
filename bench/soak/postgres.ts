/** A PostgreSQL of the soak's own, which may be ill-treated, behind a wire that can hang. */
import { Effect, type Scope } from "effect"
import { execFileSync, spawn, spawnSync } from "node:child_process"
import { chownSync, mkdtempSync, rmSync } from "node:fs"
import { connect } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { freePort } from "../../test/utils/freePort.ts"
import { proxy } from "../../test/utils/proxy.ts"

/** The server does not run as root. */
const user = process.getuid?.() === 0
  ? { uid: Number(execFileSync("id", ["-u", "postgres"])), gid: Number(execFileSync("id", ["-g", "postgres"])) }
  : {}

export interface Postgres {
  readonly url: string
  /** Ends it at once, with all its connections, and starts it again after a while. */
  readonly crash: (awayMillis: number) => Effect.Effect<void>
  /** Lets nothing through for a while. */
  readonly hang: (millis: number) => Effect.Effect<void>
}

const answers = (port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.destroy()
      resolve(true)
    })
    socket.on("error", () => resolve(false))
  })

export const postgres: Effect.Effect<Postgres, never, Scope.Scope> = Effect.gen(function*() {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const folder = mkdtempSync(join(tmpdir(), "effect-claude-postgres-"))
      if (user.uid !== undefined) chownSync(folder, user.uid, user.gid)
      return folder
    }),
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
  )
  const data = join(folder, "data")
  const port = yield* Effect.promise(freePort)
  const ran = spawnSync("initdb", ["-D", data, "-U", "postgres", "--auth=trust", "-N"], { ...user, encoding: "utf8" })
  if (ran.status !== 0) throw new Error(`initdb: ${ran.error?.message ?? ran.stderr}`)
  let running: ReturnType<typeof spawn> | undefined
  const start = Effect.promise(async () => {
    const args = ["-D", data, "-p", `${port}`, "-k", folder, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
    while (true) {
      const child = spawn("postgres", args, { ...user, stdio: "ignore" })
      running = child
      while (child.exitCode === null) {
        if (await answers(port)) return
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    }
  })
  const stop = Effect.promise(async () => {
    if (running === undefined || running.exitCode !== null) return
    const exit = new Promise((resolve) => running!.once("exit", resolve))
    // Its children end without a word, and it recovers when it starts again.
    running.kill("SIGQUIT")
    await exit
  })
  yield* Effect.acquireRelease(start, () => stop)
  const wire = yield* proxy(new URL(`postgres://127.0.0.1:${port}`))
  return {
    url: `postgres://postgres@127.0.0.1:${wire.port}/postgres`,
    crash: (awayMillis) => Effect.andThen(stop, Effect.andThen(Effect.sleep(awayMillis), start)),
    hang: (millis) => Effect.andThen(wire.hang, Effect.andThen(Effect.sleep(millis), wire.mend))
  }
})

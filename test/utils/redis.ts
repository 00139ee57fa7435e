/** Redis servers of a test's own, which it may ill-treat. */
import { NodeRedis } from "@effect/platform-node"
import { afterAll, beforeAll } from "@effect/vitest"
import { type Context, Effect, Exit, Layer, Scope } from "effect"
import { Redis } from "effect/persistence"
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { freePort } from "./freePort.ts"

/** Whether this machine can start one. Where it must, that is not left open. */
export const isInstalled = spawnSync("redis-server", ["--version"]).status === 0
if (!isInstalled && process.env["CI"] === "true") throw new Error("redis-server is not installed")
if (!isInstalled) console.warn("skipped: redis-server is not installed")

export interface Server {
  readonly url: string
  readonly port: number
  /** Starts it again on the same port, with the data that it kept. */
  readonly start: Effect.Effect<void>
  /** Ends it at once, as a crash does. */
  readonly kill: Effect.Effect<void>
  /** It answers nothing and keeps its connections, until `resume`. */
  readonly pause: Effect.Effect<void>
  readonly resume: Effect.Effect<void>
  /** Resumes it, or starts it, as it needs. */
  readonly revive: Effect.Effect<void>
}

/** A server that keeps every write over a crash, or nothing. */
export const server = (
  options: { readonly durable: boolean; readonly args?: ReadonlyArray<string> }
): Effect.Effect<Server, never, Scope.Scope> =>
  Effect.gen(function*() {
    const port = yield* Effect.promise(freePort)
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-claude-redis-"))),
      (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
    )
    const keep = options.durable ? ["yes", "--appendfsync", "always"] : ["no"]
    const own = ["--port", `${port}`, "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", ...keep]
    const args = [...own, ...options.args ?? []]
    let running: ChildProcess | undefined

    const start = Effect.promise(async () => {
      const child = spawn("redis-server", args, { stdio: ["ignore", "pipe", "ignore"] })
      running = child
      let said = ""
      for await (const chunk of child.stdout) {
        said += chunk
        if (said.includes("Ready to accept connections")) break
      }
      child.stdout.destroy()
    })
    const isRunning = () => running !== undefined && running.exitCode === null && running.signalCode === null
    const kill = Effect.promise(async () => {
      if (running === undefined || !isRunning()) return
      const exit = once(running, "exit")
      running.kill("SIGKILL")
      await exit
    })
    const signal = (name: NodeJS.Signals) => Effect.sync(() => void running?.kill(name))

    yield* Effect.acquireRelease(start, () => kill)
    const resume = signal("SIGCONT")
    const revive = Effect.suspend(() => isRunning() ? resume : start)
    return { url: `redis://127.0.0.1:${port}`, port, start, kill, pause: signal("SIGSTOP"), resume, revive }
  })

/** A server that keeps nothing, for all tests of a suite. */
export const shared = (): Layer.Layer<Redis.Redis> => {
  const scope = Scope.makeUnsafe()
  let made: Context.Context<Redis.Redis> | undefined
  const make = Effect.flatMap(server({ durable: false }), (server) => Layer.build(connection(server)))
  beforeAll(async () => {
    made = await Effect.runPromise(Scope.provide(make, scope))
  })
  afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))
  return Layer.effectContext(Effect.sync(() => made!)) // beforeAll has made it
}

/** A connection to it, as a process of its own has. */
export const connection = (server: Server): Layer.Layer<Redis.Redis> =>
  Layer.fresh(Layer.orDie(NodeRedis.layer({ url: server.url })))

/** Something that speaks as Redis does and runs no script: all it ever says is `answer`. */
export const saying = (answer: unknown): Layer.Layer<Redis.Redis> =>
  Layer.effect(
    Redis.Redis,
    Redis.make({
      // What it says is not what is asked for.
      send: () => Effect.succeed(answer as never),
      subscribe: () => Effect.never,
      connect: Effect.never
    })
  )

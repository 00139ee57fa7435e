/** The process: what `bin` runs. */
import type { NodeServices } from "@effect/platform-node/NodeServices"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Runtime from "effect/Runtime"
import { ExitCode } from "./exitCode.ts"
import { load } from "./peer.ts"

/** What ended the process from outside, and the exit code for it. */
let stopped: number | undefined

const runMain = Runtime.makeRunMain(({ fiber }) => {
  const stop = (code: number) => {
    // Who insists does not want to wait for what is under way.
    if (stopped !== undefined && code === stopped) process.exit(code)
    stopped = code
    fiber.interruptUnsafe(fiber.id)
  }
  process.on("SIGINT", () => stop(ExitCode.interrupted))
  process.on("SIGTERM", () => stop(ExitCode.terminated))
  process.stdout.on("error", () => stop(ExitCode.brokenPipe))
  process.stderr.on("error", () => {})
  fiber.addObserver((exit) => {
    const code = stopped ?? (Exit.isSuccess(exit) && typeof exit.value === "number"
      ? exit.value
      : Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)
      ? ExitCode.interrupted
      : ExitCode.failure)
    // What waits in the pipes is written first.
    process.stdout.write("", () => process.stderr.write("", () => process.exit(code)))
  })
})

/** `node:sqlite` warns on Node 22, and a command has nobody to warn. */
const withoutSqliteWarning = () => {
  const emit = process.emitWarning
  process.emitWarning = ((warning: string | Error, ...rest: ReadonlyArray<unknown>) => {
    if (!String(warning).includes("SQLite is an experimental feature")) Reflect.apply(emit, process, [warning, ...rest])
  }) as typeof process.emitWarning // one of its overloads is called
}

/** Runs the command over the services of Node, and ends the process with its exit code. */
export const main = (run: Effect.Effect<number, never, NodeServices>): void => {
  withoutSqliteWarning()
  const node = load(
    "@effect/platform-node",
    "The effect-claude command",
    () => import("@effect/platform-node/NodeServices")
  )
  runMain(
    Effect.flatMap(node, ({ layer }) => Effect.provide(run, layer)).pipe(
      Effect.catch(({ message }) =>
        Effect.sync(() => {
          process.stderr.write(`${message}\n`)
          return ExitCode.failure as number
        })
      )
    ),
    { disableErrorReporting: true }
  )
}

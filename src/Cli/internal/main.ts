/** The process: what `bin` runs. */
import type { NodeServices } from "@effect/platform-node/NodeServices"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Runtime from "effect/Runtime"
import { ExitCode } from "./exitCode.ts"
import { errorLine, logLine } from "./output.ts"
import { load } from "./peer.ts"

/** What ended the process from outside, and the exit code for it. */
let stopped: number | undefined

const runMain = (isJson: boolean) =>
  Runtime.makeRunMain(({ fiber }) => {
    const stop = (code: number) => {
      // Who insists does not want to wait for what is under way.
      if (stopped !== undefined && code === stopped) process.exit(code)
      stopped = code
      fiber.interruptUnsafe(fiber.id)
    }
    process.on("SIGINT", () => stop(ExitCode.interrupted))
    process.on("SIGTERM", () => stop(ExitCode.terminated))
    process.on("SIGHUP", () => stop(ExitCode.hungUp))
    const lost = ({ code }: NodeJS.ErrnoException) => {
      if (stopped !== undefined) return
      if (code === "EPIPE") return stop(ExitCode.brokenPipe)
      const message = `The output cannot be written (${code ?? "unknown error"}).`
      process.stderr.write(`${errorLine({ tag: "CommandError", message, exitCode: ExitCode.failure }, isJson)}\n`)
      stop(ExitCode.failure)
    }
    process.stdout.on("error", lost)
    process.stderr.on("error", () => {})
    fiber.addObserver((exit) => {
      const code = Exit.isSuccess(exit) && typeof exit.value === "number"
        ? exit.value
        : Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)
        ? ExitCode.interrupted
        : ExitCode.failure
      // What waits in the pipes is written first, which can fail too.
      process.stdout.write("", (error) => {
        if (error) lost(error)
        process.stderr.write("", () => process.exit(stopped ?? code))
      })
    })
  })

/** What the process itself warns of, but that Node 22 finds `node:sqlite` experimental. The SDK's warnings are told once, by this package. */
const tellWarnings = (isJson: boolean) => {
  Object.assign(console, { warn: () => {} })
  if (process.listenerCount("warning") === 0) return // --no-warnings
  process.removeAllListeners("warning")
  process.on("warning", ({ message }) => {
    if (message.includes("SQLite is an experimental feature")) return
    process.stderr.write(`${logLine("warn", isJson ? message : `warn: ${message}`, isJson)}\n`)
  })
}

/** Runs the command over the services of Node, and ends the process with its exit code. */
export const main = (run: Effect.Effect<number, never, NodeServices>, isJson: boolean): void => {
  tellWarnings(isJson)
  const node = load(
    "@effect/platform-node",
    "The effect-claude command",
    () => import("@effect/platform-node/NodeServices")
  )
  runMain(isJson)(
    Effect.flatMap(node, ({ layer }) => Effect.provide(run, layer)).pipe(
      Effect.catch(({ message }) =>
        Effect.sync(() => {
          process.stderr.write(
            `${errorLine({ tag: "PeerMissingError", message, exitCode: ExitCode.failure }, isJson)}\n`
          )
          return ExitCode.failure as number
        })
      )
    ),
    { disableErrorReporting: true }
  )
}

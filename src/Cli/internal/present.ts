/** Help, errors and logs as the command shows them. */
import * as Cause from "effect/Cause"
import * as CliError from "effect/cli/CliError"
import * as CliOutput from "effect/cli/CliOutput"
import * as TerminalCapabilities from "effect/cli/TerminalCapabilities"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import { ExitCode } from "./exitCode.ts"
import { Ended, type Failure, of } from "./failure.ts"
import { errorLine, logLine, styles } from "./output.ts"
import { redact } from "./redact.ts"

/** Whether the arguments ask for JSON; known before they are parsed, so that what is wrong with them is JSON too. */
export const wantsJson = (args: ReadonlyArray<string>): boolean => {
  const end = args.indexOf("--")
  const flags = (end < 0 ? args : args.slice(0, end)).filter((arg) => /^--(?:no-)?json(?:=|$)/.test(arg))
  return flags.length > 0 && !/^--no-json|=(?:false|no|off|0)$/.test(flags[flags.length - 1] ?? "")
}

const error = (failure: Failure, isJson: boolean): Effect.Effect<void> =>
  Effect.flatMap(styles, ({ red }) => Console.error(errorLine(failure, isJson, red)))

const formatter = Effect.map(
  TerminalCapabilities.TerminalCapabilities,
  ({ canColor }) => CliOutput.defaultFormatter({ colors: canColor, globalFlags: "summary" })
)

/** Help that was asked for is the result; everything else leaves the standard output alone. */
export const presenter = (isJson: boolean): CliOutput.Presenter => ({
  present: Effect.fnUntraced(function*(event) {
    const format = yield* formatter
    switch (event._tag) {
      case "Help": {
        const help = format.formatHelpDoc(event.helpDoc)
        if (event.reason === "Requested") return yield* Console.log(help)
        if (!isJson) return yield* Console.error(help)
        const message = `Name a subcommand: ${event.commandPath.join(" ")} --help lists them`
        return yield* error({ tag: "UsageError", message, exitCode: ExitCode.usage }, true)
      }
      case "InvalidInvocation": {
        const help = `${event.commandPath.join(" ")} --help`
        const messages = event.errors.map(({ message }) => redact(message.trim()))
        return yield* error({
          tag: "UsageError",
          message: isJson ? messages.join("; ") : `${messages.join("\n")}\nSee ${help}`,
          exitCode: ExitCode.usage
        }, isJson)
      }
      case "Version":
        return yield* Console.log(
          isJson ? JSON.stringify({ version: event.version }) : `${event.name} ${event.version}`
        )
    }
  })
})

/** Shows why the command failed, and gives the exit code. An interruption stays one. */
export const failed = (cause: Cause.Cause<unknown>, isJson: boolean): Effect.Effect<number> => {
  if (Cause.hasInterruptsOnly(cause)) return Effect.interrupt
  const failure = cause.reasons.find(Cause.isFailReason)
  if (failure === undefined) {
    const message = `A defect of effect-claude: please report it.\n${redact(Cause.pretty(cause))}`
    return Effect.as(error({ tag: "Defect", message, exitCode: ExitCode.failure }, isJson), ExitCode.failure)
  }
  if (failure.error instanceof Ended) return Effect.succeed(failure.error.code)
  if (CliError.isCliError(failure.error)) return Effect.succeed(ExitCode.usage) // the presenter has shown it
  const shown = of(failure.error)
  return Effect.as(error(shown, isJson), shown.exitCode)
}

/** Logs are lines of the standard error, without what looks like a secret. */
export const logger = (isJson: boolean) =>
  Logger.withConsoleError(
    Logger.make<unknown, string>(({ cause, logLevel, message }) => {
      const parts = (Array.isArray(message) ? message : [message]).map((part) =>
        typeof part === "string" ? part : part instanceof Error ? part.message : JSON.stringify(part)
      )
      const why = cause.reasons.length === 0 ? [] : [Cause.pretty(cause)]
      const level = logLevel.toLowerCase()
      const text = [...parts, ...why].join(" ")
      return logLine(level, isJson ? text : `${level}: ${text}`, isJson)
    })
  )

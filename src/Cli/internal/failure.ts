/** Errors of a command: what is said about them, and the exit code that they end with. */
import * as Data from "effect/Data"
import * as Predicate from "effect/Predicate"
import { ExitCode } from "./exitCode.ts"
import { redact } from "./redact.ts"

/** The command was called in a way that makes no sense; `message` says what to do. */
export class UsageError extends Data.TaggedError("UsageError")<{ readonly message: string }> {}

/** The command cannot do what it was asked to; `message` says why, and what to do. */
export class CommandError extends Data.TaggedError("CommandError")<{ readonly message: string }> {}

/** The result is written already, and it is not good. */
export class Ended extends Data.TaggedError("Ended")<{ readonly code: number }> {}

export interface Failure {
  readonly tag: string
  readonly message: string
  readonly exitCode: number
  readonly status?: number | undefined
  readonly requestId?: string | undefined
}

const codes: Readonly<Record<string, number>> = {
  UsageError: ExitCode.usage,
  ConfigError: ExitCode.usage,
  AuthError: ExitCode.keys,
  NoUsableKeyError: ExitCode.keys,
  KeyStoreError: ExitCode.keys,
  RateLimitError: ExitCode.limit,
  RateLimitedLocallyError: ExitCode.limit,
  BudgetExceededError: ExitCode.limit,
  BudgetUnavailableError: ExitCode.limit,
  UnpricedModelError: ExitCode.limit,
  ConnectionError: ExitCode.api,
  ServerError: ExitCode.api,
  StreamInterruptedError: ExitCode.api,
  CircuitOpenError: ExitCode.api,
  DeadlineExceededError: ExitCode.api
}

/** The exit code for an error with this tag. */
export const codeOf = (tag: string): number => codes[tag] ?? ExitCode.failure

const text = (value: unknown, name: string): string | undefined =>
  Predicate.hasProperty(value, name) && typeof value[name] === "string" ? value[name] : undefined

/** What is wrong with a variable, without what it holds. */
const configMessage = (message: string): string => {
  const [, what = message, name] = /^(?:SchemaError\()?(.*?)\n\s*at \["([^"]+)"\]/s.exec(message) ?? []
  return name === undefined ? message : `${name} in the environment: ${what}.`
}

/** Errors of a ledger's database. */
const databases = new Set(["SqlError", "MigrationError", "CostLedgerError"])

const messageOf = (tag: string, error: unknown): string => {
  const message = text(error, "message") ?? "unknown error"
  if (tag === "ConfigError") return configMessage(message)
  return databases.has(tag) ? `${message.replace(/(?<![.?!])$/, ".")} Check --ledger or CLAUDE_LEDGER.` : message
}

export const of = (error: unknown): Failure => {
  const tag = text(error, "_tag") ?? "Error"
  const status = Predicate.hasProperty(error, "status") && typeof error.status === "number" ? error.status : undefined
  return {
    tag,
    message: redact(messageOf(tag, error)),
    exitCode: codeOf(tag),
    ...(status === undefined ? undefined : { status }),
    ...(text(error, "requestId") === undefined ? undefined : { requestId: text(error, "requestId") })
  }
}

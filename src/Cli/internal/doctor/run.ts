/** Looks at everything that calls depend on, and says what to do about what is not good. */
import * as Config from "effect/Config"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as ClaudeConfig from "../../../ClaudeConfig.ts"
import { addressOf } from "../address.ts"
import { ExitCode } from "../exitCode.ts"
import { Ended, of } from "../failure.ts"
import * as Ledger from "../ledger.ts"
import { printable, result, styles } from "../output.ts"
import { type Check, check, type Status } from "./check.ts"
import * as Keys from "./keys.ts"
import * as Machine from "./machine.ts"
import * as Network from "./network.ts"
import * as Stores from "./stores.ts"

export interface Input extends Ledger.Flags {
  readonly redis: string | undefined
  readonly models: ReadonlyArray<string>
  readonly offline: boolean
  readonly timeout: Duration.Duration
}

const defaultBaseUrl = "https://api.anthropic.com"

/** Without options that could be read, the defaults are looked at. */
const environment = Effect.match(ClaudeConfig.config, {
  onFailure: (error) => [[check("environment", "fail", of(error).message)], undefined] as const,
  onSuccess: (options) =>
    [[check("environment", "ok", "CLAUDE_* and ANTHROPIC_* variables make sense")], options] as const
})

const gather = Effect.fnUntraced(function*(input: Input) {
  const ledger = yield* Ledger.targetOf(input)
  const redis = yield* addressOf(input.redis, "CLAUDE_REDIS")
  const model = Option.toArray(yield* Config.option(Config.NonEmptyString("CLAUDE_MODEL")))
  const [configured, options] = yield* environment
  const api = input.offline
    ? Effect.succeed([
      check("api", "skipped", "Not asked: --offline"),
      check("clock", "skipped", "Not asked: --offline")
    ])
    : Network.api(options?.api?.baseUrl ?? defaultBaseUrl, input.timeout)
  const [keys, [ledgerChecks, seen], redisChecks, apiChecks, node, packages, proxies] = yield* Effect.all([
    Keys.keys(input.offline ? undefined : input.timeout, options),
    Stores.ledger(ledger),
    Stores.redis(redis),
    api,
    Machine.node,
    Machine.packages,
    Machine.proxies
  ], { concurrency: "unbounded" })
  const models = yield* Stores.models(seen, [...input.models, ...model])
  return [node, packages, configured, proxies, apiChecks, keys, ledgerChecks, redisChecks, models].flat()
})

const codes: Readonly<Record<string, number>> = { keys: ExitCode.keys, key: ExitCode.keys, api: ExitCode.api }

export const doctor = Effect.fnUntraced(function*(input: Input) {
  const checks: ReadonlyArray<Check> = yield* gather(input)
  const failed = checks.filter(({ status }) => status === "fail")
  const { dim, green, red, yellow } = yield* styles
  const paint: Record<Status, (text: string) => string> = { ok: green, warn: yellow, fail: red, skipped: dim }
  const width = Math.max(...checks.map(({ name }) => name.length))
  const rows = checks.map(({ message, name, status }) => [
    paint[status](status.padEnd("skipped".length)),
    name.padEnd(width),
    printable(message)
  ])
  yield* result({ ok: failed.length === 0, checks }, rows.map((row) => row.join("  ")).join("\n"))
  const [first] = failed
  if (first !== undefined) {
    return yield* new Ended({ code: codes[first.name.split(" ", 1)[0] ?? ""] ?? ExitCode.failure })
  }
})

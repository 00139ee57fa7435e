/** Flags that several commands have, and the values that flags are read as. */
import * as Flag from "effect/cli/Flag"
import * as Config from "effect/Config"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"

export const duration = (name: string): Flag.Flag<Duration.Duration> =>
  Flag.String(name).pipe(
    Flag.withMetavar("duration"),
    Flag.filterMap(
      // A bare number would be milliseconds, which nobody means.
      (text) => /^\s*\d+\s*$/.test(text) ? Option.none() : Duration.fromInput(text as Duration.Input), // it tells what it cannot read
      (text) => `expected a duration such as "90 seconds" or "7 days", not "${text}"`
    )
  )

/** A day or an instant; one without a zone is in UTC. */
export const instant = (name: string): Flag.Flag<number> =>
  Flag.String(name).pipe(
    Flag.withMetavar("date"),
    Flag.filterMap(
      (text) => Option.map(DateTime.make(text), DateTime.toEpochMillis),
      (text) => `expected a date such as 2026-11-01 or 2026-11-01T12:00:00Z, not "${text}"`
    )
  )

export const count = (name: string, minimum: number, maximum: number): Flag.Flag<number> =>
  Flag.Int(name).pipe(
    Flag.withMetavar("count"),
    Flag.filter((value) => value >= minimum && value <= maximum, () => `must be from ${minimum} to ${maximum}`)
  )

export const usd = (name: string): Flag.Flag<number> =>
  Flag.Finite(name).pipe(
    Flag.withMetavar("usd"),
    Flag.filter((value) => value > 0, () => "must be more than 0")
  )

export const optional = <A>(flag: Flag.Flag<A>): Flag.Flag<A | undefined> =>
  Flag.map(Flag.optional(flag), Option.getOrUndefined)

/** One of `NAME=VALUE`, any number of times. */
const pairs = (name: string): Flag.Flag<Readonly<Record<string, string>> | undefined> =>
  optional(Flag.KeyValuePair(name))

export const model = optional(
  Flag.String("model").pipe(
    Flag.withAlias("m"),
    Flag.withDescription("Default: CLAUDE_MODEL, else the current Sonnet"),
    Flag.withFallbackConfig(Config.NonEmptyString("CLAUDE_MODEL"))
  )
)

export const temperature = optional(
  Flag.Finite("temperature").pipe(
    Flag.withDescription(
      "From 0 to 1, for models that take one; the call is then made under API version 2023-06-01, the last that has it"
    ),
    Flag.filter((value) => value >= 0 && value <= 1, () => "must be from 0 to 1")
  )
)

export const maxTokens = count("max-tokens", 1, 1_000_000)

export const system = optional(
  Flag.String("system").pipe(
    Flag.withAlias("s"),
    Flag.withDescription("System prompt")
  )
)

export const ledger = {
  ledger: optional(
    Flag.String("ledger").pipe(
      Flag.withMetavar("file-or-url"),
      Flag.withDescription("A SQLite file, or a URL of Postgres without a password. Default: CLAUDE_LEDGER")
    )
  ),
  ledgerPrefix: optional(
    Flag.String("ledger-prefix").pipe(
      Flag.withDescription("What its tables begin with. Default: effect_claude_"),
      Flag.filter((prefix) => /^[a-z_][a-z0-9_]*$/i.test(prefix), () => "must be letters, digits and underscores")
    )
  )
}

/** Who pays, for the ledger. */
export const attribution = {
  user: optional(Flag.String("user").pipe(Flag.withDescription("User that the ledger names"))),
  tenant: optional(Flag.String("tenant").pipe(Flag.withDescription("Tenant that the ledger names"))),
  tags: pairs("tag").pipe(Flag.withDescription("Tag that the ledger names; can be repeated"))
}

/** Which rows of a ledger count. */
export const where = {
  onlyModel: optional(Flag.String("model").pipe(Flag.withDescription("Only this model"))),
  onlyUser: optional(Flag.String("user").pipe(Flag.withDescription("Only this user"))),
  onlyTenant: optional(Flag.String("tenant").pipe(Flag.withDescription("Only this tenant"))),
  onlyRequestType: optional(Flag.String("request-type").pipe(Flag.withDescription("Only this request type"))),
  onlyKey: optional(Flag.String("key").pipe(Flag.withDescription("Only the API key with this label"))),
  onlyTags: pairs("tag").pipe(Flag.withDescription("Only this value of a tag; can be repeated"))
}

/** Addresses of stores, which may hold a password. */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { UsageError } from "./failure.ts"
import { hasPassword } from "./redact.ts"

/** What the flag says, else the variable, which alone may hold a password. */
export const addressOf = Effect.fnUntraced(function*(flag: string | undefined, variable: string) {
  if (flag === undefined) return Option.getOrUndefined(yield* Config.option(Config.Redacted(variable)))
  return hasPassword(flag)
    ? yield* new UsageError({
      message: `A URL with a password can be seen by everybody on this machine: give it as ${variable} instead.`
    })
    : Redacted.make(flag)
})

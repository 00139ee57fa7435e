/** Turns what a source fails with into an error that is safe to show. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import { KeyStoreError } from "./source.ts"

/** A class or a code, such as `AccessDeniedException` or `ECONNREFUSED`; a key never looks so. */
const word = /^[A-Z][A-Za-z0-9_]{1,60}$/

const wordOf = (value: object, name: string): string | undefined => {
  const found: unknown = Predicate.hasProperty(value, name) ? value[name] : undefined
  return Predicate.isString(found) && word.test(found) ? found : undefined
}

const plain = new Set(["Error", "UnknownError", "UnknownException"])

/** What may be told of a failure: a code, a status, or the class of it or of what caused it. Never its message. */
const toldOf = (failure: unknown, depth = 0): string | undefined => {
  if (!Predicate.isObject(failure)) return undefined
  const status = Predicate.hasProperty(failure, "status") && Predicate.isNumber(failure.status)
    ? `status ${failure.status}`
    : undefined
  const own = wordOf(failure, "code") ?? status ?? wordOf(failure, "_tag") ?? wordOf(failure, "name")
  if (own !== undefined && !plain.has(own)) return own
  const inner = depth < 4 && Predicate.hasProperty(failure, "cause") ? toldOf(failure.cause, depth + 1) : undefined
  return inner ?? own
}

/** Every failure of an effect, defects included, as `KeyStoreError` of this source. It takes at most `timeoutMillis`, which may be infinite. */
export const typed = <A>(
  source: string,
  timeoutMillis: number,
  effect: Effect.Effect<A, unknown>
): Effect.Effect<A, KeyStoreError> =>
  effect.pipe(
    Effect.timeoutOrElse({
      duration: timeoutMillis,
      orElse: () =>
        Effect.fail(
          new KeyStoreError({
            store: source,
            kind: "unreachable",
            reason: `it did not answer within ${timeoutMillis / 1000} seconds`
          })
        )
    }),
    Effect.catchCause((cause) => {
      if (Cause.hasInterruptsOnly(cause)) return Effect.interrupt
      const failure = Cause.squash(cause)
      if (failure instanceof KeyStoreError) return Effect.fail(failure)
      const told = toldOf(failure)
      return Effect.fail(
        new KeyStoreError({
          store: source,
          kind: "unreachable",
          reason: told === undefined ? "it failed" : `it failed with ${told}`
        })
      )
    })
  )

/** Whether keys make a pool. */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Key } from "../../Attempt.ts"

/** What is wrong with the keys of a pool, without their secrets. */
export const mistakeIn = (keys: ReadonlyArray<Pick<Key, "label" | "weight">>): string | undefined => {
  const labels = new Set<string>()
  for (const { label, weight = 1 } of keys) {
    if (labels.has(label)) return `two keys have the label "${label}"`
    if (!(weight >= 0 && weight < Infinity)) return `the weight of "${label}" must be a number from 0, and is ${weight}`
    labels.add(label)
  }
  return keys.length > 0 && keys.every(({ weight }) => weight === 0) ? "the weight of every key is 0" : undefined
}

const Sound = Schema.Array(Schema.Struct({ label: Schema.String, weight: Schema.optional(Schema.Number) })).check(
  Schema.makeFilter((keys) => mistakeIn(keys) ?? true)
)

export const checkKeys = (keys: ReadonlyArray<Key>): Effect.Effect<ReadonlyArray<Key>, Config.ConfigError> =>
  // Secrets are not looked at, so that no message can repeat them.
  Schema.decodeUnknownEffect(Sound)(keys.map(({ label, weight }) => ({ label, weight }))).pipe(
    Effect.mapError((error) => new Config.ConfigError(error)),
    Effect.as(keys)
  )

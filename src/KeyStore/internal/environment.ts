/** Keys in environment variables. */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { Key } from "../../Attempt.ts"
import { Malformed, parse, print } from "./document.ts"
import { KeyStoreError, type Source } from "./source.ts"

const plainName = "ANTHROPIC_API_KEY"

const jsonName = "ANTHROPIC_API_KEYS"

/** Labels of plain keys are `env-1`, `env-2` and so on. */
const label = "env"

const Text = (name: string, isEmpty: boolean) =>
  Schema.Redacted(
    Schema.String.check(
      Schema.makeFilter((text: string) => {
        const keys = parse(label, Redacted.make(text), true)
        return keys instanceof Malformed ? keys.reason : isEmpty || keys.length > 0
      }, { expected: "API keys of visible ASCII characters, separated by commas, or JSON" })
    ),
    { label: name }
  )

const keysOf = (text: Redacted.Redacted<string>): ReadonlyArray<Key> => {
  const keys = parse(label, text, true)
  return keys instanceof Malformed ? [] : keys // the schema has refused those
}

/** The keys of one variable. */
export const config = (name: string): Config.Config<ReadonlyArray<Key>> =>
  Config.map(Config.schema(Text(name, false), name), keysOf)

const optional = (name: string): Config.Config<ReadonlyArray<Key>> =>
  Config.withDefault(Config.map(Config.schema(Text(name, true), name), keysOf), [])

/** Those with labels first; a plain key that is among them too counts once. */
const both = (named: ReadonlyArray<Key>, plain: ReadonlyArray<Key>): ReadonlyArray<Key> => {
  const known = new Set(named.map((key) => Redacted.value(key.secret)))
  return [...named, ...plain.filter((key) => !known.has(Redacted.value(key.secret)))]
}

/** The keys of both variables; fails where neither has one. */
export const keys: Config.Config<ReadonlyArray<Key>> = Config.flatMap(
  optional(jsonName),
  (named) => named.length === 0 ? config(plainName) : Config.map(optional(plainName), (plain) => both(named, plain))
)

const read: Effect.Effect<ReadonlyArray<Key>, KeyStoreError> = Effect.gen(function*() {
  const parsed = yield* Effect.forEach([jsonName, plainName], (name) =>
    Effect.gen(function*() {
      const text = yield* Config.withDefault(Config.Redacted(name), Redacted.make(""))
      const keys = parse(label, text, true)
      if (!(keys instanceof Malformed)) return keys
      return yield* new KeyStoreError({ store: source.name, kind: "invalid", reason: `${name}: ${keys.reason}` })
    }))
  return both(parsed[0] ?? [], parsed[1] ?? [])
}).pipe(
  Effect.catchTag("ConfigError", () =>
    Effect.fail(
      new KeyStoreError({ store: source.name, kind: "unreachable", reason: "the environment cannot be read" })
    ))
)

const all = Effect.map(read, (keys) => keys.length === 0 ? {} : { [label]: { secret: print(label, keys) } })

export const source: Source = {
  name: "environment",
  read: (name) => Effect.map(all, (found) => name === label ? found[label] : undefined),
  all
}

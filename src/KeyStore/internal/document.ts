/** The text that a source holds under a name: one key, several, or keys with their labels, groups and weights as JSON. */
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { Key } from "../../Attempt.ts"
import { inQuotes, isQuoted, isSecret, wrongLabel } from "../../internal/keyText.ts"

export const defaultGroup = "default"

/** The longest text and the most keys under one name. */
const maxText = 256 * 1024
const maxKeys = 1000

/** What is wrong with a text, in words that repeat nothing of it but labels. */
export class Malformed {
  readonly reason: string
  constructor(reason: string) {
    this.reason = reason
  }
}

type Parsed = ReadonlyArray<Key> | Malformed

/** What is wrong with the key of a label; undefined where nothing is. White space around it does not count. */
export const wrongSecret = (label: string, secret: string): string | undefined =>
  secret.trim().length >= 8 && label.includes(secret.trim())
    ? "a label has its own key in it"
    : isQuoted(secret.trim())
    ? `the \`secret\` of ${label} ${inQuotes}`
    : !isSecret(secret.trim())
    ? `the \`secret\` of ${label} is not a key of visible ASCII characters`
    : undefined

const parseJson = Schema.decodeUnknownOption(Schema.fromJsonString(Schema.Unknown))

const isText = (value: unknown): value is string => Predicate.isString(value)

/** One entry of a JSON document. */
const entry = (value: unknown, name: string | undefined, place: string): Key | Malformed => {
  const fields: unknown = isText(value) ? { secret: value } : value
  if (!Predicate.isObject(fields)) return new Malformed(`${place} is neither a key nor an object with a \`secret\``)
  const field = (key: string): unknown => Predicate.hasProperty(fields, key) ? fields[key] : undefined
  const label = field("label") ?? name
  if (!isText(label)) return new Malformed(`${place} has no \`label\``)
  const wrong = wrongLabel(label)
  if (wrong !== undefined) return new Malformed(`${place}: ${wrong}`)
  const given = field("secret")
  const secret = isText(given) ? given.trim() : ""
  const wrongText = wrongSecret(label, secret)
  if (wrongText !== undefined) return new Malformed(wrongText)
  const group = field("group") ?? defaultGroup
  if (!isText(group) || wrongLabel(group) !== undefined) return new Malformed(`the \`group\` of ${label} is not a name`)
  const weight = field("weight") ?? undefined
  if (weight !== undefined && !(Predicate.isNumber(weight) && weight >= 0 && weight <= 1e6)) {
    return new Malformed(`the \`weight\` of ${label} is not a number from 0 to 1,000,000`)
  }
  return {
    label,
    group,
    secret: Redacted.make(secret, { label }),
    ...(weight === undefined ? undefined : { weight })
  }
}

const collect = (keys: ReadonlyArray<Key | Malformed>): Parsed => {
  if (keys.length > maxKeys) return new Malformed(`there are more than ${maxKeys} keys`)
  const labels = new Set<string>()
  const found: Array<Key> = []
  for (const key of keys) {
    if (key instanceof Malformed) return key
    if (labels.has(key.label)) return new Malformed(`the label ${key.label} stands there twice`)
    labels.add(key.label)
    found.push(key)
  }
  return found
}

const structured = (name: string, value: unknown): Parsed => {
  if (Array.isArray(value)) {
    return collect(value.map((item, index) => entry(item, `${name}-${index + 1}`, `entry ${index + 1}`)))
  }
  if (!Predicate.isObject(value)) return new Malformed("it is JSON, but neither an object nor an array")
  if (Predicate.hasProperty(value, "secret")) return collect([entry(value, name, "the object")])
  return collect(
    Object.entries(value).map(([label, item], index) => {
      const wrong = wrongLabel(label)
      return wrong === undefined
        ? entry(item, label, label)
        : new Malformed(`the name of entry ${index + 1}: ${wrong}`)
    })
  )
}

/** Keys separated by commas. One is labelled with the name, several, or one that is `numbered`, with the name and a number. */
const listed = (name: string, text: string, numbered: boolean): Parsed => {
  const secrets = text.split(",").map((key) => key.trim()).filter((key) => key !== "")
  const quoted = secrets.findIndex(isQuoted)
  if (quoted >= 0) return new Malformed(`${secrets.length === 1 ? "it" : `entry ${quoted + 1}`} ${inQuotes}`)
  if (!secrets.every(isSecret)) {
    return new Malformed("it is neither API keys of visible ASCII characters, separated by commas, nor JSON")
  }
  const isOne = secrets.length === 1 && !numbered
  return collect(
    secrets.map((secret, index) => entry(secret, isOne ? name : `${name}-${index + 1}`, `entry ${index + 1}`))
  )
}

/** The keys of a text; none of an empty one. */
export const parse = (name: string, secret: Redacted.Redacted<string>, numbered = false): Parsed => {
  const text = Redacted.value(secret).trim()
  if (text.length > maxText) return new Malformed(`it is longer than ${maxText / 1024} KiB`)
  if (!/^[[{]/.test(text)) return listed(name, text, numbered)
  return Option.match(parseJson(text), {
    onNone: () => new Malformed("it starts like JSON and is none"),
    onSome: (value) => structured(name, value)
  })
}

const plainOf = (key: Key, name?: string) => ({
  ...(key.label === name ? undefined : { label: key.label }),
  secret: Redacted.value(key.secret),
  group: key.group,
  ...(key.weight === undefined ? undefined : { weight: key.weight })
})

const textOf = (name: string, keys: ReadonlyArray<Key>): string => {
  const [key, ...others] = keys
  if (key === undefined || others.length > 0) return JSON.stringify(keys.map((key) => plainOf(key)))
  const isBare = key.label === name && key.group === defaultGroup && key.weight === undefined
  const secret = Redacted.value(key.secret)
  return isBare && !/^[[{]|,/.test(secret) ? secret : JSON.stringify(plainOf(key, name))
}

/** The text of keys, so that `parse` under the same name gives them back. */
export const print = (name: string, keys: ReadonlyArray<Key>): Redacted.Redacted<string> =>
  Redacted.make(textOf(name, keys), { label: name })

/** What is wrong with a key that is to be stored. */
export const wrongKey = (key: Key): string | undefined => {
  const wrong = entry(plainOf(key), undefined, "the key")
  return wrong instanceof Malformed ? wrong.reason : undefined
}

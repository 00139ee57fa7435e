/**
 * A value that fits a JSON schema, as a model would give it: readable, and equal for equal schemas.
 *
 * It follows references, alternatives and combinations, required and optional properties, the limits of numbers, texts, lists and
 * objects, patterns and the usual formats, of the drafts 7 and 2020-12. Limits that a client moved to the description, because the API
 * does not take them, are read there. `not`, `if` and `dependentSchemas` are not looked at.
 */
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { type Chance, word } from "./Chance.ts"

type Node = Readonly<Record<string, unknown>>

const isNode = Predicate.isObject
const listOf = (value: unknown): ReadonlyArray<unknown> => Array.isArray(value) ? value : []
const numberOf = (value: unknown): number | undefined => typeof value === "number" ? value : undefined
const stringOf = (value: unknown): string => typeof value === "string" ? value : ""

/** What one value is made with. */
interface Making {
  readonly root: unknown
  readonly chance: Chance
  /** How many values may still be made before only what is required is. */
  left: number
}

/** Deeper than this, only what is required is made. */
const shallow = 4
/** Deeper than this, a schema asks for more than any value has. */
const deepest = 64

const pointed = (root: unknown, pointer: string): unknown =>
  pointer.split("/").slice(1).reduce(
    (at: unknown, part) => {
      const key = decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~")
      return Array.isArray(at) ? at[Number(key)] : isNode(at) ? at[key] : undefined
    },
    root
  )

/** The value of a name, which may be one that every object has. */
const own = (value: Node, name: string): unknown => Object.hasOwn(value, name) ? value[name] : undefined

const limits = {
  minimum: Math.max,
  exclusiveMinimum: Math.max,
  minLength: Math.max,
  minItems: Math.max,
  minProperties: Math.max,
  maximum: Math.min,
  exclusiveMaximum: Math.min,
  maxLength: Math.min,
  maxItems: Math.min,
  maxProperties: Math.min
} as const

const inCommon = (a: unknown, b: unknown): unknown => {
  const [these, those] = [a, b].map((value) => Array.isArray(value) ? value : [value])
  return these!.filter((value) => those!.includes(value) || (value === "integer" && those!.includes("number")))
}

/** A schema that what fits both fits. */
const both = (a: Node, b: Node): Node => {
  const out: Record<string, unknown> = { ...a }
  for (const [key, value] of Object.entries(b)) {
    const had = own(out, key)
    if (had === undefined) out[key] = value
    else if (Object.hasOwn(limits, key)) out[key] = limits[key as keyof typeof limits](Number(had), Number(value))
    else if (key === "required") out[key] = [...new Set([...listOf(had), ...listOf(value)])]
    else if (key === "enum") out[key] = inCommon(had, value)
    else if (key === "type") out[key] = had === "number" && value === "integer" ? value : inCommon(had, value)
    else if (key === "properties" && isNode(had) && isNode(value)) {
      const names = new Set([...Object.keys(had), ...Object.keys(value)])
      out[key] = Object.fromEntries(
        [...names].map((name) => [name, { allOf: [own(had, name) ?? true, own(value, name) ?? true] }])
      )
    } else if (key === "items") out[key] = { allOf: [had, value] }
    else if (key === "allOf") out[key] = [...listOf(had), ...listOf(value)]
    else if (key !== "additionalProperties" || value === false) out[key] = value
  }
  return out
}

const spoken = [...Object.keys(limits), "multipleOf"].map((key) => {
  const name = key.replaceAll(/[A-Z]/g, (letter) => `(?:${letter}| ${letter.toLowerCase()})`)
  return [key, new RegExp(`\\b${name}: (-?[\\d.e+]*\\d)`)] as const
})

const quoted = /\b(pattern|format): ("(?:[^"\\]|\\.)*")/g
const bare = /\b(pattern|format): ([^"\s].*?)(?=; (?:min|max|unique|multiple|exclusive|not|format)|\.?$)/gm

/** The limits in a description: `{minimum: 1, pattern: "a"}` of the SDK, `minimum: 1; pattern: a.` of others. */
const described = (description: string): Node => {
  if (!description.includes(": ")) return {}
  const out: Record<string, unknown> = {}
  for (const [key, pattern] of spoken) {
    const number = Number(pattern.exec(description)?.[1])
    if (Number.isFinite(number)) out[key] = number
  }
  for (const [, key, text] of description.matchAll(quoted)) out[key!] = parsed(text!)
  for (const [, key, text] of description.matchAll(bare)) out[key!] = text
  return out
}

const parsed = (json: string): unknown =>
  Result.getOrElse(Result.try(() => JSON.parse(json) as unknown), () => undefined)

const matches = (pattern: unknown, text: string): boolean =>
  Result.getOrElse(Result.try(() => typeof pattern !== "string" || new RegExp(pattern, "u").test(text)), () => false)

/** The schema without references and combinations. */
const resolved = (self: Making, schema: unknown, depth: number): Node => {
  if (!isNode(schema) || depth > deepest) return {}
  const { $ref, allOf, anyOf, oneOf, ...rest } = schema
  let out: Node = both(described(stringOf(rest["description"])), rest)
  if (typeof $ref === "string") out = both(resolved(self, pointed(self.root, $ref), depth + 1), out)
  for (const part of listOf(allOf)) out = both(out, resolved(self, part, depth + 1))
  for (const choices of [listOf(anyOf), listOf(oneOf)]) {
    if (choices.length > 0) out = both(out, resolved(self, choice(self, choices, depth), depth + 1))
  }
  return out
}

/** One of some alternatives: a value rather than null, and what ends soonest where it gets deep. */
const choice = (self: Making, choices: ReadonlyArray<unknown>, depth: number): unknown => {
  const isNull = (node: unknown) => isNode(node) && node["type"] === "null"
  if (isDeep(self, depth)) {
    return choices.find(isNull) ?? [...choices].sort((a, b) => weight(a) - weight(b))[0]
  }
  const values = choices.filter((node) => !isNull(node))
  return values.length === 0 ? choices[0] : values[self.chance(values.length)]
}

const weight = (node: unknown): number => {
  const text = JSON.stringify(node)
  return text.includes("$ref") ? 1e6 + text.length : text.length
}

const isDeep = (self: Making, depth: number): boolean => depth > shallow || self.left <= 0

const typeOf = (node: Node): unknown => {
  const types = listOf(node["type"])
  const type = types.length > 0 ? types.find((one) => one !== "null") ?? "null" : node["type"]
  if (typeof type === "string") return type
  if ("properties" in node || "required" in node || "additionalProperties" in node) return "object"
  if ("items" in node || "prefixItems" in node || "minItems" in node) return "array"
  return "minimum" in node || "maximum" in node || "multipleOf" in node ? "number" : "string"
}

const value = (self: Making, schema: unknown, depth: number): unknown => {
  self.left--
  if (depth > deepest) return null
  const node = resolved(self, schema, depth)
  if ("const" in node) return node["const"]
  const options = listOf(node["enum"])
  if (options.length > 0) return options[self.chance(options.length)]
  switch (typeOf(node)) {
    case "object":
      return object(self, node, depth)
    case "array":
      return array(self, node, depth)
    case "integer":
      return number(self, node, 1)
    case "number":
      return number(self, node, numberOf(node["multipleOf"]) ?? 0.5)
    case "boolean":
      return self.chance(2) === 0
    case "null":
      return null
    default:
      return text(self, node)
  }
}

const object = (self: Making, node: Node, depth: number): Record<string, unknown> => {
  const properties = isNode(node["properties"]) ? node["properties"] : {}
  const required = new Set(listOf(node["required"]).map(String))
  const most = numberOf(node["maxProperties"]) ?? Infinity
  const least = numberOf(node["minProperties"]) ?? 0
  const named = Object.keys(properties)
  const kept = named.filter((name) => required.has(name) || !isDeep(self, depth)).slice(0, most)
  const names = [...new Set([...required, ...kept])].slice(0, Math.max(most, required.size))
  for (const name of named) if (names.length < least && !names.includes(name)) names.push(name)
  const out: Array<readonly [string, unknown]> = []
  const patterns = isNode(node["patternProperties"]) ? Object.entries(node["patternProperties"]) : []
  const others = node["additionalProperties"]
  const schemaOf = (name: string) =>
    properties[name] ?? patterns.find(([pattern]) => matches(pattern, name))?.[1] ?? others
  for (const name of names) out.push([name, value(self, schemaOf(name), depth + 1)])
  // a map without names gets one entry
  const wanted = Math.max(least, named.length === 0 && (isNode(others) || patterns.length > 0) && most > 0 ? 1 : 0)
  for (let i = out.length; i < wanted; i++) {
    const key = isNode(node["propertyNames"])
      ? String(value(self, { type: "string", ...node["propertyNames"] }, depth + 1))
      : patterns.length > 0
      ? matching(self, patterns[0]![0], 0, undefined)
      : `key${i + 1}`
    out.push([key, value(self, schemaOf(key), depth + 1)])
  }
  return Object.fromEntries(out)
}

const array = (self: Making, node: Node, depth: number): ReadonlyArray<unknown> => {
  const items = node["prefixItems"] ?? (Array.isArray(node["items"]) ? node["items"] : [])
  const first = listOf(items)
  const rest = Array.isArray(node["items"]) ? node["additionalItems"] : node["items"]
  const least = Math.max(numberOf(node["minItems"]) ?? 0, "contains" in node ? numberOf(node["minContains"]) ?? 1 : 0)
  const most = rest === false ? first.length : numberOf(node["maxItems"]) ?? Infinity
  const usual = isDeep(self, depth) ? 0 : first.length > 0 ? first.length : 1 + self.chance(2)
  const length = Math.min(Math.max(least, usual), most, 10_000)
  const out: Array<unknown> = []
  const seen = new Set<string>()
  for (let i = 0; i < length; i++) {
    const schema = first[i] ?? ("contains" in node ? { allOf: [rest ?? true, node["contains"]] } : rest)
    let made = value(self, schema, depth + 1)
    for (let tries = 0; node["uniqueItems"] === true && seen.has(JSON.stringify(made)) && tries < 100; tries++) {
      made = value(self, schema, depth + 1)
    }
    if (node["uniqueItems"] === true && seen.has(JSON.stringify(made)) && i >= least) break
    seen.add(JSON.stringify(made))
    out.push(made)
  }
  return out
}

const number = (self: Making, node: Node, usual: number): number => {
  const step = numberOf(node["multipleOf"]) ?? usual
  const above = numberOf(node["exclusiveMinimum"])
  const below = numberOf(node["exclusiveMaximum"])
  const least = Math.max(numberOf(node["minimum"]) ?? -Infinity, above ?? -Infinity)
  const most = Math.min(numberOf(node["maximum"]) ?? Infinity, below ?? Infinity)
  const low = Number.isFinite(least) && least > -1e12
    ? least
    : Math.min(1, Number.isFinite(most) ? most - 100 * step : 1)
  const start = Math.ceil(low / step) + (Math.ceil(low / step) * step === above ? 1 : 0)
  const end = Math.floor(most / step) - (Math.floor(most / step) * step === below ? 1 : 0)
  if (end < start) return (Math.max(least, low) + most) / 2 // too narrow for a step of our own choice
  const steps = start + self.chance(Math.min(100, end - start + 1))
  return Number((steps * step).toPrecision(12))
}

const formats: Readonly<Record<string, (chance: Chance) => string>> = {
  "date-time": (chance) => `2026-0${1 + chance(9)}-1${chance(10)}T0${chance(10)}:30:00Z`,
  date: (chance) => `2026-0${1 + chance(9)}-1${chance(10)}`,
  time: (chance) => `0${chance(10)}:30:00Z`,
  duration: (chance) => `P${1 + chance(9)}D`,
  email: (chance) => `${word(chance)}@example.com`,
  "idn-email": (chance) => `${word(chance)}@example.com`,
  hostname: (chance) => `${word(chance)}.example.com`,
  "idn-hostname": (chance) => `${word(chance)}.example.com`,
  uri: (chance) => `https://example.com/${word(chance)}`,
  url: (chance) => `https://example.com/${word(chance)}`,
  "uri-reference": (chance) => `/${word(chance)}`,
  iri: (chance) => `https://example.com/${word(chance)}`,
  ipv4: (chance) => `192.0.2.${chance(256)}`,
  ipv6: (chance) => `2001:db8::${chance(65_536).toString(16)}`,
  uuid: (chance) => `6f1c2f0a-4b1d-4c6e-9a53-${(chance(2 ** 31) + 2 ** 32).toString(16).padStart(12, "0")}`,
  "json-pointer": (chance) => `/${word(chance)}`,
  regex: (chance) => `^${word(chance)}$`
}

/** A text that a pattern matches, or a word where Effect cannot make one. */
const matching = (self: Making, pattern: string, least: number, most: number | undefined): string => {
  const seed = self.chance(2 ** 31)
  const made = Result.try(() => {
    const base = Schema.String.check(Schema.isPattern(new RegExp(pattern, "u")), Schema.isMinLength(least))
    const schema = most === undefined ? base : base.check(Schema.isMaxLength(most))
    return Effect.runSync(Arbitrary.sampleEffect(Arbitrary.schema(schema), { count: 1, seed, size: 4 }))[0]!
  })
  return Result.getOrElse(made, () => word(self.chance))
}

const text = (self: Making, node: Node): string => {
  const least = numberOf(node["minLength"]) ?? 0
  const most = numberOf(node["maxLength"])
  const pattern = node["pattern"]
  const format = formats[stringOf(node["format"])]
  // a format that came with a pattern of its own is the simpler way to fit both
  const formatted = format?.(self.chance)
  if (typeof pattern === "string" && !(formatted !== undefined && matches(pattern, formatted))) {
    return matching(self, pattern, least, most)
  }
  if (formatted !== undefined) return formatted
  if (node["contentEncoding"] === "base64") return "QUFB".repeat(Math.ceil(Math.max(least, 1) / 4))
  let out = word(self.chance)
  while (out.length < Math.min(least, 1e6)) out += ` ${word(self.chance)}`
  return most === undefined || out.length <= most ? out : out.slice(0, most).replace(/ $/, "s")
}

/** A value that fits a schema. */
export const fitting = (schema: unknown, chance: Chance): unknown =>
  value({ root: schema, chance, left: 1_000 }, schema, 0)

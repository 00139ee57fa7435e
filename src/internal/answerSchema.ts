/**
 * A schema in the part of JSON Schema that the API holds answers and strict tools to, and the way back.
 *
 * That part has objects with known properties that are all there, lists of one kind, and unions. So an optional property is written as null, a
 * record as the list of its entries, a tuple as an object of its places. Constraints that are left out are told in descriptions, and checked when the
 * answer is decoded.
 */
import type * as JsonSchema from "effect/JsonSchema"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"

type Json = JsonSchema.JsonSchema

/** Some JSON as the schema itself writes it, and whether it fitted. */
type Read = (json: unknown) => readonly [value: unknown, fits: boolean]

interface Node {
  readonly schema: Json
  readonly read: Read
}

type Convert = (schema: Json) => Node

const formats = new Set(
  ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"]
)

const isSchema = (value: unknown): value is Json => Predicate.isObject(value)

const schemasIn = (value: unknown): ReadonlyArray<Json> => Array.isArray(value) ? value.filter(isSchema) : []

/** What a node says in words: its own description, those of its checks, and a format that the API does not know. */
const described = (schema: Json, ...more: ReadonlyArray<string>): Json => {
  const { description, format, title } = schema
  const words = [description, ...schemasIn(schema["allOf"]).map(({ description }) => description)]
    .filter(Predicate.isString)
  if (typeof format === "string" && !formats.has(format)) words.push(`a value with a format of ${format}`)
  const all = [...new Set([...more, ...words])]
  return {
    ...(title === undefined ? undefined : { title }),
    ...(all.length === 0 ? undefined : { description: all.join(" and ") })
  }
}

/** The name of what a reference means. */
const keyOf = ($ref: unknown): string =>
  String($ref).replace(/^#\/\$defs\//, "").replaceAll("~1", "/").replaceAll("~0", "~")

const typeOf = (json: unknown): string => json === null ? "null" : Array.isArray(json) ? "array" : typeof json

const leaf = (schema: Json): Node => {
  const { const: only, enum: some, format, pattern, type } = schema
  const types = type === undefined ? undefined : [type].flat()
  return {
    schema: {
      ...(type === undefined ? undefined : { type }),
      ...described(schema),
      ...(some === undefined ? undefined : { enum: some }),
      ...("const" in schema ? { const: only } : undefined),
      ...(pattern === undefined ? undefined : { pattern }),
      ...(typeof format === "string" && formats.has(format) ? { format } : undefined)
    },
    read: (json) => [
      json,
      (types === undefined || types.includes(typeOf(json)) ||
        (types.includes("integer") && Number.isInteger(json))) &&
      (!Array.isArray(some) || some.includes(json)) &&
      (!("const" in schema) || only === json)
    ]
  }
}

const nullSchema: Json = { type: "null" }

const union = (schema: Json, members: ReadonlyArray<Node>): Node => {
  const values = members.filter(({ schema }) => schema["type"] !== "null")
  return {
    schema: { ...described(schema), anyOf: members.map(({ schema }) => schema) },
    read: (json) => {
      for (const { read } of members) {
        const found = read(json)
        if (found[1]) return found
      }
      // Where there is but one choice, what does not fit is inside of it.
      return [values.length === 1 && json !== null ? values[0]!.read(json)[0] : json, false]
    }
  }
}

/** An object of properties that are all there: those that may be absent are null. */
const struct = (
  schema: Json,
  properties: ReadonlyArray<readonly [name: string, node: Node, isOptional: boolean]>,
  ...words: ReadonlyArray<string>
) => {
  const nullable = properties.map(([name, node, isOptional]) => {
    const isAdded = isOptional && !node.read(null)[1]
    return [name, isAdded ? union({}, [node, leaf(nullSchema)]) : node, isAdded] as const
  })
  return {
    schema: {
      type: "object",
      ...described(schema, ...words),
      properties: Object.fromEntries(nullable.map(([name, { schema }]) => [name, schema])),
      required: properties.map(([name]) => name),
      additionalProperties: false
    },
    read: (json: unknown): readonly [Record<string, unknown>, boolean] | undefined => {
      if (!isSchema(json)) return undefined
      const known = new Map(nullable.map(([name, node, isAdded]) => [name, [node, isAdded] as const]))
      let fits = properties.every(([name, , isOptional]) => isOptional || Object.hasOwn(json, name))
      const entries = Object.entries(json).flatMap(([name, value]) => {
        const [node, isAdded] = known.get(name) ?? []
        if (node === undefined) fits = false
        if (node === undefined || (isAdded && value === null)) return node === undefined ? [[name, value]] : []
        const [read, isFit] = node.read(value)
        fits &&= isFit
        return [[name, read]]
      })
      return [Object.fromEntries(entries), fits]
    }
  }
}

const list = (schema: Json, item: Node, ...words: ReadonlyArray<string>) => ({
  schema: { type: "array", ...described(schema, ...words), items: item.schema },
  read: (json: unknown): readonly [Array<unknown>, boolean] | undefined => {
    if (!Array.isArray(json)) return undefined
    const items = json.map(item.read)
    return [items.map(([value]) => value), items.every(([, fits]) => fits)]
  }
})

const orUnfit = ({ read, schema }: {
  readonly schema: Json
  readonly read: (json: unknown) => readonly [unknown, boolean] | undefined
}): Node => ({ schema, read: (json) => read(json) ?? [json, false] })

/** A record, as the list of its entries. */
const record = (schema: Json, value: Node) => {
  const key = leaf({ ...(isSchema(schema["propertyNames"]) ? schema["propertyNames"] : undefined), type: "string" })
  const entry = orUnfit(struct({}, [["key", key, false], ["value", value, false]]))
  const entries = list(schema, entry, "an object as the list of its entries")
  return {
    schema: entries.schema,
    read: (json: unknown): readonly [unknown, boolean] | undefined => {
      const [read, fits = false] = entries.read(json) ?? []
      if (read?.every(isEntry)) return [Object.fromEntries(read.map(({ key, value }) => [key, value])), fits]
      if (!isSchema(json)) return undefined
      // Written as the schema itself writes it.
      const own = Object.entries(json).map(([key, item]) => [key, value.read(item)] as const)
      return [Object.fromEntries(own.map(([key, [item]]) => [key, item])), own.every(([, [, fits]]) => fits)]
    }
  }
}

const isEntry = (item: unknown): item is { readonly key: string; readonly value: unknown } =>
  isSchema(item) && typeof item["key"] === "string"

const rest = "rest"

const object = (schema: Json, convert: Convert): Node => {
  const required = new Set([schema["required"]].flat())
  const properties = Object.entries(isSchema(schema["properties"]) ? schema["properties"] : {})
    .map(([name, node]) => [name, convert(isSchema(node) ? node : {}), !required.has(name)] as const)
  const others = [schema, ...schemasIn(schema["allOf"])].flatMap(({ additionalProperties, patternProperties }) => [
    ...(isSchema(additionalProperties) ? [additionalProperties] : []),
    ...Object.values(isSchema(patternProperties) ? patternProperties : {}).filter(isSchema)
  ]).map(convert)
  if (others.length === 0) return orUnfit(struct(schema, properties))
  const more = record(properties.length === 0 ? schema : {}, others.length === 1 ? others[0]! : union({}, others))
  if (properties.length === 0) return orUnfit(more)
  const both = struct(schema, [...properties, [rest, orUnfit(more), true]])
  return orUnfit({
    schema: both.schema,
    read: (json) => {
      const [read, fits] = both.read(json) ?? []
      if (read === undefined) return undefined
      const { [rest]: found, ...known } = read
      return [{ ...known, ...(isSchema(found) ? found : undefined) }, fits === true]
    }
  })
}

const array = (schema: Json, convert: Convert): Node => {
  const places = schemasIn(schema["prefixItems"])
  const { items, maxItems } = schema
  const minItems = typeof schema["minItems"] === "number" ? schema["minItems"] : 0
  const item = isSchema(items) ? items : {}
  const isUniform = places.every((place) => JSON.stringify(place) === JSON.stringify(item))
  if (isUniform) return orUnfit(list(schema, convert(item)))
  const hasRest = isSchema(items) || maxItems === undefined
  const more = list({}, convert(item))
  const tuple = struct(
    schema,
    [
      ...places.map((place, index) => [String(index), convert(place), index >= minItems] as const),
      ...(hasRest ? [[rest, orUnfit(more), true] as const] : [])
    ],
    "a list as an object of its places"
  )
  return orUnfit({
    schema: tuple.schema,
    read: (json) => {
      if (Array.isArray(json)) {
        // Written as the schema itself writes it.
        const own = json.map((value, index) => convert(places[index] ?? item).read(value))
        return [own.map(([value]) => value), own.every(([, fits]) => fits)]
      }
      const [read, fits] = tuple.read(json) ?? []
      if (read === undefined) return undefined
      const values = places.flatMap((_, index) => String(index) in read ? [read[String(index)]] : [])
      return [[...values, ...Array.isArray(read[rest]) ? read[rest] : []], fits === true]
    }
  })
}

/** Converts a document; what it defines is converted once. */
const converted = ({ definitions, schema }: JsonSchema.Document<"draft-2020-12">): Node => {
  const named = new Map<string, Node | undefined>()
  const convert: Convert = (schema) => {
    const { $ref, anyOf, oneOf, type } = schema
    if (typeof $ref === "string") {
      const key = keyOf($ref)
      if (!named.has(key)) {
        named.set(key, undefined)
        named.set(key, convert(definitions[key] ?? {}))
      }
      const node = named.get(key)
      if (node === undefined) throw new Error("a recursive schema has no form that the API takes")
      return { schema: { ...described(schema), $ref }, read: node.read }
    }
    const members = schemasIn(anyOf ?? oneOf)
    if (members.length > 0) return union(schema, members.map(convert))
    if (type === "object") return object(schema, convert)
    return type === "array" ? array(schema, convert) : leaf(schema)
  }
  // Input of a tool says at the top that it is an object.
  const top = typeof schema["$ref"] === "string"
    ? definitions[keyOf(schema["$ref"])] ?? schema
    : schema
  const { read, schema: own } = convert(top)
  const $defs = Object.fromEntries(
    [...named].flatMap(([key, node]) => node === undefined ? [] : [[key, node.schema] as const])
  )
  return { schema: Object.keys($defs).length === 0 ? own : { ...own, $defs }, read }
}

/**
 * What the API is asked for, and the codec that decodes what it answers: in the form of `jsonSchema`, or in that of the schema itself.
 *
 * Throws where the schema has no form that the API takes, as recursive ones.
 */
export const toCodec = <T, E, RD, RE>(
  schema: Schema.ConstraintCodec<T, E, RD, RE>
): {
  readonly codec: Schema.ConstraintCodec<T, unknown, RD, RE>
  readonly jsonSchema: Json
} => {
  const { read, schema: jsonSchema } = converted(
    Schema.toJsonSchemaDocument(schema, { generateDescriptions: true, onExcessProperty: "error" })
  )
  const codec = Schema.Unknown.pipe(
    Schema.decodeTo(Schema.toCodecJson(schema), {
      decode: SchemaGetter.transform((json: unknown) => read(json)[0] as Schema.Json), // it comes from JSON
      encode: SchemaGetter.passthroughSupertype<unknown, unknown>()
    })
  )
  return { codec: codec as unknown as Schema.ConstraintCodec<T, unknown, RD, RE>, jsonSchema } // the types of `schema`
}

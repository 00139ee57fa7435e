/** A schema as the API takes it, and answers by it. */
import type { Message } from "@anthropic-ai/sdk/resources/messages"
import * as Effect from "effect/Effect"
import type * as JsonSchema from "effect/JsonSchema"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import { AnswerMismatchError, type IncompleteAnswerError } from "../../ClaudeError.ts"
import { toCodec } from "../../internal/answerSchema.ts"
import * as MessageStream from "../../MessageStream.ts"
import * as Usage from "../../Usage.ts"

/** How a schema is asked for, and how its answers are read. */
interface Wire<S extends Schema.Constraint> {
  readonly jsonSchema: JsonSchema.JsonSchema
  readonly read: (json: unknown) => Effect.Effect<S["Type"], Schema.SchemaError, S["DecodingServices"]>
  /** The names of properties that the schema has. */
  readonly names: ReadonlySet<string>
}

const namesIn = (node: unknown, names: Set<string> = new Set()): ReadonlySet<string> => {
  if (!Predicate.isObject(node) && !Array.isArray(node)) return names
  for (const [key, value] of Object.entries(node)) {
    if (key === "properties" && Predicate.isObject(value)) Object.keys(value).forEach((name) => names.add(name))
    namesIn(value, names)
  }
  return names
}

const make = <S extends Schema.Constraint>(schema: S): Wire<S> => {
  const { codec, jsonSchema } = toCodec(schema)
  return {
    jsonSchema,
    read: Schema.decodeUnknownEffect(codec, { errors: "all" }),
    names: namesIn(jsonSchema)
  }
}

/** By schema, for as long as it lives: to derive one is dear, and schemas never change. */
const known = new WeakMap<Schema.Constraint, Wire<Schema.Constraint>>()

export const of = <S extends Schema.Constraint>(schema: S): Wire<S> => {
  const found = known.get(schema) ?? make<Schema.Constraint>(schema)
  known.set(schema, found)
  return found as Wire<S> // it was made of this very schema
}

/** Messages of checks and transformations may quote what they were given, so that only what the schema itself says is told. */
const formatter = SchemaIssue.makeFormatterStandardSchemaV1({
  leafHook: (issue) =>
    issue._tag === "InvalidValue" || issue._tag === "Forbidden" || SchemaIssue.hasInput(issue)
      ? "Expected another value"
      : SchemaIssue.defaultLeafHook(issue),
  checkHook: ({ filter }) => `Expected ${filter.annotations?.expected ?? "another value"}`
})

const maxIssues = 10

/** What does not fit, in words. Keys that the schema does not name are the model's own. */
const describe = ({ issue }: Schema.SchemaError, names: ReadonlySet<string>): ReadonlyArray<string> => {
  const texts = new Set(
    formatter(issue).issues.map(({ message, path = [] }) => {
      const keys = path.map((key) => Predicate.isObject(key) ? key.key : key)
      const place = keys.map((key) => typeof key === "number" || names.has(String(key)) ? String(key) : "*").join(".")
      const said = message.slice(0, 200)
      return place === "" ? said : `${place}: ${said.charAt(0).toLowerCase()}${said.slice(1)}`
    })
  )
  const shown = [...texts].slice(0, maxIssues)
  return texts.size === shown.length ? shown : [...shown, `${texts.size - shown.length} more`]
}

/** A message, and what is known of the call that brought it. */
interface Answer {
  readonly message: Message
  readonly attempts: number
  readonly usage?: Usage.Usage | undefined
  readonly costNanoUsd?: number | undefined
}

export const decode = Effect.fnUntraced(function*<S extends Schema.Constraint>(
  schema: S,
  { attempts, costNanoUsd, message, usage }: Answer
): Effect.fn.Return<S["Type"], IncompleteAnswerError | AnswerMismatchError, S["DecodingServices"]> {
  const { names, read } = of(schema)
  const text = yield* MessageStream.completeText(message, attempts, costNanoUsd)
  const mismatch = (issues: ReadonlyArray<string>) =>
    new AnswerMismatchError({
      issues,
      answer: message,
      usage: usage ?? Usage.fromReported(message.usage ?? {}),
      costNanoUsd,
      attempts
    })
  const json = Result.try((): unknown => JSON.parse(text))
  if (Result.isFailure(json)) return yield* mismatch(["Expected JSON"])
  return yield* Effect.mapError(read(json.success), (error) => mismatch(describe(error, names)))
})

/** A tool: what the model is told of it, and how a call of it becomes a result. */
import type * as Messages from "@anthropic-ai/sdk/resources/messages"
import * as Effect from "effect/Effect"
import type * as JsonSchema from "effect/JsonSchema"
import * as Schema from "effect/Schema"
import { toCodec } from "../../internal/answerSchema.ts"
import type { Block, Request } from "../../Request.ts"

/** What a tool gives back as it is: a text, or blocks of texts, images and documents. */
export type Content = NonNullable<Extract<Block, { readonly type: "tool_result" }>["content"]>

/**
 * What goes back to the model for one call.
 *
 * @category models
 * @since 0.1.0
 */
export interface Result {
  readonly content: Content
  readonly isError: boolean
}

/**
 * What a request says of a tool.
 *
 * @category models
 * @since 0.1.0
 */
export type Definition = NonNullable<Request["tools"]>[number]

/**
 * A tool and its handler.
 *
 * @category models
 * @since 0.1.0
 */
export interface Tool<out E = never, out R = never> {
  readonly name: string
  readonly definition: Definition
  readonly run: (call: Messages.ToolUseBlock) => Effect.Effect<Result, E, R>
}

/** What any tool fits. */
export type AnyTool = Tool<unknown, unknown>

/**
 * - `description`: when the model should call it, and what it does.
 * - `input`: decodes what the model writes. What does not fit goes back to the model, which may correct it.
 * - `success`: encodes what the handler gives, as JSON. Default: it gives a text, or blocks of texts, images and documents.
 * - `failure`: errors of the handler that go back to the model, encoded as JSON. All others end the loop with that error. Default: none.
 * - `strict`: the API holds the model to the schema of the input, which cannot be recursive then. Default `false`.
 * - `fields`: what the request says of the tool beside that, or instead, such as `cache_control`, or the `type` of a tool that the API defines
 *   and you run (`{ type: "bash_20250124" }`), for which no schema is sent.
 * - `handler`: runs a call. Its second argument is the call as it came.
 *
 * @category options
 * @since 0.1.0
 */
export interface ToolOptions<
  Input extends Schema.Constraint,
  Success extends Schema.Constraint,
  Failure extends Schema.Constraint,
  E,
  R
> {
  readonly description?: string | undefined
  readonly input: Input
  readonly success?: Success | undefined
  readonly failure?: Failure | undefined
  readonly strict?: boolean | undefined
  readonly fields?: { readonly [field: string]: unknown } | undefined
  readonly handler: (input: Input["Type"], call: Messages.ToolUseBlock) => Effect.Effect<Success["Type"], E, R>
}

const prefix = "#/$defs/"

/** The schema of what a reference at the top means: input of a tool is an object there, and says so. */
const objectSchema = (schema: Schema.Constraint): JsonSchema.JsonSchema => {
  const { definitions: $defs, schema: top } = Schema.toJsonSchemaDocument(schema, { onExcessProperty: "error" })
  const { $ref, ...rest } = top
  const own = typeof $ref === "string" ? { ...rest, ...$defs[$ref.slice(prefix.length)] } : top
  const typed = own["type"] === undefined && own["properties"] === undefined ? { ...own, type: "object" } : own
  return Object.keys($defs).length === 0 ? typed : { ...typed, $defs }
}

const json = (schema: Schema.Constraint) => {
  const encode = Schema.encodeUnknownEffect(Schema.toCodecJson(schema))
  // What a handler gives has the type of its schema: another value is a mistake in the program.
  return (value: unknown) => Effect.map(Effect.orDie(encode(value)), (encoded) => JSON.stringify(encoded))
}

export const make = (
  name: string,
  { description, failure, fields, handler, input, strict = false, success }: ToolOptions<
    Schema.Constraint,
    Schema.Constraint,
    Schema.Constraint,
    unknown,
    unknown
  >
): AnyTool => {
  const { codec, jsonSchema } = strict
    ? toCodec(input)
    : { codec: Schema.toCodecJson(input), jsonSchema: objectSchema(input) }
  const decode = Schema.decodeUnknownEffect(codec)
  const succeeded = success === undefined ? (value: unknown) => Effect.succeed(value as Content) : json(success)
  const isFailure = failure === undefined ? () => false : Schema.is(failure)
  const failed = failure === undefined ? undefined : json(failure)
  const isDefined = fields?.["type"] !== undefined
  const definition = {
    name,
    ...(isDefined ? undefined : {
      ...(description === undefined ? undefined : { description }),
      input_schema: jsonSchema,
      ...(strict ? { strict } : undefined)
    }),
    ...fields
  }
  return {
    name,
    definition: definition as unknown as Definition, // its fields are those of the API
    run: (call) =>
      Effect.matchEffect(decode(call.input), {
        onFailure: (error) => Effect.succeed({ content: `The input does not fit: ${error.message}`, isError: true }),
        onSuccess: (value) =>
          Effect.matchEffect(handler(value, call), {
            onFailure: (error) =>
              failed !== undefined && isFailure(error)
                ? Effect.map(failed(error), (content) => ({ content, isError: true }))
                : Effect.fail(error),
            onSuccess: (value) => Effect.map(succeeded(value), (content) => ({ content, isError: false }))
          })
      })
  }
}

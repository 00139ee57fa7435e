/**
 * Answers as values: one schema tells the API what an answer looks like, and decodes it.
 *
 * - The API holds the model to the schema (`output_config.format`). It knows a part of JSON Schema: lengths, bounds and the like are told in
 *   descriptions, and checked when the answer is decoded. A recursive schema cannot be asked for, and is a defect.
 * - A refusal, an answer that was cut, and one that does not fit are typed errors; each carries the message and what it cost.
 *
 * **Example** (An invoice)
 *
 * ```ts
 * import { StructuredOutput } from "effect-claude"
 * import { Effect, Schema } from "effect"
 * import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
 *
 * const Invoice = Schema.Struct({ supplier: Schema.String, total: Schema.Finite })
 *
 * const invoice = StructuredOutput.object({
 *   model: "claude-haiku-5-5",
 *   max_tokens: 256,
 *   messages: [{ role: "user", content: "Read this invoice: ACME Ltd. Paper clips. Total: 12.50 EUR" }]
 * }, Invoice)
 *
 * const claude = ClaudeTest.layer(`{"supplier":"ACME Ltd.","total":12.5}`)
 *
 * await Effect.runPromise(Effect.provide(invoice, claude)) // => { supplier: "ACME Ltd.", total: 12.5 }
 * ```
 *
 * @since 0.1.0
 */
import type { Message } from "@anthropic-ai/sdk/resources/messages"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import type * as Schema from "effect/Schema"
import type { AnswerMismatchError, IncompleteAnswerError, ObjectError } from "./ClaudeError.ts"
import { type CallReport, ClaudeService } from "./ClaudeService.ts"
import type { Request } from "./Request.ts"
import * as Wire from "./StructuredOutput/internal/wire.ts"

/**
 * What decides how an answer is asked for: `output_config.format` of a request.
 *
 * @category models
 * @since 0.1.0
 */
export type Format = NonNullable<NonNullable<Request["output_config"]>["format"]>

/**
 * A value, its message, and what it took to get it.
 *
 * @category models
 * @since 0.1.0
 */
export interface ObjectReport<out A> extends CallReport {
  readonly value: A
}

/**
 * The format that asks for a schema, for streams, conversations and tool loops: `output_config: { format: StructuredOutput.format(Invoice) }`. The answer
 * is read by {@link decode}.
 *
 * @category constructors
 * @since 0.1.0
 */
export const format = (schema: Schema.Constraint): Format => ({
  type: "json_schema",
  schema: Wire.of(schema).jsonSchema
})

/**
 * The value in a message that was asked for with {@link format}.
 *
 * @category destructors
 * @since 0.1.0
 */
export const decode: {
  <S extends Schema.Constraint>(
    schema: S
  ): (message: Message) => Effect.Effect<S["Type"], IncompleteAnswerError | AnswerMismatchError, S["DecodingServices"]>
  <S extends Schema.Constraint>(
    message: Message,
    schema: S
  ): Effect.Effect<S["Type"], IncompleteAnswerError | AnswerMismatchError, S["DecodingServices"]>
} = dual(2, <S extends Schema.Constraint>(message: Message, schema: S) => Wire.decode(schema, { message, attempts: 1 }))

/**
 * The value that the model answers with, and what it took to get it.
 *
 * @category accessors
 * @since 0.1.0
 */
export const objectWithReport: {
  <S extends Schema.Constraint>(
    schema: S
  ): (request: Request) => Effect.Effect<ObjectReport<S["Type"]>, ObjectError, ClaudeService | S["DecodingServices"]>
  <S extends Schema.Constraint>(
    request: Request,
    schema: S
  ): Effect.Effect<ObjectReport<S["Type"]>, ObjectError, ClaudeService | S["DecodingServices"]>
} = dual(
  2,
  Effect.fnUntraced(function*<S extends Schema.Constraint>(request: Request, schema: S) {
    const claude = yield* ClaudeService
    const output_config = { ...request.output_config, format: format(schema) }
    const report = yield* claude.createWithReport({ ...request, output_config })
    return { ...report, value: yield* Wire.decode(schema, report) }
  })
)

/**
 * The value that the model answers with, decoded by the schema that was asked for.
 *
 * **Example** (What did not fit)
 *
 * ```ts
 * import { StructuredOutput } from "effect-claude"
 * import { Effect, Schema } from "effect"
 * import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
 *
 * const Age = Schema.Struct({ years: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 150 })) })
 *
 * const age = StructuredOutput.object(ClaudeTest.hello, Age).pipe(
 *   Effect.catchTags({
 *     AnswerMismatchError: ({ issues }) => Effect.succeed(issues),
 *     IncompleteAnswerError: ({ reason }) => Effect.succeed(reason) // a refusal, or an answer that was cut
 *   })
 * )
 *
 * await Effect.runPromise(Effect.provide(age, ClaudeTest.layer(`{"years":1000}`)))
 * // => ["years: expected a value between 0 and 150"]
 * ```
 *
 * @category accessors
 * @since 0.1.0
 */
export const object: {
  <S extends Schema.Constraint>(
    schema: S
  ): (request: Request) => Effect.Effect<S["Type"], ObjectError, ClaudeService | S["DecodingServices"]>
  <S extends Schema.Constraint>(
    request: Request,
    schema: S
  ): Effect.Effect<S["Type"], ObjectError, ClaudeService | S["DecodingServices"]>
} = dual(
  2,
  <S extends Schema.Constraint>(request: Request, schema: S) =>
    Effect.map(objectWithReport(request, schema), ({ value }) => value)
)

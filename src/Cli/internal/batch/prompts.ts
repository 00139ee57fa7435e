/** A file of prompts, read line by line: it may be larger than memory, its ids may not. */
import type { MessageParam, ToolChoice, ToolUnion } from "@anthropic-ai/sdk/resources/messages"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Request } from "../../../Request.ts"
import { sampling } from "../apiVersion.ts"
import { CommandError } from "../failure.ts"
import { bytesOf } from "../input.ts"

/** Ids are texts or integers; they are given back as they came. */
export const Id = Schema.Union([Schema.NonEmptyString, Schema.Int])

/** What the API judges: it passes through unread. */
const Block = Schema.Record(Schema.String, Schema.Json)

const fields = {
  id: Id,
  prompt: Schema.optionalKey(Schema.NonEmptyString),
  messages: Schema.optionalKey(Schema.NonEmptyArray(Schema.Struct({
    role: Schema.Literals(["user", "assistant"]),
    content: Schema.Union([Schema.String, Schema.Array(Block)])
  }))),
  model: Schema.optionalKey(Schema.NonEmptyString),
  max_tokens: Schema.optionalKey(Schema.Int.check(Schema.isGreaterThan(0))),
  system: Schema.optionalKey(Schema.Union([Schema.String, Schema.Array(Block)])),
  temperature: Schema.optionalKey(Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 }))),
  tools: Schema.optionalKey(Schema.Array(Block)),
  tool_choice: Schema.optionalKey(Block),
  stop_sequences: Schema.optionalKey(Schema.Array(Schema.String))
}

const Json = Schema.Struct(fields).check(
  Schema.makeFilter(({ messages, prompt }) => (messages === undefined) !== (prompt === undefined), {
    expected: "either \"prompt\" or \"messages\""
  })
)

const decodeJson = Schema.decodeUnknownResult(Schema.fromJsonString(Schema.Unknown))
const decodeLine = Schema.decodeUnknownResult(Json)

/** A misspelt field would change what is asked without a word. */
const unknownFields = (value: unknown): string | undefined => {
  if (!Predicate.isObject(value)) return undefined
  const unknown = Object.keys(value).filter((name) => !Object.hasOwn(fields, name))
  if (unknown.length === 0) return undefined
  const names = unknown.map((name) => JSON.stringify(name)).join(", ")
  return `unknown ${unknown.length === 1 ? "field" : "fields"} ${names}; known are ${Object.keys(fields).join(", ")}`
}

const decode = (text: string): Result.Result<typeof Json.Type, string> => {
  const json = decodeJson(text)
  if (Result.isFailure(json)) return Result.fail("it is not JSON")
  const unknown = unknownFields(json.success)
  if (unknown !== undefined) return Result.fail(unknown)
  return Result.mapError(decodeLine(json.success), ({ message }) => message.replace(/\s*\n\s*/g, " "))
}

/** What to ask. `number` is that of its line, 1 for the first. */
export interface Prompt {
  readonly number: number
  readonly id: string | number
  readonly request: Request
  readonly headers: Readonly<Record<string, string>> | undefined
}

/** A line that cannot be asked. */
export interface Malformed {
  readonly number: number
  readonly problem: string
}

/** What a line that does not say gets. */
export interface Defaults {
  readonly model: string
  readonly maxTokens: number
  readonly system: string | undefined
  readonly temperature: number | undefined
}

/** The longest line: as much as the API takes as one request. */
const maxLine = 32 * 1024 * 1024

/** Fails where a line is longer, since it would be held in memory. */
const bounded = (file: string) => <E, R>(bytes: Stream.Stream<Uint8Array, E, R>) =>
  Stream.suspend(() => {
    let length = 0
    return Stream.tap(bytes, (chunk) => {
      const end = chunk.lastIndexOf(10)
      length = end < 0 ? length + chunk.length : chunk.length - end - 1
      return length > maxLine
        ? Effect.fail(new CommandError({ message: `${file} has a line of more than 32 MiB: give one prompt a line.` }))
        : Effect.void
    })
  })

/** Without a byte order mark and blank lines. */
const lines = (file: string) =>
  bytesOf(file).pipe(
    bounded(file),
    Stream.decodeText,
    Stream.splitLines,
    Stream.zipWithIndex,
    Stream.map(([line, index]) => ({ number: index + 1, text: index === 0 ? line.replace(/^\uFEFF/, "") : line })),
    Stream.filter(({ text }) => text.trim() !== "")
  )

/** How many lines there are to deal with; undefined where they can be read only once. */
export const count = Effect.fnUntraced(function*(file: string) {
  if (file === "-" || (yield* (yield* FileSystem.FileSystem).stat(file)).type !== "File") return undefined
  return yield* Stream.runCount(lines(file))
})

const requestOf = (line: typeof Json.Type, defaults: Defaults, temperature: number | undefined): Request => {
  const { max_tokens, messages, model, prompt, stop_sequences, tool_choice, tools } = line
  const system = line.system ?? defaults.system
  return {
    model: model ?? defaults.model,
    max_tokens: max_tokens ?? defaults.maxTokens,
    // Either is there; blocks pass through unread.
    messages: messages as Array<MessageParam> | undefined ?? [{ role: "user", content: prompt ?? "" }],
    ...(system === undefined ? undefined : { system: system as string }), // or blocks, which pass through too
    ...sampling(temperature).fields,
    ...(tools === undefined ? undefined : { tools: tools as unknown as Array<ToolUnion> }), // as above
    ...(tool_choice === undefined ? undefined : { tool_choice: tool_choice as unknown as ToolChoice }), // as above
    ...(stop_sequences === undefined ? undefined : { stop_sequences })
  }
}

export const read = (file: string, defaults: Defaults) =>
  Stream.suspend(() => {
    const seen = new Map<string, number>()
    return Stream.map(lines(file), ({ number, text }): Prompt | Malformed => {
      const decoded = decode(text)
      if (Result.isFailure(decoded)) return { number, problem: decoded.failure }
      const { id } = decoded.success
      const before = seen.get(String(id))
      if (before !== undefined) {
        return { number, problem: `the id ${JSON.stringify(id)} stands on line ${before} already` }
      }
      seen.set(String(id), number)
      const temperature = decoded.success.temperature ?? defaults.temperature
      return {
        number,
        id,
        request: requestOf(decoded.success, defaults, temperature),
        headers: sampling(temperature).headers
      }
    })
  })

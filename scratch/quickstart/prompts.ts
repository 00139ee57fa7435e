/** A file of prompts, read line by line: it may be larger than memory, its ids may not. */
import type { MessageParam } from "@anthropic-ai/sdk/resources/messages"
import { Effect, FileSystem, Result, Schema, Stream } from "effect"
import type { Attempt } from "../../src/index.ts"

/** Ids are texts or integers; they are given back as they came. */
export const Id = Schema.Union([Schema.NonEmptyString, Schema.Int])

const Json = Schema.Struct({
  id: Id,
  prompt: Schema.optionalKey(Schema.NonEmptyString),
  messages: Schema.optionalKey(Schema.NonEmptyArray(Schema.Struct({
    role: Schema.Literals(["user", "assistant"]),
    // Blocks are the API's to judge.
    content: Schema.Union([Schema.String, Schema.Array(Schema.Record(Schema.String, Schema.Json))])
  }))),
  model: Schema.optionalKey(Schema.NonEmptyString),
  max_tokens: Schema.optionalKey(Schema.Int.check(Schema.isGreaterThan(0)))
}).check(
  Schema.makeFilter(({ messages, prompt }) => (messages === undefined) !== (prompt === undefined), {
    expected: "either \"prompt\" or \"messages\""
  })
)

const decode = Schema.decodeUnknownResult(Schema.fromJsonString(Json))

/** What to ask. `number` is that of its line, 1 for the first. */
export interface Prompt {
  readonly number: number
  readonly id: string | number
  readonly request: Attempt.Request
}

/** A line that cannot be asked. */
export interface Malformed {
  readonly number: number
  readonly problem: string
}

/** Without a byte order mark and blank lines. */
const lines = (file: string) =>
  FileSystem.FileSystem.use((fs) => Effect.succeed(fs.stream(file))).pipe(
    Stream.unwrap,
    Stream.decodeText,
    Stream.splitLines,
    Stream.zipWithIndex,
    Stream.map(([line, index]) => ({ number: index + 1, text: index === 0 ? line.replace(/^\uFEFF/, "") : line })),
    Stream.filter(({ text }) => text.trim() !== "")
  )

/** How many lines there are to deal with. */
export const count = (file: string) => Stream.runCount(lines(file))

export const read = (file: string, model: string) =>
  Stream.suspend(() => {
    const seen = new Map<string, number>()
    return Stream.map(lines(file), ({ number, text }): Prompt | Malformed => {
      const decoded = decode(text)
      if (Result.isFailure(decoded)) return { number, problem: decoded.failure.message.replace(/\s*\n\s*/g, " ") }
      const { id, max_tokens, messages, prompt } = decoded.success
      const before = seen.get(String(id))
      if (before !== undefined) {
        return { number, problem: `the id ${JSON.stringify(id)} stands on line ${before} already` }
      }
      seen.set(String(id), number)
      return {
        number,
        id,
        request: {
          model: decoded.success.model ?? model,
          max_tokens: max_tokens ?? 1024,
          // Either is there; blocks pass through unread.
          messages: messages as Array<MessageParam> | undefined ?? [{ role: "user", content: prompt ?? "" }]
        }
      }
    })
  })

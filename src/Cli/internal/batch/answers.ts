/** The file of answers: one JSON object a line, appended as they come, whole lines only. */
import type { Message } from "@anthropic-ai/sdk/resources/messages"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import { CommandError } from "../failure.ts"
import { Id } from "./prompts.ts"

/** What became of a prompt. */
export type Answer =
  | {
    readonly id: string | number
    readonly text: string
    /** All blocks of an answer that is more than text. */
    readonly content?: Message["content"]
    readonly stop_reason: Message["stop_reason"]
    readonly model: string
    readonly usage: Message["usage"]
    readonly attempts: number
  }
  | {
    readonly id: string | number
    readonly error: { readonly tag: string; readonly message: string }
    readonly attempts: number
  }

const decode = Schema.decodeUnknownResult(Schema.fromJsonString(Schema.Union([
  Schema.Struct({ id: Id, text: Schema.String }),
  Schema.Struct({ id: Id, error: Schema.Struct({ tag: Schema.String }) })
])))

const newline = 10

/** What each line of answers begins with. */
const head = "{\"id\":"

const refuse = (file: string, line: number) =>
  Effect.fail(
    new CommandError({
      message: `${file} holds something else than answers: look at line ${line}. Give another file as --out.`
    })
  )

/** The ids that have an answer, and whether the last line is whole; a file of anything else is refused. */
const scan = Effect.fnUntraced(function*(file: string) {
  const fs = yield* FileSystem.FileSystem
  const done = new Set<string>()
  let bytes = 0
  let lastLineAt = 0
  let foreign: number | undefined
  let isHalf = false
  yield* fs.stream(file).pipe(
    Stream.tap((chunk) =>
      Effect.sync(() => {
        const at = chunk.lastIndexOf(newline)
        if (at >= 0) lastLineAt = bytes + at + 1
        bytes += chunk.length
      })
    ),
    Stream.decodeText,
    Stream.splitLines,
    Stream.zipWithIndex,
    Stream.runForEach(([line, index]) => {
      if (foreign !== undefined) return refuse(file, foreign)
      const decoded = decode(line)
      if (Result.isFailure(decoded)) {
        foreign = index + 1
        isHalf = head.startsWith(line.slice(0, head.length))
      } else if ("text" in decoded.success) done.add(String(decoded.success.id))
      return Effect.void
    })
  )
  const open = bytes > lastLineAt
  if (foreign !== undefined && !(open && isHalf)) return yield* refuse(file, foreign)
  return { done, end: foreign === undefined ? bytes : lastLineAt, open: open && foreign === undefined }
})

/** Opens the file to append to it. A last line that a killed run left unfinished is cut off. */
export const open = Effect.fnUntraced(function*(path: string) {
  const fs = yield* FileSystem.FileSystem
  const found = (yield* fs.exists(path)) ? yield* scan(path) : { done: new Set<string>(), end: 0, open: false }
  const file = yield* fs.open(path, { flag: "a" })
  yield* file.truncate(found.end)
  const oneAtATime = yield* Semaphore.make(1)
  const append = (text: string) => oneAtATime.withPermit(file.writeAll(new TextEncoder().encode(text)))
  if (found.open) yield* append("\n")
  return {
    /** The ids that have an answer, as texts. */
    done: found.done,
    record: (answer: Answer) => append(`${JSON.stringify(answer)}\n`)
  }
})

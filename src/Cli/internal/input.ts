/** What a command reads: texts of files and the standard input, and secrets without an echo. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import type { PlatformError } from "effect/PlatformError"
import * as Predicate from "effect/Predicate"
import * as Queue from "effect/Queue"
import * as Redacted from "effect/Redacted"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import * as Terminal from "effect/Terminal"
import { createReadStream } from "node:fs"
import { inQuotes, isQuoted, isSecret } from "../../internal/keyText.ts"
import { CommandError, UsageError } from "./failure.ts"

const mebibyte = 1024 * 1024

/** The most that is read as one text: as much as the API takes. */
const maxText = 32 * mebibyte

/** The bytes of a file, which can be a pipe; `-` is the standard input. */
export const bytesOf = (path: string): Stream.Stream<Uint8Array, CommandError | PlatformError, Stdio.Stdio> =>
  path === "-"
    ? Stream.unwrap(Effect.map(Stdio.Stdio, ({ stdin }) => stdin))
    : Stream.suspend(() =>
      Stream.fromAsyncIterable<Uint8Array, CommandError>(createReadStream(path), (error) => {
        const code = Predicate.hasProperty(error, "code") ? String(error.code) : "unknown error"
        return new CommandError({ message: `${path} cannot be read (${code}).` })
      })
    )

const textOf = <E, R>(name: string, bytes: Stream.Stream<Uint8Array, E, R>, max: number) =>
  Effect.suspend(() => {
    let size = 0
    return bytes.pipe(
      Stream.tap((chunk) => {
        size += chunk.length
        return size > max
          ? Effect.fail(new CommandError({ message: `${name} is larger than ${max} bytes` }))
          : Effect.void
      }),
      Stream.decodeText,
      Stream.mkString
    )
  })

/** The text of a file; `-` is the standard input. */
export const readText = Effect.fnUntraced(function*(path: string) {
  if (path === "-") return yield* textOf("The standard input", bytesOf(path), maxText)
  const fs = yield* FileSystem.FileSystem
  if (!(yield* fs.exists(path))) return yield* new UsageError({ message: `There is no file ${path}.` })
  if ((yield* fs.stat(path)).type === "Directory") {
    return yield* new UsageError({ message: `${path} is a folder: give a file.` })
  }
  return yield* textOf(path, bytesOf(path), maxText)
})

const maxSecret = 64 * 1024

/** Characters that are typed until Enter; nothing of them is shown. */
export const typed = Effect.fnUntraced(function*(prompt: string) {
  const write = (text: string) => Effect.sync(() => void process.stderr.write(text))
  const keys = yield* (yield* Terminal.Terminal).readInput
  yield* write(prompt)
  yield* Effect.addFinalizer(() => write("\n"))
  let text = ""
  while (true) {
    const { input, key } = yield* Effect.catch(Queue.take(keys), () => Effect.interrupt) // Ctrl-C, Ctrl-D or Esc
    if (key.name === "return" || key.name === "enter") return text
    if (key.name === "backspace") text = text.slice(0, -1)
    else if (key.ctrl && key.name === "u") text = ""
    else if (!key.ctrl && !key.meta) text += Option.getOrElse(input, () => "")
    if (text.length > maxSecret) return text
  }
}, Effect.scoped)

/** A secret: typed without an echo where somebody sits at a terminal, else the standard input. */
export const readSecret = Effect.fnUntraced(function*(prompt: string) {
  const stdio = yield* Stdio.Stdio
  const text = (yield* stdio.stdinIsTerminal)
    ? yield* typed(prompt)
    : yield* textOf("The standard input", stdio.stdin, maxSecret)
  const secret = text.replace(/^\uFEFF/, "").trim()
  if (secret === "") return yield* new UsageError({ message: "The secret is empty: nothing was changed." })
  const wrong = isQuoted(secret)
    ? inQuotes
    : /^[[{]|,/.test(secret)
    ? "is a list or JSON, and not one key"
    : isSecret(secret)
    ? undefined
    : "is not one word of visible ASCII characters"
  if (wrong !== undefined) return yield* new UsageError({ message: `The secret ${wrong}. Nothing was changed.` })
  return Redacted.make(secret)
})

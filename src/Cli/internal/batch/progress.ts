/** How far a file of prompts is: a bar on a terminal, else a line now and then. On the standard error. */
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stdio from "effect/Stdio"
import { Json, logLine } from "../output.ts"

export interface Counts {
  /** Lines of the file; undefined where they are not known before they are read. */
  readonly total: number | undefined
  /** Answered by an earlier run. */
  before: number
  answered: number
  failed: number
  /** Lines that could not be asked. */
  malformed: number
  /** Lines that are not asked in this run, since it had to stop. */
  left: number
}

export const settled = ({ answered, before, failed, left, malformed }: Counts): number =>
  answered + before + failed + malformed + left

const width = 24

const bar = (counts: Counts, elapsedMillis: number): string => {
  const done = settled(counts)
  const asked = counts.answered + counts.failed
  const rate = elapsedMillis === 0 ? 0 : asked / elapsedMillis * 1000
  const failed = counts.failed === 0 ? "" : `  ${counts.failed} failed`
  const speed = `${failed}  ${rate.toFixed(1)}/s`
  if (counts.total === undefined) return `${done} done${speed}`
  const filled = counts.total === 0 ? width : Math.round(width * done / counts.total)
  const left = rate === 0 ? "" : `  ${Duration.format(Duration.seconds(Math.ceil((counts.total - done) / rate)))} left`
  return `[${"#".repeat(filled)}${".".repeat(width - filled)}]  ${done} of ${counts.total}${speed}${left}`
}

const line = (counts: Counts): string =>
  counts.total === undefined ? `${settled(counts)} done` : `${settled(counts)} of ${counts.total} done`

/** Writes a line in between. */
export type Note = (line: string) => Effect.Effect<void>

/** Shows `counts` until the scope closes. */
export const show = Effect.fnUntraced(function*(counts: Counts) {
  const isDumb = (yield* Config.withDefault(Config.String("TERM"), "")) === "dumb"
  const isJson = yield* Json
  const isTerminal = (yield* (yield* Stdio.Stdio).stderrIsTerminal) && !isDumb && !isJson
  const write = (text: string) => Effect.sync(() => void process.stderr.write(text))
  const clear = "\r\u001b[K"
  const began = yield* Clock.currentTimeMillis
  const note: Note = (line) => write(`${isTerminal ? clear : ""}${logLine("info", line, isJson)}\n`)
  const draw = Effect.flatMap(
    Clock.currentTimeMillis,
    (now) => isTerminal ? write(clear + bar(counts, now - began)) : note(line(counts))
  )
  yield* draw.pipe(
    Effect.delay(isTerminal ? "100 millis" : "10 seconds"),
    Effect.forever,
    Effect.forkScoped
  )
  if (isTerminal) yield* Effect.addFinalizer(() => write(clear))
  return note
})

/** How far a file of prompts is: a bar on a terminal, else a line now and then. On the standard error. */
import { Clock, Duration, Effect, Stdio } from "effect"

export interface Counts {
  readonly total: number
  /** Answered by an earlier run. */
  before: number
  answered: number
  failed: number
  /** Lines that could not be asked. */
  malformed: number
  /** Lines that are not asked in this run, since its budget is spent. */
  left: number
}

const width = 24

const settled = ({ answered, before, failed, left, malformed }: Counts): number =>
  answered + before + failed + malformed + left

const bar = (counts: Counts, elapsedMillis: number): string => {
  const done = settled(counts)
  const filled = counts.total === 0 ? width : Math.round(width * done / counts.total)
  const asked = counts.answered + counts.failed
  const rate = elapsedMillis === 0 ? 0 : asked / elapsedMillis * 1000
  const left = rate === 0 ? "" : `  ${Duration.format(Duration.seconds(Math.ceil((counts.total - done) / rate)))} left`
  const failed = counts.failed === 0 ? "" : `  ${counts.failed} failed`
  return `[${"#".repeat(filled)}${".".repeat(width - filled)}]  ${done} of ${counts.total}${failed}  ${
    rate.toFixed(1)
  }/s${left}`
}

/** Writes a line in between. */
export type Note = (line: string) => Effect.Effect<void>

/** Shows `counts` until the scope closes. */
export const show = Effect.fnUntraced(function*(counts: Counts) {
  const terminal = (yield* Stdio.Stdio.use((stdio) => stdio.stderrIsTerminal)) && process.env["TERM"] !== "dumb"
  const write = (text: string) => Effect.sync(() => void process.stderr.write(text))
  const clear = "\r\u001b[K"
  const began = yield* Clock.currentTimeMillis
  const draw = Effect.flatMap(
    Clock.currentTimeMillis,
    (now) => write(terminal ? clear + bar(counts, now - began) : `${settled(counts)} of ${counts.total} done\n`)
  )
  yield* draw.pipe(
    Effect.delay(terminal ? "100 millis" : "10 seconds"),
    Effect.forever,
    Effect.forkScoped
  )
  if (terminal) yield* Effect.addFinalizer(() => write(clear))
  const note: Note = (line) => write(`${terminal ? clear : ""}${line}\n`)
  return note
})

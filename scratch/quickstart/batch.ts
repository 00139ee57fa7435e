/** Answers a file of prompts into a file of answers, and goes on where an earlier run stopped. */
import { Clock, Console, Effect, FileSystem, References, Result, Schedule, Stream } from "effect"
import { CliError } from "effect/cli"
import {
  CallContext,
  type ClaudeError,
  ClaudeService,
  CostLedger,
  CostReport,
  MessageStream,
  Usage
} from "../../src/index.ts"
import * as Answers from "./answers.ts"
import * as Progress from "./progress.ts"
import * as Prompts from "./prompts.ts"
import * as Target from "./target.ts"
import { message, seconds } from "./terminal.ts"

export interface Options {
  readonly file: string
  readonly out: string
  readonly concurrency: number
  readonly model: string
  /** US dollars that this run may spend. */
  readonly budget: number | undefined
}

/** Failures beyond this many are in the file of answers and in the sum at the end, but not on the screen. */
const maxShown = 20

const answered = (id: string | number, report: ClaudeService.CallReport): Answers.Answer => ({
  id,
  text: MessageStream.textOf(report.message),
  stop_reason: report.message.stop_reason,
  model: report.model,
  usage: report.message.usage,
  attempts: report.attempts
})

/** Calls under way have reserved more than they will cost: their end makes room. */
const whenThereIsRoom = <A, R>(call: Effect.Effect<A, ClaudeError.CallError, R>) =>
  Effect.retry(call, {
    while: (error) => error._tag === "BudgetExceededError" && error.reservedNanoUsd > 0,
    schedule: Schedule.spaced("100 millis")
  })

const spent = ({ nanoUsd, unpriced }: CostReport.Figures, budget: number | undefined): string => {
  const limit = budget === undefined ? "" : ` of $${budget}`
  return `$${CostReport.usd(nanoUsd, 4)}${limit}${unpriced === 0 ? "" : `, ${unpriced} at an unknown price`}`
}

/** Asks what has no answer yet. Succeeds with whether every line of the file has one now. */
export const answerFile = Effect.fnUntraced(
  function*({ budget, concurrency, file, model, out }: Options) {
    const fs = yield* FileSystem.FileSystem
    if ((yield* fs.exists(out)) && (yield* fs.realPath(out)) === (yield* fs.realPath(file))) {
      return yield* new CliError.UserError({ cause: undefined, userMessage: "--file and --out are the same file." })
    }
    const claude = yield* ClaudeService.ClaudeService
    const ledger = yield* CostLedger.CostLedger
    const answers = yield* Answers.open(out)
    const counts: Progress.Counts = {
      total: yield* Prompts.count(file),
      before: 0,
      answered: 0,
      failed: 0,
      malformed: 0,
      left: 0
    }
    const tags = new Map<string, number>()
    let usage = Usage.zero
    let isSpent = false
    const began = yield* Clock.currentTimeMillis

    const ask = Effect.fnUntraced(function*({ id, number, request }: Prompts.Prompt, note: Progress.Note) {
      const result = yield* whenThereIsRoom(claude.createWithReport(request)).pipe(
        // A defect is a line that the program cannot deal with; the others go on.
        Effect.catchDefect((defect) => Effect.fail({ _tag: "Defect", message: String(defect), attempts: 0 })),
        Effect.result,
        Effect.interruptible
      )
      if (Result.isSuccess(result)) {
        counts.answered++
        usage = Usage.sum(usage, result.success.usage)
        return yield* answers.record(answered(id, result.success))
      }
      const error = result.failure
      if (error._tag === "BudgetExceededError") {
        counts.left++
        isSpent = true
        return
      }
      counts.failed++
      tags.set(error._tag, (tags.get(error._tag) ?? 0) + 1)
      yield* answers.record({ id, error: { tag: error._tag, message: error.message }, attempts: error.attempts })
      if (counts.failed <= maxShown) yield* note(`${file} line ${number} (id ${JSON.stringify(id)}): ${message(error)}`)
      if (counts.failed === maxShown) yield* note(`Failures from here on are in ${out} only.`)
    }, Effect.uninterruptible) // an answer that has arrived is written down, whatever happens

    const summary = Effect.flatMap(Effect.all([Clock.currentTimeMillis, ledger.report()]), ([now, { total }]) => {
      const failures = [...tags].map(([tag, count]) => `${count} ${tag}`).join(", ")
      const facts = [
        `${counts.answered} answered`,
        ...(counts.before === 0 ? [] : [`${counts.before} answered before`]),
        ...(counts.failed === 0 ? [] : [`${counts.failed} failed (${failures})`]),
        ...(counts.malformed === 0 ? [] : [`${counts.malformed} not asked`]),
        ...(counts.left === 0 ? [] : [`${counts.left} left without room in the budget`])
      ]
      return Console.log(
        `${out}: ${counts.total} prompts: ${facts.join(", ")}; ${Usage.promptTokens(usage)} tokens in, ` +
          `${usage.outputTokens} out; ${spent(total, budget)}; ${seconds(now - began)}`
      )
    })

    yield* Effect.scoped(Effect.flatMap(Progress.show(counts), (note) =>
      Prompts.read(file, model).pipe(
        Stream.mapEffect((line) => {
          if ("problem" in line) {
            counts.malformed++
            return note(`${file} line ${line.number} is not asked: ${line.problem}`)
          }
          if (answers.done.has(String(line.id))) {
            counts.before++
            return Effect.void
          }
          if (isSpent) {
            counts.left++
            return Effect.void
          }
          return ask(line, note)
        }, { concurrency, unordered: true }),
        Stream.runDrain,
        CallContext.annotate({ priority: "bulk" })
      ))).pipe(
        Effect.onInterrupt(() => Effect.andThen(Console.log("Stopped. The same command goes on from here."), summary))
      )
    yield* summary
    return counts.failed === 0 && counts.malformed === 0 && counts.left === 0
  },
  Effect.scoped,
  (effect, { budget }) => Effect.provide(effect, Target.layer(budget)),
  // The last line says how the budget stands; a warning on the way says that calls wait for room.
  Effect.provideService(References.MinimumLogLevel, "Error")
)

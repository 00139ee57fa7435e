/** Answers a file of prompts into a file of answers, and goes on where an earlier run stopped. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { identity } from "effect/Function"
import * as Path from "effect/Path"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as CallContext from "../../../CallContext.ts"
import type * as ClaudeError from "../../../ClaudeError.ts"
import * as ClaudeService from "../../../ClaudeService.ts"
import * as CostLedger from "../../../CostLedger.ts"
import * as CostReport from "../../../CostReport.ts"
import * as FileLock from "../../../internal/fileLock.ts"
import * as MessageStream from "../../../MessageStream.ts"
import * as Usage from "../../../Usage.ts"
import { ExitCode } from "../exitCode.ts"
import { codeOf, CommandError, Ended, UsageError } from "../failure.ts"
import * as Ledger from "../ledger.ts"
import { dollars, note as say, result, seconds } from "../output.ts"
import * as Target from "../target.ts"
import * as Answers from "./answers.ts"
import * as Progress from "./progress.ts"
import * as Prompts from "./prompts.ts"

export interface Input extends Ledger.Flags {
  readonly file: string
  readonly out: string
  readonly concurrency: number
  /** US dollars that this run may spend. */
  readonly budget: number | undefined
  readonly model: string | undefined
  readonly maxTokens: number
  readonly system: string | undefined
  readonly temperature: number | undefined
  readonly user: string | undefined
  readonly tenant: string | undefined
  readonly tags: Readonly<Record<string, string>> | undefined
}

/** What becomes of the prompts of this run. */
interface State {
  readonly counts: Progress.Counts
  readonly failures: Map<string, number>
  usage: Usage.Usage
  /** Why no further prompt is asked. */
  stopped: { readonly why: "budget" | "keys"; readonly tag: string; readonly message: string } | undefined
}

/** Failures beyond this many are in the file of answers and in the sum at the end, but not on the screen. */
const maxShown = 20

const answered = (id: string | number, report: ClaudeService.CallReport): Answers.Answer => {
  const { content, stop_reason, usage } = report.message
  return {
    id,
    text: MessageStream.textOf(report.message),
    ...(content.every(({ type }) => type === "text") ? undefined : { content }),
    stop_reason,
    model: report.model,
    usage,
    attempts: report.attempts
  }
}

/** Calls under way have reserved more than they will cost: their end makes room. */
const whenThereIsRoom = <A, R>(call: Effect.Effect<A, ClaudeError.CallError, R>) =>
  Effect.retry(call, {
    while: (error) => error._tag === "BudgetExceededError" && error.reservedNanoUsd > 0,
    schedule: Schedule.spaced("100 millis")
  })

/** What every further prompt would fail with too. */
const stops = (error: ClaudeError.CallError): "budget" | "keys" | undefined => {
  switch (error._tag) {
    case "BudgetExceededError":
      return "budget"
    case "AuthError":
      return error.kind === "permission" ? undefined : "keys"
    case "NoUsableKeyError":
      return error.retryAfter === undefined ? "keys" : undefined
    default:
      return undefined
  }
}

const asker = (
  { file, out }: Input,
  claude: ClaudeService.ClaudeService["Service"],
  answers: Effect.Success<ReturnType<typeof Answers.open>>,
  state: State
) => {
  const { counts, failures } = state
  return Effect.fnUntraced(function*({ headers, id, number, request }: Prompts.Prompt, note: Progress.Note) {
    const call = yield* whenThereIsRoom(claude.createWithReport(request)).pipe(
      headers === undefined ? identity : CallContext.annotate({ headers }),
      // A defect is a line that the program cannot deal with; the others go on.
      Effect.catchDefect((defect) => Effect.fail({ _tag: "Defect" as const, message: String(defect), attempts: 0 })),
      Effect.result,
      Effect.interruptible
    )
    if (Result.isSuccess(call)) {
      counts.answered++
      state.usage = Usage.sum(state.usage, call.success.usage)
      return yield* answers.record(answered(id, call.success))
    }
    const error = call.failure
    const { _tag: tag, attempts, message } = error
    const why = error._tag === "Defect" ? undefined : stops(error)
    if (why !== undefined) {
      counts.left++
      if (state.stopped !== undefined) return
      state.stopped = { why, tag, message }
      return yield* note(`${tag}: ${message} No further prompt is asked.`)
    }
    counts.failed++
    failures.set(tag, (failures.get(tag) ?? 0) + 1)
    yield* answers.record({ id, error: { tag, message }, attempts })
    if (counts.failed <= maxShown) yield* note(`${file} line ${number} (id ${JSON.stringify(id)}): ${tag}: ${message}`)
    if (counts.failed === maxShown) yield* note(`Failures from here on are in ${out} only.`)
  }, Effect.uninterruptible) // an answer that has arrived is written down, whatever happens
}

/** The end of a run. Names of the fields are part of the command's interface. */
const jsonOf = (
  { out }: Input,
  { counts, failures, stopped, usage }: State,
  total: CostReport.Figures,
  elapsedMillis: number,
  interrupted: boolean
) => ({
  out,
  prompts: counts.total ?? Progress.settled(counts),
  answered: counts.answered,
  answeredBefore: counts.before,
  failed: counts.failed,
  failures: Object.fromEntries(failures),
  malformed: counts.malformed,
  left: counts.left,
  stopped: interrupted ? "interrupted" : stopped?.why ?? null,
  inputTokens: Usage.promptTokens(usage),
  outputTokens: usage.outputTokens,
  costNanoUsd: total.nanoUsd,
  costUsd: dollars(total.nanoUsd),
  unpriced: total.unpriced,
  seconds: elapsedMillis / 1000
})

const textOf = ({ budget }: Input, json: ReturnType<typeof jsonOf>): string => {
  const failures = Object.entries(json.failures).map(([tag, count]) => `${count} ${tag}`).join(", ")
  const facts = [
    `${json.answered} answered`,
    ...(json.answeredBefore === 0 ? [] : [`${json.answeredBefore} answered before`]),
    ...(json.failed === 0 ? [] : [`${json.failed} failed (${failures})`]),
    ...(json.malformed === 0 ? [] : [`${json.malformed} not asked`]),
    ...(json.left === 0 ? [] : [`${json.left} left${json.stopped === "budget" ? " without room in the budget" : ""}`])
  ]
  const limit = budget === undefined ? "" : ` of $${budget}`
  const unpriced = json.unpriced === 0 ? "" : `, ${json.unpriced} at an unknown price`
  return `${json.out}: ${json.prompts} prompts: ${facts.join(", ")}; ${json.inputTokens} tokens in, ` +
    `${json.outputTokens} out; $${CostReport.usd(json.costNanoUsd, 4)}${limit}${unpriced}; ${
      seconds(json.seconds * 1000)
    }`
}

const exitCodeOf = ({ counts, failures, stopped }: State): number => {
  if (stopped !== undefined) return stopped.why === "keys" ? ExitCode.keys : ExitCode.limit
  if (counts.malformed > 0) return ExitCode.failure
  const [code, ...others] = new Set([...failures.keys()].map(codeOf))
  return code === undefined ? ExitCode.ok : others.length > 0 ? ExitCode.failure : code
}

const isSame = Effect.fnUntraced(function*(file: string, out: string) {
  const fs = yield* FileSystem.FileSystem
  if (file === "-" || !(yield* fs.exists(out)) || (yield* fs.stat(file)).type !== "File") return false
  return (yield* fs.realPath(out)) === (yield* fs.realPath(file))
})

const check = Effect.fnUntraced(function*({ file, out }: Input) {
  const fs = yield* FileSystem.FileSystem
  if (file !== "-" && !(yield* fs.exists(file))) {
    return yield* new UsageError({ message: `There is no file ${file}.` })
  }
  if (file !== "-" && (yield* fs.stat(file)).type === "Directory") {
    return yield* new UsageError({ message: `${file} is a folder: give a file of prompts.` })
  }
  if (yield* isSame(file, out)) {
    return yield* new UsageError({ message: `${file} cannot be both the prompts and the answers: give another --out.` })
  }
  const folder = (yield* Path.Path).dirname(out)
  if (!(yield* fs.exists(folder))) {
    return yield* new UsageError({ message: `There is no folder ${folder} for --out.` })
  }
  if ((yield* fs.exists(out)) && (yield* fs.stat(out)).type !== "File") {
    return yield* new UsageError({ message: `${out} is no file to append answers to: give another --out.` })
  }
})

/** Keeps two runs off one file of answers. */
const lock = (out: string) =>
  Effect.mapError(FileLock.acquire(out, 0), ({ isHeld, process, reason, remedy }) => {
    if (!isHeld) return new CommandError({ message: `${reason}, so another run might write ${out} too. ${remedy}` })
    const who = process === undefined ? "" : ` (process ${process})`
    return new CommandError({
      message: `Another run${who} is writing ${out}. Wait until it ends, or give another file as --out.`
    })
  })

const answerAll = Effect.fnUntraced(function*(input: Input, defaults: Prompts.Defaults) {
  const { concurrency, file, out, tags, tenant, user } = input
  yield* lock(out)
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
  const state: State = { counts, failures: new Map(), usage: Usage.zero, stopped: undefined }
  const began = yield* Clock.currentTimeMillis
  const ask = asker(input, claude, answers, state)

  const summary = Effect.fnUntraced(function*(interrupted: boolean) {
    const now = yield* Clock.currentTimeMillis
    const { total } = yield* ledger.report({ from: began, to: now + 1 })
    const json = jsonOf(input, state, total, now - began, interrupted)
    yield* result(json, textOf(input, json))
  })

  yield* Effect.scoped(Effect.flatMap(Progress.show(counts), (note) =>
    Prompts.read(file, defaults).pipe(
      Stream.mapEffect((line) => {
        if ("problem" in line) {
          counts.malformed++
          return note(`${file} line ${line.number} is not asked: ${line.problem}`)
        }
        if (answers.done.has(String(line.id))) {
          counts.before++
          return Effect.void
        }
        if (state.stopped !== undefined) {
          counts.left++
          return Effect.void
        }
        return ask(line, note)
      }, { concurrency, unordered: true }),
      Stream.runDrain,
      CallContext.annotate({
        requestType: "batch",
        priority: "bulk",
        ...(user === undefined ? undefined : { user }),
        ...(tenant === undefined ? undefined : { tenant }),
        ...(tags === undefined ? undefined : { tags })
      })
    ))).pipe(
      Effect.onInterrupt(() =>
        Effect.andThen(say("Stopped. The same command goes on from here."), Effect.ignore(summary(true)))
      )
    )
  yield* summary(false)
  const code = exitCodeOf(state)
  if (code !== ExitCode.ok) return yield* new Ended({ code })
}, Effect.scoped)

export const batch = Effect.fnUntraced(function*(input: Input) {
  yield* check(input)
  const ledger = yield* Ledger.targetOf(input)
  const model = yield* Target.modelOf(input.model)
  const { maxTokens, system, temperature } = input
  const answers = answerAll(input, { model, maxTokens, system, temperature })
  yield* Effect.provide(answers, Target.layer({ budget: input.budget, ledger }))
})

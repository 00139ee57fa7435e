/** Asks one question. The answer is streamed to the standard output; everything else goes to the standard error. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import * as Terminal from "effect/Terminal"
import * as CallContext from "../../CallContext.ts"
import * as ClaudeService from "../../ClaudeService.ts"
import * as CostReport from "../../CostReport.ts"
import * as MessageStream from "../../MessageStream.ts"
import type { Request } from "../../Request.ts"
import * as Usage from "../../Usage.ts"
import { sampling } from "./apiVersion.ts"
import { UsageError } from "./failure.ts"
import { readText } from "./input.ts"
import * as Ledger from "./ledger.ts"
import { dollars, harmless, Json, note, result, seconds } from "./output.ts"
import * as Target from "./target.ts"

export interface Input extends Ledger.Flags {
  readonly words: ReadonlyArray<string>
  readonly file: string | undefined
  readonly model: string | undefined
  readonly maxTokens: number
  readonly system: string | undefined
  readonly temperature: number | undefined
  readonly timeout: Duration.Duration | undefined
  readonly budget: number | undefined
  readonly user: string | undefined
  readonly tenant: string | undefined
  readonly tags: Readonly<Record<string, string>> | undefined
}

const promptOf = Effect.fnUntraced(function*({ file, words }: Input) {
  const said = words.join(" ")
  if (said === "" && file === undefined && (yield* (yield* Stdio.Stdio).stdinIsTerminal)) {
    return yield* new UsageError({ message: "Give a prompt, a --file, or a text on the standard input." })
  }
  const read = file !== undefined || said === "" || said === "-" ? yield* readText(file ?? "-") : ""
  const prompt = [said === "-" ? "" : said, read].map((part) => part.trim()).filter((part) => part !== "").join("\n\n")
  return prompt === "" ? yield* new UsageError({ message: "The prompt is empty." }) : prompt
})

const requestOf = ({ maxTokens, system, temperature }: Input, model: string, prompt: string): Request => ({
  model,
  max_tokens: maxTokens,
  messages: [{ role: "user", content: prompt }],
  ...(system === undefined ? undefined : { system }),
  ...sampling(temperature).fields
})

const summary = ({ costNanoUsd, latency, model, usage }: ClaudeService.Report): string => {
  const cost = costNanoUsd === undefined ? "at an unknown price" : `$${CostReport.usd(costNanoUsd, 6)}`
  return `${model}: ${Usage.promptTokens(usage)} tokens in, ${usage.outputTokens} out, ` +
    `${seconds(Duration.toMillis(latency))}, ${cost}`
}

/** Names of the fields are part of the command's interface. */
const jsonOf = (report: ClaudeService.Report, message: ReturnType<MessageStream.Accumulator["message"]>) => ({
  text: message === undefined ? "" : MessageStream.textOf(message),
  stopReason: message?.stop_reason ?? null,
  model: report.model,
  usage: report.usage,
  costNanoUsd: report.costNanoUsd ?? null,
  costUsd: dollars(report.costNanoUsd),
  attempts: report.attempts,
  latencyMillis: Duration.toMillis(report.latency),
  requestId: report.requestId ?? null,
  key: report.keyLabel ?? null
})

export const ask = Effect.fnUntraced(function*(input: Input) {
  const prompt = yield* promptOf(input)
  const isJson = yield* Json
  const stdio = yield* Stdio.Stdio
  const { display } = yield* Terminal.Terminal
  const request = requestOf(input, yield* Target.modelOf(input.model), prompt)
  const ledger = yield* Ledger.targetOf(input)
  const { tags, tenant, timeout, user } = input

  yield* Effect.gen(function*() {
    const report = yield* Ref.make<ClaudeService.Report | undefined>(undefined)
    const answer = MessageStream.accumulate()
    const events = ClaudeService.streamWithReport(request, (end) => Ref.set(report, end)).pipe(
      Stream.tap((event) => Effect.sync(() => answer.add(event))),
      CallContext.annotateStream({
        requestType: "ask",
        priority: "interactive",
        headers: sampling(input.temperature).headers ?? {},
        ...(user === undefined ? undefined : { user }),
        ...(tenant === undefined ? undefined : { tenant }),
        ...(tags === undefined ? undefined : { tags })
      }),
      timeout === undefined ? (stream) => stream : CallContext.withDeadlineStream(timeout)
    )
    // An answer is nothing that a terminal should obey.
    const clean = (yield* stdio.stdoutIsTerminal) ? harmless : (text: string) => text
    let shown = ""
    const show = (text: string) => {
      shown = text
      return display(clean(text))
    }
    const text = MessageStream.text(events)
    yield* isJson
      ? Stream.runDrain(text)
      : Effect.ensuring(
        Stream.runForEach(text, show),
        Effect.suspend(() => shown === "" || shown.endsWith("\n") ? Effect.void : Effect.ignore(display("\n")))
      )
    const message = answer.message()
    const end = yield* Ref.get(report)
    if (end !== undefined) {
      if (isJson) yield* result(jsonOf(end, message), "")
      else yield* note(summary(end))
    }
    if (message !== undefined) yield* MessageStream.completeText(message)
  }).pipe(Effect.provide(Target.layer({ budget: input.budget, ledger })))
})

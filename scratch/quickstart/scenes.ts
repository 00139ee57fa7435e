/** All that can happen to a call: answered, streamed, made to wait, retried, refused. */
import { Clock, Duration, Effect, Layer, Schedule, Stream, Terminal } from "effect"
import {
  type Attempt,
  CallContext,
  CircuitBreaker,
  ClaudeService,
  CostLedger,
  CostReport,
  MessageStream,
  PriceBook
} from "../../src/index.ts"
import * as Simulator from "../../src/testing/Simulator.ts"
import * as SimulatorServer from "../../src/testing/SimulatorServer.ts"
import * as Target from "./target.ts"
import { message, say, seconds, weights } from "./terminal.ts"
import * as Watch from "./watch.ts"

const question = (model: string, content: string): Attempt.Request => ({
  model,
  max_tokens: 300,
  messages: [{ role: "user", content }]
})

export const scenes = Effect.fnUntraced(function*(model: string) {
  const { aside, heading } = yield* weights
  const { display } = yield* Terminal.Terminal
  const { url } = yield* SimulatorServer.SimulatorServer
  const simulator = yield* Simulator.Simulator
  const ledger = yield* CostLedger.CostLedger
  const watch = Watch.make(ledger, (line) => say(aside(`  ${line}`)))

  const scene = (title: string, what: string) => Effect.andThen(say(`\n${heading(title)}`), say(aside(`  ${what}`)))

  const answered = Effect.gen(function*() {
    const ask = "In one sentence: why is the sky blue?"
    yield* scene("One answer", ask)
    const report = yield* ClaudeService.createWithReport(question(model, ask)).pipe(
      CallContext.annotate({ requestType: "one answer" })
    )
    yield* say(MessageStream.textOf(report.message))
    const cost = report.costNanoUsd === undefined ? "an unknown price" : `$${CostReport.usd(report.costNanoUsd, 6)}`
    yield* say(aside(`  from ${report.model} in ${seconds(report.latency)} for ${cost}`))
  })

  const streamed = Effect.gen(function*() {
    const ask = "In three sentences: why is the evening sky red?"
    yield* scene("One answer, streamed as it arrives", ask)
    yield* ClaudeService.stream(question(model, ask)).pipe(
      CallContext.annotateStream({ requestType: "streamed answer" }),
      MessageStream.text,
      Stream.runForEach(display)
    )
    yield* say()
  })

  const waited = Effect.gen(function*() {
    yield* scene("A rate limit, waited out", "Two calls at once, where the API takes one a second.")
    yield* simulator.setLimits({ requestsPerMinute: 60, burstMinutes: 1 / 60 })
    yield* Effect.all(
      [1, 2].map((number) =>
        ClaudeService.create(question(model, `How much is ${number} + ${number}?`)).pipe(
          CallContext.annotate({ requestType: "rate limit", tags: { call: String(number) } })
        )
      ),
      { concurrency: "unbounded" }
    )
    yield* simulator.setLimits({})
  })

  const retried = Effect.gen(function*() {
    yield* scene("An overload, retried", "The API is short of capacity and answers HTTP 529 two times.")
    const overload = Simulator.Fault.Status({ status: 529 })
    yield* simulator.script([overload, overload])
    yield* ClaudeService.create(question(model, "Are you there?")).pipe(
      CallContext.annotate({ requestType: "overload" })
    )
  })

  const paced = Effect.gen(function*() {
    yield* scene("A burst, paced", "Twelve calls at once, where the API takes five at once and three a second.")
    yield* simulator.setLimits({ requestsPerMinute: 180, burstMinutes: 5 / 180 })
    const refused = Effect.map(simulator.requests, ({ byStatus }) => byStatus[429] ?? 0)
    const before = yield* refused
    const began = yield* Clock.currentTimeMillis
    yield* Effect.forEach(Array.from({ length: 12 }), () => ClaudeService.create(question(model, "Are you there?")), {
      concurrency: "unbounded"
    }).pipe(CallContext.annotate({ requestType: "burst" }))
    const took = seconds((yield* Clock.currentTimeMillis) - began)
    yield* say(`Answered: 12 in ${took}. Refused by the API: ${(yield* refused) - before}.`)
    yield* simulator.setLimits({})
  }).pipe(Effect.provide(
    Target.simulated(url, watch, { limiter: { limits: { requestsPerMinute: 180 }, burst: Duration.millis(4_000 / 3) } })
  ))

  const outage = Effect.gen(function*() {
    yield* scene("An outage", "For two seconds the API answers HTTP 500; a call every 100 ms, none tried again.")
    const breaker = yield* CircuitBreaker.CircuitBreaker
    const told = breaker.transitions.pipe(
      Stream.runForEach(({ from, openDuration, to }) =>
        say(
          aside(
            `  circuit: ${from} -> ${to}${openDuration === undefined ? "" : ` for ${Duration.format(openDuration)}`}`
          )
        )
      )
    )
    yield* Effect.forkScoped(told, { startImmediately: true })
    const results: Record<string, number> = {}
    const count = (result: string) =>
      Effect.sync(() => {
        results[result] = (results[result] ?? 0) + 1
      })
    let calls = 0
    const call = Effect.suspend(() =>
      ClaudeService.create({ ...question(model, "Are you there?"), max_tokens: 20 }).pipe(
        CallContext.annotate({ requestType: "outage", tags: { call: String(++calls) } }),
        Effect.matchEffect({ onFailure: ({ _tag }) => count(_tag), onSuccess: () => count("answered") })
      )
    )
    yield* simulator.inject(Simulator.Fault.Status({ status: 500 }), {})
    yield* Effect.forkScoped(Effect.delay(simulator.clearFaults, "2 seconds"))
    yield* Effect.forkScoped(call).pipe(
      Effect.repeat(Schedule.max([Schedule.spaced("100 millis"), Schedule.recurs(40)]))
    )
    yield* Effect.sleep("1 second")
    const counts = Object.entries(results).map(([result, count]) => `${result}: ${count}`)
    yield* say(`${counts.join(", ")}. A CircuitOpenError takes no time and sends nothing.`)
  }).pipe(
    Effect.scoped,
    Effect.provide(Target.simulated(url, watch, {
      retry: { retries: 0 },
      breaker: { consecutiveFailures: 3, openDuration: "500 millis", maxOpenDuration: "1 second" }
    }))
  )

  const wrongKey = Effect.gen(function*() {
    yield* scene("A wrong key", "The API does not know the key: not tried again, AuthError is caught by its tag.")
    yield* ClaudeService.create(question(model, "Who am I?")).pipe(
      CallContext.annotate({ requestType: "wrong key" }),
      Effect.catchTag("AuthError", (error) => say(message(error)))
    )
  }).pipe(Effect.provide(Target.simulated(url, watch, { secret: "sk-ant-wrong" })))

  const badRequest = Effect.gen(function*() {
    yield* scene("A bad request", "There is no such model: not tried again, BadRequestError is caught by its tag.")
    yield* ClaudeService.create(question("claude-sonnet-0", "Do you exist?")).pipe(
      CallContext.annotate({ requestType: "bad request" }),
      Effect.catchTag("BadRequestError", (error) => say(message(error)))
    )
  })

  const simulated = Target.simulated(url, watch)
  if (yield* Target.hasKey) {
    yield* say("ANTHROPIC_API_KEY is set: the first two calls go to the Claude API.")
    yield* Effect.provide(Effect.andThen(answered, streamed), Target.real(watch))
    yield* say(`\nFailures are not provoked there. The calls that follow go to a simulation at ${url}.`)
  } else {
    yield* say(Target.notice(url))
    yield* Effect.provide(Effect.andThen(answered, streamed), simulated)
  }
  yield* Effect.provide(Effect.all([paced, waited, retried, outage, wrongKey, badRequest]), simulated)

  yield* say(`\n${heading("All calls that were sent")}`)
  yield* say(yield* watch.table)
  yield* say(`\n${heading("What it cost, by model")}`)
  yield* say(CostReport.toTable(yield* ledger.report({ by: "model" })))
}, Effect.provide([Target.simulator, CostLedger.layer().pipe(Layer.provide(PriceBook.layer()))]))

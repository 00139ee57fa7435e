/** `npm start -- --serve`: traffic of several tenants against the simulated API, in all kinds of weather, with the status page beside it. */
import { Duration, Effect, Layer, Random, Redacted, Schedule, Stream } from "effect"
import * as Http from "../../src/Http/Server.ts"
import { type Attempt, CallContext, ClaudeService, Health } from "../../src/index.ts"
import * as Simulator from "../../src/testing/Simulator.ts"
import * as SimulatorServer from "../../src/testing/SimulatorServer.ts"
import { say } from "./terminal.ts"

const { Fault } = Simulator

const keyOf = (label: string, organization: string): Simulator.Key => ({
  key: `sk-ant-simulated-${label}`,
  label,
  organization,
  workspace: "default"
})

const keys = [keyOf("north-1", "north"), keyOf("north-2", "north"), keyOf("south-1", "south")]

const simulator = SimulatorServer.layer().pipe(
  Layer.provideMerge(Simulator.layer({
    keys,
    limits: { requestsPerMinute: 240, inputTokensPerMinute: 60_000, outputTokensPerMinute: 40_000 },
    latency: { firstToken: { median: "350 millis", sigma: 0.5 }, perToken: "6 millis" }
  }))
)

const claude = Layer.unwrap(Effect.map(SimulatorServer.SimulatorServer, ({ url }) =>
  ClaudeService.layerWithParts({
    api: { baseUrl: url },
    keys: keys.map(({ key, label, organization }) => ({ label, group: organization, secret: Redacted.make(key) })),
    limiter: { limits: { requestsPerMinute: 240, inputTokensPerMinute: 60_000, outputTokensPerMinute: 40_000 } },
    monitor: { log: false }, // the page shows the same
    breaker: { consecutiveFailures: 5, openDuration: "4 seconds", maxOpenDuration: "20 seconds" },
    budget: {
      budgets: [
        { name: "day", limit: 5, window: { calendar: "day" } },
        { name: "tenants", per: "tenant", limit: 1, window: { rolling: "1 hour" } }
      ]
    }
  })))

/** One call of some tenant; what becomes of it is for the page to show. */
const call = Effect.gen(function*() {
  const kind = yield* Random.next
  const tenant = ["acme", "globex", "initech"][yield* Random.nextIntBetween(0, 3)]!
  const words = yield* Random.nextIntBetween(20, 400)
  const request = (model: string, max_tokens: number): Attempt.Request => ({
    model: (kind < 0.01) ? "claude-sonnet-0" : model,
    max_tokens,
    messages: [{ role: "user", content: "Tell me about rivers. ".repeat(words / 4) }]
  })
  const [requestType, answer] = kind < 0.5
    ? ["chat", Stream.runDrain(ClaudeService.stream(request("claude-sonnet-5-5", 300)))] as const
    : kind < 0.8
    ? ["summary", ClaudeService.create(request("claude-haiku-5-5", 120))] as const
    : ["report", ClaudeService.create(request("claude-opus-5-5", 400))] as const
  const priority = requestType === "chat" ? "interactive" : requestType === "report" ? "bulk" : "standard"
  yield* Effect.ignore(answer).pipe(
    CallContext.annotate({ requestType, tenant, priority, user: `u-${1 + Math.floor(kind * 40)}` }),
    CallContext.withDeadline("30 seconds")
  )
})

const traffic = Effect.gen(function*() {
  yield* Effect.forkChild(call)
  yield* Effect.sleep(Duration.millis(-Math.log(1 - (yield* Random.next)) * 220))
})

/** Overloads, a key that is revoked for a while, an outage, and calm between them. */
const weather = Effect.gen(function*() {
  const { addKey, clearFaults, inject, revoke } = yield* Simulator.Simulator
  yield* Effect.sleep("20 seconds")
  yield* inject(Fault.Status({ status: 529 }), { probability: 0.25 })
  yield* Effect.sleep("10 seconds")
  yield* clearFaults
  yield* Effect.sleep("20 seconds")
  yield* inject(Fault.Status({ status: 500 }), {})
  yield* Effect.sleep("8 seconds")
  yield* clearFaults
  yield* Effect.sleep("25 seconds")
  yield* revoke("south-1")
  yield* Effect.sleep("12 seconds")
  yield* addKey(keys[2]!)
})

export const serve = Effect.fnUntraced(function*(port: number) {
  const program = Effect.gen(function*() {
    const { url } = yield* Http.Server
    const { isStopping } = yield* Health.Health
    yield* say(`The Claude API is simulated; its answers mean nothing. The status page is at ${url}`)
    yield* Effect.forkChild(Effect.repeat(weather, Schedule.forever))
    yield* Effect.repeat(traffic, { until: () => isStopping })
    yield* Effect.never // calls end; then this is interrupted
  })
  const services = Http.layer({ port }).pipe(
    Layer.provideMerge(Health.layer()),
    Layer.provideMerge(claude),
    Layer.provideMerge(simulator)
  )
  yield* Health.drained(program, "10 seconds").pipe(Effect.provide(services))
})

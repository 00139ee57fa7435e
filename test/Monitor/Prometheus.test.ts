import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger, Metric, Stream } from "effect"
import { CallContext, ClaudeService, MessageStream } from "effect-claude"
import * as Prometheus from "effect-claude/Monitor/Prometheus"
import * as Simulator from "effect-claude/testing/Simulator"
import { HttpRouter, HttpServer } from "effect/http"
import { createServer } from "node:http"
import * as TestPrometheus from "../utils/prometheus.ts"

const models = ["claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5"]

const request = (i: number) => ({
  model: models[i % models.length]!,
  max_tokens: 64,
  messages: [{ role: "user" as const, content: `Count to ${i}.` }]
})

/** Calls and streams of several models, users and tenants. */
const traffic = (calls: number) =>
  Effect.forEach(Array(calls).keys(), (i) =>
    Effect.gen(function*() {
      const claude = yield* ClaudeService.ClaudeService
      yield* i % 3 === 0
        ? Stream.runDrain(MessageStream.text(claude.stream(request(i))))
        : claude.create(request(i))
    }).pipe(CallContext.annotate({ user: `user-${i}`, tenant: `tenant-${i % 7}` }), Effect.ignore), {
    concurrency: 32,
    discard: true
  })

/** A service with faults, its metrics on a route, and a registry of its own. */
const served = Layer.mergeAll(
  Simulator.layerClaude({
    seed: "prometheus",
    latency: { firstToken: "5 millis", perToken: "100 micros" },
    faults: [Simulator.overload({ probability: 0.1 })]
  }, { retry: { retries: 2, throttledBase: "20 millis", base: "10 millis" } }),
  HttpRouter.serve(Prometheus.layer()).pipe(
    Layer.provideMerge(NodeHttpServer.layer(createServer, { port: 0, host: "127.0.0.1" }))
  )
).pipe(
  Layer.provide(Layer.sync(Metric.MetricRegistry, () => new Map())),
  Layer.provide(Logger.layer([]))
)

describe.skipIf(!TestPrometheus.isInstalled)("a real Prometheus", () => {
  it.live(
    "scrapes without errors under load, and its totals are the simulator's own counts",
    () =>
      Effect.gen(function*() {
        const { address } = yield* HttpServer.HttpServer
        assert(address._tag === "InetAddressV4")
        const prometheus = yield* TestPrometheus.server(`127.0.0.1:${address.port}`)
        yield* traffic(600)
        const simulator = yield* Simulator.Simulator
        const { byStatus, total } = yield* simulator.requests
        const { totals } = yield* simulator.bill
        const text = yield* Effect.promise(async () => (await fetch(`http://127.0.0.1:${address.port}/metrics`)).text())
        const all = yield* Effect.repeat(prometheus.total("sum(anthropic_attempts_total)"), {
          until: (seen) => seen === total
        }).pipe(Effect.timeout("1 minute"))
        assert.strictEqual(all, total)
        assert.isAbove(byStatus[529] ?? 0, 0)
        assert.deepStrictEqual(
          yield* Effect.all({
            calls: prometheus.total("sum(anthropic_requests_total)"),
            completed: prometheus.total(`sum(anthropic_attempts_total{outcome="completed"})`),
            failed: prometheus.total(`sum(anthropic_attempts_total{outcome="failed"})`),
            input: prometheus.total(`sum(anthropic_tokens_total{type="input"})`),
            output: prometheus.total(`sum(anthropic_tokens_total{type="output"})`),
            active: Effect.map(prometheus.query("anthropic_active_requests"), (all) => all.map(({ value }) => value)),
            latencies: prometheus.total("sum(anthropic_request_latency_seconds_count)"),
            nanoUsd: Effect.map(prometheus.total("sum(anthropic_cost_usd_total)"), (usd) => Math.round(usd * 1e9))
          }),
          {
            calls: 600,
            completed: byStatus[200]!,
            failed: byStatus[529]!,
            input: totals.input,
            output: totals.output,
            active: [0],
            latencies: 600,
            nanoUsd: totals.nanoUsd
          }
        )
        assert.deepStrictEqual(TestPrometheus.promtool(["check", "metrics"], text), { status: 0, said: "" })
        const { health, lastError } = yield* prometheus.target
        assert.deepStrictEqual({ health, lastError }, { health: "up", lastError: "" })
        assert.strictEqual(yield* prometheus.total("min_over_time(up[1m])"), 1)
      }).pipe(Effect.scoped, Effect.provide(served), Effect.provide(Logger.layer([])))
  )
})

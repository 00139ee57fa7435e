import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect, Exit, Fiber, Layer, Metric, Stream } from "effect"
import { CallContext, ClaudeError, ClaudeService, Model, Monitor } from "effect-claude"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import { TestClock } from "effect/testing"
import { driven, forever, metrics, over } from "./utils/monitors.ts"

const { hello } = ClaudeTest
const model = hello.model

const failed = new ClaudeError.ServerError({ overloaded: false, status: 500, shouldRetry: false })
const overloaded = new ClaudeError.ServerError({ overloaded: true, status: 529 })
const limited = new ClaudeError.RateLimitError({ limit: "requests", status: 429, retryAfter: Duration.seconds(2) })
const badRequest = new ClaudeError.BadRequestError({ status: 400 })

const environment = (variables: Record<string, string>) =>
  Layer.succeed(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown(variables))

describe("metrics", () => {
  it.effect("count successes and failures, their latency and their tokens: the table of a first tutorial", () =>
    Effect.gen(function*() {
      for (const user of ["ada", "bob", "cy", "di"]) {
        yield* Effect.exit(CallContext.annotate(ClaudeService.create(hello), { user }))
      }
      const all = yield* metrics
      assert.deepInclude(all, {
        [`anthropic_requests_total{model=${model},status=success}`]: 3,
        [`anthropic_requests_total{model=${model},status=error}`]: 1,
        [`anthropic_request_latency_seconds{model=${model}}`]: { count: 4, sum: 0 },
        [`anthropic_tokens_total{model=${model},type=input}`]: 18,
        [`anthropic_tokens_total{model=${model},type=output}`]: 6,
        "anthropic_active_requests{}": 0,
        [`anthropic_errors_total{model=${model},error=ServerError,fault=provider}`]: 1,
        [`anthropic_attempts_total{model=${model},outcome=completed}`]: 3,
        [`anthropic_attempts_total{model=${model},outcome=failed}`]: 1,
        "anthropic_overhead_seconds{}": { count: 4, sum: 0 }
      })
      const { sinceStart } = yield* Monitor.snapshot
      assert.deepInclude(sinceStart, { total: 4, success: 3, error: 1, successRate: 0.75, averageLatencyMillis: 0 })
      assert.strictEqual(sinceStart.models[model]?.total, 4)
    }).pipe(Effect.provide(over(["One.", "Two.", "Three.", failed]))))

  it.effect("count what attempts cost, by the prices of the book, and those without a price apart", () =>
    Effect.gen(function*() {
      const { costNanoUsd } = yield* ClaudeService.createWithReport(hello)
      yield* ClaudeService.create({ ...hello, model: "claude-of-tomorrow" })
      const all = yield* metrics
      assert.strictEqual(all[`anthropic_cost_usd_total{model=${model}}`], (costNanoUsd ?? 0) / 1e9)
      assert.strictEqual(all["anthropic_unpriced_attempts_total{model=other}"], 1)
      const { sinceStart } = yield* Monitor.snapshot
      assert.deepInclude(sinceStart, { costNanoUsd: costNanoUsd ?? 0, unpriced: 1 })
    }).pipe(Effect.provide(over([forever("Hello!")]))))

  it.effect("say what the cache served, saved and did not serve", () =>
    Effect.gen(function*() {
      yield* ClaudeService.create(hello)
      const all = yield* metrics
      assert.deepInclude(all, {
        [`anthropic_tokens_total{model=${model},type=cache_read}`]: 100_000,
        [`anthropic_tokens_total{model=${model},type=cache_write_5m}`]: 2_000,
        [`anthropic_tokens_total{model=${model},type=cache_write_1h}`]: 1_000
      })
      const price = Model.lookup(model).prices[0]!
      const missed = (500 * price.input + 2_000 * price.input * 1.25 + 1_000 * price.input * 2) / 1e6
      assert.approximately(all[`anthropic_cache_missed_usd_total{model=${model}}`] as number, missed, 1e-9)
      assert.isAbove(all[`anthropic_cache_saved_usd_total{model=${model}}`] as number, 0.1)
      const { sinceStart } = yield* Monitor.snapshot
      assert.approximately(sinceStart.cacheHitRate!, 100_000 / 103_500, 1e-9)
    }).pipe(Effect.provide(over([{
      content: ["Hi."],
      usage: {
        input_tokens: 500,
        output_tokens: 5,
        cache_read_input_tokens: 100_000,
        cache_creation_input_tokens: 3_000,
        cache_creation: { ephemeral_5m_input_tokens: 2_000, ephemeral_1h_input_tokens: 1_000 }
      }
    }]))))

  it.effect("count retries by their reason, their waits, and why calls give up", () =>
    Effect.gen(function*() {
      yield* driven(ClaudeService.create(hello))
      yield* driven(CallContext.annotate(ClaudeService.create(hello), { retries: 1 }))
      yield* driven(ClaudeService.create(hello).pipe(CallContext.withDeadline("1 second")))
      const all = yield* metrics
      assert.deepInclude(all, {
        [`anthropic_retries_total{model=${model},reason=overloaded}`]: 2,
        [`anthropic_retries_total{model=${model},reason=rate_limit}`]: 1,
        [`anthropic_give_ups_total{model=${model},reason=retries}`]: 1,
        [`anthropic_give_ups_total{model=${model},reason=deadline}`]: 1
      })
      const waits = all["anthropic_wait_seconds{for=retry,priority=standard,tenant=other}"] as {
        count: number
        sum: number
      }
      assert.strictEqual(waits.count, 3)
      assert.isAbove(waits.sum, 2.5)
      assert.strictEqual(all[`anthropic_errors_total{model=${model},error=DeadlineExceededError,fault=provider}`], 1)
    }).pipe(Effect.provide(over([overloaded, limited, "At last.", overloaded, overloaded, limited]))))

  it.effect("say whose fault a failure was", () =>
    Effect.gen(function*() {
      yield* Effect.exit(ClaudeService.create(hello))
      yield* Effect.exit(ClaudeService.create({ ...hello, max_tokens: 100_000 }))
      yield* Effect.exit(ClaudeService.create(hello))
      const all = yield* metrics
      assert.deepInclude(all, {
        [`anthropic_errors_total{model=${model},error=BadRequestError,fault=caller}`]: 1,
        [`anthropic_errors_total{model=${model},error=BudgetExceededError,fault=policy}`]: 1,
        [`anthropic_errors_total{model=${model},error=AuthError,fault=own}`]: 1,
        [`anthropic_attempts_total{model=${model},outcome=refused}`]: 1
      })
    }).pipe(Effect.provide(over(
      [badRequest, new ClaudeError.AuthError({ kind: "authentication", status: 401 })],
      { budget: { budgets: [{ name: "all", limit: 0.5 }] } }
    ))))

  it.effect("time the first content of streams, and count those that are given up", () =>
    Effect.gen(function*() {
      yield* driven(Stream.runDrain(ClaudeService.stream(hello)))
      yield* Stream.runDrain(Stream.take(ClaudeService.stream(hello), 3))
      const all = yield* metrics
      assert.deepInclude(all, {
        [`anthropic_time_to_first_token_seconds{model=${model}}`]: { count: 2, sum: 0 },
        [`anthropic_requests_total{model=${model},status=success}`]: 1,
        [`anthropic_requests_total{model=${model},status=cancelled}`]: 1,
        [`anthropic_attempts_total{model=${model},outcome=aborted}`]: 1,
        "anthropic_active_requests{}": 0
      })
      const { sinceStart } = yield* Monitor.snapshot
      assert.deepInclude(sinceStart, { success: 1, cancelled: 1, successRate: 1 })
    }).pipe(Effect.provide(over([forever("One and two and three.")]))))

  it.effect("say when a model that is in use retires", () =>
    Effect.gen(function*() {
      yield* ClaudeService.create({ ...hello, model: "claude-old" })
      assert.strictEqual(
        (yield* metrics)["anthropic_model_retirement_timestamp_seconds{model=claude-old}"],
        Date.parse("2027-02-03") / 1_000
      )
    }).pipe(Effect.provide(over(["Still here."], {
      models: [Model.make({ id: "claude-old", retiresOn: "2027-02-03" })]
    }))))

  it.effect("show circuits, their transitions and the calls that wait for them", () =>
    Effect.gen(function*() {
      yield* Effect.exit(ClaudeService.create(hello))
      const group = Model.lookup(model).group
      assert.deepInclude(yield* metrics, {
        [`anthropic_circuit_state{group=${group}}`]: 2,
        [`anthropic_circuit_transitions_total{group=${group},to=open}`]: 1,
        [`anthropic_circuit_refusals_total{group=${group}}`]: 0,
        "anthropic_circuit_state{group=other}": 0
      })
      const exit = yield* driven(ClaudeService.create(hello))
      assert.isTrue(Exit.isSuccess(exit))
      const all = yield* metrics
      assert.strictEqual(all[`anthropic_circuit_state{group=${group}}`], 0)
      assert.strictEqual(all[`anthropic_circuit_refusals_total{group=${group}}`], 1)
      assert.strictEqual(
        (all["anthropic_wait_seconds{for=circuit,priority=standard,tenant=other}"] as { count: number }).count,
        1
      )
    }).pipe(Effect.provide(over([failed, "Back."], {
      breaker: { consecutiveFailures: 1, openDuration: "2 seconds" }
    }))))

  it.effect("count what circuits refuse, by group, and have as many series however much that is", () =>
    Effect.gen(function*() {
      const refusals = (group: string) =>
        Effect.map(metrics, (all) => all[`anthropic_circuit_refusals_total{group=${group}}`])
      const { group } = Model.lookup(model)
      const error = yield* Effect.flip(ClaudeService.create(hello))
      assert.strictEqual(error._tag, "CircuitOpenError")
      yield* Effect.flip(Stream.runDrain(ClaudeService.stream(hello)))
      yield* Effect.exit(ClaudeService.create({ ...hello, model: "claude-of-tomorrow" }))
      const refused = Effect.forEach(Array(50), () => Effect.exit(ClaudeService.create(hello)))
      yield* refused
      const before = Object.keys(yield* metrics)
      yield* refused
      assert.deepStrictEqual([yield* refusals(group), yield* refusals("other")], [102, 1])
      assert.deepStrictEqual(Object.keys(yield* metrics), before)
    }).pipe(Effect.provide(over([forever("Never.")], {
      breaker: { mode: "forcedOpen" },
      retry: { circuitWait: 0 }
    }))))

  it.effect("count nothing as refused that a circuit only observes", () =>
    Effect.gen(function*() {
      yield* Effect.exit(ClaudeService.create(hello))
      yield* ClaudeService.create(hello)
      assert.deepInclude(yield* metrics, {
        [`anthropic_circuit_state{group=${Model.lookup(model).group}}`]: 2,
        [`anthropic_circuit_refusals_total{group=${Model.lookup(model).group}}`]: 0
      })
    }).pipe(Effect.provide(over([failed, "Sent."], { breaker: { consecutiveFailures: 1, mode: "observe" } }))))

  it.effect("show limits, what is left of them, and who waits", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("2 seconds")
      yield* ClaudeService.create(hello)
      const waiting = yield* Effect.forkChild(
        CallContext.annotate(ClaudeService.create(hello), { priority: "bulk" }),
        { startImmediately: true }
      )
      yield* TestClock.adjust("1 second")
      const group = Model.lookup(model).group
      assert.deepInclude(yield* metrics, {
        [`anthropic_rate_limit_limit{group=${group},dimension=requests}`]: 1,
        [`anthropic_rate_limit_queue{group=${group},priority=bulk,tenant=other}`]: 1,
        "anthropic_active_requests{}": 1
      })
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(waiting)
      const all = yield* metrics
      assert.strictEqual(all[`anthropic_rate_limit_queue{group=${group},priority=bulk,tenant=other}`], 0)
      assert.deepStrictEqual(all["anthropic_wait_seconds{for=limits,priority=bulk,tenant=other}"], {
        count: 1,
        sum: 60
      })
      // An interrupted wait is one, too.
      const given = yield* Effect.forkChild(ClaudeService.create(hello), { startImmediately: true })
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.interrupt(given)
      assert.deepInclude(yield* metrics, {
        [`anthropic_rate_limit_queue{group=${group},priority=standard,tenant=other}`]: 0,
        "anthropic_wait_seconds{for=limits,priority=standard,tenant=other}": { count: 1, sum: 10 },
        [`anthropic_requests_total{model=${model},status=cancelled}`]: 1
      })
    }).pipe(Effect.provide(over([forever("In time.")], { limiter: { limits: { requestsPerMinute: 1 } } }))))

  it.effect("show who waits by the tenants that were named, and have as many series however many others there are", () =>
    Effect.gen(function*() {
      const call = (tenant: string) => CallContext.annotate(ClaudeService.create(hello), { tenant })
      yield* TestClock.adjust("2 seconds")
      yield* ClaudeService.create(hello)
      const named = "ac\ufffdme"
      const acme = yield* Effect.forkChild(call("ac\0me"), { startImmediately: true })
      const first = yield* Effect.forkChild(call("t-0"), { startImmediately: true })
      const before = (yield* Metric.snapshot).length
      const others = yield* Effect.forEach(
        Array.from({ length: 500 }, (_, i) => call(`t-${i}`)),
        (call) => Effect.forkChild(call, { startImmediately: true })
      )
      const queue = `anthropic_rate_limit_queue{group=${Model.lookup(model).group},priority=standard`
      const all = yield* metrics
      assert.deepStrictEqual([all[`${queue},tenant=${named}}`], all[`${queue},tenant=other}`]], [1, 501])
      assert.strictEqual((yield* Metric.snapshot).length, before)
      yield* TestClock.adjust("1 second")
      yield* Fiber.interruptAll([acme, first, ...others])
      const after = yield* metrics
      assert.deepStrictEqual([after[`${queue},tenant=${named}}`], after[`${queue},tenant=other}`]], [0, 0])
      assert.hasAllKeys(
        Object.fromEntries(Object.entries(after).filter(([name]) => /(wait_seconds|queue)\{.*tenant/.test(name))),
        [named, "other"].flatMap((tenant) => [
          `${queue},tenant=${tenant}}`,
          `anthropic_wait_seconds{for=limits,priority=standard,tenant=${tenant}}`
        ])
      )
    }).pipe(Effect.provide(over([forever("In time.")], {
      limiter: { limits: { requestsPerMinute: 1 } },
      monitor: { tenants: ["ac\0me"], log: false }
    }))))

  it.effect("are of at most 50 tenants", () =>
    Effect.gen(function*() {
      const tenants = Array.from({ length: 51 }, (_, i) => `t-${i}`)
      const exit = yield* Effect.exit(Layer.build(over([], { monitor: { tenants } })))
      assert.include(String(exit), "there can be 50 tenants")
    }).pipe(Effect.scoped))

  it.effect("show a budget, its limit, and how long it will last", () =>
    Effect.gen(function*() {
      const spend = ClaudeService.create(hello).pipe(Effect.andThen(TestClock.adjust("1 minute")))
      yield* Effect.replicateEffect(spend, 5, { discard: true })
      const all = yield* metrics
      assert.strictEqual(all["anthropic_budget_limit_usd{budget=all}"], 1)
      const left = all["anthropic_budget_remaining_usd{budget=all}"] as number
      const spent = 1 - left
      const seconds = all["anthropic_budget_exhaustion_seconds{budget=all}"] as number
      assert.approximately(seconds, left / spent * 300, 1)
      yield* TestClock.adjust("20 minutes")
      assert.strictEqual((yield* metrics)["anthropic_budget_exhaustion_seconds{budget=all}"], Infinity)
    }).pipe(Effect.provide(over([forever("Spent.")], { budget: { budgets: [{ name: "all", limit: 1 }] } }))))

  it.effect("have as many series whatever users, tenants, tags, models and error texts are", () =>
    Effect.gen(function*() {
      const call = (i: number) =>
        Effect.exit(
          ClaudeService.create({ ...hello, model: `claude-${i}` }).pipe(CallContext.annotate({
            user: `user-${i}`,
            tenant: `tenant-${i}`,
            requestType: `type-${i}`,
            tags: { [`tag-${i}`]: `value-${i}` }
          }))
        )
      yield* Effect.forEach(Array.from({ length: 50 }, (_, i) => i), call, { discard: true })
      const before = (yield* Metric.snapshot).length
      yield* Effect.forEach(Array.from({ length: 10_000 }, (_, i) => 50 + i), call, { discard: true })
      assert.strictEqual((yield* Metric.snapshot).length, before)
      assert.deepStrictEqual(Object.keys((yield* Monitor.snapshot).sinceStart.models), ["other"])
      assert.notMatch(JSON.stringify(yield* metrics), /user-|tenant-|tag-|type-\d|claude-\d|secret text/)
    }).pipe(Effect.provide(over([ClaudeTest.forever(
      new ClaudeError.BadRequestError({ status: 400, detail: "a secret text of an error" })
    )], { monitor: { log: false } }))))
})

describe("the conventions of OpenTelemetry", () => {
  const labels = "gen_ai.operation.name=chat,gen_ai.provider.name=anthropic," +
    `gen_ai.request.model=${model},gen_ai.response.model=${model},server.address=claude.test,server.port=80`

  it.effect("name metrics as they are today", () =>
    Effect.gen(function*() {
      yield* Stream.runDrain(ClaudeService.stream(hello))
      yield* Effect.exit(ClaudeService.create(hello))
      const all = yield* metrics
      assert.deepInclude(all, {
        [`gen_ai.client.operation.duration{${labels},unit=s}`]: { count: 1, sum: 0 },
        [`gen_ai.client.operation.time_to_first_chunk{${labels},unit=s}`]: { count: 1, sum: 0 },
        [`gen_ai.client.token.usage{${labels},gen_ai.token.type=input,unit={token}}`]: { count: 1, sum: 6 },
        [`gen_ai.client.token.usage{${labels},gen_ai.token.type=output,unit={token}}`]: { count: 1, sum: 2 }
      })
      assert.isTrue(
        Object.keys(all).some((name) =>
          name.startsWith("gen_ai.client.operation.duration") && name.includes("error.type=ServerError")
        )
      )
      assert.isFalse(Object.keys(all).some((name) => name.includes("inference")))
    }).pipe(Effect.provide(over(["Hello!", failed]))))

  const counted = `${labels},gen_ai.token.modality=unknown,unit={token}`

  it.effect("name metrics as they will be, by the official variable", () =>
    Effect.gen(function*() {
      yield* Stream.runDrain(ClaudeService.stream(hello))
      assert.deepInclude(yield* metrics, {
        [`gen_ai.client.inference.duration{${labels},unit=s}`]: { count: 1, sum: 0 },
        [`gen_ai.client.inference.time_to_first_chunk{${labels},unit=s}`]: { count: 1, sum: 0 },
        [`gen_ai.client.inference.usage.input_tokens{${counted}}`]: 6,
        [`gen_ai.client.inference.usage.output_tokens{${counted}}`]: 2,
        [`gen_ai.client.inference.usage.cache_read.input_tokens{${counted}}`]: 0,
        [`gen_ai.client.inference.usage.cache_write.input_tokens{${counted}}`]: 0,
        [`gen_ai.client.inference.usage.reasoning.output_tokens{${counted}}`]: 0,
        [`gen_ai.client.inference.operation.input_tokens{${labels},unit={token}}`]: { count: 1, sum: 6 },
        [`gen_ai.client.inference.operation.output_tokens{${labels},unit={token}}`]: { count: 1, sum: 2 }
      })
    }).pipe(
      Effect.provide(over(["Hello!"])),
      Effect.provide(environment({ OTEL_SEMCONV_STABILITY_OPT_IN: "http, gen_ai_latest_experimental" }))
    ))
})

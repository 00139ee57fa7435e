/** A service is composed of parts: each its options, or a layer of its service. */
import { assert, describe, expectTypeOf, it } from "@effect/vitest"
import {
  type Config,
  ConfigProvider,
  Context,
  Effect,
  Fiber,
  Layer,
  Logger,
  Redacted,
  Result,
  Semaphore,
  Stream
} from "effect"
import type * as Attempt from "effect-claude/Attempt"
import * as Budget from "effect-claude/Budget"
import * as CallContext from "effect-claude/CallContext"
import * as ClaudeApi from "effect-claude/ClaudeApi"
import type * as ClaudeConfig from "effect-claude/ClaudeConfig"
import { RateLimitedLocallyError, ServerError } from "effect-claude/ClaudeError"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as CostLedger from "effect-claude/CostLedger"
import * as KeyPool from "effect-claude/KeyPool"
import * as KeyStore from "effect-claude/KeyStore"
import * as PriceBook from "effect-claude/PriceBook"
import * as RateLimiter from "effect-claude/RateLimiter"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import { TestClock } from "effect/testing"
import { Builds, RecentBuilds } from "../src/ClaudeService/internal/parts.ts"

const keys = Redacted.make("sk-ant-test")

const budget: Budget.Options = { budgets: [{ name: "none", limit: 0 }] }

const ask = ClaudeService.create(ClaudeTest.hello)

const scripted = () => ClaudeTest.layerApi(ClaudeTest.forever("Yes."))

describe("ClaudeService.layer", () => {
  it.effect("takes a part by its options or by a layer", () =>
    Effect.gen(function*() {
      for (const given of [budget, Budget.layer(budget)]) {
        const error = yield* Effect.flip(
          Effect.provide(ask, ClaudeService.layer({ api: scripted(), keys, budget: given }))
        )
        assert.strictEqual(error._tag, "BudgetExceededError")
      }
    }))

  it.effect("gives a layer the API and the prices of the service", () =>
    Effect.gen(function*() {
      const layer = ClaudeService.layerWithParts({
        api: scripted(),
        keys,
        prices: { discount: 0.5 },
        ledger: CostLedger.layer()
      })
      const { report, row } = yield* Effect.provide(
        Effect.gen(function*() {
          const report = yield* ClaudeService.createWithReport(ClaudeTest.hello)
          const ledger = yield* CostLedger.CostLedger
          const { total } = yield* ledger.report()
          return { report, row: total }
        }),
        layer
      )
      const whole = PriceBook.make().cost({ model: report.model, usage: report.usage, at: Date.parse("2026-11-22") })
      assert.strictEqual(row.nanoUsd, report.costNanoUsd)
      assert.strictEqual(row.nanoUsd, whole!.nanoUsd / 2)
    }).pipe(Effect.provide(Layer.effectDiscard(TestClock.setTime(Date.parse("2026-11-22"))))))

  it.effect("puts a pool over a key store that is given, and follows its changes", () =>
    Effect.gen(function*() {
      const store = (...changes: ReadonlyArray<ReadonlyArray<Attempt.Key>>) =>
        KeyStore.layerKeys([ClaudeTest.key], Stream.fromIterable(changes))
      const label = Effect.map(ClaudeService.createWithReport(ClaudeTest.hello), ({ keyLabel }) => keyLabel)
      const over = (given: Layer.Layer<KeyStore.KeyStore>) =>
        Effect.provide(Effect.andThen(Effect.yieldNow, label), ClaudeService.layer({ api: scripted(), keys: given }))
      assert.strictEqual(yield* over(store()), ClaudeTest.key.label)
      assert.strictEqual(yield* over(store([{ ...ClaudeTest.key, label: "other" }])), "other")
    }))

  it.effect("names keys that are given without a label, and takes them from the environment where none are", () =>
    Effect.gen(function*() {
      const label = Effect.map(ClaudeService.createWithReport(ClaudeTest.hello), ({ keyLabel }) => keyLabel)
      const over = (given: ClaudeService.Keys) => ClaudeService.layer({ api: scripted(), keys: given })
      assert.strictEqual(yield* Effect.provide(label, over(keys)), "key-1")
      assert.strictEqual(yield* Effect.provide(label, over([ClaudeTest.key])), ClaudeTest.key.label)
      const error = yield* Effect.flip(
        Effect.provide(label, ClaudeService.layer({ api: scripted() })).pipe(
          Effect.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({})))
        )
      )
      assert.include(String(error), "ANTHROPIC_API_KEY")
    }))

  it.effect("puts policies of your own between limiter and breaker", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const noted = (name: string): Attempt.Policy => ({
        admit: () =>
          Effect.sync(() => {
            log.push(`+${name}`)
            return Effect.sync(() => {
              log.push(`-${name}`)
            })
          })
      })
      const limiter = Layer.succeed(RateLimiter.RateLimiter, {
        ...noted("limiter"),
        setLimits: () => Effect.void,
        snapshot: Effect.succeed([])
      })
      const policies = [noted("a"), noted("b")]
      yield* Effect.provide(ask, ClaudeService.layer({ api: scripted(), keys, limiter, policies }))
      assert.deepStrictEqual(log, ["+limiter", "+a", "+b", "-b", "-a", "-limiter"])
    }))

  it.effect("lets a policy of your own cap how many calls run at once, and refuse", () =>
    Effect.gen(function*() {
      const semaphore = yield* Semaphore.make(2)
      let running = 0
      let most = 0
      const cap: Attempt.Policy = {
        admit: () => Effect.as(Effect.interruptible(semaphore.take(1)), Effect.asVoid(semaphore.release(1)))
      }
      const api = ClaudeTest.layerApi(ClaudeTest.forever(Effect.suspend(() => {
        most = Math.max(most, ++running)
        return Effect.delay(
          Effect.sync(() => {
            running--
            return "Yes."
          }),
          "1 second"
        )
      })))
      const all = Effect.provide(
        Effect.all(Array.from({ length: 10 }, () => ask), { concurrency: "unbounded" }),
        ClaudeService.layer({ api, keys, policies: [cap] })
      )
      const fiber = yield* Effect.forkChild(all)
      yield* TestClock.adjust("10 seconds")
      assert.isDefined(fiber.pollUnsafe())
      assert.strictEqual(most, 2)
      const full: Attempt.Policy<RateLimitedLocallyError> = {
        admit: ({ number }) =>
          Effect.fail(new RateLimitedLocallyError({ reason: "queueFull", group: "x", attempts: number - 1 }))
      }
      const refused = ClaudeService.layer({ api: scripted(), keys, policies: [full] })
      assert.strictEqual((yield* Effect.flip(Effect.provide(ask, refused)))._tag, "RateLimitedLocallyError")
    }))

  it.effect("warns once where it is built again and again", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const logger = Logger.make(({ message }) => {
        lines.push(String(message))
      })
      const layer = ClaudeService.layer({ api: scripted(), keys })
      const built = (every: number) =>
        Effect.repeat(Effect.andThen(Effect.provide(ask, layer), TestClock.adjust(every)), { times: 59 })
      yield* built(1_000).pipe(Effect.provide(Logger.layer([logger])))
      assert.deepStrictEqual(lines, [])
      yield* built(10).pipe(Effect.provide(Logger.layer([logger])))
      assert.lengthOf(lines, 1)
      assert.include(lines[0], "Build the layer once")
    }).pipe(Effect.provideService(RecentBuilds, new Builds())))

  describe("has in its type", () => {
    it("the errors and requirements of given layers, and those of the environment only where keys are not given", () => {
      class Database extends Context.Service<Database, string>()("test/Database") {}
      const ledger = Layer.effect(
        CostLedger.CostLedger,
        Effect.flatMap(Database, () => Effect.fail("no database" as const))
      )
      const pool = Layer.effect(KeyPool.KeyPool, Effect.fail("no" as const))
      expectTypeOf(ClaudeService.layer()).toEqualTypeOf<
        Layer.Layer<ClaudeService.ClaudeService, Config.ConfigError | KeyStore.KeyStoreError>
      >()
      expectTypeOf(ClaudeService.layer({ keys })).toEqualTypeOf<Layer.Layer<ClaudeService.ClaudeService>>()
      expectTypeOf(ClaudeService.layer({ keys: KeyStore.chain([KeyStore.environment]) })).toEqualTypeOf<
        Layer.Layer<ClaudeService.ClaudeService, Config.ConfigError | KeyStore.KeyStoreError>
      >()
      expectTypeOf(ClaudeService.layer({ keys: pool })).toEqualTypeOf<Layer.Layer<ClaudeService.ClaudeService, "no">>()
      expectTypeOf(ClaudeService.layer({ keys, ledger })).toEqualTypeOf<
        Layer.Layer<ClaudeService.ClaudeService, "no database", Database>
      >()
      expectTypeOf(ClaudeService.layer({ keys, budget: Budget.layer(budget) })).toEqualTypeOf<
        Layer.Layer<ClaudeService.ClaudeService>
      >()
      expectTypeOf(ClaudeService.layer({ keys, budget: Budget.layerNoDeps(budget) })).toEqualTypeOf<
        Layer.Layer<ClaudeService.ClaudeService, never, Budget.Store>
      >()
      const needsApi = Layer.effect(ClaudeApi.ClaudeApi, ClaudeApi.ClaudeApi)
      expectTypeOf(ClaudeService.layer({ keys, api: needsApi })).toEqualTypeOf<
        Layer.Layer<ClaudeService.ClaudeService, never, ClaudeApi.ClaudeApi>
      >()
      expectTypeOf(ClaudeService.layerWithParts({ keys })).toEqualTypeOf<
        Layer.Layer<ClaudeService.ClaudeService | ClaudeService.PartsServices>
      >()
      const baseUrl = "https://gateway.example.com"
      expectTypeOf(ClaudeService.layer({ keys, api: { baseUrl } })).toEqualTypeOf<
        Layer.Layer<ClaudeService.ClaudeService, Config.ConfigError>
      >()
      const is = keys.label === undefined
      expectTypeOf(
        ClaudeService.layer({ keys, ledger: is ? ledger : { batchRows: 1 }, api: is ? scripted() : undefined })
      )
        .toEqualTypeOf<Layer.Layer<ClaudeService.ClaudeService, "no database", Database>>()
      const options: ClaudeConfig.Options = {}
      expectTypeOf(ClaudeService.layer(options)).toEqualTypeOf<
        Layer.Layer<ClaudeService.ClaudeService, Config.ConfigError | KeyStore.KeyStoreError>
      >()
    })

    it("every part as its options and as a layer", () => {
      expectTypeOf(ClaudeService.layer({
        api: { baseUrl: "https://gateway.example.com" },
        keys: [keys, ClaudeTest.key],
        retry: { retries: 1 },
        limiter: { limits: (group) => group === "opus-5" ? { requestsPerMinute: 1 } : {} },
        breaker: { mode: "observe" },
        prices: { discount: 0.1 },
        budget,
        ledger: { batchRows: 10 },
        optimizer: { rules: [] },
        policies: [],
        models: []
      })).toEqualTypeOf<Layer.Layer<ClaudeService.ClaudeService, Config.ConfigError>>()
    })

    it("the name of a part that is something else", () => {
      type Wrong = ClaudeService.Checked<{
        readonly limiter: Layer.Layer<Budget.Budget>
        readonly limitr: RateLimiter.Options
        readonly retry: { readonly retries: number; readonly tries: number }
      }>
      expectTypeOf<Wrong["limiter"]>().toEqualTypeOf<
        "The part \"limiter\" takes its options or a layer of its own service"
      >()
      expectTypeOf<Wrong["limitr"]>().toEqualTypeOf<"There is no part \"limitr\"">()
      expectTypeOf<Wrong["retry"]["tries"]>().toBeNever()
      type Deep = ClaudeService.Checked<{
        readonly limiter: { readonly limits: { readonly requestPerMinute: number } }
        readonly budget: { readonly budgets: ReadonlyArray<{ readonly name: string; readonly windw: string }> }
      }>
      expectTypeOf<Deep["limiter"]["limits"]["requestPerMinute"]>().toBeNever()
      expectTypeOf<Deep["budget"]["budgets"][0]["windw"]>().toBeNever()
      const wrong = [
        // @ts-expect-error a layer of another service
        () => ClaudeService.layer({ keys, limiter: Budget.layer(budget) }),
        // @ts-expect-error a part that does not exist beside one that does
        () => ClaudeService.layer({ keys, limitr: {} }),
        // @ts-expect-error keys are a pool or a store
        () => ClaudeService.layer({ keys: Budget.layer(budget) }),
        // @ts-expect-error an option that does not exist beside one that does
        () => ClaudeService.layer({ keys, retry: { retries: 1, tries: 2 } }),
        // @ts-expect-error a limit that does not exist
        () => ClaudeService.layer({ keys, limiter: { limits: { requestPerMinute: 60 } } }),
        // @ts-expect-error an option of a budget that does not exist
        () => ClaudeService.layer({ keys, budget: { budgets: [{ name: "a", limit: 1, windw: {} }] } }),
        // @ts-expect-error one of two that a part may be is a layer of another service
        (is: boolean) => ClaudeService.layer({ keys, limiter: is ? Budget.layerOff : { limits: "build" } }),
        // @ts-expect-error a key in the clear
        () => ClaudeService.layer({ keys: "sk-ant-test" })
      ]
      assert.lengthOf(wrong, 8)
    })

    it("the tags of its errors", () => {
      const caught = ask.pipe(Effect.catchTags({ ServerError: () => Effect.succeed("down" as const) }))
      expectTypeOf<Effect.Success<typeof caught>>().toExtend<{ readonly id: string } | "down">()
      // @ts-expect-error there is no such error
      const wrong = () => ask.pipe(Effect.catchTags({ ServerErorr: () => Effect.succeed("down") }))
      assert.isFunction(wrong)
    })

    it("requests whose arrays are readonly", () => {
      const request = {
        model: "claude-haiku-5-5",
        max_tokens: 10,
        stop_sequences: ["END"],
        system: [{ type: "text", text: "Be brief." }],
        tools: [{ name: "now", input_schema: { type: "object", required: ["zone"] } }],
        messages: [{ role: "user", content: [{ type: "text", text: "What time is it?" }] }]
      } as const
      expectTypeOf(ClaudeService.create).toBeCallableWith(request)
      expectTypeOf(ClaudeService.countTokens).toBeCallableWith({ model: request.model, messages: request.messages })
    })
  })
})

describe("what a caller says about one call", () => {
  const overloaded = new ServerError({ overloaded: true, status: 529 })

  it.effect("sets its retries, more or fewer than the policy", () =>
    Effect.gen(function*() {
      for (const retries of [0, 1, 5]) {
        const layer = ClaudeService.layer({
          api: ClaudeTest.layerApi(ClaudeTest.forever(Effect.fail(overloaded))),
          keys,
          breaker: { mode: "disabled" },
          retry: { retries: 3, throttledBase: 1 }
        })
        const fiber = yield* Effect.forkChild(
          Effect.flip(CallContext.annotate(ask, { retries })).pipe(Effect.provide(layer))
        )
        yield* TestClock.adjust("1 minute")
        const error = fiber.pollUnsafe()
        assert.include(JSON.stringify(error), `"attempts":${retries + 1}`)
      }
    }))

  it.effect("replaces the estimate, of input and of output", () =>
    Effect.gen(function*() {
      const api = scripted()
      const estimate = { inputTokens: 7, outputTokens: 9 }
      const calls = Effect.andThen(CallContext.annotate(ask, { estimate }), ClaudeTest.calls)
      const [call] = yield* Effect.provide(calls, Layer.merge(ClaudeService.layer({ api, keys }), api))
      assert.deepInclude(call?.attempt, { endpoint: "messages" })
      assert.deepStrictEqual(call?.attempt.endpoint === "messages" ? call.attempt.estimate : undefined, {
        inputTokens: 7,
        maxOutputTokens: ClaudeTest.hello.max_tokens,
        expectedOutputTokens: 9
      })
    }))

  it.effect("leaves limits and budgets whole, however strange its numbers", () =>
    Effect.gen(function*() {
      const limits = { requestsPerMinute: 60, inputTokensPerMinute: 10_000, outputTokensPerMinute: 10_000 }
      const outcome = (patch: CallContext.Patch, request = ClaudeTest.hello) =>
        Effect.gen(function*() {
          const fiber = yield* Effect.forkChild(
            Effect.result(CallContext.annotate(ClaudeService.create(request), patch))
          )
          yield* TestClock.adjust("10 minutes")
          const result = yield* Fiber.join(fiber)
          const [group] = yield* (yield* RateLimiter.RateLimiter).snapshot
          for (const level of [group?.levels.inputTokens, group?.levels.outputTokens]) {
            if (level !== undefined) assert.deepInclude(level, { free: 10_000, reserved: 0 }, JSON.stringify(patch))
          }
          for (const account of yield* (yield* Budget.Budget).snapshot) assert.strictEqual(account.reservedNanoUsd, 0)
          return Result.isSuccess(result) ? "answered" : result.failure._tag
        }).pipe(Effect.provide(ClaudeService.layerWithParts({
          api: scripted(),
          keys,
          limiter: { limits },
          budget: { budgets: [{ name: "all", limit: 1 }] }
        })))
      for (const tokens of [NaN, -1, 0.5, Infinity, -Infinity]) {
        assert.strictEqual(yield* outcome({ estimate: { inputTokens: tokens } }), "answered")
        assert.strictEqual(yield* outcome({ estimate: { outputTokens: tokens } }), "answered")
      }
      for (const tokens of [2 ** 53, 1e300]) {
        assert.strictEqual(yield* outcome({ estimate: { inputTokens: tokens } }), "BudgetExceededError")
        assert.strictEqual(yield* outcome({}, { ...ClaudeTest.hello, max_tokens: tokens }), "BudgetExceededError")
      }
      for (const expectedCost of [NaN, -1, 0.5]) assert.strictEqual(yield* outcome({ expectedCost }), "answered")
      for (const expectedCost of [2, 1e16, 1e300, Infinity]) {
        assert.strictEqual(yield* outcome({ expectedCost }), "BudgetExceededError")
      }
    }))
})

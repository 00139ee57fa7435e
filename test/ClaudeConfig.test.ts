import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect } from "effect"
import * as ClaudeConfig from "effect-claude/ClaudeConfig"

const parse = (environment: Record<string, string>) =>
  ClaudeConfig.config.parse(ConfigProvider.fromUnknown(environment))

describe("ClaudeConfig", () => {
  it.effect("leaves every part at its default where nothing is set", () =>
    Effect.gen(function*() {
      const values = (value: unknown): ReadonlyArray<unknown> =>
        typeof value === "object" && value !== null ? Object.values(value).flatMap(values) : [value]
      const options = yield* parse({})
      assert.isTrue(values(options).every((value) => value === undefined))
    }))

  it.effect("reads limits, or a tier where there are none", () =>
    Effect.gen(function*() {
      const tier = yield* parse({ CLAUDE_TIER: "build", CLAUDE_LIMIT_QUEUE: "500" })
      assert.deepStrictEqual(tier.limiter, { limits: "build", maxQueue: 500 })
      const limits = yield* parse({ CLAUDE_TIER: "build", CLAUDE_REQUESTS_PER_MINUTE: "50" })
      assert.deepStrictEqual(limits.limiter?.limits, {
        requestsPerMinute: 50,
        inputTokensPerMinute: undefined,
        outputTokensPerMinute: undefined,
        tokensPerMinute: undefined
      })
    }))

  it.effect("reads how the breaker judges", () =>
    Effect.gen(function*() {
      const { breaker } = yield* parse({
        CLAUDE_BREAKER: "observe",
        CLAUDE_BREAKER_WINDOW: "1 minute",
        CLAUDE_BREAKER_FAILURE_RATE: "0.3",
        CLAUDE_BREAKER_OPEN_FOR: "3 seconds"
      })
      assert.strictEqual(breaker?.mode, "observe")
      assert.strictEqual(breaker?.failureRate, 0.3)
      assert.deepStrictEqual(breaker?.windowDuration, Duration.minutes(1))
      assert.deepStrictEqual(breaker?.openDuration, Duration.seconds(3))
    }))

  it.effect("reads the models that calls go on to", () =>
    Effect.gen(function*() {
      const { fallback } = yield* parse({ CLAUDE_FALLBACK: "claude-sonnet-5-5, claude-haiku-5-5," })
      assert.deepStrictEqual(fallback, [{ to: "claude-sonnet-5-5" }, { to: "claude-haiku-5-5" }])
    }))

  it.effect("reads what second attempts may cost", () =>
    Effect.gen(function*() {
      const { hedge } = yield* parse({ CLAUDE_HEDGE_SHARE: "0.03" })
      assert.deepStrictEqual(hedge, { share: 0.03 })
    }))

  it.effect("reads how long a call waits", () =>
    Effect.gen(function*() {
      const { retry } = yield* parse({ CLAUDE_RETRY_CAP: "9 seconds", CLAUDE_RETRY_CIRCUIT_WAIT: "40 seconds" })
      assert.deepStrictEqual(retry?.cap, Duration.seconds(9))
      assert.deepStrictEqual(retry?.circuitWait, Duration.seconds(40))
    }))

  it.effect("reads budgets for all calls together", () =>
    Effect.gen(function*() {
      const { budget } = yield* parse({ CLAUDE_BUDGET_USD_PER_DAY: "2.5", CLAUDE_BUDGET_USD_PER_MONTH: "40" })
      assert.deepStrictEqual(budget, {
        budgets: [
          { name: "day", limit: 2.5, window: { calendar: "day" } },
          { name: "month", limit: 40, window: { calendar: "month" } }
        ]
      })
    }))

  it.effect("reads which share of the calls without trouble is logged", () =>
    Effect.gen(function*() {
      const { monitor } = yield* parse({ CLAUDE_LOG_SAMPLE: "0.05" })
      assert.deepStrictEqual(monitor, { log: { sample: 0.05 } })
    }))

  it.effect.each([
    { CLAUDE_TIER: "gold" },
    { CLAUDE_LOG_SAMPLE: "5" },
    { CLAUDE_HEDGE_SHARE: "0" },
    { CLAUDE_HEDGE_SHARE: "2" },
    { CLAUDE_LOG_SAMPLE: "all" },
    { CLAUDE_REQUESTS_PER_MINUTE: "0" },
    { CLAUDE_OUTPUT_TOKENS_PER_MINUTE: "many" },
    { CLAUDE_LIMIT_QUEUE: "-1" },
    { CLAUDE_BUDGET_USD_PER_DAY: "1e20" },
    { CLAUDE_BUDGET_USD_PER_MONTH: " " },
    { CLAUDE_TIMEOUT_CALL: "0 seconds" },
    { CLAUDE_TIMEOUT_IDLE: "-1 minute" },
    { CLAUDE_TIMEOUT_HEADERS: "999999999 weeks" },
    { CLAUDE_BREAKER_OPEN_FOR: "0 seconds" },
    { CLAUDE_BREAKER_WINDOW: "-5 seconds" },
    { CLAUDE_RETRY_CIRCUIT_WAIT: "-5 seconds" },
    { CLAUDE_LIMIT_QUEUE: " " },
    { CLAUDE_BUDGET_USD_PER_DAY: "0" },
    { CLAUDE_BUDGET_USD_PER_MONTH: "$5" },
    { CLAUDE_BREAKER: "maybe" },
    { CLAUDE_BREAKER_FAILURE_RATE: "0" },
    { CLAUDE_BREAKER_FAILURE_RATE: "30" },
    { CLAUDE_BREAKER_OPEN_FOR: "soon" },
    { CLAUDE_RETRIES: "1.5" }
  ])("names the variable that makes no sense: %o", (environment) =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(parse(environment as unknown as Record<string, string>))
      assert.include(error.message, Object.keys(environment)[0]!)
    }))
})

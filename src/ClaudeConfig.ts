/**
 * All that is read from the environment, and its names.
 *
 * **Example** (Options from other names)
 *
 * ```ts
 * import { ClaudeConfig } from "effect-claude"
 * import { ConfigProvider, Effect } from "effect"
 *
 * const environment = ConfigProvider.fromUnknown({ CLAUDE_RETRIES: "5" })
 * const program = Effect.map(ClaudeConfig.config.parse(environment), (options) => options.retry?.retries)
 *
 * await Effect.runPromise(program) // => 5
 * ```
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Budget from "./Budget.ts"
import type * as CircuitBreaker from "./CircuitBreaker.ts"
import type * as ClaudeApi from "./ClaudeApi.ts"
import type * as Fallback from "./Fallback.ts"
import type * as Hedge from "./Hedge.ts"
import type * as KeyPool from "./KeyPool.ts"
import type * as Monitor from "./Monitor.ts"
import type * as RateLimiter from "./RateLimiter.ts"
import type * as RetryPolicy from "./RetryPolicy.ts"

/**
 * The options that the environment can give; `ClaudeService.layer` takes them as its parts.
 *
 * - `api`: where requests go and how long they may take.
 * - `retry`: how often and how fast calls are retried.
 * - `limiter`: limits or the usage tier, and the length of the queue.
 * - `breaker`: mode, window and open times of circuits.
 * - `fallback`: the models that calls go on to. Default none.
 * - `hedge`: what second attempts at late streams may cost. Default no second attempts.
 * - `budget`: dollars for a day and a month. Default no budget.
 * - `keys`: how keys are chosen. Default as the pool does.
 * - `monitor`: which share of the calls without trouble is in the request log. Default none.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly api?: ClaudeApi.Options | undefined
  readonly retry?: RetryPolicy.Options | undefined
  readonly limiter?: RateLimiter.Options | undefined
  readonly breaker?: CircuitBreaker.Options | undefined
  readonly fallback?: Fallback.Options | undefined
  readonly hedge?: Hedge.Options | undefined
  readonly budget?: Budget.Options | undefined
  readonly keys?: KeyPool.Options | undefined
  readonly monitor?: Monitor.Options | undefined
}

/**
 * Where the keys of this machine are beside the environment; `effect-claude/KeyStore/Local` takes them as its options.
 *
 * - `service`: what the entries of the keyring are filed under. Default `effect-claude`.
 * - `path`: of the encrypted file. Default that of `KeyStore/Local`.
 * - `passphrase`, `identity`, `identityFile`: what opens the file, one of them. Default none.
 *
 * @category options
 * @since 0.1.0
 */
export interface KeysOptions {
  readonly service?: string | undefined
  readonly path?: string | undefined
  readonly passphrase?: Redacted.Redacted<string> | undefined
  readonly identity?: Redacted.Redacted<string> | undefined
  readonly identityFile?: string | undefined
}

/** A value that may be missing; then the default of its part holds. */
const optional = <A>(config: Config.Config<A>): Config.Config<A | undefined> => Config.withDefault(config, undefined)

/** Longer ones are mistakes, and no time that a computer counts ends them. */
const maxDuration = Duration.weeks(52 * 30)

const durationFrom = (least: Duration.Duration, expected: string) => {
  const isAllowed = (duration: Duration.Duration): boolean =>
    Duration.isGreaterThanOrEqualTo(duration, least) && Duration.isLessThanOrEqualTo(duration, maxDuration)
  return (name: string): Config.Config<Duration.Duration | undefined> =>
    optional(Config.schema(Schema.DurationFromString.check(Schema.makeFilter(isAllowed, { expected })), name))
}

/** A limit of no time would end everything at once. */
const duration = durationFrom(Duration.millis(1), "a duration from 1 millisecond to 30 years")

/** A wait may be none. */
const wait = durationFrom(Duration.zero, "a duration from 0 seconds to 30 years")

/** A number in text, where nothing at all is not 0. */
const NumberText = Schema.String.check(
  Schema.makeFilter((text: string) => text.trim() !== "", { expected: "a number" })
).pipe(Schema.decodeTo(Schema.FiniteFromString))

const countUpTo = (maximum: number) =>
  NumberText.check(
    Schema.isInt(),
    Schema.isBetween({ minimum: 0, maximum }, { expected: `an integer from 0 to ${maximum}` })
  )

const Rate = NumberText.check(Schema.isGreaterThan(0, { expected: "a number above 0" }))

const rate = (name: string): Config.Config<number | undefined> => optional(Config.schema(Rate, name))

const Dollars = NumberText.check(
  Schema.isBetween({ minimum: 0, exclusiveMinimum: true, maximum: 9_000_000 }, {
    expected: "US dollars above 0, at most 9,000,000"
  })
)

const dollars = (name: string): Config.Config<number | undefined> => optional(Config.schema(Dollars, name))

/** A share from 0 to 1; nothing or 0 turns nothing off by accident. */
const Share = NumberText.check(
  Schema.isBetween({ minimum: 0.01, maximum: 1 }, { expected: "a share from 0.01 to 1" })
)

const HedgeShare = NumberText.check(
  Schema.isBetween({ minimum: 0, exclusiveMinimum: true, maximum: 1 }, {
    expected: "a share above 0, at most 1"
  })
)

const Sample = NumberText.check(
  Schema.isBetween({ minimum: 0, maximum: 1 }, { expected: "a number from 0 to 1" })
)

/** Budgets for all calls together, in UTC. */
const budget: Config.Config<Budget.Options | undefined> = Config.map(
  Config.all({ day: dollars("CLAUDE_BUDGET_USD_PER_DAY"), month: dollars("CLAUDE_BUDGET_USD_PER_MONTH") }),
  (limits) => {
    const budgets = (["day", "month"] as const).flatMap((calendar): Budget.Options["budgets"] => {
      const limit = limits[calendar]
      return limit === undefined ? [] : [{ name: calendar, limit, window: { calendar } }]
    })
    return budgets.length === 0 ? undefined : { budgets }
  }
)

/** Models by their names, separated by commas. */
const fallback: Config.Config<Fallback.Options | undefined> = Config.map(
  optional(Config.NonEmptyString("CLAUDE_FALLBACK")),
  (models) => models?.split(",").flatMap((name) => name.trim() === "" ? [] : [{ to: name.trim() }])
)

const limits: Config.Config<RateLimiter.Limits | RateLimiter.Tier | undefined> = Config.map(
  Config.all({
    tier: optional(Config.Literals(["start", "build", "scale"], "CLAUDE_TIER")),
    requestsPerMinute: rate("CLAUDE_REQUESTS_PER_MINUTE"),
    inputTokensPerMinute: rate("CLAUDE_INPUT_TOKENS_PER_MINUTE"),
    outputTokensPerMinute: rate("CLAUDE_OUTPUT_TOKENS_PER_MINUTE"),
    tokensPerMinute: rate("CLAUDE_TOKENS_PER_MINUTE")
  }),
  ({ tier, ...limits }) => Object.values(limits).some((limit) => limit !== undefined) ? limits : tier
)

/**
 * Where the environment says that keys are. The keys in the environment itself are those of `KeyStore.environment`.
 *
 * | variable | sets |
 * | --- | --- |
 * | `CLAUDE_KEYRING_SERVICE` | `service`: what the entries of the keyring are filed under |
 * | `CLAUDE_KEYS_FILE` | `path` of the encrypted file |
 * | `CLAUDE_KEYS_PASSPHRASE` | `passphrase` that opens it |
 * | `CLAUDE_KEYS_IDENTITY`, `CLAUDE_KEYS_IDENTITY_FILE` | `identity` of age that opens it, or a file of them in another folder |
 *
 * @category constructors
 * @since 0.1.0
 */
export const keys: Config.Config<KeysOptions> = Config.all({
  service: optional(Config.NonEmptyString("CLAUDE_KEYRING_SERVICE")),
  path: optional(Config.NonEmptyString("CLAUDE_KEYS_FILE")),
  passphrase: optional(Config.Redacted("CLAUDE_KEYS_PASSPHRASE")),
  identity: optional(Config.Redacted("CLAUDE_KEYS_IDENTITY")),
  identityFile: optional(Config.NonEmptyString("CLAUDE_KEYS_IDENTITY_FILE"))
})

/**
 * The options that the environment gives. The keys are read by `KeyStore.layerEnv` from `ANTHROPIC_API_KEY`, one or several separated by
 * commas, and `ANTHROPIC_API_KEYS`, JSON with the label, group and weight of each.
 *
 * | variable | sets |
 * | --- | --- |
 * | `ANTHROPIC_BASE_URL` | `api.baseUrl` |
 * | `CLAUDE_TIMEOUT_HEADERS`, `_FIRST_CONTENT`, `_IDLE`, `_CALL` | `api.timeouts` |
 * | `CLAUDE_RETRIES` | `retry.retries` |
 * | `CLAUDE_RETRY_BASE`, `CLAUDE_RETRY_THROTTLED_BASE`, `CLAUDE_RETRY_CAP`, `CLAUDE_RETRY_MAX_RETRY_AFTER`, `CLAUDE_RETRY_CIRCUIT_WAIT` | `retry` |
 * | `CLAUDE_TIER`: `start`, `build` or `scale` | `limiter.limits` |
 * | `CLAUDE_REQUESTS_PER_MINUTE`, `CLAUDE_INPUT_TOKENS_PER_MINUTE`, `CLAUDE_OUTPUT_TOKENS_PER_MINUTE`, `CLAUDE_TOKENS_PER_MINUTE` | `limiter.limits` instead of a tier |
 * | `CLAUDE_LIMIT_QUEUE` | `limiter.maxQueue` |
 * | `CLAUDE_KEY_STRATEGY`: `prefixAffinity`, `leastLoaded`, `weighted`, `roundRobin` or `random` | `keys.strategy` |
 * | `CLAUDE_BREAKER`: `normal`, `observe`, `forcedOpen` or `disabled` | `breaker.mode` |
 * | `CLAUDE_BUDGET_USD_PER_DAY`, `CLAUDE_BUDGET_USD_PER_MONTH` | `budget`: for all calls together, by the calendar of UTC |
 * | `CLAUDE_BREAKER_WINDOW`, `CLAUDE_BREAKER_FAILURE_RATE`, `CLAUDE_BREAKER_SLOW_CALL`, `CLAUDE_BREAKER_OPEN_FOR`, `CLAUDE_BREAKER_MAX_OPEN_FOR` | `breaker` |
 * | `CLAUDE_FALLBACK`: models, separated by commas, in the order in which calls go on to them | `fallback` |
 * | `CLAUDE_HEDGE_SHARE`: above 0, at most 1 | `hedge.share`, and turns second attempts on |
 * | `CLAUDE_LOG_SAMPLE`: from 0 to 1 | `monitor.log.sample` |
 *
 * Durations are written like `30 seconds`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const config: Config.Config<Options> = Config.all({
  api: Config.all({
    baseUrl: optional(Config.NonEmptyString("ANTHROPIC_BASE_URL")),
    timeouts: Config.all({
      headers: duration("CLAUDE_TIMEOUT_HEADERS"),
      firstContent: duration("CLAUDE_TIMEOUT_FIRST_CONTENT"),
      idle: duration("CLAUDE_TIMEOUT_IDLE"),
      call: duration("CLAUDE_TIMEOUT_CALL")
    })
  }),
  retry: Config.all({
    retries: optional(Config.schema(countUpTo(1000), "CLAUDE_RETRIES")),
    base: wait("CLAUDE_RETRY_BASE"),
    throttledBase: wait("CLAUDE_RETRY_THROTTLED_BASE"),
    cap: wait("CLAUDE_RETRY_CAP"),
    maxRetryAfter: wait("CLAUDE_RETRY_MAX_RETRY_AFTER"),
    circuitWait: wait("CLAUDE_RETRY_CIRCUIT_WAIT")
  }),
  limiter: Config.all({
    limits,
    maxQueue: optional(Config.schema(countUpTo(1_000_000), "CLAUDE_LIMIT_QUEUE"))
  }),
  budget,
  fallback,
  hedge: Config.map(
    optional(Config.schema(HedgeShare, "CLAUDE_HEDGE_SHARE")),
    (share) => share === undefined ? undefined : { share }
  ),
  monitor: Config.map(
    optional(Config.schema(Sample, "CLAUDE_LOG_SAMPLE")),
    (sample) => sample === undefined ? undefined : { log: { sample } }
  ),
  keys: Config.map(
    optional(
      Config.Literals(
        ["prefixAffinity", "leastLoaded", "weighted", "roundRobin", "random"],
        "CLAUDE_KEY_STRATEGY"
      )
    ),
    (strategy) => strategy === undefined ? undefined : { strategy }
  ),
  breaker: Config.all({
    mode: optional(Config.Literals(["normal", "observe", "forcedOpen", "disabled"], "CLAUDE_BREAKER")),
    windowDuration: duration("CLAUDE_BREAKER_WINDOW"),
    failureRate: optional(Config.schema(Share, "CLAUDE_BREAKER_FAILURE_RATE")),
    slowCallDuration: duration("CLAUDE_BREAKER_SLOW_CALL"),
    openDuration: duration("CLAUDE_BREAKER_OPEN_FOR"),
    maxOpenDuration: duration("CLAUDE_BREAKER_MAX_OPEN_FOR")
  })
})

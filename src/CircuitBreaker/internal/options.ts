/** The options of a breaker, their defaults, and their plain numbers. */
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type { Rules } from "./circuit.ts"

/**
 * How a circuit acts on its state.
 *
 * - `normal`: refuses attempts while it is open.
 * - `observe`: opens and closes, reports that, and refuses nothing. Use it to try settings on real traffic.
 * - `forcedOpen`: refuses every attempt, with `maxOpenDuration` as `retryAfter`.
 * - `disabled`: refuses nothing and counts nothing.
 *
 * @category models
 * @since 0.1.0
 */
export type Mode = "normal" | "observe" | "forcedOpen" | "disabled"

/**
 * When a circuit opens and closes. It opens at any one of `consecutiveFailures`, `failureRate` and `slowCallRate`; `Infinity` turns one off. An option
 * out of range fails the layer with `ConfigError`, which says what is allowed.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /**
   * Rates are computed over the attempts that were sent in a period of this length; those without a verdict count as neither failed nor slow. It moves in
   * steps of a tenth. Default 30 seconds.
   */
  readonly windowDuration?: Duration.Input | undefined
  /**
   * Rates are computed over so many attempts that were sent one after the other instead of over `windowDuration`, an integer from 1 to 1,000,000. It
   * moves in steps of a tenth, or by single attempts up to 10.
   */
  readonly windowSize?: number | undefined
  /** Opens at this share of failures, above 0 and at most 1. Default 0.5. */
  readonly failureRate?: number | undefined
  /** A call that takes longer is slow. By default no call is: long answers take long. */
  readonly slowCallDuration?: Duration.Input | undefined
  /** Opens at this share of slow calls, above 0 and at most 1. Default 0.8. */
  readonly slowCallRate?: number | undefined
  /**
   * Rates are ignored in windows with fewer attempts, an integer; at most `windowSize`. Default 50, so that a rate of 30 % is not mistaken for one
   * of 50 %.
   */
  readonly minimumCalls?: number | undefined
  /**
   * Opens when this many attempts failed that were admitted one after the other. An attempt in flight interrupts the row, so that failures that are
   * faster than answers do not add up; one without a result is skipped. Default 15, which a failure rate of 30 % reaches once in 70 million calls.
   */
  readonly consecutiveFailures?: number | undefined
  /**
   * How long a circuit stays open the first time. It doubles with each opening in a row, up to `maxOpenDuration`, and starts over once the circuit has
   * stayed closed as long as it had been open. Default 1 second.
   */
  readonly openDuration?: Duration.Input | undefined
  /** The longest time that a circuit stays open. Default 5 seconds. */
  readonly maxOpenDuration?: Duration.Input | undefined
  /** Shortens each open period by a random fraction of up to this, from 0 to 1. Default 0.2. */
  readonly jitter?: number | undefined
  /** The number of calls that a half-open circuit admits in each round, an integer. Default 1. */
  readonly halfOpenCalls?: number | undefined
  /**
   * The number of successes that closes the circuit, of half-open calls that were sent since it opened. It opens again when `failureRate` of the calls
   * that it admitted while half-open failed (half of them where that is off); those without a verdict count as not failed. At most `halfOpenCalls`.
   * Default `halfOpenCalls`.
   */
  readonly successThreshold?: number | undefined
  /**
   * How long half-open calls without a verdict block others: then a round of more calls is admitted. It doubles with each such round, up to
   * `maxOpenDuration`. Default 1 second: a long answer holds nobody up.
   */
  readonly halfOpenDuration?: Duration.Input | undefined
  /**
   * Callers that would be refused because of half-open calls wait for their verdict, for at most the rest of the round, if their deadline allows.
   * Default false: `ClaudeService` waits by the rule of the retry policy, which holds nothing meanwhile.
   */
  readonly waitForHalfOpen?: boolean | undefined
  /** The mode in which all circuits start. Default `normal`. */
  readonly mode?: Mode | undefined
  /** With a store outside this process: the longest that an attempt waits for it. Default 250 milliseconds. */
  readonly storeTimeout?: Duration.Input | undefined
  /** With such a store: how often results are reported and news is fetched, while there are attempts. Default 200 milliseconds. */
  readonly syncInterval?: Duration.Input | undefined
  /** With such a store: an attempt waits for news if the local copy of its circuit is older than this. Default 2 seconds. */
  readonly staleAfter?: Duration.Input | undefined
}

/** What an option may be, its default as a plain number, and how that is said. */
interface Kind {
  readonly standard: number
  readonly isDuration: boolean
  readonly allows: (value: number) => boolean
  readonly allowed: string
}

const kind =
  (isDuration: boolean, allows: (value: number) => boolean, allowed: string) => (standard: number): Kind => ({
    standard,
    isDuration,
    allows,
    allowed
  })

const maxDuration = 2 ** 40

const duration = kind(true, (value) => value >= 1 && value <= maxDuration, "a duration from 1 millisecond to 34 years")
const anyDuration = kind(true, (value) => value >= 0, "a duration, or Infinity")
const count = kind(false, (value) => value >= 1 && Number.isSafeInteger(value), "an integer from 1")
const countOrNever = kind(
  false,
  (value) => value === Infinity || (value >= 1 && Number.isSafeInteger(value)),
  "an integer from 1, or Infinity"
)
const rate = kind(
  false,
  (value) => (value > 0 && value <= 1) || value === Infinity,
  "above 0 and at most 1, or Infinity"
)
const share = kind(false, (value) => value >= 0 && value <= 1, "from 0 to 1")
const size = kind(
  false,
  (value) => value >= 1 && value <= 1e6 && Number.isInteger(value),
  "an integer from 1 to 1,000,000"
)

/** Each option that is a number or a duration. */
const kinds = {
  windowDuration: duration(30_000),
  windowSize: size(0),
  failureRate: rate(0.5),
  slowCallDuration: anyDuration(Infinity),
  slowCallRate: rate(0.8),
  minimumCalls: countOrNever(50),
  consecutiveFailures: countOrNever(15),
  openDuration: duration(1_000),
  maxOpenDuration: duration(5_000),
  jitter: share(0.2),
  halfOpenCalls: count(1),
  successThreshold: count(0),
  halfOpenDuration: duration(1_000),
  storeTimeout: duration(250),
  syncInterval: duration(200),
  staleAfter: duration(2_000)
} satisfies { readonly [Name in keyof Options]?: Kind }

type Name = keyof typeof kinds

const names = Object.keys(kinds) as Array<Name> // of this table

const modes: ReadonlySet<unknown> = new Set<Mode>(["normal", "observe", "forcedOpen", "disabled"])

/** The plain number of an option; NaN where it is none. */
const plain = (given: unknown, { isDuration }: Kind): number => {
  if (!isDuration) return typeof given === "number" ? given : NaN
  const millis = Option.map(Duration.fromInput(given as Duration.Input), Duration.toMillis) // what is none gives none
  return Option.getOrElse(millis, () => NaN)
}

const text = (value: unknown): string =>
  typeof value === "bigint" ? `${value}n` : Duration.isDuration(value) ? Duration.format(value) : String(value)

/** What is wrong with options: the name of one, its value, and what is allowed. */
const mistakeIn = (options: Options): string | undefined => {
  for (const name of names) {
    const given = options[name]
    const kind = kinds[name]
    if (given !== undefined && !kind.allows(plain(given, kind))) {
      return `CircuitBreaker: ${name} is ${text(given)}, and must be ${kind.allowed}`
    }
  }
  const { halfOpenCalls = 1, mode = "normal", successThreshold = 1, waitForHalfOpen = false } = options
  if (successThreshold > halfOpenCalls) {
    return `CircuitBreaker: successThreshold is ${successThreshold}, and must be at most halfOpenCalls, which is ${halfOpenCalls}`
  }
  if (!modes.has(mode)) {
    return `CircuitBreaker: mode is ${text(mode)}, and must be "normal", "observe", "forcedOpen" or "disabled"`
  }
  return Predicate.isBoolean(waitForHalfOpen)
    ? undefined
    : `CircuitBreaker: waitForHalfOpen is ${text(waitForHalfOpen)}, and must be true or false`
}

const Sound = Schema.Unknown.check(
  Schema.makeFilter((options) => mistakeIn(options as Options) ?? true) // `check` gives it nothing else
)

/** Fails with what is wrong with options. */
export const check = (options: Options): Effect.Effect<void, Config.ConfigError> =>
  Effect.asVoid(Effect.mapError(
    Schema.decodeUnknownEffect(Sound)(options),
    (error) => new Config.ConfigError(error)
  ))

/** What a gate does beside the rules of its circuit. `pollMillis`: how often a waiting caller looks for news from other processes. */
export interface Settings {
  readonly slowMillis: number
  readonly waitForHalfOpen: boolean
  readonly pollMillis: number
}

/** Options as plain numbers. */
export interface Resolved {
  readonly rules: Rules
  readonly settings: Settings
  readonly storeTimeout: number
  readonly syncInterval: number
  readonly staleAfter: number
}

/** The numbers of options that are sound. */
export const resolve = (options: Options): Resolved => {
  const of = (name: Name): number =>
    options[name] === undefined ? kinds[name].standard : plain(options[name], kinds[name])
  const windowSize = of("windowSize")
  const openDuration = of("openDuration")
  const halfOpenCalls = of("halfOpenCalls")
  return {
    rules: {
      windowDuration: of("windowDuration"),
      windowSize,
      failureRate: of("failureRate"),
      slowCallRate: of("slowCallRate"),
      minimumCalls: Math.min(of("minimumCalls"), windowSize || Infinity),
      consecutiveFailures: of("consecutiveFailures"),
      openDuration,
      maxOpenDuration: Math.max(openDuration, of("maxOpenDuration")),
      jitter: of("jitter"),
      halfOpenCalls,
      successThreshold: of("successThreshold") || halfOpenCalls,
      halfOpenDuration: of("halfOpenDuration")
    },
    settings: {
      slowMillis: of("slowCallDuration"),
      waitForHalfOpen: options.waitForHalfOpen ?? false,
      pollMillis: of("syncInterval")
    },
    storeTimeout: of("storeTimeout"),
    syncInterval: of("syncInterval"),
    staleAfter: of("staleAfter")
  }
}

/** What concerns the store, which all circuits of a breaker have in common. */
export const ofStore = ({ staleAfter, storeTimeout, syncInterval }: Options): Options => ({
  ...(staleAfter === undefined ? undefined : { staleAfter }),
  ...(storeTimeout === undefined ? undefined : { storeTimeout }),
  ...(syncInterval === undefined ? undefined : { syncInterval })
})

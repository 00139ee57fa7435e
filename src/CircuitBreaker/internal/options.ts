/** The options of a breaker, their defaults, and their plain numbers. */
import * as Duration from "effect/Duration"
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
 * When a circuit opens and closes. It opens at any one of `consecutiveFailures`, `failureRate` and `slowCallRate`; `Infinity` turns one off.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Rates are computed over the results of this period. It moves in steps of a tenth. Default 30 seconds. */
  readonly windowDuration?: Duration.Input | undefined
  /** Rates are computed over this number of results instead of `windowDuration`, from 1 to 1,000,000. */
  readonly windowSize?: number | undefined
  /** Opens at this share of failures, above 0. Default 0.5. */
  readonly failureRate?: number | undefined
  /** A call that takes longer is slow. By default no call is: long answers take long. */
  readonly slowCallDuration?: Duration.Input | undefined
  /** Opens at this share of slow calls, above 0. Default 0.8. */
  readonly slowCallRate?: number | undefined
  /**
   * Rates are ignored until the window holds this many results; at most `windowSize`. Default 50, so that a rate of 30 % is not mistaken for one of
   * 50 %.
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
  /** The number of calls that a half-open circuit admits. Default 1. */
  readonly halfOpenCalls?: number | undefined
  /** The number of successes among them that closes the circuit; the first failure opens it again. At most `halfOpenCalls`. Default `halfOpenCalls`. */
  readonly successThreshold?: number | undefined
  /** How long half-open calls without a verdict block others. Default 1 second: a long answer holds nobody up. */
  readonly halfOpenDuration?: Duration.Input | undefined
  /**
   * Callers that would be refused because of half-open calls wait for their verdict, for at most `halfOpenDuration`, if their deadline allows.
   * Default false.
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

type Name = keyof Omit<Rules, "windowSize"> | "storeTimeout" | "syncInterval" | "staleAfter" | "slowCallDuration"

const duration = { minimum: 1, maximum: 2 ** 40 }
const count = { minimum: 1, maximum: Infinity }
const rate = { minimum: Number.MIN_VALUE, maximum: Infinity }

/** The default of each option, in milliseconds where it is a duration, and its range. */
const table: Record<Name, readonly [standard: number, { readonly minimum: number; readonly maximum: number }]> = {
  windowDuration: [30_000, duration],
  failureRate: [0.5, rate],
  slowCallDuration: [Infinity, { minimum: 0, maximum: Infinity }],
  slowCallRate: [0.8, rate],
  minimumCalls: [50, count],
  consecutiveFailures: [15, count],
  openDuration: [1_000, duration],
  maxOpenDuration: [5_000, duration],
  jitter: [0.2, { minimum: 0, maximum: 1 }],
  halfOpenCalls: [1, count],
  successThreshold: [1, count],
  halfOpenDuration: [1_000, duration],
  storeTimeout: [250, duration],
  syncInterval: [200, duration],
  staleAfter: [2_000, duration]
}

export type Resolved = Rules & Readonly<Record<Name, number>>

const inRange = (name: keyof Options, value: number, { maximum, minimum }: typeof duration): number => {
  if (value >= minimum && value <= maximum) return value
  throw new RangeError(`CircuitBreaker: ${name} must be from ${minimum} to ${maximum}, and is ${value}`)
}

/** Throws a `RangeError` if an option is out of range. */
export const resolve = (options: Options): Resolved => {
  const valueOf = (name: Name): number => {
    const [standard, range] = table[name]
    const given = options[name]
    if (given === undefined) return standard
    const value = Duration.toMillis(given) // a number is itself
    return inRange(name, range === count ? Math.floor(value) : value, range)
  }
  // Its keys are those of the table.
  const values = Object.fromEntries(
    Object.keys(table).map((name) => [name, valueOf(name as Name)])
  ) as Record<Name, number>
  const { windowSize } = options
  const size = windowSize === undefined ? 0 : inRange("windowSize", Math.floor(windowSize), { ...count, maximum: 1e6 })
  return {
    ...values,
    windowSize: size,
    minimumCalls: Math.min(values.minimumCalls, size || Infinity),
    maxOpenDuration: Math.max(values.openDuration, values.maxOpenDuration),
    successThreshold: inRange(
      "successThreshold",
      options.successThreshold === undefined ? values.halfOpenCalls : values.successThreshold,
      { minimum: 1, maximum: values.halfOpenCalls }
    )
  }
}

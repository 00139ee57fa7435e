/** The options of a breaker, and what they are as plain numbers. */
import * as Duration from "effect/Duration"
import type { Rules } from "./circuit.ts"

/**
 * What a circuit does with what it knows.
 *
 * - `normal`: it refuses while it is open.
 * - `observe`: it opens and closes and reports that, and refuses nothing. To try settings on real traffic.
 * - `forcedOpen`: it refuses everything, and names `maxOpenDuration` as the wait.
 * - `disabled`: it refuses nothing and counts nothing.
 *
 * @category models
 * @since 0.1.0
 */
export type Mode = "normal" | "observe" | "forcedOpen" | "disabled"

/**
 * When a circuit opens (any one of `consecutiveFailures`, `failureRate` and `slowCallRate` is enough, and `Infinity` turns it off), and when it
 * closes.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Rates are those of the results of this long, which moves by tenths. Default 30 seconds. */
  readonly windowDuration?: Duration.Input | undefined
  /** Rates are those of so many results instead, from 1 to 1,000,000. */
  readonly windowSize?: number | undefined
  /** The share of failures that opens, above 0. Default 0.5. */
  readonly failureRate?: number | undefined
  /** What takes longer is slow. By default nothing is: a long answer takes long. */
  readonly slowCallDuration?: Duration.Input | undefined
  /** The share of slow calls that opens, above 0. Default 0.8. */
  readonly slowCallRate?: number | undefined
  /** Rates count only from so many results on; at most `windowSize`. Default 50, so that a rate of 30 % does not pass for one of 50 %. */
  readonly minimumCalls?: number | undefined
  /**
   * So many attempts that were admitted one after the other all failed. One in flight is no failure yet, so that failures which are faster than
   * answers make no row; one without a result is passed over. Default 15, which a rate of 30 % reaches once in 70 million calls.
   */
  readonly consecutiveFailures?: number | undefined
  /**
   * How long it is open the first time. It doubles with each opening in a row, up to `maxOpenDuration`, and starts anew after the circuit was closed
   * as long as it had been open. Default 1 second.
   */
  readonly openDuration?: Duration.Input | undefined
  /** Default 5 seconds. */
  readonly maxOpenDuration?: Duration.Input | undefined
  /** Shortens each open period by a random fraction of up to this, from 0 to 1. Default 0.2. */
  readonly jitter?: number | undefined
  /** Calls that may go while it is half-open. Default 1. */
  readonly halfOpenCalls?: number | undefined
  /** Successes among them that close it; the first failure opens it again. At most `halfOpenCalls`, which is the default. */
  readonly successThreshold?: number | undefined
  /** How long half-open calls without a verdict block others. Default 1 second, so that an answer that takes long holds nobody up. */
  readonly halfOpenDuration?: Duration.Input | undefined
  /**
   * Callers that are refused because of a half-open call wait for its verdict, at most `halfOpenDuration`, where their deadline allows. Default false.
   */
  readonly waitForHalfOpen?: boolean | undefined
  /** Of all circuits at the start. Default `normal`. */
  readonly mode?: Mode | undefined
  /** With a store outside this process: the longest that an attempt waits for it. Default 250 milliseconds. */
  readonly storeTimeout?: Duration.Input | undefined
  /** With such a store: how often results are reported and news is fetched, while there are attempts. Default 200 milliseconds. */
  readonly syncInterval?: Duration.Input | undefined
  /** With such a store: how old the copy of a circuit may be before an attempt asks. Default 2 seconds. */
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

/** Throws a `RangeError` for what makes no sense. */
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

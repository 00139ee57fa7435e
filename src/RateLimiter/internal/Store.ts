/** What a store is asked and what it answers. All of it is plain data that survives JSON. */
import type * as Attempt from "../../Attempt.ts"
import type { CallContext } from "../../CallContext.ts"
import type { Amounts, Dimension } from "./Amounts.ts"
import type { Limits } from "./Limits.ts"

/**
 * What an attempt asks for before it is sent, in all dimensions or in none.
 *
 * - `usage`: taken at once.
 * - `reserve`: kept free for the output that is predicted.
 * - `withinMillis`: a reservation that begins later is not made.
 * - `size`: the input by which it is judged whether it is larger than a whole bucket. Default what it takes.
 * - `priority`: its class. Default `"standard"`.
 * - `flow`, `weight`: who it is for inside its class, as a short name, and what that has beside others; by default nobody, and 1. Only processes that
 *   share a store say so: a local store is asked in turn.
 * - `waits`: where there is no room it stays in line and asks again within two seconds, and its class saves up for it. Default false.
 *
 * @category stores
 * @since 0.1.0
 */
export interface Ask {
  readonly usage: Amounts
  readonly reserve: Amounts
  readonly withinMillis: number
  readonly size?: number | undefined
  readonly priority?: CallContext["priority"] | undefined
  readonly flow?: string | undefined
  readonly weight?: number | undefined
  readonly waits?: boolean | undefined
}

/**
 * Where an attempt stands in the order of all that were admitted: its number, and everything that was used up to and including it.
 *
 * @category stores
 * @since 0.1.0
 */
export interface Ticket {
  readonly sequence: number
  readonly used: Amounts
}

/**
 * The answer to an `Ask`.
 *
 * - `Granted`: the attempt may be sent in `waitMillis` from now.
 * - `Full`: nothing was taken; there is room in `waitMillis`. `closed`: a spend limit of the API is reached, so waiting is pointless.
 * - `TooLarge`: the request is larger than a whole bucket, so there will never be room.
 *
 * @category stores
 * @since 0.1.0
 */
export type Reservation =
  | { readonly _tag: "Granted"; readonly ticket: Ticket; readonly waitMillis: number }
  | { readonly _tag: "Full"; readonly waitMillis: number; readonly closed: boolean }
  | { readonly _tag: "TooLarge" }

/**
 * What became of an attempt that was admitted. Each part is reported at most once.
 *
 * - `usage`: used beyond what was taken on admission; negative gives back.
 * - `release`: how much of what was reserved is free again.
 * - `observed`: the rate-limit headers of its response, and `now` in milliseconds since the epoch on the clock that read them.
 * - `pause`: the API refused it because of its limits.
 *
 * @category stores
 * @since 0.1.0
 */
export interface Report {
  readonly ticket: Ticket
  readonly usage: Amounts
  readonly release: Amounts
  readonly observed: { readonly limits: Partial<Attempt.Limits>; readonly now: number } | undefined
  readonly pause: Pause | undefined
}

/**
 * Nothing is sent for `millis`. Then traffic ramps up: after `throttle` it doubles each second, after `acceleration` each minute. After `spend`
 * whoever asks meanwhile is refused instead of kept waiting.
 *
 * @category stores
 * @since 0.1.0
 */
export interface Pause {
  readonly reason: "throttle" | "acceleration" | "spend"
  readonly millis: number
}

/** One dimension: its rate, the most it holds, its level, and the limit that headers reported, where they did lately. */
export interface Bucket {
  perMinute: number
  capacity: number
  level: number
  observed: number | undefined
}

/** A limit on requests that grows exponentially from the time `from` on, until it has done its work. */
export interface Ramp {
  from: number
  perMinute: number
  level: number
  readonly doublingMillis: number
  readonly until: number
}

/**
 * One that stays in line for room: what it needs, what it found free when it began and when that was, and when it asked last. `process` is empty in a
 * local store.
 */
export interface Saving {
  readonly process: string
  readonly priority: CallContext["priority"]
  readonly need: Amounts
  readonly found: Amounts
  /** How far its flow has been served. */
  readonly pass: number
  readonly since: number
  readonly at: number
}

/** How far a flow has been served, in minutes of refill by its weight, and when it asked last. */
export interface Progress {
  readonly pass: number
  readonly at: number
}

/** What a process last knew of the buckets. The ramp counts from now. */
export interface Known {
  readonly buckets: { readonly [K in Dimension]?: Bucket | undefined }
  readonly pausedMillis: number
  readonly closed: boolean
  readonly ramp: Ramp | undefined
}

/**
 * The process that sends a batch to a store that processes share. Batches and answers may get lost on the way: numbers let the store take in
 * each item once.
 *
 * - `process`: its name; `call`: counts its batches. One that comes out of order is rejected.
 * - `acknowledged`: it knows what became of its batches up to here; `abandoned` are those among them whose answers it will never use.
 * - `answered`: the last of its batches whose answer it has. A store that has not made it, as where a replica took over that lacks the last writes,
 *   rejects the batch until it brings what is `known`.
 * - `reserved`: all that it has reserved, except by batches after `acknowledged`.
 * - `epoch`: which buckets it knows, 0 before the first answer. A store that has others rejects the batch likewise.
 * - `firstReport`: the number of the first report of the batch.
 * - `ends`: the process ends.
 *
 * @category stores
 * @since 0.1.0
 */
export interface Sender {
  readonly process: string
  readonly call: number
  readonly acknowledged: number
  readonly answered: number
  readonly abandoned: ReadonlyArray<number>
  readonly reserved: Amounts
  readonly epoch: number
  readonly firstReport: number
  readonly known: Known | undefined
  readonly ends: boolean
}

/**
 * One atomic step on the buckets named `key`: `limits` hold from now on, `reports` are taken in, then `ask` is answered, then the buckets are read.
 *
 * - `key`: a bucket set; batches of different keys have nothing to do with each other.
 * - `burstMillis`: a bucket holds at most what it refills in this time.
 * - `sender`: undefined where the store is local.
 *
 * @category stores
 * @since 0.1.0
 */
export interface Batch {
  readonly key: string
  readonly burstMillis: number
  readonly limits?: Limits | undefined
  readonly reports?: ReadonlyArray<Report> | undefined
  readonly ask?: Ask | undefined
  readonly read?: boolean | undefined
  readonly sender?: Sender | undefined
}

/** The buckets as they stand after a step, and how many processes were seen lately. */
export interface View extends Known {
  readonly epoch: number
  readonly processes: number
  readonly reserved: Amounts
}

/**
 * The answer to a `Batch`.
 *
 * - `Done`: `reservation` answers the batch's `ask`; `view` is what was read.
 * - `Rejected`: nothing was done. The batch is out of order, or comes from a process that knows other buckets than the store has.
 *
 * @category stores
 * @since 0.1.0
 */
export type Reply =
  | { readonly _tag: "Done"; readonly reservation: Reservation | undefined; readonly view: View | undefined }
  | { readonly _tag: "Rejected"; readonly reason: "outOfOrder" | "otherEpoch" }

/** What a store remembers of a process: its last batch and report, what it has reserved, and what batches took whose answers are not acknowledged. */
export interface Process {
  call: number
  report: number
  at: number
  reserved: Amounts
  grants: ReadonlyArray<{ readonly call: number; readonly usage: Amounts; readonly reserve: Amounts }>
}

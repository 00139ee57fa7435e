/** What a store of budgets keeps, and what it is asked and answers: plain data. */
import * as Data from "effect/Data"
import * as Schema from "effect/Schema"
import type { Window } from "./window.ts"

/**
 * One account of a budget, as a batch names it: the budget's name, the value by which it is divided (`""` where it is not), and what holds for it
 * while no override does.
 *
 * - `key`: of its row.
 * - `thresholds`: percents of the limit.
 * - `countsLapsed`: whether what lapsed counts as spent until it is credited. Default true.
 *
 * @category models
 * @since 0.1.0
 */
export interface Account {
  readonly key: string
  readonly budget: string
  readonly account: string
  readonly window: Window
  readonly thresholds: ReadonlyArray<number>
  readonly limitNanoUsd: number
  readonly countsLapsed?: boolean | undefined
}

/**
 * Reserves `nanoUsd` in all accounts or in none. Unless it is renewed, the lease lapses after `millis`; without a lease, the reservation stands
 * until it is settled.
 *
 * - `isPatient`: its caller waits for room, so a refusal is no event.
 * - `isLook`: nothing is reserved, and only what would not fit either if nothing else were reserved is refused.
 *
 * @category models
 * @since 0.1.0
 */
export interface Reserve {
  readonly lease?: { readonly id: string; readonly millis: number } | undefined
  readonly nanoUsd: number
  readonly accounts: ReadonlyArray<Account>
  readonly isPatient?: boolean | undefined
  readonly isLook?: boolean | undefined
}

/**
 * What was reserved in one account. It counts in the slot in which it was admitted.
 *
 * @category models
 * @since 0.1.0
 */
export interface Reservation {
  readonly account: Account
  readonly slot: number
}

/**
 * Replaces what was reserved, `reservedNanoUsd` in each account, by what was spent; where the lease has lapsed, it replaces what lapsed.
 *
 * - `spentNanoUsd`: a negative amount is a credit. It is taken from what lapsed and from what was spent in the slot of each reservation, then in
 *   the slots before it in the same window; there is never less than nothing.
 * - `doubtfulNanoUsd`: the part of what was spent of which nobody knows whether the API charges it. Default nothing.
 *
 * @category models
 * @since 0.1.0
 */
export interface Settlement {
  readonly lease?: string | undefined
  readonly reservedNanoUsd: number
  readonly spentNanoUsd: number
  readonly doubtfulNanoUsd?: number | undefined
  readonly reservations: ReadonlyArray<Reservation>
}

/**
 * Extends a lease: it lapses `millis` from now. Where it has lapsed, though its owner holds it, `nanoUsd` is reserved again in each account, also beyond
 * the limit.
 *
 * @category models
 * @since 0.1.0
 */
export interface Renewal {
  readonly lease: string
  readonly millis: number
  readonly nanoUsd: number
  readonly reservations: ReadonlyArray<Reservation>
}

/**
 * Replaces the limit of one account, or of all accounts of a budget where `account` is undefined, before `until` (milliseconds since the epoch;
 * undefined: for good). Without `limitNanoUsd`, it removes such an override.
 *
 * @category models
 * @since 0.1.0
 */
export interface Override {
  readonly budget: string
  readonly account: string | undefined
  readonly limitNanoUsd: number | undefined
  readonly until: number | undefined
}

/**
 * One atomic step of a store: the settlements, then the reservations, then the rest, each in its order.
 *
 * - `owner`: the process; undefined where the store belongs to it. The batches of one owner come one after another.
 * - `number`: that of the first settlement: an owner numbers its settlements from 1. A store that did not answer gets them again under their numbers,
 *   and they count once.
 * - `read`: names of budgets, whose rows are in the reply.
 *
 * @category models
 * @since 0.1.0
 */
export interface Batch {
  readonly owner?: string | undefined
  readonly number?: number | undefined
  readonly settlements?: ReadonlyArray<Settlement> | undefined
  readonly reserves?: ReadonlyArray<Reserve> | undefined
  readonly renewals?: ReadonlyArray<Renewal> | undefined
  readonly overrides?: ReadonlyArray<Override> | undefined
  readonly read?: ReadonlyArray<string> | undefined
}

/**
 * The answer to a `Reserve`.
 *
 * - `Reserved`: `settlement` gives all of it back; with what was spent in it, it charges that.
 * - `Refused`: `account` is the first without room. `resetsAt` is when it has room even if nothing is given back; undefined where that is never. `at`
 *   is the time of the store. Milliseconds since the epoch.
 * - `Full`: it needs a new account, and the store holds as many as it may.
 *
 * @category models
 * @since 0.1.0
 */
export type Decision = Data.TaggedEnum<{
  Reserved: { readonly settlement: Settlement }
  Refused: {
    readonly account: Account
    readonly limitNanoUsd: number
    readonly spentNanoUsd: number
    readonly reservedNanoUsd: number
    readonly resetsAt: number | undefined
    readonly at: number
  }
  Full: {}
}>

export const Decision = Data.taggedEnum<Decision>()

export type Refused = Extract<Decision, { readonly _tag: "Refused" }>

/**
 * What happens to a budget. Amounts are integer nano-dollars, `at` is in milliseconds since the epoch.
 *
 * - `Threshold`: so many percent of the limit are spent.
 * - `Exceeded`: a call did not fit and was refused.
 * - `Overshot`: more than the limit is spent, because calls cost more than was reserved for them.
 * - `Unpriced`: a call of a model without a price was let through.
 *
 * @category models
 * @since 0.1.0
 */
export type Event = Data.TaggedEnum<{
  Threshold: {
    readonly budget: string
    readonly account: string
    readonly percent: number
    readonly limitNanoUsd: number
    readonly spentNanoUsd: number
    readonly at: number
  }
  Exceeded: {
    readonly budget: string
    readonly account: string
    readonly limitNanoUsd: number
    readonly spentNanoUsd: number
    readonly reservedNanoUsd: number
    readonly neededNanoUsd: number
    readonly at: number
  }
  Overshot: {
    readonly budget: string
    readonly account: string
    readonly limitNanoUsd: number
    readonly spentNanoUsd: number
    readonly at: number
  }
  Unpriced: { readonly model: string; readonly at: number }
}>

export const Event = Data.taggedEnum<Event>()

/**
 * What remains of an account, before `until` (milliseconds since the epoch; undefined: its window has no end).
 *
 * @category models
 * @since 0.1.0
 */
export interface Balance {
  readonly budget: string
  readonly account: string
  readonly limitNanoUsd: number
  readonly spentNanoUsd: number
  readonly remainingNanoUsd: number
  readonly until: number | undefined
}

/**
 * What became of a batch: a decision for each `Reserve`, the events that it caused, the balances of the accounts that it touched, the rows that it
 * read, and the time of the store in milliseconds since the epoch.
 *
 * @category models
 * @since 0.1.0
 */
export interface Reply {
  readonly decisions: ReadonlyArray<Decision>
  readonly events: ReadonlyArray<Event>
  readonly balances: ReadonlyArray<Balance>
  readonly rows: ReadonlyArray<AccountRow | LimitRow>
  readonly now: number
}

/** What counts in one slot of a window. Integer nano-dollars. */
const Slot = Schema.Struct({
  /** Milliseconds since the epoch. */
  start: Schema.Int,
  spent: Schema.Int,
  reserved: Schema.Int,
  /** What calls cost beyond what was reserved for them. */
  overshot: Schema.Int,
  /** What was reserved under leases that ended without a settlement. */
  lapsed: Schema.Int,
  /** The part of what was spent of which nobody knows whether the API charges it. */
  doubtful: Schema.optional(Schema.Int)
})

export type Slot = typeof Slot.Type

export type Sums = { readonly [K in Exclude<keyof Slot, "start">]-?: number }

const Lease = Schema.Struct({ slot: Schema.Int, nanoUsd: Schema.Int, expiresAt: Schema.Int })

const forgetAt = Schema.optional(Schema.Int)

/** An account: its slots, oldest first, when it last raised each alert at each limit, and the leases of the calls that run. */
const AccountRow = Schema.TaggedStruct("Account", {
  budget: Schema.String,
  account: Schema.String,
  slots: Schema.Array(Slot),
  alerts: Schema.Record(Schema.String, Schema.Int),
  leases: Schema.Record(Schema.String, Lease),
  /** No lease ends before this, and all have ended at `leasedUntil`. */
  lapsesAt: Schema.optional(Schema.Int),
  leasedUntil: Schema.optional(Schema.Int),
  forgetAt
})

export type AccountRow = typeof AccountRow.Type

/** The limit of one account, or of all accounts of a budget where `account` is undefined, while it is overridden. */
const LimitRow = Schema.TaggedStruct("Limit", {
  budget: Schema.String,
  account: Schema.optional(Schema.String),
  limitNanoUsd: Schema.Int,
  /** Undefined: for good. */
  until: Schema.optional(Schema.Int),
  forgetAt
})

export type LimitRow = typeof LimitRow.Type

/** A process: the number of its last settlement that was made. */
const OwnerRow = Schema.TaggedStruct("Owner", { number: Schema.Int, forgetAt })

/**
 * A row as a store keeps it. From `forgetAt` on (milliseconds since the epoch; undefined: never) it says nothing any more and may be deleted.
 *
 * @category models
 * @since 0.1.0
 */
export type Row = typeof Row.Type

/**
 * Decodes rows.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Row = Schema.Union([AccountRow, LimitRow, OwnerRow])

/**
 * Rows by their keys.
 *
 * @category models
 * @since 0.1.0
 */
export type State = ReadonlyMap<string, Row>

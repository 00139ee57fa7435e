/** What a store of budgets does in one step, on accounts that nobody else changes meanwhile. */
import * as Data from "effect/Data"
import type { Window } from "./window.ts"

/**
 * A budget as stores know it. `thresholds` are percents of the limit; `window` says which slots count when.
 */
export interface Rules {
  readonly name: string
  readonly window: Window
  readonly thresholds: ReadonlyArray<number>
}

/** One account of a budget, with the limit that holds for it where no override does. */
export interface Share {
  readonly rules: Rules
  readonly account: string
  readonly limitNanoUsd: number
}

/** Reserves an amount in all `shares` or in none. `lease` names the reservation for as long as `leaseMillis`, unless it is renewed. */
export interface Reserve {
  readonly lease: string
  readonly leaseMillis: number
  readonly nanoUsd: number
  readonly shares: ReadonlyArray<Share>
}

/** What a lease holds in one account: it counts in the slot in which it was admitted. */
export interface Hold {
  readonly share: Share
  readonly slot: number
}

/** Replaces what a lease reserved, `heldNanoUsd` in each account, by what was spent. A lease that lapsed is only charged. */
export interface Settle {
  readonly lease: string
  readonly heldNanoUsd: number
  readonly spentNanoUsd: number
  readonly holds: ReadonlyArray<Hold>
}

/**
 * The answer to a `Reserve`.
 *
 * - `Reserved`: `slots` are those of its shares, in their order.
 * - `Refused`: by the first share that has no room. `resetsAt` is when it has, also if nothing is given back; undefined where never.
 * - `Full`: a new account is needed and there are as many as may be.
 */
export type Reply = Data.TaggedEnum<{
  Reserved: { readonly slots: ReadonlyArray<number> }
  Refused: {
    readonly share: Share
    readonly limitNanoUsd: number
    readonly spentNanoUsd: number
    readonly reservedNanoUsd: number
    readonly resetsAt: number | undefined
    readonly at: number
  }
  Full: {}
}>

const Reply = Data.taggedEnum<Reply>()

/** What is told of a budget while calls run. */
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

/** What is left of an account, until its window moves. */
export interface Level {
  readonly budget: string
  readonly account: string
  readonly remainingNanoUsd: number
  readonly until: number
}

/** What counts in one slot. Integer nano-dollars. */
export interface Slot {
  readonly start: number
  spent: number
  reserved: number
  /** What calls cost beyond what was reserved for them. */
  overshot: number
  /** What leases had reserved that ended without a word. */
  lapsed: number
}

export type Sums = Omit<Slot, "start">

/** One account. `marks` are what was told of it, and when. */
export class Account {
  readonly slots: Array<Slot>
  readonly marks: Map<string, number>

  constructor(slots: ReadonlyArray<Slot> = [], marks: Iterable<readonly [string, number]> = []) {
    this.slots = [...slots]
    this.marks = new Map(marks)
  }

  sums(from: number, to: number = Infinity): Sums {
    const sums = { spent: 0, reserved: 0, overshot: 0, lapsed: 0 }
    for (const slot of this.slots) {
      if (slot.start < from || slot.start > to) continue
      sums.spent += slot.spent
      sums.reserved += slot.reserved
      sums.overshot += slot.overshot
      sums.lapsed += slot.lapsed
    }
    return sums
  }

  slot(start: number): Slot {
    let index = this.slots.length
    while (index > 0 && this.slots[index - 1]!.start > start) index--
    const known = this.slots[index - 1]
    if (known?.start === start) return known
    const slot = { start, spent: 0, reserved: 0, overshot: 0, lapsed: 0 }
    this.slots.splice(index, 0, slot)
    return slot
  }

  /** Forgets slots that count no more and that no lease comes back to. */
  prune(from: number): void {
    const isOver = ({ reserved, start }: Slot) => start < from && reserved === 0
    if (!this.slots.some(isOver)) return
    this.slots.splice(0, this.slots.length, ...this.slots.filter((slot) => !isOver(slot)))
  }

  /** Whether nothing of it counts, and no lease comes back to it. */
  isIdle(from: number): boolean {
    return this.slots.every(({ lapsed, reserved, spent, start }) =>
      reserved === 0 && (start < from || (spent === 0 && lapsed === 0))
    )
  }

  lapse(start: number, nanoUsd: number): void {
    const slot = this.slot(start)
    slot.reserved -= nanoUsd
    slot.lapsed += nanoUsd
  }

  /** Whether this is the first time since `from`. */
  mark(name: string, from: number, now: number): boolean {
    const last = this.marks.get(name)
    if (last !== undefined && last >= from) return false
    this.marks.set(name, now)
    return true
  }

  /** When `needed` fits if nothing is given back. */
  resetsAt({ rules: { window } }: Share, needed: number, limit: number, now: number): number | undefined {
    if (needed > limit) return undefined
    const { from } = window.at(now)
    const { reserved, spent } = this.sums(from)
    let used = spent + reserved
    for (const slot of this.slots) {
      if (slot.start < from) continue
      used -= slot.spent + slot.reserved
      if (used + needed <= limit) {
        const at = window.leavesAt(slot.start)
        return Number.isFinite(at) ? at : undefined
      }
    }
    return undefined
  }
}

/** The accounts that a step works on, and the limit that holds for each now. */
export interface Books {
  readonly account: (share: Share) => Account | undefined
  readonly limitOf: (share: Share) => number
}

const levelOf = (share: Share, account: Account, limitNanoUsd: number, now: number): Level => {
  const { from, until } = share.rules.window.at(now)
  const { reserved, spent } = account.sums(from)
  return {
    budget: share.rules.name,
    account: share.account,
    remainingNanoUsd: limitNanoUsd - spent - reserved,
    until
  }
}

/** Reserves in all shares or in none. */
const reserve = (books: Books, ask: Reserve, now: number, events: Array<Event>): Reply => {
  const { nanoUsd, shares } = ask
  const found: Array<Slot> = []
  const accounts: Array<Account> = []
  for (const share of shares) {
    const account = books.account(share)
    if (account === undefined) return Reply.Full()
    const { from } = share.rules.window.at(now)
    const { reserved, spent } = account.sums(from)
    const limitNanoUsd = books.limitOf(share)
    if (spent + reserved + nanoUsd > limitNanoUsd) {
      const facts = { limitNanoUsd, spentNanoUsd: spent, reservedNanoUsd: reserved }
      if (account.mark("exceeded", from, now)) {
        events.push(Event.Exceeded({
          budget: share.rules.name,
          account: share.account,
          ...facts,
          neededNanoUsd: nanoUsd,
          at: now
        }))
      }
      return Reply.Refused({ share, ...facts, resetsAt: account.resetsAt(share, nanoUsd, limitNanoUsd, now), at: now })
    }
    accounts.push(account)
  }
  shares.forEach((share, index) => {
    const account = accounts[index]! // one for each share
    const { from, slot } = share.rules.window.at(now)
    account.prune(from)
    found.push(account.slot(slot))
  })
  for (const slot of found) slot.reserved += nanoUsd
  return Reply.Reserved({ slots: found.map(({ start }) => start) })
}

/** Settles one account. `isHeld` says whether the lease was still reserved there. */
const settle = (
  books: Books,
  { heldNanoUsd, spentNanoUsd }: Settle,
  { share, slot: start }: Hold,
  isHeld: boolean,
  now: number,
  events: Array<Event>
): void => {
  const account = books.account(share)
  if (account === undefined) return
  const slot = account.slot(start)
  if (isHeld) slot.reserved -= heldNanoUsd
  slot.spent += spentNanoUsd
  const beyond = Math.max(0, spentNanoUsd - (isHeld ? heldNanoUsd : 0))
  slot.overshot += beyond
  if (spentNanoUsd === 0) return

  const { name: budget, thresholds, window } = share.rules
  const span = window.at(now)
  const counts = start >= span.from
  const from = counts ? span.from : start
  const { spent } = account.sums(from, counts ? Infinity : start)
  const limitNanoUsd = books.limitOf(share)
  const facts = { budget, account: share.account, limitNanoUsd, spentNanoUsd: spent, at: now }
  if (counts) {
    for (const percent of thresholds) {
      if (spent < limitNanoUsd * (percent / 100) || !account.mark(`${percent}`, from, now)) continue
      events.push(Event.Threshold({ ...facts, percent }))
    }
  }
  if (beyond > 0 && spent > limitNanoUsd && account.mark("overshot", from, now)) events.push(Event.Overshot(facts))
  account.prune(span.from)
}

/** Another limit for one account, or for all of a budget, before `until`. Without a limit, the end of such a one. */
export interface Override {
  readonly budget: string
  readonly account: string | undefined
  readonly limitNanoUsd: number | undefined
  readonly until: number
}

/** The limit that holds for an account now: that of its own override, of its budget's, or what the process was configured with. */
export const limitOf = (
  { account, limitNanoUsd, rules }: Share,
  now: number,
  find: (budget: string, account: string | undefined) => Override | undefined
): number => {
  for (const override of [find(rules.name, account), find(rules.name, undefined)]) {
    if (override?.limitNanoUsd !== undefined && now < override.until) return override.limitNanoUsd
  }
  return limitNanoUsd
}

/** What a process asks of a store in one step: first the settlements, then the reservations, in their order. */
export interface Batch {
  /** The process, and the number of the batch: 1 for its first. The settlements of one number are made once, however often it comes. */
  readonly owner: string
  readonly number: number
  readonly settles: ReadonlyArray<Settle>
  readonly reserves: ReadonlyArray<Reserve>
}

/** What became of a batch: an answer for each reservation, what is to be told, and the levels of what was touched. */
export interface Done {
  readonly replies: ReadonlyArray<Reply>
  readonly events: ReadonlyArray<Event>
  readonly levels: ReadonlyArray<Level>
}

/** An account as a store has it. */
export interface Stored {
  readonly budget: string
  readonly account: string
  readonly slots: ReadonlyArray<Slot>
}

/** Makes the settlements and then the reservations of a batch. `isHeld` says whether a lease still stood in an account. */
export const run = (
  books: Books,
  { reserves, settles }: Pick<Batch, "reserves" | "settles">,
  isHeld: (lease: string, share: Share) => boolean,
  now: number
): Done => {
  const events: Array<Event> = []
  const touched = new Map<Account, Share>()
  const touch = (share: Share) => {
    const account = books.account(share)
    if (account !== undefined) touched.set(account, share)
  }
  for (const self of settles) {
    for (const hold of self.holds) {
      settle(books, self, hold, isHeld(self.lease, hold.share), now, events)
      touch(hold.share)
    }
  }
  const replies = reserves.map((ask) => {
    const reply = reserve(books, ask, now, events)
    if (reply._tag !== "Full") ask.shares.forEach(touch)
    return reply
  })
  const levels = Array.from(touched, ([account, share]) => levelOf(share, account, books.limitOf(share), now))
  return { replies, events, levels }
}

/** What a lease holds, once it is reserved. */
export const holdsOf = ({ shares }: Reserve, reply: Reply): ReadonlyArray<Hold> =>
  reply._tag === "Reserved"
    ? shares.map((share, index) => ({ share, slot: reply.slots[index]! })) // one for each share
    : []

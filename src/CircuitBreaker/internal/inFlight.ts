/** What only a process can know: the order in which its attempts were admitted, and what no store was told of them yet. */
import type { Permit, Result, Slot } from "./circuit.ts"
import { slotCount, windowsKept } from "./window.ts"

export const isFailure = (result: Result): boolean => result === "failure" || result === "slowFailure"

export const resultOf = (isFailed: boolean, isSlow: boolean): Result =>
  isFailed ? isSlow ? "slowFailure" : "failure" : isSlow ? "slowSuccess" : "success"

export const isSlow = (result: Result): boolean => result === "slowSuccess" || result === "slowFailure"

/**
 * What is known of the attempts that ended between one in flight and the one before: how many failed in a row next to either (`head` first, `tail`
 * last), and whether a success lies between (`broken`); where none does, both are all that failed.
 */
interface Place {
  previous: ClosedPermit | undefined
  head: number
  tail: number
  broken: boolean
}

/** The permit of an attempt of a closed circuit. */
export interface ClosedPermit extends Permit, Place {
  next: Place
  /** It has counted as failed, since it had no verdict in time. */
  isHung: boolean
  /** An answer after that refutes what its silence said. */
  refutes: boolean
}

/** How often attempts are looked through for those without a verdict in time, in milliseconds. */
const sweepMillis = 100

/** Attempts in a row are too silent where an API that answers as usual would leave all of them without an answer once in a million times. */
const maxSilence = Math.log(1e6)

/**
 * The attempts of a closed circuit in one epoch, in the order in which they were admitted.
 *
 * Those in flight are a list. When one ends, what stands on its two sides grows together, so that each step costs the same, and there is no more to
 * keep than there are attempts in flight.
 */
export class InFlight {
  /** The most consecutive failures so far. */
  longest = 0
  private readonly end: Place
  private sweptAt = -Infinity

  /** `row`: consecutive failures right before it. */
  constructor(row: number) {
    this.end = { previous: undefined, head: 0, tail: row, broken: true }
  }

  admit(epoch: number, at: number, slot: number, unit: number): ClosedPermit {
    const { end } = this
    const { broken, head, previous, tail } = end
    const permit: ClosedPermit = {
      _tag: "Permit",
      epoch,
      round: 0,
      at,
      slot,
      unit,
      hungAt: Infinity,
      quietAt: Infinity,
      usual: undefined,
      isHung: false,
      refutes: false,
      previous,
      next: end,
      head,
      tail,
      broken
    }
    if (previous !== undefined) previous.next = permit
    end.previous = permit
    end.head = end.tail = 0
    end.broken = false
    return permit
  }

  /** Ends an attempt of this epoch; without a result it neither counts nor breaks a row. */
  settle(permit: ClosedPermit, result: Result | undefined): void {
    const { next, previous } = permit
    if (previous !== undefined) previous.next = next
    next.previous = previous
    if (result !== undefined && !isFailure(result)) {
      next.head = permit.head
      next.broken = true
      return
    }
    const failed = result === undefined ? 0 : 1
    this.longest = Math.max(this.longest, permit.tail + failed + next.head)
    const head = permit.broken ? permit.head : permit.tail + failed + next.head
    if (!next.broken) next.tail += permit.tail + failed
    next.head = head
    next.broken ||= permit.broken
  }

  /** Those that had no verdict in time, each once. They count as failed from now on. `needed` attempts in a row may be too silent together. */
  sweep(now: number, needed: number): ReadonlyArray<ClosedPermit> {
    if (now - this.sweptAt < sweepMillis && now >= this.sweptAt) return none
    this.sweptAt = now
    const hung = this.silent(now, needed)
    // The first of them may be from before the silence began.
    for (const [index, permit] of hung.entries()) this.hang(permit, index < hung.length / 2)
    for (let permit = this.end.previous; permit !== undefined; permit = permit.previous) {
      if (now < permit.hungAt) continue
      this.hang(permit, true)
      hung.push(permit)
    }
    return hung
  }

  private hang(permit: ClosedPermit, refutes: boolean): void {
    permit.isHung = true
    permit.refutes = refutes
    this.settle(permit, "failure")
  }

  /** All in flight of the row that goes on now, the newest first, where that none of them is answered says that none will be. */
  private silent(now: number, needed: number): Array<ClosedPermit> {
    const row: Array<ClosedPermit> = []
    let silence = 0
    let length = this.end.tail
    let place: Place = this.end
    while (!place.broken && place.previous !== undefined) {
      const permit = place.previous
      row.push(permit)
      length += 1 + permit.tail
      if (now >= permit.quietAt) silence += permit.usual?.silence(now - permit.at) ?? 0
      place = permit
    }
    return length >= needed && silence >= maxSilence ? row : []
  }

  /** The consecutive failures that an attempt admitted now would go on with, if those in flight came to nothing. */
  get row(): number {
    let row = 0
    let place: Place | undefined = this.end
    while (place !== undefined) {
      row += place.tail
      place = place.broken ? undefined : place.previous
    }
    return row
  }
}

const none: ReadonlyArray<ClosedPermit> = []

/** The most slots that a tally keeps: as many as a window can use. */
const maxSlots = (windowsKept + 1) * (slotCount + 1)

/** What changed in slots and was not reported yet. */
export class Tally {
  private readonly slots = new Map<number, { readonly index: number; calls: number; failures: number; slow: number }>()

  get isEmpty(): boolean {
    return this.slots.size === 0
  }

  note(index: number, calls: number, failures: number, slow: number): void {
    const slot = this.slots.get(index)
    if (slot !== undefined) {
      slot.calls += calls
      slot.failures += failures
      slot.slow += slow
      return
    }
    if (this.slots.size >= maxSlots) this.slots.delete(Math.min(...this.slots.keys()))
    this.slots.set(index, { index, calls, failures, slow })
  }

  /** All of it, in the order of the slots, and nothing is left. */
  take(): ReadonlyArray<Slot> {
    if (this.isEmpty) return []
    const all = [...this.slots.values()].sort((a, b) => a.index - b.index)
    this.slots.clear()
    return all
  }
}

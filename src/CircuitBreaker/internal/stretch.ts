/**
 * The attempts of a closed circuit between two transitions, in the order in which they were admitted.
 *
 * Those under way are a list. In front of each stands what is known of the attempts that ended between it and the one before: how many
 * failed in a row next to either, and whether a success lies between. When one ends, what stands on its two sides grows together, so that
 * each step costs the same, and there is no more to keep than there are attempts under way.
 */
import type { Permit } from "./circuit.ts"
import { isFailure, type Result } from "./window.ts"

/** Those that ended in front of a place: `head` failed first, `tail` last; where none of them succeeded both are all that failed. */
interface Place {
  previous: Turn | undefined
  head: number
  tail: number
  broken: boolean
}

/** The permit of an attempt of a closed circuit. `early`: it was admitted in the first window of its stretch, counted from its first attempt. */
export class Turn implements Permit, Place {
  readonly _tag = "Permit"
  readonly round = 0
  readonly epoch: number
  readonly at: number
  readonly stretch: Stretch
  readonly early: boolean
  previous: Turn | undefined
  next: Place
  head: number
  tail: number
  broken: boolean

  constructor(stretch: Stretch, epoch: number, at: number, early: boolean, end: Place) {
    this.stretch = stretch
    this.epoch = epoch
    this.at = at
    this.early = early
    this.previous = end.previous
    this.next = end
    this.head = end.head
    this.tail = end.tail
    this.broken = end.broken
  }
}

export class Stretch {
  /** When the first was admitted. */
  since = 0
  admitted = 0
  /** Early attempts under way. */
  early = 0
  /** The most failures in a row so far. */
  longest = 0
  private readonly end: Place

  /** `row`: failures that came right before it. */
  constructor(row: number) {
    this.end = { previous: undefined, head: 0, tail: row, broken: true }
  }

  admit(epoch: number, at: number, early: boolean): Turn {
    const { end } = this
    const turn = new Turn(this, epoch, at, early, end)
    if (end.previous !== undefined) end.previous.next = turn
    end.previous = turn
    end.head = end.tail = 0
    end.broken = false
    if (this.admitted++ === 0) this.since = at
    if (early) this.early++
    return turn
  }

  /** Ends one; `undefined` neither counts nor breaks. */
  settle(turn: Turn, result: Result | undefined): void {
    const { next, previous } = turn
    if (previous !== undefined) previous.next = next
    next.previous = previous
    if (turn.early) this.early--
    if (result !== undefined && !isFailure(result)) {
      next.head = turn.head
      next.broken = true
      return
    }
    const failed = result === undefined ? 0 : 1
    this.longest = Math.max(this.longest, turn.tail + failed + next.head)
    const head = turn.broken ? turn.head : turn.tail + failed + next.head
    if (!next.broken) next.tail += turn.tail + failed
    next.head = head
    next.broken ||= turn.broken
  }

  /** The failures in a row that an attempt admitted now would go on with, if those under way came to nothing. */
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

/** The results that a circuit judges by: the last so many, or those of the last so much time. Every step costs the same. */
import * as Schema from "effect/Schema"

/** One result: bit 0 says that it failed, bit 1 that it was slow. */
export type Result = 0 | 1 | 2 | 3

export const isFailure = (result: Result): boolean => (result & 1) === 1

export const isSlow = (result: Result): boolean => (result & 2) === 2

/** A window as it is kept elsewhere: a digit for each result, or the counts of each slot of time. */
export const SavedWindow = Schema.Union([
  Schema.TaggedStruct("Calls", { results: Schema.String.check(Schema.isPattern(/^[0-3]*$/)) }),
  Schema.TaggedStruct("Time", {
    slotMillis: Schema.Finite,
    slots: Schema.Array(
      Schema.Struct({ index: Schema.Int, calls: Schema.Int, failures: Schema.Int, slow: Schema.Int })
    )
  })
])

export type SavedWindow = typeof SavedWindow.Type

/** `calls`, `failures` and `slow` are the counts as of the last `advance`. */
export interface Window {
  readonly calls: number
  readonly failures: number
  readonly slow: number
  /** Forgets what is too old at `now`. */
  readonly advance: (now: number) => void
  readonly add: (result: Result, now: number) => void
  readonly clear: () => void
  readonly save: () => SavedWindow
  /** Takes over what another window of the same kind saved, as far as it is not too old at `now`. */
  readonly restore: (saved: SavedWindow, now: number) => void
}

class CallsWindow implements Window {
  private readonly ring: Uint8Array
  private next = 0
  calls = 0
  failures = 0
  slow = 0

  constructor(size: number) {
    this.ring = new Uint8Array(size)
  }

  advance(): void {}

  add(result: Result): void {
    if (this.calls === this.ring.length) {
      const oldest = this.ring[this.next]!
      this.failures -= oldest & 1
      this.slow -= oldest >> 1
    } else this.calls++
    this.ring[this.next] = result
    this.failures += result & 1
    this.slow += result >> 1
    this.next = this.next + 1 === this.ring.length ? 0 : this.next + 1
  }

  clear(): void {
    this.next =
      this.calls =
      this.failures =
      this.slow =
        0
  }

  save(): SavedWindow {
    const { calls, next, ring } = this
    const results = Array.from(
      { length: calls },
      (_, index) => ring[(next - calls + index + ring.length) % ring.length]
    )
    return { _tag: "Calls", results: results.join("") }
  }

  restore(saved: SavedWindow): void {
    this.clear()
    // The pattern of the schema leaves digits from 0 to 3 only.
    if (saved._tag === "Calls") { for (const digit of saved.results) this.add(Number(digit) as Result) }
  }
}

/** How many slots a window of time has: what is older than all but the last slots leaves a slot at a time. */
export const slotCount = 10

interface Slot {
  index: number
  calls: number
  failures: number
  slow: number
}

class TimeWindow implements Window {
  private readonly slotMillis: number
  private readonly slots: Array<Slot> = Array.from({ length: slotCount }, () => ({
    index: 0,
    calls: 0,
    failures: 0,
    slow: 0
  }))
  private newest = 0
  calls = 0
  failures = 0
  slow = 0

  constructor(millis: number) {
    this.slotMillis = millis / slotCount
  }

  advance(now: number): void {
    const index = Math.floor(now / this.slotMillis)
    if (index < this.newest - slotCount) {
      // The clock was set back: what was counted before would not leave until it has caught up.
      this.clear()
      this.newest = index
    }
    if (index <= this.newest) return
    for (let at = Math.max(this.newest + 1, index - slotCount + 1); at <= index; at++) {
      const slot = this.slots[at % slotCount]!
      this.calls -= slot.calls
      this.failures -= slot.failures
      this.slow -= slot.slow
      slot.index = at
      slot.calls = slot.failures = slot.slow = 0
    }
    this.newest = index
  }

  private count(index: number, calls: number, failures: number, slow: number): void {
    const slot = this.slots[index % slotCount]!
    slot.index = index
    slot.calls += calls
    slot.failures += failures
    slot.slow += slow
    this.calls += calls
    this.failures += failures
    this.slow += slow
  }

  add(result: Result, now: number): void {
    this.advance(now)
    this.count(this.newest, 1, result & 1, result >> 1)
  }

  clear(): void {
    for (const slot of this.slots) slot.calls = slot.failures = slot.slow = 0
    this.calls = this.failures = this.slow = 0
  }

  save(): SavedWindow {
    return {
      _tag: "Time",
      slotMillis: this.slotMillis,
      slots: this.slots.filter((slot) => slot.calls > 0).map((slot) => ({ ...slot }))
    }
  }

  restore(saved: SavedWindow, now: number): void {
    this.clear()
    if (saved._tag !== "Time" || saved.slotMillis !== this.slotMillis) return
    this.advance(now)
    for (const { calls, failures, index, slow } of saved.slots) {
      if (index > this.newest - slotCount && index <= this.newest) this.count(index, calls, failures, slow)
    }
  }
}

/** The last so many results. */
export const ofCalls = (size: number): Window => new CallsWindow(size)

/** The results of the last `millis` milliseconds. */
export const ofTime = (millis: number): Window => new TimeWindow(millis)

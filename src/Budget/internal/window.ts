/** Windows of budgets, and the slots in which they count. */
import * as DateTime from "effect/DateTime"

/**
 * A moment of a window: what is admitted now counts in the slot that begins at `slot`; the slots from `from` on count now; until `until`
 * all this holds. Milliseconds since the epoch.
 */
export interface Span {
  readonly slot: number
  readonly from: number
  readonly until: number
}

/** `leavesAt`: when what counts in a slot counts no more. */
export interface Window {
  readonly at: (now: number) => Span
  readonly leavesAt: (slot: number) => number
}

/** Spans come in runs: the last one usually holds. */
const remembering = (find: (now: number) => Span): Window["at"] => {
  let last: Span = { slot: 0, from: 0, until: -Infinity }
  return (now) => now >= last.slot && now < last.until ? last : (last = find(now))
}

/** Everything ever spent. */
export const total: Window = {
  at: () => ({ slot: 0, from: 0, until: Infinity }),
  leavesAt: () => Infinity
}

/** Days, weeks (from Monday) or months of a time zone. A day has 23 or 25 hours where its clocks change. */
export const calendar = (part: "day" | "week" | "month", zone: DateTime.TimeZone): Window => {
  const startOf = (at: DateTime.Zoned) => DateTime.startOf(at, part, { weekStartsOn: 1 })
  const next = { day: { days: 1 }, week: { weeks: 1 }, month: { months: 1 } }[part]
  const at = remembering((now) => {
    const start = startOf(DateTime.makeZonedUnsafe(now, { timeZone: zone }))
    const slot = DateTime.toEpochMillis(start)
    return { slot, from: slot, until: DateTime.toEpochMillis(startOf(DateTime.add(start, next))) }
  })
  return { at, leavesAt: (slot) => at(slot).until }
}

/** How many slots make a rolling window. */
const slots = 60

/** The last `millis`, in slots; a slot counts until it is wholly outside. */
export const rolling = (millis: number): Window => {
  const size = Math.ceil(millis / slots)
  const count = Math.ceil(millis / size)
  return {
    at: remembering((now) => {
      const slot = Math.floor(now / size) * size
      return { slot, from: slot - count * size, until: slot + size }
    }),
    leavesAt: (slot) => slot + (count + 1) * size
  }
}

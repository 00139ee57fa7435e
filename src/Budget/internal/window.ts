/** Windows of budgets, and the slots in which they count. */
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"

/**
 * Which spend counts together: everything ever spent, that of one calendar unit in a time zone (weeks begin on Monday), or that of the last
 * `millis`.
 */
export type Window =
  | { readonly _tag: "Total" }
  | {
    readonly _tag: "Calendar"
    readonly unit: "second" | "minute" | "hour" | "day" | "week" | "month"
    readonly zone: string
  }
  | { readonly _tag: "Rolling"; readonly millis: number }

/**
 * A window at one moment: what is admitted now counts in the slot that starts at `slot`, until `leaves`, and the slots from `from` on count now.
 * All this holds before `until`. Milliseconds since the epoch.
 */
export interface Span {
  readonly slot: number
  readonly from: number
  readonly until: number
  readonly leaves: number
}

const total: Span = { slot: 0, from: 0, until: Infinity, leaves: Infinity }

const next = {
  second: { seconds: 1 },
  minute: { minutes: 1 },
  hour: { hours: 1 },
  day: { days: 1 },
  week: { weeks: 1 },
  month: { months: 1 }
}

/** Into how many slots a rolling window is divided. */
const slots = 60

/** The span of a window at `now`. A day has 23 or 25 hours where its clocks change. */
export const spanAt = (window: Window, now: number): Span => {
  switch (window._tag) {
    case "Total":
      return total
    case "Rolling": {
      const size = Math.ceil(window.millis / slots)
      const count = Math.ceil(window.millis / size)
      const slot = Math.floor(now / size) * size
      return { slot, from: slot - count * size, until: slot + size, leaves: slot + (count + 1) * size }
    }
    case "Calendar": {
      const startOf = (at: DateTime.Zoned) => DateTime.startOf(at, window.unit, { weekStartsOn: 1 })
      const timeZone = Option.getOrThrow(DateTime.zoneFromString(window.zone))
      const start = startOf(DateTime.makeZonedUnsafe(now, { timeZone }))
      const slot = DateTime.toEpochMillis(start)
      const until = DateTime.toEpochMillis(startOf(DateTime.add(start, next[window.unit])))
      return { slot, from: slot, until, leaves: until }
    }
  }
}

/** When what counts in a slot stops counting; `Infinity` where it never does. A slot of a rolling window counts until it is wholly outside. */
export const leavesAt = (window: Window, slot: number): number => spanAt(window, slot).leaves

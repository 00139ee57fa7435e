/** A range of time cut at the days or hours of a time zone. */
import * as DateTime from "effect/DateTime"

/** From `from` (included) to `to`, in milliseconds since the epoch. */
export interface Slice {
  readonly from: number
  readonly to: number
  readonly label: string
}

const hourMillis = 3_600_000
const dayMillis = 24 * hourMillis

const offsetAt = (zone: DateTime.TimeZone, at: number): number =>
  DateTime.zonedOffset(DateTime.makeZonedUnsafe(at, { timeZone: zone }))

const isoOf = (at: number, offset: number): string => new Date(at + offset).toISOString()

const dayAt = (zone: DateTime.TimeZone, at: number): string => isoOf(at, offsetAt(zone, at)).slice(0, 10)

/** With its offset, since an hour that a clock shows twice is two. */
const hourAt = (zone: DateTime.TimeZone, at: number): string => {
  const offset = offsetAt(zone, at)
  const minutes = Math.abs(offset) / 60_000
  const two = (value: number) => String(Math.floor(value)).padStart(2, "0")
  const sign = offset < 0 ? "-" : "+"
  return `${isoOf(at, offset).slice(0, 13)}:00${
    offset === 0 ? "Z" : `${sign}${two(minutes / 60)}:${two(minutes % 60)}`
  }`
}

const endOfHour = (zone: DateTime.TimeZone, at: number): number => {
  const offset = offsetAt(zone, at)
  return (Math.floor((at + offset) / hourMillis) + 1) * hourMillis - offset
}

/** The offset may change in between, also at midnight itself: then the day begins at another hour, or midnight comes twice. */
const endOfDay = (zone: DateTime.TimeZone, at: number): number => {
  const offset = offsetAt(zone, at)
  const midnight = (Math.floor((at + offset) / dayMillis) + 1) * dayMillis
  const here = dayAt(zone, at)
  const guess = midnight - offset
  const other = midnight - offsetAt(zone, guess)
  const begins = (end: number) => end > at && dayAt(zone, end) > here
  const earlier = Math.min(guess, other)
  return begins(earlier) ? earlier : begins(guess) ? guess : begins(other) ? other : endOfHour(zone, at)
}

/** Undefined where there are more than `max`. Two that follow each other may have one label. */
export const make = (
  from: number,
  to: number,
  unit: "day" | "hour",
  zone: DateTime.TimeZone,
  max: number
): ReadonlyArray<Slice> | undefined => {
  const [endOf, labelAt] = unit === "day" ? [endOfDay, dayAt] : [endOfHour, hourAt]
  const slices: Array<Slice> = []
  for (let at = from; at < to;) {
    if (slices.length >= max) return undefined
    const end = Math.min(to, endOf(zone, at))
    slices.push({ from: at, to: end, label: labelAt(zone, at) })
    at = end
  }
  return slices
}

/** How batches and replies travel to the script and back: JSON there, numbers separated by spaces back. */
import { type Amounts, dimensions } from "./Amounts.ts"
import type { Limits } from "./Limits.ts"
import { configured } from "./State.ts"
import type { Batch, Bucket, Ramp, Reply, Reservation } from "./Store.ts"

const rates = (limits: Limits): Partial<Amounts> =>
  // Keys that are undefined do not get into JSON.
  Object.fromEntries(dimensions.map((dimension) => [dimension, configured(limits, dimension)]))

export const encode = ({ ask, burstMillis, limits, reports = [], sender }: Batch): string =>
  JSON.stringify({
    burstMillis,
    limits: limits && rates(limits),
    reports: reports.map(({ observed, pause, ticket, usage }) => ({ usage, ticket, observed, pause })),
    ask,
    sender
  })

/** Throws where what answered is no such store. */
export const decode = (text: string): Reply => {
  if (text === "outOfOrder" || text === "otherEpoch") return { _tag: "Rejected", reason: text }
  const values = text.split(" ").map(Number)
  let at = 0
  const next = (): number => {
    const value = values[at++]
    if (value === undefined || Number.isNaN(value)) throw new Error("Redis gave another answer than the script does")
    return value
  }
  const amounts = (): Amounts => ({
    requests: next(),
    inputTokens: next(),
    outputTokens: next(),
    tokens: next()
  })
  const bucket = (): Bucket | undefined => {
    const [perMinute, capacity, level, observed] = [next(), next(), next(), next()]
    return perMinute > 0
      ? { perMinute, capacity, level, observed: observed > 0 ? observed : undefined }
      : undefined
  }
  const ramp = (): Ramp | undefined => {
    const [from, perMinute, level, doublingMillis, until] = [next(), next(), next(), next(), next()]
    return perMinute > 0 ? { from, perMinute, level, doublingMillis, until } : undefined
  }
  const reservation = (): Reservation | undefined => {
    const [sequence, waitMillis, used] = [next(), next(), amounts()]
    if (sequence > 0) return { _tag: "Granted", ticket: { sequence, used }, waitMillis }
    return waitMillis < 0 ? { _tag: "TooLarge" } : { _tag: "Full", waitMillis, closed: false }
  }
  const [epoch, isAsked, granted] = [next(), next() === 1, reservation()]
  const view = {
    epoch,
    processes: next(),
    reserved: amounts(),
    buckets: { requests: bucket(), inputTokens: bucket(), outputTokens: bucket(), tokens: bucket() },
    pausedMillis: next(),
    closed: next() === 1,
    ramp: ramp()
  }
  return {
    _tag: "Done",
    reservation: !isAsked ? undefined : granted?._tag === "Full" ? { ...granted, closed: view.closed } : granted,
    view
  }
}

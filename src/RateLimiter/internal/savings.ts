/**
 * What is kept free for those who wait, so that each class gets its share whatever the sizes of the others' requests.
 *
 * Whoever stays in line for room saves up for it: its class's share of the refill since it began belongs to it, up to what it needs. Others take what
 * is left, so that what a large request of one class waits for never comes out of the share of another, and small ones of another never take all
 * that it waits for. A request that needs `n` minutes of refill goes after `n / share` minutes at the latest, once it is the first of its class. Inside
 * a class the flow that is furthest behind goes first (`progress.ts`), of those that are equally far the first to come: the others leave all that it needs.
 */
import { type Amounts, dimensions, type MutableAmounts, zero } from "./Amounts.ts"
import { priorities, type Priority, rank, weights } from "./classes.ts"
import { epsilon, minute, type State } from "./State.ts"
import type { Ask, Bucket, Saving } from "./Store.ts"

/** A class that asked for nothing for so long has no share until it asks again. */
export const activeMillis = 10_000

/** Who waits asks again more often than this. */
export const forgetMillis = 2_000

/** The part of the refill that a class is sure of, beside those that asked lately. */
const shareOf = (self: State, priority: Priority, now: number): number => {
  let all = 0
  for (const one of priorities) {
    if (one === priority || now - self.asked[one] <= activeMillis) all += weights[one]
  }
  return weights[priority] / all
}

/** Until so much more is there. What floating point loses would be a whole millisecond, rounded up. */
const until = (short: number, perMinute: number): number =>
  short <= epsilon ? 0 : (short - epsilon) * minute / perMinute

const needed = (bucket: Bucket, amount: number): number => Math.min(amount, bucket.capacity)

const indexOf = (self: State, process: string, priority: Priority): number =>
  self.savings.findIndex((one) => one.process === process && one.priority === priority)

/** Whether one of the same class goes before another that came at `index`. */
const isBefore = (self: State, other: number, pass: number, index: number): boolean => {
  const before = self.savings[other]!.pass
  return before < pass || (before === pass && other < index)
}

/** The first of each class saves; those behind it wait for it. */
const isFirst = (self: State, index: number): boolean => {
  const { pass, priority } = self.savings[index]!
  return self.savings.every((one, other) =>
    one.priority !== priority || other === index || !isBefore(self, other, pass, index)
  )
}

/** What others keep of a dimension, at most the `room` that there is for it, and the part of the refill that adds to it. */
const keptBy = (
  self: State,
  dimension: keyof Amounts,
  bucket: Bucket,
  room: number,
  mine: number,
  pass: number,
  priority: Priority,
  now: number
): readonly [kept: number, growing: number] => {
  let kept = 0
  let growing = 0
  for (let index = 0; index < self.savings.length; index++) {
    const one = self.savings[index]!
    const need = needed(bucket, one.need[dimension])
    if (one.priority === priority) {
      if (index !== mine && isBefore(self, index, pass, mine < 0 ? Infinity : mine)) kept += need
    } else if (isFirst(self, index)) {
      const share = shareOf(self, one.priority, now)
      const before = rank[one.priority] < rank[priority] ? one.found[dimension] : 0
      const saved = before + Math.max(0, now - one.since) * share * bucket.perMinute / minute
      kept += Math.min(need, saved)
      if (saved < need) growing += share
    }
  }
  return kept < room ? [kept, growing] : [room, 0]
}

/** Until there is room for it beside what others keep, or it has saved up what it needs. */
export const wait = (self: State, ask: Ask, pass: number, process: string, now: number): number => {
  const { priority = "standard", reserve, usage } = ask
  self.savings = self.savings.filter(({ at }) => now - at <= forgetMillis)
  const mine = indexOf(self, process, priority)
  if (mine >= 0) self.savings[mine] = { ...self.savings[mine]!, pass }
  const since = mine >= 0 && isFirst(self, mine) ? self.savings[mine]!.since : undefined
  const share = shareOf(self, priority, now)
  let beside = 0
  let saved = since === undefined ? Infinity : 0
  for (const dimension of dimensions) {
    const bucket = self.buckets[dimension]
    const amount = usage[dimension] + reserve[dimension]
    if (bucket === undefined || amount === 0) continue
    const need = needed(bucket, amount)
    const short = need - (bucket.level - self.reserved[dimension])
    // A bucket holds no more than its capacity: when it is full, there is room for whoever comes first.
    const [kept, growing] = keptBy(self, dimension, bucket, bucket.capacity - need, mine, pass, priority, now)
    beside = Math.max(beside, until(short + kept, bucket.perMinute * (1 - growing)))
    if (since === undefined) continue
    const own = until(need, bucket.perMinute * share) - Math.max(0, now - since)
    saved = Math.max(saved, own, until(short, bucket.perMinute))
  }
  return Math.min(beside, saved)
}

/** It stays in line: its class saves up for it from now on, or goes on with that. */
export const begin = (self: State, ask: Ask, pass: number, process: string, now: number): void => {
  const { priority = "standard", reserve, usage } = ask
  const mine = indexOf(self, process, priority)
  const need: MutableAmounts = { ...zero }
  const found: MutableAmounts = { ...zero }
  for (const dimension of dimensions) {
    need[dimension] = usage[dimension] + reserve[dimension]
    const bucket = self.buckets[dimension]
    if (bucket === undefined || mine >= 0) continue
    const [kept] = keptBy(self, dimension, bucket, Infinity, mine, pass, priority, now)
    found[dimension] = Math.max(0, bucket.level - self.reserved[dimension] - kept)
  }
  const before: Saving | undefined = self.savings[mine]
  if (before === undefined) self.savings.push({ process, priority, need, found, pass, since: now, at: now })
  else self.savings[mine] = { ...before, need, pass, at: now }
}

/** It has what it waited for: the next of its class begins to save. */
export const end = (self: State, priority: Priority, process: string, now: number): void => {
  const mine = indexOf(self, process, priority)
  if (mine < 0) return
  const wasFirst = isFirst(self, mine)
  self.savings.splice(mine, 1)
  const next = self.savings.findIndex((one, index) => one.priority === priority && isFirst(self, index))
  if (wasFirst && next >= 0) self.savings[next] = { ...self.savings[next]!, since: now }
}

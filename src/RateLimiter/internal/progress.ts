/**
 * How far each flow of a class has been served, where processes share the buckets: none of them sees who waits in the others. A flow that is further
 * than those that asked lately makes no reservation ahead, and leaves what those behind it wait for; where there is room for all, it goes too.
 */
import { dimensions } from "./Amounts.ts"
import type { State } from "./State.ts"
import type { Ask, Progress } from "./Store.ts"

/** A flow that asked for nothing for so long starts where the others are when it comes back. */
export const flowMillis = 30_000

/** Nothing is left for a flow that asked for nothing for so long. */
export const recentMillis = 2_000

/** The most flows of a class that are followed at once. */
export const maxFlows = 100

/** How far a flow may be before the others, in its own requests, and in minutes of refill. */
export const slackRequests = 2
export const slackMinutes = 1 / 30

/** How many minutes of refill it takes, in the dimension that is the scarcest for it, by the weight of its flow. */
const costOf = ({ buckets }: State, { reserve, usage, weight = 1 }: Ask): number => {
  let minutes = 0
  for (const dimension of dimensions) {
    const bucket = buckets[dimension]
    if (bucket === undefined) continue
    minutes = Math.max(minutes, (usage[dimension] + reserve[dimension]) / bucket.perMinute)
  }
  return minutes / weight
}

/** How far a flow is that asks, and whether that is too far. */
export interface Standing {
  readonly pass: number
  readonly isAhead: boolean
}

/** Where nobody says who it is for. */
export const alone: Standing = { pass: 0, isAhead: false }

export const standing = (self: State, ask: Ask, now: number): Standing => {
  const { flow, priority = "standard", weight = 1 } = ask
  if (flow === undefined) return alone
  const flows = self.flows[priority]
  let least = Infinity
  let most = 0
  for (const [name, one] of Object.entries(flows)) {
    if (now - one.at > flowMillis) delete flows[name]
    else {
      most = Math.max(most, one.pass)
      if (now - one.at <= recentMillis) least = Math.min(least, one.pass)
    }
  }
  const mine: Progress | undefined = flows[flow]
  const pass = mine?.pass ?? (least === Infinity ? most : least)
  if (mine !== undefined || Object.keys(flows).length < maxFlows) flows[flow] = { pass, at: now }
  const slack = slackRequests * costOf(self, ask) + slackMinutes / weight
  return { pass, isAhead: pass > least + slack }
}

/** Counts one as served. */
export const served = (self: State, ask: Ask, now: number): void => {
  const { flow, priority = "standard" } = ask
  const mine: Progress | undefined = flow === undefined ? undefined : self.flows[priority][flow]
  if (flow === undefined || mine === undefined) return
  self.flows[priority][flow] = { pass: mine.pass + costOf(self, ask), at: now }
}

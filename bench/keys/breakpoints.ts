/** What rules for cache breakpoints cost on a trace, relative to no caching. */
import { type Candidate, lastIndex, Recurrence, worthCaching } from "../../src/CostOptimizer/internal/recurrence.ts"
import { millisOf } from "../../src/internal/prefixes.ts"
import { tokensPerBlock, type Traced } from "./traces.ts"

const ttl = millisOf["5m"]
export const rates = { read: 0.1, write: 1.25 } as const

/** How many blocks of a request the cache should have after it, when it has so many before it. */
type Rule = (request: Traced, index: number, cached: number) => number

/** Idealised caching: any number of breakpoints, no minimum, a life of five minutes that reads refresh. */
const costOf = (trace: ReadonlyArray<Traced>, rule: Rule): number => {
  const expires = new Map<number, number>()
  let cost = 0
  let total = 0
  trace.forEach((request, index) => {
    const { at, blocks } = request
    const firstMiss = blocks.findIndex((block) => (expires.get(block) ?? -1) < at)
    const read = firstMiss < 0 ? blocks.length : firstMiss
    const end = Math.max(read, rule(request, index, read))
    for (const block of blocks.slice(0, end)) expires.set(block, at + ttl)
    cost += rates.read * read + rates.write * (end - read) + (blocks.length - end)
    total += blocks.length
  })
  return cost / total
}

const all: Rule = ({ blocks }) => blocks.length

/** What came within the last five minutes. */
const seenBefore = (): Rule => {
  const seen = new Map<number, number>()
  return ({ at, blocks }) => {
    const end = lastIndex(blocks, (block) => at - (seen.get(block) ?? -Infinity) <= ttl) + 1
    for (const block of blocks) seen.set(block, at)
    return end
  }
}

/** Knows what will come. */
const oracle = (trace: ReadonlyArray<Traced>): Rule => {
  const next = new Map<number, number>()
  const ends = [...trace].reverse().map(({ at, blocks }) => {
    const end = lastIndex(blocks, (block) => (next.get(block) ?? Infinity) - at <= ttl) + 1
    for (const block of blocks) next.set(block, at)
    return end
  }).reverse()
  return (_, index) => ends[index] ?? 0
}

/** The one of the optimizer. */
const learnt = (): Rule => {
  const recurrence = new Recurrence(ttl, 100_000, 0)
  return ({ at, blocks }, _, cached) => {
    const candidates = blocks.map((name, index): Candidate => ({
      name,
      tokens: (index + 1) * tokensPerBlock,
      part: "messages"
    }))
    return worthCaching(candidates, recurrence.see(candidates, 0, at), cached, rates)
  }
}

export const costs = (trace: ReadonlyArray<Traced>) => ({
  learnt: costOf(trace, learnt()),
  all: costOf(trace, all),
  seenBefore: costOf(trace, seenBefore()),
  oracle: costOf(trace, oracle(trace))
})

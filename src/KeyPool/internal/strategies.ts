/** The strategies of a pool, by name. */
import { prefixAffinity } from "./affinity.ts"
import type { Environment, Member, Strategy } from "./strategy.ts"

/**
 * How a key is chosen among those that may be used now.
 *
 * - `roundRobin`: keys take turns, whatever their weights; a key of weight 0 has none.
 * - `random`: at random, by weight.
 * - `weighted`: keys take turns in proportion to their weights, evenly spread: exact over time.
 * - `leastLoaded`: the key with the fewest attempts in flight for its weight.
 * - `prefixAffinity`: where most of the prompt is in the cache, unless that workspace has over 8 attempts more in flight than another and over twice as
 *   many, or far more work of the last minute. Prompts that are in no cache go to the less loaded of the workspaces.
 *
 * @category options
 * @since 0.1.0
 */
export type StrategyName = "roundRobin" | "random" | "weighted" | "leastLoaded" | "prefixAffinity"

/** The one that was chosen longest ago goes next, a new one before all others. */
const roundRobin = (): Strategy => {
  const turns = new WeakMap<Member, number>()
  let turn = 0
  return {
    pick: (_, candidates) => {
      let next = candidates[0]
      for (const member of candidates) {
        if ((turns.get(member) ?? 0) < (turns.get(next) ?? 0)) next = member
      }
      turns.set(next, ++turn)
      return next
    }
  }
}

const random = ({ random }: Environment): Strategy => ({
  pick: (_, candidates) => {
    let left = random() * totalOf(candidates)
    for (const member of candidates) {
      left -= member.weight
      if (left < 0) return member
    }
    return candidates[candidates.length - 1]! // rounding left a trace
  }
})

const totalOf = (candidates: ReadonlyArray<Member>): number =>
  candidates.reduce((total, { weight }) => total + weight, 0)

const within = (value: number, most: number): number => Math.max(-most, Math.min(most, value))

/** Smooth weighted round robin: all earn their weight, and the richest pays what all earned. */
const weighted = (): Strategy => {
  const credits = new WeakMap<Member, number>()
  return {
    pick: (_, candidates) => {
      let next = candidates[0]
      let most = -Infinity
      const total = totalOf(candidates)
      for (const member of candidates) {
        // What was earned beside much larger weights would decide for a long time where they are away.
        const credit = within(credits.get(member) ?? 0, total) + member.weight
        credits.set(member, credit)
        if (credit > most) {
          most = credit
          next = member
        }
      }
      credits.set(next, most - total)
      return next
    }
  }
}

/** Equally loaded ones take turns. */
const leastLoaded = (): Strategy => {
  const turns = weighted()
  return {
    pick: (attempt, candidates, now) => {
      const loadOf = ({ inFlight, weight }: Member) => inFlight / weight
      const least = Math.min(...candidates.map(loadOf))
      const [first, ...others] = candidates.filter((member) => loadOf(member) === least)
      return first === undefined || others.length === 0
        ? first ?? candidates[0]
        : turns.pick(attempt, [first, ...others], now)
    }
  }
}

export const make = (name: StrategyName, environment: Environment): Strategy => {
  switch (name) {
    case "roundRobin":
      return roundRobin()
    case "random":
      return random(environment)
    case "weighted":
      return weighted()
    case "leastLoaded":
      return leastLoaded()
    case "prefixAffinity":
      return prefixAffinity(leastLoaded())
  }
}

/**
 * How likely a prefix of a prompt is to come again within the time to live of the cache, learnt from those that were seen before.
 *
 * Every prefix that is seen is a trial: won when it is seen again in time, lost when the time is over. Trials are counted in cells, which
 * gather prefixes that are alike: how often they were seen and how long ago, how much of the prompt is new and how deep in that they end.
 * A cell with little evidence takes over what a coarser one says. Old evidence fades.
 */
import { Generations } from "./generations.ts"

/**
 * A prefix of a prompt.
 *
 * - `name`: the same for the same content.
 * - `tokens`: all that it has, those of shorter prefixes included.
 * - `part`: where it ends.
 */
export interface Candidate {
  readonly name: number
  readonly tokens: number
  readonly part: "tools" | "system" | "messages"
}

/** Trials that are alike. Weights of those that are open, and with it of their starts, so that their mean age is known at any time. */
class Cell {
  private won = 0
  private lost = 0
  private open = 0
  private openStarts = 0
  private fadedAt = 0

  start(weight: number, at: number): void {
    this.open += weight
    this.openStarts += weight * at
  }

  end(weight: number, at: number, isWon: boolean | undefined): void {
    this.open -= weight
    this.openStarts -= weight * at
    if (isWon === true) this.won += weight
    else if (isWon === false) this.lost += weight
  }

  /** The share that is won. A trial that is open counts as lost by the part of its time that is over. */
  share(prior: number, confidence: number, now: number, ttl: number): number {
    if (now !== this.fadedAt) {
      const fade = 0.5 ** ((now - this.fadedAt) / (halfLife * ttl))
      this.fadedAt = now
      this.won *= fade
      this.lost *= fade
    }
    const waited = Math.max(0, (this.open * now - this.openStarts) / ttl)
    return (this.won + confidence * prior) / (this.won + this.lost + waited + confidence)
  }
}

interface Sighting {
  readonly at: number
  readonly times: number
  readonly weight: number
  readonly cells: ReadonlyArray<Cell>
  /** A cache entry that ends here lives until then. */
  cachedUntil: number
}

/** Evidence fades by half in so many times to live. */
const halfLife = 6
/** How many prompts outweigh the prior, and a coarser cell. */
const priorPrompts = 4
const coarserPrompts = 20
const maxCells = 10_000

/** Before there is evidence: what came again in time, or goes on with what did, will in every second case; the rest will too rarely. */
const prior = { again: 0.5, other: 0.2 } as const

/** -1 where there is none. */
export const lastIndex = <A>(items: ReadonlyArray<A>, matches: (item: A) => boolean): number => {
  let index = items.length - 1
  while (index >= 0 && !matches(items[index]!)) index-- // an index of the array
  return index
}

const log2 = (value: number): number => value < 1 ? 0 : 32 - Math.clz32(value)

/** Bounds of ages, in times to live. */
const ages = [0.1, 0.2, 0.4, 1, 3]

const ageOf = (age: number | undefined): number => age === undefined ? 7 : lastIndex(ages, (bound) => age >= bound) + 1

/**
 * What was found out about a prefix.
 *
 * - `likelihood`: that it comes again in time, from 0 to 1.
 * - `isRecent`: it has come within the time to live.
 * - `isCached`: the cache has it, as far as that was told.
 */
export interface Judged {
  readonly likelihood: number
  readonly isRecent: boolean
  readonly isCached: boolean
}

/** The cells of a prefix, from coarse to fine, as small integers; the first is that of all kinds of calls. */
interface Class {
  readonly cells: readonly [number, number, number, number]
  readonly prior: number
}

/** Sorts the prefixes of one prompt. `seen` are the ages of those that were seen before. */
const classesOf = (
  candidates: ReadonlyArray<Candidate>,
  seen: ReadonlyArray<{ readonly age: number; readonly times: number } | undefined>
): ReadonlyArray<Class> => {
  const tokensAt = (index: number) => candidates[index]?.tokens ?? 0
  const total = tokensAt(candidates.length - 1)
  const head = tokensAt(lastIndex(candidates, ({ part }) => part !== "messages"))
  const known = tokensAt(lastIndex(seen, (one) => one !== undefined))
  const recent = Math.max(head, tokensAt(lastIndex(seen, (one) => one !== undefined && one.age < 1)))
  const goesOn = recent === head ? 0 : (recent - head) * 2 < total - head ? 1 : 2
  return candidates.map(({ part }, index) => {
    const one = seen[index]
    const place = part === "messages" ? (index === candidates.length - 1 ? 3 : 2) : part === "system" ? 1 : 0
    const novelty = one === undefined ? (part === "messages" ? goesOn : 0) : one.age < 1 ? 3 : 4
    const coarse = (place * 5 + novelty) * 5 + Math.min(one?.times ?? 0, 4)
    const medium = (coarse * 8 + ageOf(one?.age)) * 32 + log2(total - known)
    const fine = medium * 32 + log2(tokensAt(index - 1) - known)
    return {
      cells: [coarse * 4, coarse * 4 + 1, medium * 4 + 2, fine * 4 + 3],
      prior: novelty === 2 || novelty === 3 ? prior.again : prior.other
    }
  })
}

/** Kinds are told apart by so many values. */
const kinds = 2 ** 24
const cellsOfKind = 2 ** 27

/** Bounded: at most `capacity` prefixes by their names, and the cells. */
export class Recurrence {
  private readonly ttl: number
  private readonly capacity: number
  private readonly begin: number
  private readonly cells = new Generations<number, Cell>(maxCells)
  /** Those whose trials are open, in the order in which they were seen last. */
  private readonly recent = new Map<number, Sighting>()
  private readonly older = new Map<number, Sighting>()

  /** Milliseconds, prefixes, and milliseconds since the epoch. */
  constructor(ttl: number, capacity: number, now: number) {
    this.ttl = ttl
    this.capacity = Math.max(1, capacity)
    this.begin = now
  }

  get size(): number {
    return this.recent.size + this.older.size
  }

  /**
   * Notes the prefixes of a prompt, the shortest first, and judges them. Evidence is kept apart for each kind of call, a number; a kind without
   * any takes over what is known of all.
   */
  see(candidates: ReadonlyArray<Candidate>, kind: number, now: number): ReadonlyArray<Judged> {
    const at = now - this.begin
    this.endTrials(at)
    const before = candidates.map(({ name }) => this.take(name))
    const classes = classesOf(
      candidates,
      before.map((one) => one && { age: (at - one.at) / this.ttl, times: one.times })
    )
    const weight = 1 / Math.max(1, candidates.length)
    return candidates.map(({ name }, index) => {
      const { cells: ids, prior } = classes[index]!
      const cells = ids.map((id, level) => this.cell(level === 0 ? id : (1 + kind % kinds) * cellsOfKind + id))
      const likelihood = cells.reduce(
        (share, cell, level) => cell.share(share, level === 0 ? priorPrompts : coarserPrompts, at, this.ttl),
        prior as number
      )
      cells.forEach((cell) => cell.start(weight, at))
      const { at: lastAt = -Infinity, cachedUntil = -1, times = 0 } = before[index] ?? {}
      this.recent.set(name, { at, times: times + 1, weight, cells, cachedUntil })
      this.makeRoom()
      return { likelihood, isRecent: at - lastAt < this.ttl, isCached: cachedUntil > at }
    })
  }

  /** The cache has these prefixes now, written or read. */
  cached(names: ReadonlyArray<number>, now: number): void {
    for (const name of names) {
      const one = this.recent.get(name)
      if (one !== undefined) one.cachedUntil = now - this.begin + this.ttl
    }
  }

  /** What is known of a prefix that is seen again: its trial is won, if it was open. */
  private take(name: number): Sighting | undefined {
    const recent = this.recent.get(name)
    recent?.cells.forEach((cell) => cell.end(recent.weight, recent.at, true))
    const one = recent ?? this.older.get(name)
    this.recent.delete(name)
    this.older.delete(name)
    return one
  }

  private endTrials(at: number): void {
    for (const [name, one] of this.recent) {
      if (at - one.at < this.ttl) return
      one.cells.forEach((cell) => cell.end(one.weight, one.at, false))
      this.recent.delete(name)
      this.older.set(name, one)
    }
  }

  /** Forgets an eighth at once: finding the oldest of a map takes long where others were deleted before it. */
  private makeRoom(): void {
    if (this.size <= this.capacity) return
    const rest = Math.floor(this.capacity * 7 / 8)
    for (const name of this.older.keys()) {
      if (this.size <= rest) return
      this.older.delete(name)
    }
    for (const [name, one] of this.recent) {
      if (this.size <= Math.max(1, rest)) return
      one.cells.forEach((cell) => cell.end(one.weight, one.at, undefined))
      this.recent.delete(name)
    }
  }

  private cell(id: number): Cell {
    const known = this.cells.get(id)
    if (known !== undefined) return known
    const cell = new Cell()
    this.cells.set(id, cell)
    return cell
  }
}

/** What a token costs, as parts of its price as plain input. */
export interface Rates {
  readonly read: number
  readonly write: number
}

/**
 * How many prefixes are worth being in the cache: where to stop writing, with those before `from` in it already. A write costs more than plain
 * input, and saves what the same tokens would cost when they come again: the price of a write, since they would be written then.
 */
export const worthCaching = (
  candidates: ReadonlyArray<Candidate>,
  judged: ReadonlyArray<Judged>,
  from: number,
  { read, write }: Rates
): number => {
  let best = 0
  let stop = from
  let gain = 0
  for (let index = from; index < candidates.length; index++) {
    const tokens = candidates[index]!.tokens - (candidates[index - 1]?.tokens ?? 0)
    gain += tokens * (judged[index]!.likelihood * (write - read) - (write - 1))
    if (gain > best) {
      best = gain
      stop = index + 1
    }
  }
  return stop
}

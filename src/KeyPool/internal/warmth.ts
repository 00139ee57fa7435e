/** Which groups have which prefixes of prompts in their cache: names of prefixes and times, nothing of a prompt. Bounded. */

/**
 * A prefix that a request may read from the cache.
 *
 * - `tokens`: all that it has.
 * - `ttl`: how long the cache keeps it, in milliseconds, where the request writes it; undefined where it only reads it.
 */
export interface WarmPrefix {
  readonly name: number
  readonly tokens: number
  readonly ttl: number | undefined
}

/** That a group has a prefix; the same prefix in other groups is chained to it. */
export interface Entry {
  readonly group: string
  life: number
  expires: number
  /** Nobody has said yet that the request was sent. */
  isExpected: boolean
  next: Entry | undefined
}

/** A prompt at the caches of some groups: what is found there is looked up once. */
export interface Found {
  readonly prefixes: ReadonlyArray<WarmPrefix>
  /** For each prefix, where it is cached, dead entries included. */
  readonly entries: ReadonlyArray<Entry | undefined>
}

/** Times are counted in these milliseconds since the first one: small integers take less memory. */
const tick = 100

/** Before the first moment that any clock is set back to. */
const never = -(2 ** 30)

/** How many of the oldest prefixes are looked at for one that has expired, before a living one is forgotten. */
const maxTries = 16

export class Warmth {
  private readonly entries = new Map<number, Entry>()
  /** The names in the map, the oldest at the hand once it is full. */
  private readonly ring: Int32Array
  private hand = 0
  private begin: number | undefined

  /** `capacity`: prefixes. */
  constructor(capacity: number) {
    this.ring = new Int32Array(Math.max(1, capacity))
  }

  get size(): number {
    return this.entries.size
  }

  private ticks(at: number): number {
    return Math.floor((at - (this.begin ??= at)) / tick)
  }

  /** A new name takes the place of an old one. */
  private put(name: number, entry: Entry, at: number): void {
    const { entries, ring } = this
    if (!entries.has(name)) {
      for (let tries = 0; entries.size >= ring.length; tries++) {
        const oldest = ring[this.hand]! // it is full
        if (tries >= maxTries || isDead(entries.get(oldest), at)) entries.delete(oldest)
        else this.hand = (this.hand + 1) % ring.length
      }
      ring[this.hand] = name
      this.hand = (this.hand + 1) % ring.length
    }
    entries.set(name, entry)
  }

  find(prefixes: ReadonlyArray<WarmPrefix>): Found {
    return { prefixes, entries: prefixes.map(({ name }) => this.entries.get(name | 0)) }
  }

  /** The tokens of the longest prefix that each of the groups has, in their order. */
  read({ entries, prefixes }: Found, groups: ReadonlyArray<string>, now: number): ReadonlyArray<number> {
    const longest = groups.map(() => 0)
    const at = this.ticks(now)
    let left = groups.length
    for (let index = prefixes.length - 1; index >= 0 && left > 0; index--) {
      for (let entry = entries[index]; entry !== undefined; entry = entry.next) {
        if (entry.expires <= at) continue
        const group = groups.indexOf(entry.group)
        if (group < 0 || longest[group] !== 0) continue
        longest[group] = prefixes[index]!.tokens // an index of the array
        left--
      }
    }
    return longest
  }

  /** The prompt goes to a group: it writes prefixes there, or reads and so refreshes them. */
  expect(found: Found, group: string, now: number): void {
    this.note(found, group, now, true)
  }

  /** It was sent, at this time. */
  confirm(found: Found, group: string, sentAt: number): void {
    this.note(found, group, sentAt, false)
  }

  /** It was not sent, or it failed. */
  retract({ entries }: Found, group: string): void {
    for (const first of entries) {
      const entry = entryOf(first, group)
      if (entry?.isExpected === true) entry.expires = never
    }
  }

  private note({ entries, prefixes }: Found, group: string, now: number, isExpected: boolean): void {
    const at = this.ticks(now)
    for (let index = 0; index < prefixes.length; index++) {
      const { name, ttl } = prefixes[index]! // an index of the array
      const first = entries[index]
      const entry = entryOf(first, group)
      const life = ttl === undefined ? 0 : Math.floor(ttl / tick)
      if (entry !== undefined && entry.expires > at) {
        const expires = at + entry.life
        if (expires > entry.expires) entry.expires = expires
        entry.isExpected &&= isExpected
      } else if (life > 0 && entry !== undefined) {
        entry.life = life
        entry.expires = at + life
        entry.isExpected = isExpected
      } else if (life > 0) {
        this.put(name | 0, { group, life, expires: at + life, isExpected, next: alive(first, at) }, at)
      }
    }
  }
}

const isDead = (entry: Entry | undefined, at: number): boolean =>
  entry === undefined || (entry.expires <= at && isDead(entry.next, at))

const entryOf = (first: Entry | undefined, group: string): Entry | undefined => {
  let entry = first
  while (entry !== undefined && entry.group !== group) entry = entry.next
  return entry
}

/** The chain without what has expired, so that groups that are gone are forgotten. */
const alive = (entry: Entry | undefined, at: number): Entry | undefined => {
  if (entry === undefined) return undefined
  const next = alive(entry.next, at)
  if (entry.expires <= at) return next
  entry.next = next
  return entry
}

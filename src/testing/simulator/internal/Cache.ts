/**
 * The prompt cache. It holds at most `capacity` prefixes and forgets the least recently used one when a new one does not fit.
 */
import * as Predicate from "effect/Predicate"
import * as Tokens from "./Tokens.ts"
import type { Body } from "./Wire.ts"

/** How the tokens of a prompt divide. */
export interface Division {
  readonly input: number
  readonly read: number
  readonly write5m: number
  readonly write1h: number
}

const lookBack = 20
const millisOf = { "5m": 300_000, "1h": 3_600_000 } as const
type Ttl = keyof typeof millisOf

/** The time to live that a `cache_control` asks for, or `undefined` when there is none. */
export const ttlOf = (value: unknown): Ttl | undefined => {
  const control = Predicate.isObject(value) && "cache_control" in value ? value["cache_control"] : undefined
  if (!Predicate.isObject(control)) return undefined
  return "ttl" in control && control["ttl"] === "1h" ? "1h" : "5m"
}

/** A running 53-bit hash (two lanes of FNV-1a), so that a prefix is named by what it holds. */
const hash = (seed: readonly [number, number], text: string): readonly [number, number] => {
  let [a, b] = seed
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    a = Math.imul(a ^ code, 0x01000193)
    b = Math.imul(b ^ code, 0x85ebca6b) + 0x9e37
  }
  return [a >>> 0, b >>> 0]
}

/** What `read` gives for a prompt without breakpoints. */
export const unused = (prompt: number) => ({
  division: { input: prompt, read: 0, write5m: 0, write1h: 0 },
  accept: () => {},
  commit: () => {}
})

export const make = (capacity: number) => {
  const entries = new Map<string, { readonly ttl: Ttl; readonly expires: number }>()

  /** Keeps what lives longer: the entry that is there, or the new one. */
  const put = (key: string, ttl: Ttl, start: number) => {
    const fresh = { ttl, expires: start + millisOf[ttl] }
    const old = entries.get(key)
    entries.delete(key)
    if (entries.size >= capacity) entries.delete(entries.keys().next().value!)
    entries.set(key, old !== undefined && old.expires > fresh.expires ? old : fresh)
  }

  /**
   * Reads the cache for a request that starts now. `accept` refreshes what it reads, and what it writes exists only once `commit`
   * was called, with its life counted from the start of the request.
   */
  const read = (
    body: Body,
    segments: ReadonlyArray<Tokens.Segment>,
    scope: string,
    minimum: number,
    start: number
  ): { readonly division: Division; readonly accept: () => void; readonly commit: () => void } => {
    const keys: Array<string> = []
    const totals: Array<number> = []
    const breakpoints: Array<{ readonly at: number; readonly ttl: Ttl }> = []
    let state: readonly [number, number] = [0x811c9dc5, 0x1b873593]
    let total = 0
    segments.forEach(({ tokens, value }, at) => {
      state = hash(state, JSON.stringify(Tokens.withoutBreakpoint(value)))
      total += tokens
      keys.push(`${scope}|${state[0].toString(36)}${state[1].toString(36)}|${total}`)
      totals.push(total)
      const ttl = ttlOf(value) ?? (at === segments.length - 1 ? ttlOf(body) : undefined)
      if (ttl !== undefined && total >= minimum) breakpoints.push({ at, ttl })
    })
    const live = (at: number): boolean => {
      const entry = entries.get(keys[at]!)
      return entry !== undefined && entry.expires > start
    }
    let hit = -1
    for (const { at } of breakpoints) {
      for (let i = at; i >= 0 && i > at - lookBack && i > hit; i--) {
        if (live(i)) hit = i
      }
    }
    const read = hit < 0 ? 0 : totals[hit]!
    const writes = breakpoints.filter(({ at }) => at > hit)
    const written = { "5m": 0, "1h": 0 }
    let from = read
    for (const { at, ttl } of writes) {
      written[ttl] += totals[at]! - from
      from = totals[at]!
    }
    return {
      division: { input: total - from, read, write5m: written["5m"], write1h: written["1h"] },
      accept: () => {
        for (let i = 0; i <= hit; i++) {
          if (live(i)) put(keys[i]!, entries.get(keys[i]!)!.ttl, start)
        }
      },
      commit: () => writes.forEach(({ at, ttl }) => put(keys[at]!, ttl, start))
    }
  }

  return { read }
}

/**
 * Sends requests where their prompt is in the cache, as long as that does not load one group too much.
 *
 * Caches belong to a workspace, so a conversation that changes between groups pays for its prompt again and again. A prompt goes to the group where
 * it saves the most, less a part of what that group has to do more than others: attempts in flight, and work of the last minute. A group
 * that is too far ahead in flight gets none. The part of a prompt that is in no cache is drawn to two groups that its beginning
 * determines, so that processes that know nothing of each other mostly agree.
 */
import type { MessageAttempt } from "../../Attempt.ts"
import { ContentHash } from "../../internal/contentHash.ts"
import { hasBreakpoint, lookBack, maxBreakpoints, millisOf, prefixesOf } from "../../internal/prefixes.ts"
import type { Request } from "../../Request.ts"
import type { Candidates, Member, Strategy } from "./strategy.ts"
import { type WarmPrefix, Warmth } from "./warmth.ts"

/**
 * A prompt as caches see it.
 *
 * - `root`: names the beginning that all turns of a conversation share.
 * - `prefixes`: those that a cache may have, the shortest first; none where the request does not use the cache.
 */
export interface Prompt {
  readonly root: number
  readonly tokens: number
  readonly prefixes: ReadonlyArray<WarmPrefix>
}

/** The prefixes that an attempt may read, or writes: those at its breakpoints, and the blocks before them at which the API looks. */
export const promptOf = ({ estimate, facts, isFast, request }: MessageAttempt): Prompt => {
  const tokens = estimate.inputTokens
  if (!hasBreakpoint(request)) return { root: 0, tokens, prefixes: [] }
  const all = prefixesOf(request, [facts.id, isFast])
  const perLength = tokens / Math.max(1, all[all.length - 1]?.length ?? 0)
  const minimum = facts.minCacheableTokens ?? 0
  const first = all.findIndex(({ message }) => message >= 0)
  const root = all[first < 0 ? 0 : first]?.name ?? 0
  const prefixes: Array<WarmPrefix> = []
  let reach = 0
  let breakpoints = 0
  for (let index = all.length - 1; index >= 0; index--) {
    const { length, name, ttl } = all[index]! // an index of the array
    if (ttl !== undefined) {
      if (++breakpoints > maxBreakpoints) break
      reach = lookBack
    }
    if (reach-- <= 0) continue
    const own = length * perLength
    if (own >= minimum) prefixes.push({ name, tokens: own, ttl: ttl === undefined ? undefined : millisOf[ttl] })
  }
  return { root, tokens, prefixes: prefixes.reverse() }
}

/** A group among the candidates: its name, its share of the traffic relative to others, and how many attempts it has now. */
export interface Place {
  readonly name: string
  readonly weight: number
  readonly inFlight: number
}

/** The work that a group was given lately. */
interface Work {
  tokens: number
  at: number
}

/** What is left of it; a clock that was set back takes nothing and gives nothing. */
const faded = ({ at, tokens }: Work, now: number): number => tokens * Math.exp(Math.min(0, at - now) / workMillis)

/** Work fades as it does in the buckets of the API, within about a minute. */
const workMillis = 60_000
/** For each token that a prompt saves in a group, the group may be so many tokens of work ahead of the least loaded one. */
const patience = 12
/** The lead in work of the last minute counts up to so many prompts: a group that answers faster than others can do more. */
const maxAhead = 2
/** Only a lead of more prompts than this, and of more than twice the work of the least loaded group, counts in full. */
const maxWorkLead = 16
/** The lead in attempts in flight that a group may have, and it may always have twice as many as the least busy one. */
const maxLead = 8
/** The part of a token that is saved where it is read from the cache. */
const savedByRead = 0.9
/** What the part of a prompt that is nowhere in a cache saves, supposedly, in the two groups that its beginning determines. */
const preference = [0.1, 0.05]
/** A smaller part than this does not count. */
const mostlyCold = 0.5
/** The work of a token that is read: limits of input tokens do not count it, and its answer takes as long. */
const readWork = 0.5
/** Every request is so many tokens of work beside its own. */
const requestWork = 1_000

/** From 0 to 1, distributed evenly, and the same in every process. */
const draw = (root: number, salt: number): number => {
  let hash = Math.imul(root ^ root / 0x100000000 ^ salt, 0x9e3779b1)
  hash = Math.imul(hash ^ hash >>> 15, 0x85ebca6b)
  return ((hash ^ hash >>> 13) >>> 0) / 0x100000000
}

/** Which group a prompt goes to. */
export class Affinity {
  private readonly warmth: Warmth
  private readonly works = new Map<string, Work>()
  private readonly salts = new Map<string, number>()
  private meanWork = 0

  /** `capacity`: how many prefixes are remembered. */
  constructor(capacity: number) {
    this.warmth = new Warmth(capacity)
  }

  /** Prefixes that are remembered. */
  get size(): number {
    return this.warmth.size
  }

  /** The index of the group for a prompt, which is expected to go there. */
  choose({ prefixes, root, tokens }: Prompt, places: ReadonlyArray<Place>, now: number): number {
    const names = places.map(({ name }) => name)
    const found = this.warmth.find(prefixes)
    const warm = this.warmth.read(found, names, now)
    const cold = tokens - Math.max(...warm)
    const preferred = prefixes.length === 0 || cold < tokens * mostlyCold ? [] : this.preferred(root, places)

    const meanWeight = places.reduce((sum, { weight }) => sum + weight, 0) / places.length
    const busy = places.map(({ inFlight, weight }) => inFlight * meanWeight / weight)
    const works = places.map(({ name, weight }) => this.workOf(name, now) * meanWeight / weight)
    const leastBusy = Math.min(...busy)
    const leastWork = Math.min(...works)
    const unit = Math.max(this.meanWork, tokens)
    const farAhead = Math.max(maxWorkLead * unit, leastWork)
    let best = 0
    let lowest = Infinity
    for (let index = 0; index < places.length; index++) {
      const lead = busy[index]! - leastBusy // both have an entry for each place
      if (lead > Math.max(maxLead, leastBusy)) continue
      const saved = warm[index]! * savedByRead + (preference[preferred.indexOf(index)] ?? 0) * cold
      const workLead = works[index]! - leastWork
      const work = Math.min(workLead, maxAhead * unit) + Math.max(0, workLead - farAhead)
      const ahead = work + lead * this.meanWork
      const cost = ahead / patience - saved
      if (cost < lowest) {
        lowest = cost
        best = index
      }
    }
    const { name } = places[best]!
    this.add(name, requestWork + tokens - (warm[best] ?? 0) * (1 - readWork), now)
    this.warmth.expect(found, name, now)
    return best
  }

  /** A request that was expected to go to a group has been sent, or has failed. */
  settle({ prefixes }: Prompt, group: string, sentAt: number | undefined): void {
    const found = this.warmth.find(prefixes)
    if (sentAt === undefined) this.warmth.retract(found, group)
    else this.warmth.confirm(found, group, sentAt)
  }

  /** Forgets what was done in groups that are no longer there. */
  keep(groups: ReadonlySet<string>): void {
    for (const name of this.works.keys()) if (!groups.has(name)) this.works.delete(name)
    for (const name of this.salts.keys()) if (!groups.has(name)) this.salts.delete(name)
  }

  private workOf(name: string, now: number): number {
    const work = this.works.get(name)
    return work === undefined ? 0 : faded(work, now)
  }

  private add(name: string, tokens: number, now: number): void {
    const work = this.works.get(name)
    this.meanWork += (tokens - this.meanWork) / 100
    if (work === undefined) this.works.set(name, { tokens, at: now })
    else {
      work.tokens = faded(work, now) + tokens
      work.at = now
    }
  }

  /** The two groups that a beginning determines: when groups come and go, few beginnings change theirs. */
  private preferred(root: number, places: ReadonlyArray<Place>): ReadonlyArray<number> {
    const scores = places.map(({ name, weight }) => Math.log(draw(root, this.saltOf(name))) / weight)
    const first = scores.indexOf(Math.max(...scores))
    const second = scores.indexOf(Math.max(...scores.filter((_, index) => index !== first)))
    return [first, second]
  }

  private saltOf(name: string): number {
    const known = this.salts.get(name)
    if (known !== undefined) return known
    const hash = new ContentHash()
    hash.add(name)
    this.salts.set(name, hash.name)
    return hash.name
  }
}

const placesOf = (candidates: Candidates) => {
  const groups = new Map<string, Array<Member>>()
  for (const member of candidates) {
    const { group } = member.key
    const members = groups.get(group)
    if (members === undefined) groups.set(group, [member])
    else members.push(member)
  }
  return [...groups].map(([name, members]) => ({
    name,
    members,
    weight: members.reduce((sum, { weight }) => sum + weight, 0),
    inFlight: members.reduce((sum, { inFlight }) => sum + inFlight, 0)
  }))
}

/** How many prefixes a pool remembers: about 100 bytes each. */
const capacity = 100_000

/** `within` chooses among the keys of a group, and where no prompt is sent or all keys are of one group. */
export const prefixAffinity = (within: Strategy): Strategy => {
  let hasChoice = true
  const affinity = new Affinity(capacity)
  /** The prompts of the last calls, since each attempt of a call has the same. */
  const prompts = new WeakMap<Request, { readonly callId: string; readonly prompt: Prompt }>()
  const prompted = (attempt: MessageAttempt): Prompt => {
    const known = prompts.get(attempt.request)
    if (known?.callId === attempt.callId) return known.prompt
    const prompt = promptOf(attempt)
    prompts.set(attempt.request, { callId: attempt.callId, prompt })
    return prompt
  }
  return {
    pick: (attempt, candidates, now) => {
      if (attempt.endpoint !== "messages" || !hasChoice) return within.pick(attempt, candidates, now)
      const places = placesOf(candidates)
      const [first, ...others] = places[affinity.choose(prompted(attempt), places, now)]!.members
      return first === undefined || others.length === 0
        ? first ?? candidates[0]
        : within.pick(attempt, [first, ...others], now)
    },
    settled: (attempt, member) => {
      if (attempt.endpoint !== "messages" || !hasChoice) return
      const isSent = attempt.outcome._tag === "Completed" || attempt.outcome._tag === "Aborted"
      affinity.settle(prompted(attempt), member.key.group, isSent ? attempt.sentAt : undefined)
    },
    changed: (members) => {
      within.changed?.(members)
      const groups = new Set(members.map(({ key }) => key.group))
      hasChoice = groups.size > 1
      affinity.keep(groups)
    }
  }
}

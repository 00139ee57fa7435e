/** What the prompts of a trace cost when the strategy of a pool spreads them over workspaces, at the simulator's cache. */
import { millisOf } from "../../src/internal/prefixes.ts"
import { Affinity, type Place } from "../../src/KeyPool/internal/affinity.ts"
import * as Cache from "../../src/testing/simulator/internal/Cache.ts"
import { rates } from "./breakpoints.ts"
import { tokensPerBlock, type Traced } from "./traces.ts"

/** Chooses a workspace for a request; `busy` are the requests that each has now. */
export type Router = (request: Traced, index: number, busy: ReadonlyArray<number>) => number

export const roundRobin = (workspaces: number): Router => (_, index) => index % workspaces

/** Milliseconds until the answer begins, and for each token of it. */
const latency = { first: 800, perToken: 15 }

export const affinity = (workspaces: number, processes = 1, capacity = 100_000): Router => {
  const all = Array.from({ length: processes }, () => new Affinity(capacity))
  return ({ at, blocks }, index, busy) => {
    const places = Array.from({ length: workspaces }, (_, index): Place => ({
      name: `workspace-${index}`,
      weight: 1,
      inFlight: processes === 1 ? busy[index] ?? 0 : 0
    }))
    const prefixes = blocks.map((name, index) => ({ name, tokens: (index + 1) * tokensPerBlock, ttl: millisOf["5m"] }))
    const prompt = {
      root: blocks[Math.min(1, blocks.length - 1)] ?? 0,
      tokens: blocks.length * tokensPerBlock,
      prefixes
    }
    return all[index % processes]!.choose(prompt, places, at)
  }
}

/** Every block has a breakpoint, so that what is written is the same however many workspaces there are. */
export const replay = (trace: ReadonlyArray<Traced>, workspaces: number, router: Router) => {
  const caches = Array.from({ length: workspaces }, () => Cache.make(1_000_000))
  const requests = caches.map(() => 0)
  const tokens = caches.map(() => 0)
  const ends: Array<Array<number>> = caches.map(() => [])
  let cost = 0
  let total = 0
  trace.forEach((request, index) => {
    const { at, blocks, outputTokens } = request
    ends.forEach((times, index) => {
      ends[index] = times.filter((end) => end > at)
    })
    const chosen = router(request, index, ends.map(({ length }) => length))
    ends[chosen]!.push(at + latency.first + latency.perToken * outputTokens)
    const segments = blocks.map((block) => ({
      tokens: tokensPerBlock,
      value: { text: String(block), cache_control: { type: "ephemeral" } }
    }))
    const body = { model: "", max_tokens: 1, messages: [] }
    const { accept, commit, division } = caches[chosen]!.read(body, segments, "", 0, at)
    accept()
    commit()
    const all = blocks.length * tokensPerBlock
    cost += division.input + rates.read * division.read + rates.write * division.write5m
    total += all
    requests[chosen]!++
    tokens[chosen]! += all
  })
  const imbalance = (counts: ReadonlyArray<number>) =>
    Math.max(...counts) / (counts.reduce((sum, count) => sum + count, 0) / counts.length)
  return { cost: cost / total, requests: imbalance(requests), tokens: imbalance(tokens) }
}

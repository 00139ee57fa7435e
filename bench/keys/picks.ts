/** What a pick costs while many prefixes are known. */
import { Redacted } from "effect"
import * as Estimate from "../../src/Estimate.ts"
import { Affinity, prefixAffinity } from "../../src/KeyPool/internal/affinity.ts"
import { make } from "../../src/KeyPool/internal/strategies.ts"
import type { Candidates, Member } from "../../src/KeyPool/internal/strategy.ts"
import type { Request } from "../../src/Request.ts"
import * as ClaudeTest from "../../src/testing/ClaudeTest.ts"
import type { Row } from "../run.ts"

const known = 100_000
const groups = 8
const now = Date.parse("2026-11-22T12:00:00Z")

const members = Array.from({ length: groups }, (_, index): Member => ({
  key: { label: `key-${index}`, group: `workspace-${index}`, secret: Redacted.make(`sk-${index}`) },
  weight: 1,
  inFlight: 0
})) as unknown as Candidates
const places = Array.from({ length: groups }, (_, index) => ({ name: `workspace-${index}`, weight: 1, inFlight: 0 }))

/** The prompt of a conversation with so many prefixes, each at a breakpoint. */
const prompt = (conversation: number, prefixes: number) => ({
  root: conversation * 1_000,
  tokens: prefixes * 512,
  prefixes: Array.from({ length: prefixes }, (_, index) => ({
    name: 1e14 + conversation * 1_000_003 + index,
    tokens: (index + 1) * 512,
    ttl: 300_000
  }))
})

/** Microseconds of processor time of one run, the best of seven passes. */
const micros = (runs: number, run: (index: number) => unknown): number => {
  let best = Infinity
  for (let pass = 0; pass < 7; pass++) {
    const before = process.cpuUsage()
    for (let index = 0; index < runs; index++) run(index)
    const { system, user } = process.cpuUsage(before)
    best = Math.min(best, (user + system) / runs)
  }
  return best
}

const paragraph = "The parcel was sent on Monday, and arrived on Friday with a dent in its left side. "
const text = (length: number, index: number): string =>
  `${index} ${paragraph.repeat(Math.ceil(length / paragraph.length))}`.slice(0, length)

const request = (turns: number, length: number, seed: number): Request => ({
  model: "claude-sonnet-5-5",
  max_tokens: 1_024,
  system: [{ type: "text", text: text(length, seed), cache_control: { type: "ephemeral" } }],
  messages: Array.from({ length: turns }, (_, index) => ({
    role: index % 2 === 0 ? "user" as const : "assistant" as const,
    content: [{
      type: "text" as const,
      text: text(length, seed + index),
      ...(index === turns - 1 ? { cache_control: { type: "ephemeral" as const } } : undefined)
    }]
  }))
})

const memoryOf = (entries: number): { readonly bytes: number; readonly size: number } => {
  globalThis.gc?.()
  const before = process.memoryUsage().heapUsed
  const affinity = new Affinity(known)
  for (let index = 0; index * 20 < entries; index++) affinity.choose(prompt(index, 20), places, now)
  globalThis.gc?.()
  return { bytes: process.memoryUsage().heapUsed - before, size: affinity.size }
}

export const picks = (report: (row: Row) => void): void => {
  const row = (metric: string, varied: string, value: number, unit: string, n: number) =>
    report({ metric, case: varied, value, unit, peer: "effect-claude", n })

  const affinity = new Affinity(known)
  const prompts = Array.from({ length: known / 24 }, (_, index) => prompt(index, 24))
  for (const one of prompts) affinity.choose(one, places, now)
  const runs = 20_000
  row(
    "pick_cpu",
    `24 prefixes, ${groups} workspaces, ${affinity.size} prefixes known`,
    micros(runs, (index) => affinity.choose(prompts[index % prompts.length]!, places, now + index)),
    "us",
    runs
  )

  const strategy = prefixAffinity(make("leastLoaded", { random: () => 0 }))
  for (const turns of [1, 41]) {
    const requests = Array.from({ length: 200 }, (_, index) => request(turns, 2_000, index * 1_000))
    const attempts = requests.map((request) =>
      ClaudeTest.attempt({ request, estimate: Estimate.make(request), key: null })
    )
    let calls = 0
    const pick = (index: number) => {
      const attempt = attempts[index % attempts.length]!
      return strategy.pick({ ...attempt, callId: String(calls++) }, members, now + index)
    }
    attempts.forEach((_, index) => pick(index))
    row(
      "pick_cpu",
      `from a request with ${turns === 1 ? "1 message" : `${turns} messages`} whose texts were hashed before`,
      micros(2_000, pick),
      "us",
      2_000
    )
  }

  const long = Array.from({ length: 20 }, (_, index) => request(1, 50_000, index))
  const attempts = long.map((request) => ClaudeTest.attempt({ request, estimate: Estimate.make(request), key: null }))
  let copies = 0
  const copy = (index: number) => {
    const attempt = attempts[index % attempts.length]!
    // another object, as in another call
    const again = structuredClone(attempt.request)
    return { ...attempt, request: again, callId: String(copies++) }
  }
  const copied = micros(200, copy)
  row(
    "hash_cpu",
    "100 kB of text at first sight",
    Math.max(0, micros(200, (index) => strategy.pick(copy(index), members, now)) - copied),
    "us",
    200
  )

  for (const entries of [known, 10 * known]) {
    const { bytes, size } = memoryOf(entries)
    row("memory", `${entries} prefixes seen, ${size} kept`, bytes / 1e6, "MB", size)
  }
}

/** Strategies at the edges: clocks that jump, prompts of any size and shape, extreme weights, groups that come and go. */
import { assert, describe, it, vi } from "@effect/vitest"
import { Redacted } from "effect"
import { type Attempt, Estimate } from "effect-claude"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import { ContentHash } from "../../../src/internal/contentHash.ts"
import { Affinity, prefixAffinity, type Prompt, promptOf } from "../../../src/KeyPool/internal/affinity.ts"
import { make } from "../../../src/KeyPool/internal/strategies.ts"
import type { Candidates, Member } from "../../../src/KeyPool/internal/strategy.ts"

const minute = 60_000
const day = 24 * 60 * minute
const start = Date.parse("2026-11-22T12:00:00Z")

const placesOf = (...weights: ReadonlyArray<number>) =>
  weights.map((weight, index) => ({ name: `g${index}`, weight, inFlight: 0 }))

const cold = (root: number): Prompt => ({ root, tokens: 1_000, prefixes: [] })

const warm = (name: number, ttl = 5 * minute): Prompt => ({
  root: name,
  tokens: 10_000,
  prefixes: [{ name, tokens: 9_000, ttl }]
})

const memberOf = (label: string, group: string, weight = 1): Member => ({
  key: { label, group, secret: Redacted.make(`sk-${label}`) },
  weight,
  inFlight: 0
})

const control = { type: "ephemeral" as const }
const text = (text: string, isMarked = false) => ({
  type: "text" as const,
  text,
  ...(isMarked ? { cache_control: control } : undefined)
})

const attemptOf = (fields: Partial<Attempt.Request>): Attempt.MessageAttempt => {
  const request: Attempt.Request = { model: "claude-sonnet-5-5", max_tokens: 100, messages: [], ...fields }
  return ClaudeTest.attempt({ request, estimate: Estimate.make(request), key: null })
}

const words = (n: number): string => "word ".repeat(n)

describe("a clock that jumps", () => {
  for (
    const [how, millis] of [["back by a day", -day], ["back by an hour", -day / 24], ["ahead by a day", day]] as const
  ) {
    it(`${how} leaves work evenly divided`, () => {
      const affinity = new Affinity(1_000)
      const places = placesOf(1, 1, 1)
      for (let call = 0; call < 50; call++) affinity.choose(cold(call), places, start + call * 100)
      const counts = [0, 0, 0]
      for (let call = 0; call < 300; call++) counts[affinity.choose(cold(call), places, start + millis + call * 100)]!++
      for (const count of counts) assert.approximately(count, 100, 10)
    })

    it(`${how} keeps a conversation in one workspace`, () => {
      const affinity = new Affinity(1_000)
      const places = placesOf(1, 1, 1)
      affinity.choose(warm(1), places, start)
      const after = affinity.choose(warm(1), places, start + millis)
      for (let call = 0; call < 20; call++) {
        assert.strictEqual(affinity.choose(warm(1), places, start + millis + call * minute), after)
      }
    })
  }

  it("takes back what it expected, even before the clock's first moment", () => {
    const affinity = new Affinity(1_000)
    const places = placesOf(1, 1)
    affinity.choose(cold(1), places, start)
    const first = affinity.choose(warm(1), places, start - day)
    affinity.settle(warm(1), `g${first}`, undefined)
    // Nothing of it is warm: it goes where there is less to do.
    for (let i = 0; i < 3; i++) affinity.choose(warm(2 + i), [places[first]!], start - day)
    assert.strictEqual(affinity.choose(warm(1), places, start - day), 1 - first)
  })
})

describe("a request of any size", () => {
  it("is known by its last four breakpoints, as many as the API takes", () => {
    const blocks = Array.from({ length: 100_000 }, (_, index) => text(`block ${index}`, true))
    const { prefixes } = promptOf(attemptOf({ messages: [{ role: "user", content: blocks }] }))
    assert.strictEqual(prefixes.length, 4)
    const { prefixes: sparse } = promptOf(attemptOf({
      messages: [{ role: "user", content: blocks.map((block, index) => text(block.text, index % 10_000 === 9_999)) }]
    }))
    assert.strictEqual(sparse.length, 4 * 20)
    assert.strictEqual(sparse.filter(({ ttl }) => ttl !== undefined).length, 4)
  })

  it("is not hashed where it does not use the cache, or where there is but one workspace", () => {
    const add = vi.spyOn(ContentHash.prototype, "addText")
    try {
      const strategy = prefixAffinity(make("leastLoaded", { random: () => 0 }))
      const one = [memberOf("a", "a"), memberOf("a2", "a")] as const
      const two = [...one, memberOf("b", "b")] as const
      const marked = attemptOf({ system: [text(words(2_000), true)], messages: [{ role: "user", content: "a" }] })
      const unmarked = attemptOf({ system: words(2_000), messages: [{ role: "user", content: [text(words(2_000))] }] })
      const hashed = () => add.mock.calls.filter(([text]) => text.includes("word")).length
      strategy.changed?.(two)
      strategy.pick(unmarked, [...two], start)
      strategy.settled?.(unmarked, two[0], start)
      strategy.changed?.(one)
      strategy.pick(marked, [...one], start)
      strategy.settled?.(marked, one[0], start)
      assert.strictEqual(hashed(), 0)
      strategy.changed?.(two)
      strategy.pick({ ...marked, callId: "another" }, [...two], start)
      assert.isAbove(hashed(), 0)
    } finally {
      add.mockRestore()
    }
  })

  it("may have its only breakpoint anywhere", () => {
    const long = words(5_000)
    const tool = { name: "t", input_schema: { type: "object" as const }, description: long, cache_control: control }
    const result = { type: "tool_result" as const, tool_use_id: "1", content: [text(long, true)] }
    const places: ReadonlyArray<Partial<Attempt.Request>> = [
      { tools: [tool] },
      { system: [text(long, true)] },
      { messages: [{ role: "user", content: [text(long, true)] }] },
      { messages: [{ role: "user", content: [result] }] },
      { messages: [{ role: "user", content: long }], cache_control: control }
    ]
    for (const fields of places) {
      const request = { messages: [{ role: "user" as const, content: "a" }], ...fields }
      assert.isAbove(promptOf(attemptOf(request)).prefixes.length, 0)
    }
  })

  it("may be nested as deeply as it can be sent", () => {
    let input: unknown = "deep"
    for (let depth = 0; depth < 2_000; depth++) input = { input }
    const strategy = prefixAffinity(make("leastLoaded", { random: () => 0 }))
    const attempt = attemptOf({
      system: [text("a", true)],
      messages: [{ role: "assistant", content: [{ type: "tool_use", id: "1", name: "t", input }] }]
    })
    assert.doesNotThrow(() => JSON.stringify(attempt.request))
    strategy.pick(attempt, [memberOf("a", "a"), memberOf("b", "b")], start)
  })
})

describe("a small weight", () => {
  it("is kept by prompts that all begin alike and are warm everywhere", () => {
    const affinity = new Affinity(1_000)
    const places = placesOf(0.02, 1, 1)
    const counts = [0, 0, 0]
    affinity.choose(warm(1), [places[0]!], start)
    for (let call = 0; call < 2_000; call++) counts[affinity.choose(warm(1), places, start + call * 1_000)]!++
    assert.isAtMost(counts[0]!, 2_000 * 0.05)
  })
})

describe("sessions that begin alike", () => {
  it("are spread over the workspaces, each where it is warm", () => {
    const affinity = new Affinity(100_000)
    const places = placesOf(1, 1, 1, 1, 1, 1, 1, 1)
    const counts = places.map(() => 0)
    const homes = new Map<number, Set<number>>()
    for (let call = 0; call < 8_000; call++) {
      const session = call % 400
      const turn = Math.floor(call / 400)
      // The first 2,000 tokens are the same for all.
      const prefixes = Array.from({ length: turn + 2 }, (_, index) => ({
        name: index === 0 ? 1 : 1_000 * (session + 1) + index,
        tokens: 2_000 + index * 1_000,
        ttl: 5 * minute
      }))
      const prompt = { root: 1, tokens: 2_000 + (turn + 1) * 1_000, prefixes }
      const index = affinity.choose(prompt, places, start + call * 100)
      counts[index]!++
      if (turn > 0) homes.set(session, (homes.get(session) ?? new Set()).add(index))
    }
    assert.isAtMost(Math.max(...counts) / 1_000, 1.25)
    const moved = [...homes.values()].filter(({ size }) => size > 1).length
    assert.isAtMost(moved / 400, 0.05)
  })
})

describe("turns by weight", () => {
  const picks = (strategy: ReturnType<typeof make>, candidates: Candidates, count: number): string => {
    const attempt = ClaudeTest.attempt({ key: null })
    return Array.from({ length: count }, () => strategy.pick(attempt, candidates, start).key.label).join("")
  }

  it("give no small key hundreds in a row while the large one is away", () => {
    const [a, b, c] = [memberOf("a", "g", 1_000), memberOf("b", "g"), memberOf("c", "g")]
    for (let before = 0; before < 1_100; before += 7) {
      const strategy = make("weighted", { random: () => 0 })
      picks(strategy, [a, b, c], before)
      const [longest] = picks(strategy, [b, c], 40).match(/b+|c+/g)!.sort((x, y) => y.length - x.length)
      assert.isAtMost(longest!.length, 3, `after ${before} turns`)
      // And they keep their share afterwards.
      const after = picks(strategy, [a, b, c], 4_008)
      for (const label of "bc") assert.approximately(after.split(label).length - 1, 4, 2)
    }
  })
})

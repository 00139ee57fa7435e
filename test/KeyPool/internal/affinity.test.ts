import { assert, describe, it, vi } from "@effect/vitest"
import { Effect, Redacted, Schema } from "effect"
import { Attempt, CostOptimizer, Estimate, PriceBook, Usage } from "effect-claude"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import { inspect } from "node:util"
import { Recurrence } from "../../../src/CostOptimizer/internal/recurrence.ts"
import { ContentHash } from "../../../src/internal/contentHash.ts"
import { prefixesOf } from "../../../src/internal/prefixes.ts"
import { Affinity, prefixAffinity, type Prompt, promptOf } from "../../../src/KeyPool/internal/affinity.ts"
import { make } from "../../../src/KeyPool/internal/strategies.ts"
import type { Candidates, Member } from "../../../src/KeyPool/internal/strategy.ts"
import { between } from "../../utils/between.ts"
import { frozen } from "../../utils/histories.ts"

const minute = 60_000
const start = Date.parse("2026-11-22T12:00:00Z")

const groups = (count: number, inFlight: (index: number) => number = () => 0) =>
  Array.from({ length: count }, (_, index) => ({ name: `g${index}`, weight: 1, inFlight: inFlight(index) }))

/** Turn after turn of a conversation: prefixes of 1,000 tokens, each with a breakpoint. */
const conversation = (id: number, turns: number): Prompt => ({
  root: id * 1_000,
  tokens: turns * 1_000,
  prefixes: Array.from({ length: turns }, (_, index) => ({
    name: id * 1_000 + index,
    tokens: (index + 1) * 1_000,
    ttl: 5 * minute
  }))
})

const plain = (tokens: number): Prompt => ({ root: 1, tokens, prefixes: [] })

describe("Affinity", () => {
  it.effect.prop(
    "keeps a conversation where it is cached while others come and go",
    { others: Schema.Array(between(1, 20)).check(Schema.isMaxLength(40)), count: between(2, 8) },
    ({ count, others }) =>
      Effect.sync(() => {
        const affinity = new Affinity(10_000)
        const first = affinity.choose(conversation(0, 30), groups(count), start)
        others.forEach((turns, index) => affinity.choose(conversation(index + 1, turns), groups(count), start + index))
        for (let turn = 1; turn < 10; turn++) {
          const now = start + turn * 4 * minute
          assert.strictEqual(affinity.choose(conversation(0, 30 + turn), groups(count), now), first)
        }
      })
  )

  it.effect.prop(
    "gives the same answers to the same questions, and remembers no more than it may",
    { turns: Schema.Array(between(1, 30)).check(Schema.isMaxLength(60)), capacity: between(1, 100) },
    ({ capacity, turns }) =>
      Effect.sync(() => {
        const one = new Affinity(capacity)
        const other = new Affinity(capacity)
        turns.forEach((length, index) => {
          const prompt = conversation(index % 7, length)
          const now = start + index * 10_000
          assert.strictEqual(one.choose(prompt, groups(4), now), other.choose(prompt, groups(4), now))
          assert.isAtMost(one.size, capacity)
        })
      })
  )

  it("forgets what has cooled", () => {
    const affinity = new Affinity(1_000)
    const prompt = conversation(5, 30)
    const first = affinity.choose(prompt, groups(8), start)
    // While it is warm, work elsewhere does not matter; afterwards its group has the least work of all but is no better than others.
    const busy = groups(8, (index) => index === first ? 3 : 0)
    assert.strictEqual(affinity.choose(prompt, busy, start + 4 * minute), first)
    for (let i = 0; i < 50; i++) affinity.choose(plain(100_000), [groups(8)[first]!], start + 9 * minute)
    assert.notStrictEqual(affinity.choose(prompt, busy, start + 9 * minute), first)
  })

  it("moves a conversation on when its workspace leaves or cools down, and finds it again where it was", () => {
    const affinity = new Affinity(1_000)
    const first = affinity.choose(conversation(1, 20), groups(4), start)
    const rest = groups(4).filter((_, index) => index !== first)
    const second = rest[affinity.choose(conversation(1, 21), rest, start + minute)]!.name
    for (let turn = 0; turn < 3; turn++) {
      const chosen = rest[affinity.choose(conversation(1, 22 + turn), rest, start + 2 * minute)]!.name
      assert.strictEqual(chosen, second)
    }
    // Back again, its cache is as old as the first turn: the newer one has more of the prompt.
    assert.strictEqual(groups(4)[affinity.choose(conversation(1, 30), groups(4), start + 3 * minute)]!.name, second)
    affinity.keep(new Set([second]))
    assert.strictEqual(affinity.choose(conversation(1, 31), groups(4).filter(({ name }) => name === second), start), 0)
  })

  it.effect.prop(
    "gives a group in a surge no prompt that others could take",
    { lead: between(1, 100), least: between(0, 50), tokens: between(1, 200) },
    ({ lead, least, tokens }) =>
      Effect.sync(() => {
        const affinity = new Affinity(1_000)
        const prompt = conversation(2, tokens)
        const first = affinity.choose(prompt, groups(3), start)
        const places = groups(3, (index) => least + (index === first ? lead : 0))
        const chosen = affinity.choose(prompt, places, start + 1_000)
        if (lead > Math.max(8, least)) assert.notStrictEqual(chosen, first)
      })
  )

  it("spreads a surge of one prompt over workspaces as far as its cost allows", () => {
    const affinity = new Affinity(1_000)
    const inFlight = [0, 0, 0, 0]
    for (let call = 0; call < 400; call++) {
      const index = affinity.choose(conversation(3, 50), groups(4, (index) => inFlight[index]!), start + call)
      inFlight[index]!++
    }
    assert.isAtMost(Math.max(...inFlight) / 100, 1.5)
  })

  it("divides prompts that are nowhere in a cache by weight", () => {
    const affinity = new Affinity(1_000)
    const counts = [0, 0, 0]
    for (let call = 0; call < 4_000; call++) {
      const places = groups(3).map((place, index) => ({ ...place, weight: [1, 1, 2][index]! }))
      counts[affinity.choose(plain(1_000), places, start + call * 100)]!++
    }
    assert.deepStrictEqual(counts.map((count) => Math.round(count / 100)), [10, 10, 20])
  })

  it("sends new conversations to the same workspaces from every process, more of them than by chance", () => {
    const processes = [new Affinity(10_000), new Affinity(10_000)]
    let same = 0
    for (let id = 0; id < 400; id++) {
      const now = start + id * 2_000
      // Each has conversations of its own beside.
      const [one, other] = processes.map((process, index) => {
        process.choose(conversation(1_000 + 2 * id + index, 1 + id * (7 + 4 * index) % 23), groups(4), now)
        return process.choose(conversation(id, 10), groups(4), now)
      })
      if (one === other) same++
    }
    assert.isAbove(same, 150)
  })

  it("takes back what it expected of a request that was not sent", () => {
    const affinity = new Affinity(1_000)
    const prompt = conversation(4, 30)
    const first = affinity.choose(prompt, groups(2), start)
    affinity.settle(prompt, `g${first}`, undefined)
    const other = 1 - first
    affinity.choose(prompt, [groups(2)[other]!], start)
    affinity.settle(prompt, `g${other}`, start)
    for (let i = 0; i < 20; i++) affinity.choose(plain(30_000), [groups(2)[other]!], start)
    assert.strictEqual(affinity.choose(prompt, groups(2), start + 1), other)
    // What was sent is not taken back when another request with it fails.
    affinity.settle(prompt, `g${other}`, undefined)
    assert.strictEqual(affinity.choose(prompt, groups(2), start + 2), other)
  })

  it("counts the life of a prefix from when it was sent", () => {
    const lives = (sentAt: number | undefined, at: number) => {
      const affinity = new Affinity(1_000)
      const prompt = conversation(6, 100)
      const first = affinity.choose(prompt, groups(2), start)
      if (sentAt !== undefined) affinity.settle(prompt, `g${first}`, sentAt)
      for (let i = 0; i < 3; i++) affinity.choose(plain(200_000), [groups(2)[first]!], at)
      return affinity.choose(prompt, groups(2, (index) => index === first ? 4 : 0), at) === first
    }
    assert.isFalse(lives(undefined, start + 5 * minute))
    assert.isTrue(lives(start + minute, start + 5 * minute))
    assert.isFalse(lives(start + minute, start + 6 * minute))
  })
})

const words = (n: number): string => "word ".repeat(n).trim()
const control = { type: "ephemeral" as const }

const ask = (question: string, fields: Partial<Attempt.Request> = {}): Attempt.Request =>
  frozen({
    model: "claude-sonnet-5-5",
    max_tokens: 100,
    system: [{ type: "text", text: words(5_000), cache_control: control }],
    messages: [{ role: "user", content: question }],
    ...fields
  })

let calls = 0
const attemptOf = (request: Attempt.Request): Attempt.MessageAttempt =>
  ClaudeTest.attempt({ request, estimate: Estimate.make(request), callId: `call-${calls++}`, key: null })

describe("promptOf", () => {
  const names = (request: Attempt.Request) => promptOf(attemptOf(request)).prefixes.map(({ name }) => name)

  it("has the breakpoints that are long enough, and the blocks at which the API looks before them", () => {
    const { prefixes } = promptOf(attemptOf(ask("a")))
    assert.deepStrictEqual(prefixes.map(({ ttl }) => ttl), [300_000])
    assert.approximately(prefixes[0]!.tokens, promptOf(attemptOf(ask("a"))).tokens, 50)

    const short = ask("a", { system: [{ type: "text", text: "Be kind.", cache_control: control }] })
    assert.deepStrictEqual(names(short), [])

    const blocks = Array.from({ length: 30 }, () => ({ type: "text" as const, text: words(1_000) }))
    const last = { ...blocks[0]!, cache_control: { ...control, ttl: "1h" as const } }
    const long = promptOf(attemptOf(ask("", { messages: [{ role: "user", content: [...blocks, last] }], system: [] })))
    assert.deepStrictEqual(long.prefixes.map(({ ttl }) => ttl), [
      ...Array.from({ length: 19 }, () => undefined),
      3_600_000
    ])
  })

  it("has none where the request does not use the cache", () => {
    assert.deepStrictEqual(names(ask("a", { system: words(5_000) })), [])
  })

  it("tells models and speeds apart", () => {
    const fast = ask("a", { model: "claude-opus-5-5" })
    const different = [
      names(ask("a")),
      names(fast),
      promptOf({ ...attemptOf(fast), isFast: true }).prefixes.map(({ name }) => name)
    ]
    assert.strictEqual(new Set(different.map(String)).size, 3)
  })

  it("has the same beginning in every turn of a conversation", () => {
    const turns = [
      { role: "user" as const, content: words(100) },
      { role: "assistant" as const, content: "b" },
      { role: "user" as const, content: "c" }
    ]
    const roots = [1, 3].map((count) => promptOf(attemptOf(ask("", { messages: turns.slice(0, count) }))).root)
    assert.strictEqual(roots[0], roots[1])
    assert.notStrictEqual(roots[0], promptOf(attemptOf(ask("other"))).root)
  })
})

describe("what is kept of prompts", () => {
  const secret = "xyzzy-in-a-prompt"
  const request = ask(`${secret} ${words(2_000)}`, { system: [{ type: "text", text: `${secret} ${words(5_000)}` }] })

  it("is no text, in the pool and in the optimizer", () => {
    const affinity = new Affinity(1_000)
    const prompt = promptOf(attemptOf({ ...request, cache_control: control }))
    assert.isAbove(prompt.prefixes.length, 0)
    affinity.choose(prompt, groups(2), start)
    const recurrence = new Recurrence(5 * minute, 1_000, start)
    const candidates = prefixesOf(request, []).map(({ length, name, part }) => ({ name, part, tokens: length }))
    recurrence.see(candidates, 0, start)
    for (const kept of [prompt, affinity, recurrence]) {
      const shown = inspect(kept, { depth: Infinity, maxArrayLength: Infinity, maxStringLength: Infinity })
      assert.notInclude(shown, "xyzzy")
      assert.notInclude(shown, "word")
    }
  })

  it("is hashed once in a call, by the optimizer and for every attempt", () => {
    const add = vi.spyOn(ContentHash.prototype, "addText")
    const hashed = () => add.mock.calls.reduce((sum, [text]) => sum + text.length, 0)
    try {
      const given = structuredClone({ ...request, system: `${secret} ${words(20_000)}` })
      const length = JSON.stringify(given).length
      const marked = Effect.runSync(
        Effect.flatMap(CostOptimizer.CostOptimizer, ({ optimize }) => optimize(given)).pipe(
          Effect.provide(CostOptimizer.layer({ rules: [CostOptimizer.cacheBreakpoints({ eager: true })] })),
          Effect.provide(PriceBook.layer())
        )
      ).request
      assert.notStrictEqual(marked, given)
      const strategy = prefixAffinity(make("leastLoaded", { random: () => 0 }))
      const member = { key: ClaudeTest.key, weight: 1, inFlight: 0 }
      for (const number of [1, 2, 3]) strategy.pick({ ...attemptOf(marked), number }, [member, member], start)
      assert.isAtMost(hashed(), length + 2_000)
      assert.isAtLeast(hashed(), length - 2_000)
    } finally {
      add.mockRestore()
    }
  })
})

describe("prefixAffinity", () => {
  const memberOf = (label: string, group: string): Member & { inFlight: number } => ({
    key: { label, group, secret: Redacted.make(`sk-${label}`) },
    weight: 1,
    inFlight: 0
  })
  const members = () =>
    [memberOf("a1", "a"), memberOf("a2", "a"), memberOf("b1", "b"), memberOf("b2", "b")] as const satisfies Candidates

  it("keeps prompts in their workspace, with whichever of its keys has less to do", () => {
    const strategy = prefixAffinity(make("leastLoaded", { random: () => 0 }))
    const all = members()
    const first = strategy.pick(attemptOf(ask("a")), all, start)
    const own = all.filter(({ key }) => key.group === first.key.group)
    for (let call = 0; call < 8; call++) {
      own.forEach((member, index) => member.inFlight = index === call % 2 ? 1 : 0)
      const chosen = strategy.pick(attemptOf(ask(`question ${call}`)), all, start + call * minute)
      assert.strictEqual(chosen, own[1 - call % 2])
    }
  })

  it("goes on elsewhere when an attempt failed, and keeps to it", () => {
    const strategy = prefixAffinity(make("leastLoaded", { random: () => 0 }))
    const all = members()
    const attempt = attemptOf(ask("a"))
    const first = strategy.pick(attempt, all, start)
    strategy.settled?.(attempt, first, start)
    const [next, ...others] = all.filter(({ key }) => key.group !== first.key.group)
    const again = { ...attempt, number: 2, sentAt: start }
    const second = strategy.pick(again, [next!, ...others], start)
    again.outcome = Attempt.Outcome.Completed({
      usage: Usage.make({ outputTokens: 1 }),
      limits: undefined,
      model: again.model,
      requestId: undefined,
      stopReason: "end_turn"
    })
    strategy.settled?.(again, second, start)
    const later = strategy.pick(attemptOf(ask("b")), all, start + minute)
    assert.strictEqual(later.key.group, second.key.group)
  })

  it("spreads requests without a prompt over all keys", () => {
    const strategy = prefixAffinity(make("leastLoaded", { random: () => 0 }))
    const all = members()
    const attempt: Attempt.Attempt = { ...attemptOf(ask("a")), endpoint: "models" } as never
    const labels = Array.from({ length: 8 }, (_, call) => strategy.pick(attempt, all, start + call).key.label)
    assert.deepStrictEqual(new Set(labels), new Set(["a1", "a2", "b1", "b2"]))
  })

  it("never fails, whatever a request is", () => {
    const strategy = prefixAffinity(make("leastLoaded", { random: () => 0 }))
    const odd: ReadonlyArray<object> = [
      {},
      { messages: null, tools: "x", system: 5 },
      { messages: [null, 5, { role: 7 }, { role: "user", content: [null, 3, { type: "text", text: 5 }] }] }
    ]
    for (const fields of odd) {
      const request = { model: "m", max_tokens: 1, ...fields } as never
      const attempt = ClaudeTest.attempt({ request, estimate: { inputTokens: 0, maxOutputTokens: 1 }, key: null })
      assert.isDefined(strategy.pick(attempt, members(), start).key)
    }
  })
})

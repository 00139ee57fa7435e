import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { Attempt } from "effect-claude"
import { prefixesOf } from "../../src/internal/prefixes.ts"
import { between } from "../utils/between.ts"
import { conversation, frozen, Plan } from "../utils/histories.ts"

const control = { type: "ephemeral" as const }
const long = "word ".repeat(1_000)

const ask: Attempt.Request = frozen({
  model: "m",
  max_tokens: 1,
  tools: [{ name: "t", input_schema: { type: "object" } }],
  system: long,
  messages: [
    { role: "user", content: [{ type: "text", text: "a" }, { type: "text", text: long }] },
    { role: "assistant", content: "b" },
    { role: "user", content: "c" }
  ]
})

const names = (request: Attempt.Request, scope: ReadonlyArray<unknown> = []) =>
  prefixesOf(request, scope).map(({ name }) => name)

/** How many prefixes two requests share. */
const shared = (one: Attempt.Request, other: Attempt.Request): number => {
  const theirs = names(other)
  return names(one).filter((name, index) => name === theirs[index]).length
}

describe("prefixes", () => {
  it("end at each tool, system block and content block, in this order", () => {
    const places = prefixesOf(ask, []).map(({ block, message, part }) => [part, message, block])
    assert.deepStrictEqual(places, [
      ["tools", -1, 0],
      ["system", -1, 0],
      ["messages", 0, 0],
      ["messages", 0, 1],
      ["messages", 1, 0],
      ["messages", 2, 0]
    ])
    const lengths = prefixesOf(ask, []).map(({ length }) => length)
    assert.deepStrictEqual([...lengths].sort((a, b) => a - b), lengths)
    assert.strictEqual(lengths[3]! - lengths[2]!, long.length)
  })

  it("have the names of what comes before and in them, and of nothing else", () => {
    const { messages } = ask
    assert.strictEqual(shared(ask, { ...ask, tools: [] }), 0)
    assert.strictEqual(shared(ask, { ...ask, system: "d" }), 1)
    assert.strictEqual(shared(ask, { ...ask, tool_choice: { type: "none" } }), 2)
    assert.strictEqual(shared(ask, { ...ask, messages: [...messages.slice(0, 1), ...messages.slice(2)] }), 4)
    assert.strictEqual(shared(ask, { ...ask, messages: messages.slice(0, 2) }), 5)
    assert.strictEqual(shared(ask, { ...ask, max_tokens: 2, metadata: { user_id: "u" } }), 6)
    const role = [messages[0]!, { ...messages[1]!, role: "user" as const }, messages[2]!]
    assert.strictEqual(shared(ask, { ...ask, messages: role }), 4)
    assert.strictEqual(names(ask, ["a"]).filter((name) => names(ask, ["b"]).includes(name)).length, 0)
  })

  it("do not depend on breakpoints, nor on whether a text is a string or a block", () => {
    const blocks = (text: string) => [{ type: "text" as const, text, cache_control: control }]
    const marked: Attempt.Request = {
      ...ask,
      system: blocks(long),
      messages: ask.messages.map((turn) => typeof turn.content === "string" ? { role: "user", content: [] } : turn)
    }
    assert.strictEqual(shared(ask, marked), 4)
    const last: Attempt.Request = {
      ...ask,
      messages: [...ask.messages.slice(0, 2), { role: "user", content: blocks("c") }]
    }
    assert.strictEqual(shared(ask, last), 6)
  })

  it("have the breakpoints of their ends, those inside tool results and that of the whole request", () => {
    const inside = [{ type: "text" as const, text: "r", cache_control: { ...control, ttl: "1h" as const } }]
    const request: Attempt.Request = {
      ...ask,
      cache_control: control,
      tools: [{ name: "t", input_schema: { type: "object" }, cache_control: control }],
      system: [{ type: "text", text: "s" }],
      messages: [
        { role: "user", content: [{ type: "tool_result", tool_use_id: "i", content: inside }] },
        ask.messages[2]!
      ]
    }
    assert.deepStrictEqual(prefixesOf(request, []).map(({ ttl }) => ttl), ["5m", undefined, "1h", "5m"])
  })

  it("follow a text that is changed in place", () => {
    const turn = { role: "user" as const, content: [{ type: "text" as const, text: long }] }
    const request: Attempt.Request = { model: "m", max_tokens: 1, messages: [turn] }
    const before = names(request)
    assert.deepStrictEqual(names(request), before)
    turn.content[0]!.text = `${long}.`
    assert.notDeepEqual(names(request), before)
    turn.content[0]!.text = ["word ".repeat(500), "word ".repeat(500)].join("")
    assert.deepStrictEqual(names(request), before)
  })

  it.effect.prop(
    "of a conversation begin with those of the conversation a turn before",
    { plan: Plan, cut: between(1, 12) },
    ({ cut, plan }) =>
      Effect.sync(() => {
        const whole = conversation(plan)
        const { messages } = whole
        const part = { ...whole, messages: messages.slice(0, Math.max(1, messages.length - cut)) }
        const all = names(JSON.parse(JSON.stringify(whole)))
        assert.deepStrictEqual(names(part), all.slice(0, names(part).length))
        assert.strictEqual(new Set(all).size, all.length)
        assert.isTrue(all.every(Number.isSafeInteger))
      })
  )
})

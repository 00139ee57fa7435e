import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Ref, Schema, Stream } from "effect"
import {
  Budget,
  ClaudeError,
  ClaudeService,
  Conversation,
  CostLedger,
  MessageStream,
  type Request,
  ToolLoop
} from "effect-claude"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import * as Simulator from "effect-claude/testing/Simulator"
import { TestClock } from "effect/testing"
import { valid } from "../src/internal/turns.ts"

const settings = { model: "claude-sonnet-5-5", max_tokens: 100 }

const user = (content: Conversation.Content): Request.Turn => ({ role: "user", content })
const assistant = (content: Conversation.Content): Request.Turn => ({ role: "assistant", content })
const text = (text: string): Request.Block => ({ type: "text", text })
const call = (id: string): Request.Block => ({ type: "tool_use", id, name: "double", input: {} })
const result = (tool_use_id: string, content = "4"): Request.Block => ({ type: "tool_result", tool_use_id, content })
const search: Request.Block = { type: "server_tool_use", id: "srv_1", name: "web_search", input: {} }
const found: Request.Block = { type: "web_search_tool_result", tool_use_id: "srv_1", content: [] }
const missing = (tool_use_id: string): Request.Block => ({
  type: "tool_result",
  tool_use_id,
  content: "There is no result: the call did not run, or not to its end.",
  is_error: true
})

const histories: ReadonlyArray<
  readonly [what: string, given: ReadonlyArray<Request.Turn>, made: ReadonlyArray<Request.Turn>]
> = [
  ["what is valid, as it is", [user("a"), assistant("b"), user("c")], [user("a"), assistant("b"), user("c")]],
  ["two turns of one role, as one", [user("a"), user([text("b")])], [user([text("a"), text("b")])]],
  ["blank texts, without them", [user([text(" "), text("a")]), assistant(""), user("b")], [
    user([text("a"), text("b")])
  ]],
  [
    "a call without a result, with one that says so",
    [user("a"), assistant([call("t1")])],
    [user("a"), assistant([call("t1")]), user([missing("t1")])]
  ],
  [
    "results behind a text, before it and in the order of their calls",
    [user("a"), assistant([call("t1"), call("t2")]), user([text("b"), result("t2"), result("t1")])],
    [user("a"), assistant([call("t1"), call("t2")]), user([result("t1"), result("t2"), text("b")])]
  ],
  [
    "a result that comes later, in the place of the one that says that there is none",
    [user("a"), assistant([call("t1")]), user([missing("t1")]), user([result("t1")])],
    [user("a"), assistant([call("t1")]), user([result("t1")])]
  ],
  ["a result without its call, without it", [user([text("a"), result("t1")])], [user([text("a")])]],
  [
    "half a call, without it",
    [user("a"), assistant([text("b"), { ...call("t1"), input: "{\"n\"" } as Request.Block])],
    [user("a"), assistant([text("b")])]
  ],
  [
    "a search that was abandoned, without it",
    [user("a"), assistant([text("b"), search]), user("c")],
    [user("a"), assistant([text("b")]), user("c")]
  ],
  ["a search that is still to be made, as it is", [user("a"), assistant([search])], [user("a"), assistant([search])]],
  [
    "a search with its result, as it is",
    [user("a"), assistant([search, found, text("b")]), user("c")],
    [user("a"), assistant([search, found, text("b")]), user("c")]
  ],
  ["a turn of nothing but an abandoned search", [user("a"), assistant([search]), user("b")], [
    user([text("a"), text("b")])
  ]]
]

describe("a history is made valid", () => {
  it.each(histories)("%s", (_, given, made) => {
    assert.deepStrictEqual(valid(given), made)
    assert.deepStrictEqual(valid(made), made)
  })

  it("and turns that need no change stay the objects that they are", () => {
    const turns = [user("a"), assistant([text("b")]), user("c")]
    assert.isTrue(valid(turns).every((turn, index) => turn === turns[index]))
  })
})

describe("a conversation", () => {
  it.effect("sends its history along, and keeps what was cut", () =>
    Effect.gen(function*() {
      const chat = yield* Conversation.make({ ...settings, system: "Be brief." })
      assert.strictEqual(yield* chat.text("One?"), "Two.")
      const cut = yield* Effect.flip(chat.text("Three?"))
      assert(cut._tag === "IncompleteAnswerError")
      assert.strictEqual(cut.reason, "maxTokens")
      assert.isAbove(cut.costNanoUsd!, 0)
      yield* chat.send([text("Five?")])
      const asked = yield* ClaudeTest.requests
      assert.deepStrictEqual(asked.map(({ messages, system }) => [messages.length, system]), [
        [1, "Be brief."],
        [3, "Be brief."],
        [5, "Be brief."]
      ])
    }).pipe(Effect.provide(ClaudeTest.layer("Two.", { content: ["Fo"], stopReason: "max_tokens" }, "Six."))))

  it.effect("is as it was after a turn that failed, was refused, or thought alone", () =>
    Effect.gen(function*() {
      const chat = yield* Conversation.make(settings)
      yield* chat.text("One?")
      const before = yield* chat.turns
      const failing = [chat.text("No."), chat.text("No."), Stream.runDrain(chat.stream("No.")), chat.text("No.")]
      const ends = []
      for (const turn of failing) {
        ends.push((yield* Effect.exit(Effect.asVoid<unknown, unknown, never>(turn)))._tag)
        assert.deepStrictEqual(yield* chat.turns, before)
      }
      assert.deepStrictEqual(ends, ["Failure", "Failure", "Success", "Failure"])
      assert.strictEqual(yield* chat.text("Three?"), "Four.")
      assert.strictEqual((yield* chat.turns).length, 4)
    }).pipe(Effect.provide(ClaudeTest.layer(
      "Two.",
      new ClaudeError.ServerError({ overloaded: true }),
      { content: ["I cannot"], stopReason: "refusal" },
      { content: ["I cannot"], stopReason: "refusal" },
      { content: [ClaudeTest.thinking("Hm.")], stopReason: "max_tokens" },
      "Four."
    ))))

  it.effect("keeps what a stream had shown when it was cut, and can go on", () =>
    Effect.gen(function*() {
      const chat = yield* Conversation.make(settings)
      const reader = yield* Effect.forkChild(Stream.runDrain(chat.stream("Count.")))
      yield* TestClock.adjust("250 millis")
      yield* Fiber.interrupt(reader)
      assert.deepStrictEqual((yield* chat.turns) as unknown, [
        user("Count."),
        assistant([{ type: "text", text: "One, two, ", citations: null } as Request.Block])
      ])
      assert.strictEqual(yield* chat.text("Go on."), "three.")
      assert.strictEqual((yield* chat.turns).length, 4)
    }).pipe(Effect.provide(ClaudeTest.layer(
      { content: [ClaudeTest.text("One, ", "two, ", "three.")], every: "100 millis" },
      "three."
    ))))

  it.effect("runs one turn after another", () =>
    Effect.gen(function*() {
      const chat = yield* Conversation.make(settings)
      const both = yield* Effect.forkChild(
        Effect.all([chat.text("a"), Stream.runDrain(chat.stream("b")), chat.text("c")], { concurrency: "unbounded" })
      )
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(both)
      assert.deepStrictEqual((yield* ClaudeTest.requests).map(({ messages }) => messages.length), [1, 3, 5])
      assert.strictEqual((yield* chat.turns).length, 6)
    }).pipe(Effect.provide(ClaudeTest.layer(
      ClaudeTest.forever({ content: [ClaudeTest.text("x", "y")], every: "1 second" })
    ))))

  it.effect("takes results of tools that its caller ran, and goes on without content", () =>
    Effect.gen(function*() {
      const tools: Request.Request["tools"] = [{ name: "double", input_schema: { type: "object" } }]
      const chat = yield* Conversation.make({ ...settings, tools })
      const { message } = yield* chat.send("Double 2.")
      assert.strictEqual(message.stop_reason, "tool_use")
      yield* chat.send([result("t1")])
      const [, , , second] = (yield* chat.turns).map(({ content }) => content)
      assert.deepStrictEqual(second as unknown, [text("Four.")].map((block) => ({ ...block, citations: null })))
      assert.deepStrictEqual((yield* ClaudeTest.requests).at(-1)?.messages.at(-1), user([result("t1")]))
    }).pipe(Effect.provide(ClaudeTest.layer(ClaudeTest.toolUse("double", { n: 2 }, { id: "t1" }), "Four."))))

  it.effect("is saved and restored, and the simulated API accepts it", () =>
    Effect.gen(function*() {
      const Saved = Schema.fromJsonString(Conversation.Turns)
      const double = ToolLoop.tool("double", {
        input: Schema.Struct({ n: Schema.Int }),
        handler: ({ n }) => Effect.succeed(String(2 * n))
      })
      const chat = yield* Conversation.make({ ...settings, max_tokens: 2_000 }, { tools: [double] })
      yield* chat.send("Double a number.")
      const saved = yield* Schema.encodeEffect(Saved)(yield* chat.turns)
      const messages = yield* Schema.decodeEffect(Saved)(saved)
      assert.deepStrictEqual(messages as unknown, JSON.parse(JSON.stringify(yield* chat.turns)))
      const again = yield* Conversation.make({ ...settings, max_tokens: 2_000, messages }, { tools: [double] })
      yield* again.text("And now?")
      const wrong = yield* Effect.exit(Schema.decodeEffect(Saved)(`[{"role":"robot","content":"x"}]`))
      assert.isTrue(Exit.isFailure(wrong))
    }).pipe(Effect.provide(Simulator.layerClaude())))

  it.effect("cuts its oldest turns as the optimizer does, and never a call from its result", () =>
    Effect.gen(function*() {
      const messages = Array.from({ length: 40 }, (_, n) => [
        user(`Question ${n}: ${"word ".repeat(50)}`),
        assistant([call(`t${n}`)]),
        user([result(`t${n}`)]),
        assistant(`Answer ${n}`)
      ]).flat()
      const tools: Request.Request["tools"] = [{ name: "double", input_schema: { type: "object" } }]
      const chat = yield* Conversation.make({ ...settings, tools, messages }, { trim: { maxInputTokens: 2_000 } })
      yield* chat.send("And?")
      const turns = yield* chat.turns
      assert.isBelow(turns.length, 100)
      assert.isAbove(turns.length, 10)
      assert.strictEqual(turns[0]?.role, "user")
      assert.deepStrictEqual(valid(turns), turns)
      assert.strictEqual((yield* ClaudeTest.requests)[0]?.messages.length, turns.length - 1)
    }).pipe(Effect.provide(ClaudeTest.layer("So."))))

  it.effect("tells each state of its history", () =>
    Effect.gen(function*() {
      const double = ToolLoop.tool("double", {
        input: Schema.Struct({ n: Schema.Int }),
        handler: ({ n }) => Effect.as(Effect.sleep("1 second"), String(2 * n))
      })
      const recorded: Array<ReadonlyArray<Request.Turn>> = []
      const chat = yield* Conversation.make(settings, {
        tools: [double],
        record: (turns) => Effect.sync(() => recorded.push(turns))
      })
      const seen = yield* Ref.make<ReadonlyArray<number>>([])
      yield* Effect.forkChild(
        Stream.runForEach(chat.changes, ({ length }) => Ref.update(seen, (all) => [...all, length]))
      )
      const turn = yield* Effect.forkChild(chat.text("Double 2."))
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(turn)
      assert.deepStrictEqual(yield* Ref.get(seen), [0, 3, 3, 4])
      assert.deepStrictEqual(recorded.map(({ length }) => length), [3, 3, 4])
      for (const turns of recorded) assert.deepStrictEqual(valid(turns), turns)
    }).pipe(Effect.provide(ClaudeTest.layer(ClaudeTest.toolUse("double", { n: 2 }), "Four."))))
})

describe("a streamed loop of three tools", () => {
  const answer = ({ messages }: Request.Request): ClaudeTest.Reply => {
    const content = messages.at(-1)?.content ?? ""
    return typeof content !== "string" && content.at(-1)?.type === "tool_result"
      ? { content: [ClaudeTest.text("It ", "is ", "done.")], every: "100 millis" }
      : {
        content: [
          ClaudeTest.thinking("Three ", "tools."),
          ClaudeTest.text("One ", "moment."),
          ClaudeTest.toolUse("one", { n: 1 }, { pieces: ["{\"n\"", ": 1}"] }),
          ClaudeTest.toolUse("two", { n: 2 }),
          ClaudeTest.toolUse("three", { n: 3 })
        ],
        every: "100 millis"
      }
  }

  it.effect(
    "interrupted at any of 200 instants, goes on: no call runs twice, and nothing is lost",
    () =>
      Effect.gen(function*() {
        let seed = Date.now() % 1_000_003
        const random = () => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647
        for (let run = 0; run < 200; run++) {
          const instant = Math.floor(random() * 2_000)
          const where = `interrupted after ${instant} ms`
          const ran = new Map<string, number>()
          const tools = ["one", "two", "three"].map((name) =>
            ToolLoop.tool(name, {
              input: Schema.Struct({ n: Schema.Int }),
              handler: ({ n }, { id }) =>
                Effect.suspend(() => {
                  ran.set(id, (ran.get(id) ?? 0) + 1)
                  return Effect.as(Effect.sleep(`${n * 150} millis`), String(n))
                })
            })
          )
          const api = ClaudeTest.layerApi(ClaudeTest.forever(answer))
          const budget = { budgets: [{ name: "all", limit: 1 }] }
          yield* Effect.gen(function*() {
            const chat = yield* Conversation.make({ ...settings, max_tokens: 500 }, { tools })
            const first = yield* Effect.forkChild(Stream.runDrain(chat.stream("Do it.")))
            yield* TestClock.adjust(instant)
            yield* Fiber.interrupt(first)
            const kept = yield* chat.turns
            assert.deepStrictEqual(valid(kept), kept, where)

            const second = yield* Effect.forkChild(MessageStream.message(chat.stream("Do it again.")))
            yield* TestClock.adjust("1 minute")
            assert.strictEqual(MessageStream.textOf(yield* Fiber.join(second)), "It is done.", where)
            assert.deepInclude((yield* chat.turns).at(-1)?.content as ReadonlyArray<unknown>, {
              type: "text",
              text: "It is done.",
              citations: null
            }, where)
            for (const { messages } of yield* ClaudeTest.requests) {
              assert.deepStrictEqual(valid(messages), messages, where)
            }
            for (const times of ran.values()) {
              assert.strictEqual(times, 1, where)
            }
            const [account] = yield* (yield* Budget.Budget).snapshot
            assert.strictEqual(account?.reservedNanoUsd, 0, where)
            const rows = yield* Stream.runCollect((yield* CostLedger.CostLedger).rows({ from: 0, to: 1e15 }))
            assert.strictEqual(rows.length, (yield* ClaudeTest.calls).length, where)
          }).pipe(
            Effect.provide(Layer.merge(ClaudeService.layerWithParts({ api, keys: [ClaudeTest.key], budget }), api))
          )
        }
      })
  )
})

it("types: a conversation has the errors and needs of its tools", () => {
  const plain: Effect.Effect<Conversation.Conversation, never, ClaudeService.ClaudeService> = Conversation.make(
    settings
  )
  const failing = ToolLoop.tool("failing", { input: Schema.Struct({}), handler: () => Effect.fail("down" as const) })
  const made = Conversation.make(settings, { tools: [failing] })
  const typed: Effect.Effect<Conversation.Conversation<"down">, never, ClaudeService.ClaudeService> = made
  // @ts-expect-error: its tools may fail
  const deaf: Effect.Effect<Conversation.Conversation, never, ClaudeService.ClaudeService> = made
  assert.isDefined([plain, typed, deaf])
})

import Anthropic from "@anthropic-ai/sdk"
import type { MessageParam } from "@anthropic-ai/sdk/resources/messages"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger, Schema } from "effect"
import { Attempt, CallContext, CostOptimizer, Estimate, PriceBook, Request, Usage } from "effect-claude"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import { TestClock } from "effect/testing"
import * as Simulator from "../src/testing/Simulator.ts"
import { between } from "./utils/between.ts"
import { at, conversation, frozen, Plan, problem } from "./utils/histories.ts"

const user = (content: MessageParam["content"]): MessageParam => ({ role: "user", content })
const assistant = (content: MessageParam["content"]): MessageParam => ({ role: "assistant", content })
const words = (n: number): string => "word ".repeat(n).trim()

const ask = frozen<Attempt.Request>({
  model: "claude-opus-5-5",
  max_tokens: 8_192,
  messages: [{ role: "user", content: "Classify this review: The river was cold." }]
})

const using = (...rules: ReadonlyArray<CostOptimizer.Rule>) =>
  Effect.provide(Layer.provide(CostOptimizer.layer({ rules }), PriceBook.layer()))

/** What was learnt in the test that runs. */
let kinds = new Attempt.CallKinds()

const optimize = (request: Attempt.Request, options?: { readonly stream?: boolean }) =>
  Effect.gen(function*() {
    const optimizer = yield* CostOptimizer.CostOptimizer
    const { requestType } = yield* CallContext.CallContext
    return yield* optimizer.optimize(request, { ...options, lengths: (model) => kinds.of(model, requestType).lengths })
  })

const summary = CallContext.annotate({ requestType: "summary" })

/** Under the optimizer with these rules, on the day of the catalogue. */
const on = <A>(
  rules: ReadonlyArray<CostOptimizer.Rule>,
  effect: Effect.Effect<A, never, CostOptimizer.CostOptimizer>
) =>
  Effect.suspend(() => {
    kinds = new Attempt.CallKinds()
    return Effect.andThen(TestClock.setTime(at), effect)
  }).pipe(using(...rules))

const once = (rule: CostOptimizer.Rule, request: Attempt.Request) => on([rule], optimize(request))

const input = Estimate.inputTokens

const learn = (
  model: string,
  outputTokens: number,
  fields: { readonly outcome?: Attempt.Outcome; readonly optimized?: Attempt.MessageAttempt["optimized"] } = {},
  stopReason = "end_turn"
) =>
  Effect.gen(function*() {
    const context = yield* CallContext.CallContext
    const attempt = ClaudeTest.attempt({
      model,
      context,
      kind: kinds.of(model, context.requestType),
      outcome: Attempt.Outcome.Completed({
        usage: Usage.make({ outputTokens }),
        limits: undefined,
        model,
        requestId: undefined,
        stopReason
      }),
      ...fields
    })
    yield* Attempt.guard(Attempt.learning(kinds), attempt, Effect.void)
  })

const everyRule = (maxTokens: number): ReadonlyArray<CostOptimizer.Rule> => [
  CostOptimizer.trimHistory({ maxInputTokens: maxTokens }),
  CostOptimizer.cheaperModel({
    to: ["claude-haiku-5-5", "claude-haiku-4-5", "claude-sonnet-5-5", "claude-opus-4-5"],
    when: () => true,
    maxInputTokens: 1_000_000,
    allowTools: true
  }),
  CostOptimizer.shorterAnswers({ when: () => true }),
  CostOptimizer.cacheBreakpoints({ eager: true }),
  CostOptimizer.batchAdvice()
]

describe("CostOptimizer", () => {
  it.effect.prop(
    "gets conversations from the generator that the simulator accepts",
    { plan: Plan },
    ({ plan }) => Effect.sync(() => assert.isUndefined(problem(conversation(plan))))
  )

  it.effect.prop(
    "changes nothing when it is off, or when no rule applies",
    { plan: Plan },
    ({ plan }) =>
      Effect.gen(function*() {
        const request = frozen(conversation(plan))
        const bytes = JSON.stringify(request)
        const off = yield* optimize(request).pipe(Effect.provide(CostOptimizer.layerOff))
        const none = yield* on([
          CostOptimizer.trimHistory({ maxInputTokens: 10_000_000 }),
          CostOptimizer.cheaperModel({ to: "claude-haiku-5-5", when: [] }),
          CostOptimizer.shorterAnswers({ when: /no such text/ }),
          CostOptimizer.cacheBreakpoints(),
          CostOptimizer.batchAdvice()
        ], optimize(request))
        for (const result of [off, none]) {
          assert.strictEqual(result.request, request)
          assert.deepStrictEqual([result.changes, result.advice], [[], []])
        }
        assert.strictEqual(JSON.stringify(request), bytes)
      })
  )

  it.effect.prop(
    "keeps every request acceptable under all rules together, while the conversation grows",
    { plan: Plan, maxTokens: between(100, 20_000) },
    ({ maxTokens, plan }) =>
      on(
        everyRule(maxTokens),
        Effect.forEach(plan.exchanges, (_, index) =>
          Effect.gen(function*() {
            const given = frozen(conversation(plan, index + 1))
            const { changes, request } = yield* optimize(given)
            assert.isUndefined(problem(request), JSON.stringify(changes))
            if (request === given) assert.deepStrictEqual(changes, [])
            else assert.isAbove(changes.length, 0)
            for (const { savedNanoUsd } of changes) assert.isTrue(Number.isSafeInteger(savedNanoUsd ?? 0))
          }))
      ),
    { arbitrary: { runs: 300 } }
  )

  it.effect.prop(
    "never fails, whatever it is given",
    { fields: Schema.Record(Schema.Literals(["messages", "system", "tools", "thinking", "max_tokens"]), Schema.Json) },
    ({ fields }) =>
      on(
        everyRule(10).map((rule) => ({ ...rule })),
        Effect.asVoid(optimize({ ...ask, ...fields } as never))
      ).pipe(Effect.provide(Logger.layer([])))
  )

  describe("a rule", () => {
    const rule = (apply: CostOptimizer.Rule["apply"]): CostOptimizer.Rule => ({ name: "own", apply })

    it.effect("is given what the rule before it left, and reported by its name", () =>
      Effect.gen(function*() {
        const shorter = rule((request) => ({
          request: { ...request, max_tokens: request.max_tokens / 2 },
          what: `half of ${request.max_tokens}`,
          savedNanoUsd: undefined
        }))
        const { changes, request } = yield* on([shorter, shorter], optimize(ask))
        assert.strictEqual(request.max_tokens, 2_048)
        assert.deepStrictEqual(changes, [
          { rule: "own", what: "half of 8192", savedNanoUsd: undefined },
          { rule: "own", what: "half of 4096", savedNanoUsd: undefined }
        ])
      }))

    const wrong: ReadonlyArray<[string, () => unknown, RegExp]> = [
      ["throws", () => {
        throw new Error("prompt: my secret")
      }, /own where it throws/],
      ["proposes a string", () => "shorter", /an invalid request/],
      ["proposes null", () => null, /an invalid request/],
      [
        "proposes a request without messages",
        () => ({ request: { ...ask, messages: [] }, what: "x" }),
        /an invalid request/
      ],
      ["says no what", () => ({ request: { ...ask } }), /an invalid request/],
      ["saves half a nano-dollar", () => ({ request: { ...ask }, what: "x", savedNanoUsd: 0.5 }), /an invalid request/],
      [
        "asks for more than the model answers",
        () => ({ request: { ...ask, max_tokens: 200_000 }, what: "x", savedNanoUsd: 1 }),
        /would be rejected: claude-opus-5-5 answers with at most 128000/
      ],
      [
        "chooses a retired model",
        () => ({ request: { ...ask, model: "claude-opus-4-1-20250805" }, what: "x", savedNanoUsd: 1 }),
        /would be rejected: claude-opus-4-1-20250805 was retired/
      ]
    ]
    for (const [name, apply, message] of wrong) {
      it.effect(`is skipped and logged once when it ${name}`, () =>
        Effect.gen(function*() {
          const lines: Array<unknown> = []
          const logger = Logger.make(({ message }) => {
            lines.push(message)
          })
          const results = yield* on(
            [{ name: "own", apply: apply as never }, CostOptimizer.shorterAnswers({ when: () => true, maxTokens: 9 })],
            Effect.replicateEffect(optimize({ ...ask, model: "claude-opus-5-5", thinking: undefined as never }), 3)
          ).pipe(Effect.provide(Logger.layer([logger])))
          for (const { request } of results) assert.strictEqual(request.model, ask.model)
          assert.lengthOf(lines, 1)
          assert.match(String(lines[0]), message)
          assert.notInclude(String(lines[0]), "secret")
        }))
    }

    it.effect("is judged by what it makes, also of a request that is none", () =>
      Effect.gen(function*() {
        const retired = rule((request) => ({
          request: { ...request, model: "claude-opus-4-1-20250805", messages: ask.messages },
          what: "x",
          savedNanoUsd: 0
        }))
        const broken = frozen({ ...ask, messages: undefined as never })
        assert.strictEqual((yield* on([retired], optimize(broken))).request, broken)
      }))

    it.effect("may go on with a request that was refused before it", () =>
      Effect.gen(function*() {
        const broken = frozen({ ...ask, max_tokens: 200_000 })
        const own = rule((request) => ({ request: { ...request, system: "Be kind." }, what: "x", savedNanoUsd: 0 }))
        const { changes } = yield* on([own], optimize(broken))
        assert.lengthOf(changes, 1)
      }))

    it.effect("gives advice when it proposes no request, or the one it was given", () =>
      Effect.gen(function*() {
        const said = { what: "call your mother", savedNanoUsd: undefined }
        const rules = [rule(() => said), rule((request) => ({ ...said, request }))]
        const { advice, changes, request } = yield* on(rules, optimize(ask))
        assert.strictEqual(request, ask)
        assert.deepStrictEqual(changes, [])
        assert.deepStrictEqual(advice, [{ rule: "own", ...said }, { rule: "own", ...said }])
      }))
  })

  describe("trimHistory", () => {
    const chat = (n: number, size = 100): Attempt.Request =>
      frozen({
        ...ask,
        system: "Be kind.",
        messages: [
          ...Array.from({ length: n }, (_, i) => [user(`${i} ${words(size)}`), assistant(words(size))]).flat(),
          user("And now?")
        ]
      })

    it.effect.prop(
      "leaves a conversation that is accepted, that ends as it did, and that is within the bound or says that it is not",
      { plan: Plan, maxTokens: between(1, 6_000), step: between(1, 3_000) },
      ({ maxTokens, plan, step }) =>
        Effect.gen(function*() {
          const given = frozen(conversation(plan))
          const { advice, changes, request } = yield* once(
            CostOptimizer.trimHistory({ maxInputTokens: maxTokens, step }),
            given
          )
          assert.isUndefined(problem(request), changes[0]?.what)
          assert.deepStrictEqual({ ...request, messages: [] }, { ...given, messages: [] })
          assert.strictEqual(request.system, given.system)
          assert.strictEqual(request.tools, given.tools)

          const head = plan.beginsWithSystem ? 1 : 0
          assert.deepStrictEqual(request.messages.slice(0, head), given.messages.slice(0, head))
          const kept = request.messages.slice(head)
          kept.forEach((message, i) => assert.strictEqual(message, given.messages.at(i - kept.length)))
          assert.strictEqual(kept[0]?.role, "user")
          if (request !== given) assert.strictEqual(given.messages.at(-1 - kept.length)?.role, "assistant")
          const systems = (_: Attempt.Request) => _.messages.filter(({ role }) => role === "system").length
          assert.strictEqual(systems(request), systems(given))

          const said = [...changes, ...advice].map(({ what }) => what).join()
          if (input(given) <= maxTokens) assert.strictEqual(request, given)
          else if (input(request) > maxTokens) assert.match(said, /more than/)
          else assert.match(said, new RegExp(`^cut the ${given.messages.length - request.messages.length} oldest`))
        }),
      { arbitrary: { runs: 500 } }
    )

    it.effect("cuts whole turns from the front, and prices what it cut", () =>
      Effect.gen(function*() {
        const given = chat(10)
        const { changes, request } = yield* once(
          CostOptimizer.trimHistory({ maxInputTokens: Math.ceil(input(given) / 2), step: 1 }),
          given
        )
        assert.lengthOf(request.messages, 9)
        const cut = input(given) - input(request)
        assert.deepStrictEqual(changes, [{
          rule: "trimHistory",
          what: `cut the 12 oldest messages, about ${cut} tokens`,
          savedNanoUsd: cut * 4_000
        }])
      }))

    it.effect("cuts at the same place while the history grows by less than a step", () =>
      Effect.gen(function*() {
        const rule = CostOptimizer.trimHistory({ maxInputTokens: 4_000 })
        const firsts = yield* Effect.forEach(Array.from({ length: 40 }, (_, i) => i + 40), (n) =>
          Effect.map(once(rule, chat(n, 20)), ({ request }) => {
            assert.isAtMost(input(request), 4_000)
            return String(request.messages[0]?.content).split(" ")[0]
          }))
        assert.isAtMost(new Set(firsts).size, 6)
        assert.isAtLeast(new Set(firsts).size, 3)
      }))

    it.effect("prices a cut of cached turns as cache reads", () =>
      Effect.gen(function*() {
        const given = frozen({ ...chat(10), cache_control: { type: "ephemeral" as const } })
        const { changes, request } = yield* once(CostOptimizer.trimHistory({ maxInputTokens: 1_000 }), given)
        assert.strictEqual(changes[0]?.savedNanoUsd, (input(given) - input(request)) * 200)
      }))

    const thinking = { type: "thinking" as const, thinking: "Hm.", signature: "sig" }
    const thoughtful = (model: string) =>
      frozen<Attempt.Request>({
        model,
        max_tokens: 100,
        messages: [
          user(words(1_000)),
          assistant(words(1_000)),
          user("b"),
          assistant([thinking, { type: "text", text: "c" }]),
          user("d")
        ]
      })

    it.effect("cuts behind the last thinking block where the model binds it to the turns before", () =>
      Effect.gen(function*() {
        const rule = CostOptimizer.trimHistory({ maxInputTokens: 1_000 })
        const counts = (model: string) => Effect.map(once(rule, thoughtful(model)), (_) => _.request.messages.length)
        assert.strictEqual(yield* counts("claude-opus-5-5"), 1)
        assert.strictEqual(yield* counts("claude-mythos-5-2"), 1)
        assert.strictEqual(yield* counts("claude-mythos-preview"), 1)
        assert.strictEqual(yield* counts("a-model-of-tomorrow"), 1)
        assert.strictEqual(yield* counts("claude-opus-4-6"), 3)
      }))

    it.effect("leaves a history alone that the API compacted, and says that it is too long", () =>
      Effect.gen(function*() {
        const given = frozen({
          ...chat(4),
          messages: [user("a"), assistant([{ type: "compaction", content: "b" } as never]), ...chat(4).messages]
        })
        const { advice, request } = yield* once(CostOptimizer.trimHistory({ maxInputTokens: 100 }), given)
        assert.strictEqual(request, given)
        assert.match(advice[0]!.what, /no part of its history can be cut/)
      }))

    it.effect("keeps the tools that the conversation found", () =>
      Effect.gen(function*() {
        const found = (block: unknown) =>
          frozen<Attempt.Request>({
            ...ask,
            messages: [
              user(words(1_000)),
              assistant("a"),
              user("b"),
              assistant([{ type: "tool_use", id: "t", name: "find", input: {} }]),
              user([block as never]),
              assistant("c"),
              user("d")
            ]
          })
        const kept = (block: unknown) =>
          Effect.map(
            once(CostOptimizer.trimHistory({ maxInputTokens: 20 }), found(block)),
            ({ request }) => request.messages.length
          )
        const result = { type: "tool_result", tool_use_id: "t" }
        assert.strictEqual(yield* kept({ ...result, content: "a stone" }), 1)
        assert.strictEqual(yield* kept({ ...result, content: [{ type: "tool_reference", tool_name: "look" }] }), 5)
      }))

    it.effect("keeps a document that a later answer cites", () =>
      Effect.gen(function*() {
        const citation = {
          type: "char_location" as const,
          cited_text: "a",
          document_index: 0,
          document_title: null,
          start_char_index: 0,
          end_char_index: 1
        }
        const given = (citations: ReadonlyArray<typeof citation>) =>
          frozen<Attempt.Request>({
            ...ask,
            model: "claude-opus-4-6",
            messages: [
              user([{ type: "document", source: { type: "text", media_type: "text/plain", data: words(1_000) } }]),
              assistant("What about it?"),
              user("Who says a?"),
              assistant([{ type: "text", text: "a", citations: [...citations] }]),
              user("b")
            ]
          })
        const rule = CostOptimizer.trimHistory({ maxInputTokens: 300, step: 1 })
        assert.lengthOf((yield* once(rule, given([]))).request.messages, 3)
        assert.lengthOf((yield* once(rule, given([citation]))).request.messages, 1)
      }))
  })

  describe("cheaperModel", () => {
    const toHaiku = CostOptimizer.cheaperModel({ to: "claude-haiku-5-5" })

    it.effect("sends a simple task to the cheaper model and says what that saves", () =>
      Effect.gen(function*() {
        const { changes, request } = yield* once(toHaiku, ask)
        assert.deepStrictEqual(request, { ...ask, model: "claude-haiku-5-5" })
        const tokens = input(ask)
        assert.deepStrictEqual(changes, [{
          rule: "cheaperModel",
          what: "claude-opus-5-5 -> claude-haiku-5-5",
          savedNanoUsd: tokens * (4_000 - 100) + 1_024 * (20_000 - 500)
        }])
      }))

    it.effect("takes the cheapest of several, counting tokens as each of them does", () =>
      Effect.gen(function*() {
        const to = ["claude-sonnet-4-6", "claude-sonnet-5-5", "claude-haiku-4-5", "claude-haiku-5-5"]
        const { request } = yield* once(CostOptimizer.cheaperModel({ to }), ask)
        assert.strictEqual(request.model, "claude-haiku-5-5")
        // 4 dollars of a dense tokenizer against 5 of a classic one: 5 / 1.3 is less
        const denser = yield* once(CostOptimizer.cheaperModel({ to: "claude-opus-4-6" }), ask)
        assert.strictEqual(denser.request.model, "claude-opus-4-6")
      }))

    it.effect("leaves room for the same answer where the other tokenizer needs more", () =>
      Effect.gen(function*() {
        const rule = CostOptimizer.cheaperModel({ to: "claude-sonnet-5-5" })
        const { changes, request } = yield* once(rule, { ...ask, model: "claude-opus-4-6" })
        assert.strictEqual(request.max_tokens, 10_650)
        assert.strictEqual(changes[0]?.what, "claude-opus-4-6 -> claude-sonnet-5-5, max_tokens 8192 -> 10650")
        const most = yield* once(rule, { ...ask, model: "claude-opus-4-6", max_tokens: 100_000 })
        assert.deepStrictEqual(most.changes, [])
      }))

    it.effect("picks calls by request type, expression, or function, and no place is kept in a global expression", () =>
      Effect.gen(function*() {
        const picks = (when: CostOptimizer.Matcher) =>
          on(
            [CostOptimizer.cheaperModel({ to: "claude-haiku-5-5", when })],
            Effect.map(Effect.replicateEffect(optimize(ask), 2), (all) => all.map(({ changes }) => changes.length))
          ).pipe(CallContext.annotate({ requestType: "triage" }))
        assert.deepStrictEqual(yield* picks("triage"), [1, 1])
        assert.deepStrictEqual(yield* picks("other"), [0, 0])
        assert.deepStrictEqual(yield* picks(/review/g), [1, 1])
        assert.deepStrictEqual(yield* picks(/stone/), [0, 0])
        assert.deepStrictEqual(yield* picks(["other", (_, call) => call.requestType === "triage"]), [1, 1])
        assert.deepStrictEqual(yield* picks([]), [0, 0])
      }))

    it.effect("passes over a model that would refuse the request, for one that is dearer and accepts it", () =>
      Effect.gen(function*() {
        const rule = CostOptimizer.cheaperModel({ to: ["claude-haiku-4-5", "claude-sonnet-5-5"] })
        assert.strictEqual((yield* once(rule, ask)).request.model, "claude-haiku-4-5")
        const abroad = yield* once(rule, { ...ask, inference_geo: "us" })
        assert.strictEqual(abroad.request.model, "claude-sonnet-5-5")
        assert.strictEqual(abroad.changes[0]?.savedNanoUsd, (input(ask) * 2_000 + 1_024 * 10_000) * 1.1)
      }))

    const always = (to: string | ReadonlyArray<string>, tools = false) =>
      CostOptimizer.cheaperModel({ to, when: () => true, allowTools: tools })
    const tool = { name: "look", input_schema: { type: "object" as const } }
    const stays: ReadonlyArray<[string, Partial<Attempt.Request> & Record<string, unknown>, CostOptimizer.Rule?]> = [
      ["has tools", { tools: [tool] }],
      ["has a tool of the API", { tools: [{ type: "bash_20250124", name: "bash" }] }, always("claude-haiku-5-5", true)],
      ["forces a tool that the other refuses", {
        model: "claude-opus-5",
        tools: [tool],
        tool_choice: { type: "any" }
      }, always("claude-sonnet-5-5", true)],
      ["turns thinking off, which the other refuses", {
        model: "claude-opus-5",
        thinking: { type: "disabled" }
      }, always("claude-sonnet-5-5")],
      ["has a prefill", {
        model: "claude-opus-4-5",
        messages: [user("x"), assistant("y")]
      }, always("claude-haiku-5-5")],
      ["names a region", { inference_geo: "us" }, always("claude-haiku-4-5")],
      ["thinks within a budget", {
        model: "claude-opus-4-6",
        thinking: { type: "enabled", budget_tokens: 1_024 }
      }, always("claude-haiku-4-5")],
      ["wants more output than the other gives", { max_tokens: 100_000 }, always("claude-haiku-4-5")],
      ["thinks adaptively", { thinking: { type: "adaptive" } }],
      ["asks for an effort", { output_config: { effort: "low" } }],
      ["asks for structured output", { output_config: { format: { type: "json_schema", schema: {} } } }],
      ["is fast", { speed: "fast" }],
      ["wants priority", { service_tier: "auto" }],
      ["has a field of a beta", { context_management: {} }],
      ["has thinking in its history", {
        messages: [user("x"), assistant([{ type: "thinking", thinking: "y", signature: "z" }]), user("x")]
      }],
      ["has a system message amid", { messages: [user("x"), { role: "system", content: "y" }, user("x")] }],
      ["has a tool reference", {
        messages: [
          user("x"),
          assistant([{ type: "tool_use", id: "t", name: "look", input: {} }]),
          user([{ type: "tool_result", tool_use_id: "t", content: [{ type: "tool_reference", tool_name: "look" }] }])
        ]
      }],
      ["is for a model without a price", { model: "a-model-of-tomorrow" }],
      [
        "is for the cheapest model already",
        { model: "claude-haiku-5-5" },
        always(["claude-haiku-5-5", "claude-opus-5"])
      ],
      ["could only go to a retired model", { model: "claude-opus-4-8" }, always("claude-3-5-haiku-20241022")],
      ["could only go to an unknown model", {}, always("a-model-of-tomorrow")],
      ["is long", { messages: [user(words(10_000))] }],
      ["has a warm cache that the other would have to write", {
        model: "claude-sonnet-5-5",
        max_tokens: 1,
        cache_control: { type: "ephemeral" },
        messages: [user(words(2_000))]
      }]
    ]
    for (const [name, fields, rule = always("claude-haiku-5-5")] of stays) {
      it.effect(`leaves a request alone that ${name}`, () =>
        Effect.gen(function*() {
          const given = frozen({ ...ask, ...fields })
          assert.strictEqual((yield* once(rule, given)).request, given)
        }))
    }

    it.effect("counts the prompt as the other model does, against its context", () =>
      Effect.gen(function*() {
        const rule = CostOptimizer.cheaperModel({
          to: "claude-sonnet-5-5",
          when: () => true,
          maxInputTokens: 1_000_000
        })
        const given = (n: number) => frozen({ ...ask, model: "claude-opus-4-6", messages: [user(words(n))] })
        const [large, small] = [given(560_000), given(500_000)]
        assert.isBelow(input(large), 900_000)
        const lines: Array<unknown> = []
        const logger = Logger.make(({ message }) => {
          lines.push(message)
        })
        assert.strictEqual((yield* once(rule, large).pipe(Effect.provide(Logger.layer([logger])))).request, large)
        assert.deepStrictEqual(lines, [])
        assert.strictEqual((yield* once(rule, small)).request.model, "claude-sonnet-5-5")
      }))

    it.effect("leaves calls with a beta header alone", () =>
      Effect.gen(function*() {
        const { request } = yield* once(toHaiku, ask).pipe(
          CallContext.annotate({ headers: { "Anthropic-Beta": "something-2026" } })
        )
        assert.strictEqual(request, ask)
      }))

    it.effect("takes requests with tools when it is told to", () =>
      Effect.gen(function*() {
        const { request } = yield* once(always("claude-haiku-5-5", true), { ...ask, tools: [tool] })
        assert.strictEqual(request.model, "claude-haiku-5-5")
      }))

    it.effect("counts an answer as long as those that it knows", () =>
      on(
        [toHaiku],
        Effect.gen(function*() {
          yield* Effect.replicateEffect(learn(ask.model, 10), 3)
          const { changes } = yield* optimize(ask)
          assert.strictEqual(changes[0]?.savedNanoUsd, input(ask) * 3_900 + 10 * 19_500)
        })
      ))
  })

  describe("shorterAnswers", () => {
    const question = frozen<Attempt.Request>({
      ...ask,
      model: "claude-opus-4-8",
      messages: [user("Is the river deep? Answer with yes or no.")]
    })

    it.effect("lowers max_tokens for a question with a short answer, and claims no saving", () =>
      Effect.gen(function*() {
        const { changes, request } = yield* once(CostOptimizer.shorterAnswers(), question)
        assert.deepStrictEqual(request, { ...question, max_tokens: 512 })
        assert.deepStrictEqual(changes, [{
          rule: "shorterAnswers",
          what: "max_tokens 8192 -> 512, which reserves 0.192 dollars less",
          savedNanoUsd: 0
        }])
      }))

    it.effect("leaves room for thinking: for a budget as much as it is, and all of it where the model decides", () =>
      Effect.gen(function*() {
        const limit = (fields: Partial<Attempt.Request>) =>
          Effect.map(once(CostOptimizer.shorterAnswers(), { ...question, ...fields }), (_) => _.request.max_tokens)
        assert.strictEqual(yield* limit({ thinking: { type: "enabled", budget_tokens: 2_000 } }), 2_512)
        assert.strictEqual(yield* limit({ thinking: { type: "adaptive" } }), 8_192)
        assert.strictEqual(yield* limit({ model: "claude-opus-5-5" }), 8_192)
        assert.strictEqual(yield* limit({ max_tokens: 100 }), 100)
        const tools = [{ name: "look", input_schema: { type: "object" as const } }]
        assert.strictEqual(yield* limit({ tools }), 8_192)
      }))

    it.effect("learns from answers of the same request type, four times the longest and never below the floor", () =>
      on(
        [CostOptimizer.shorterAnswers()],
        Effect.gen(function*() {
          const limit = Effect.map(optimize(ask), ({ request }) => request.max_tokens)
          yield* Effect.replicateEffect(learn(ask.model, 10), 19)
          assert.strictEqual(yield* limit, 8_192)
          yield* learn(ask.model, 10)
          assert.strictEqual(yield* limit, 256)
          yield* learn(ask.model, 600)
          assert.strictEqual(yield* limit, 2_400)
          yield* learn(ask.model, 600, {}, "max_tokens")
          assert.strictEqual(yield* limit, 8_192)
          assert.strictEqual(yield* CallContext.annotate(limit, { requestType: "other" }), 8_192)
        })
      ).pipe(summary))

    it.effect("learns nothing from calls that may be of any kind", () =>
      on(
        [CostOptimizer.shorterAnswers()],
        Effect.gen(function*() {
          yield* Effect.replicateEffect(learn(ask.model, 10), 30)
          assert.strictEqual((yield* optimize(ask)).request, ask)
        })
      ))

    it.effect("learns from whole answers only, for the model that gave them and the one that was asked for", () =>
      on(
        [CostOptimizer.shorterAnswers({ minCalls: 1 })],
        Effect.gen(function*() {
          const limit = (model: string) => Effect.map(optimize({ ...ask, model }), ({ request }) => request.max_tokens)
          yield* learn(ask.model, 300, { outcome: Attempt.Outcome.Aborted({ usage: Usage.zero }) })
          assert.strictEqual(yield* limit(ask.model), 8_192)
          yield* learn("claude-haiku-5-5", 300, { optimized: { askedModel: ask.model, changes: [] } })
          assert.deepStrictEqual([yield* limit(ask.model), yield* limit("claude-haiku-5-5")], [1_200, 1_200])
          assert.strictEqual(yield* limit("claude-sonnet-5-5"), 8_192)
        })
      ).pipe(summary))

    it.effect("forgets the kind of call that was least recent beyond a thousand", () =>
      on(
        [CostOptimizer.shorterAnswers({ minCalls: 1 })],
        Effect.gen(function*() {
          const limit = Effect.map(optimize(ask), ({ request }) => request.max_tokens)
          yield* learn(ask.model, 300)
          // Each of them is a kind of its model, too.
          const others = (name: string, count: number) =>
            Effect.forEach(Array.from({ length: count }), (_, i) => learn(`${name}${i}`, 300))
          yield* others("a", 499)
          assert.strictEqual(yield* limit, 1_200)
          yield* others("b", 500)
          assert.strictEqual(yield* limit, 8_192)
        })
      ).pipe(summary))

    it.effect("forgets lengths that are no longer usual", () =>
      on(
        [CostOptimizer.shorterAnswers()],
        Effect.gen(function*() {
          yield* learn(ask.model, 4_000)
          yield* Effect.replicateEffect(learn(ask.model, 200), 64)
          assert.strictEqual((yield* optimize(ask)).request.max_tokens, 800)
        })
      ).pipe(summary))
  })

  describe("cacheBreakpoints", () => {
    const control = { type: "ephemeral" as const }
    const system = words(2_000)
    const about = (question: string, fields: Partial<Attempt.Request> = {}) =>
      frozen<Attempt.Request>({ ...ask, system, messages: [user(question)], ...fields })
    const marked = [{ type: "text" as const, text: system, cache_control: control }]
    const rule = CostOptimizer.cacheBreakpoints()

    it.effect("marks a system prompt that comes again within the time to live: the second call pays, the third saves", () =>
      on(
        [rule],
        Effect.gen(function*() {
          const first = about("a")
          assert.strictEqual((yield* optimize(first)).request, first)
          yield* TestClock.adjust("4 minutes")
          const second = yield* optimize(about("b"))
          assert.deepStrictEqual(second.request, { ...about("b"), system: marked })
          const tokens = input({ ...first, messages: [] })
          assert.deepStrictEqual(second.changes, [{
            rule: "cacheBreakpoints",
            what: `a cache breakpoint after the system prompt (about ${tokens} tokens)`,
            savedNanoUsd: tokens * (4_000 - 5_000)
          }])
          yield* TestClock.adjust("4 minutes")
          const third = yield* optimize(about("c"))
          assert.strictEqual(third.changes[0]?.savedNanoUsd, tokens * (4_000 - 200))
          yield* TestClock.adjust("5 minutes")
          assert.deepStrictEqual((yield* optimize(about("d"))).changes, [])
        })
      ))

    it.effect("has the third call read what the second wrote, at the API", () =>
      on(
        [rule],
        Effect.gen(function*() {
          const { fetch } = yield* Simulator.Simulator
          const usage = Effect.fnUntraced(function*(question: string) {
            const { request } = yield* optimize(about(question))
            const message = yield* Effect.promise(() =>
              new Anthropic({ apiKey: Simulator.apiKey, fetch, maxRetries: 0 }).messages.create({
                ...Request.toParams(request),
                stream: false
              })
            )
            const { cache_creation_input_tokens, cache_read_input_tokens } = message.usage
            return [cache_creation_input_tokens ?? 0, cache_read_input_tokens ?? 0] as const
          })
          assert.deepStrictEqual(yield* usage("a"), [0, 0])
          const [written] = yield* usage("b")
          assert.isAbove(written, 512)
          assert.deepStrictEqual(yield* usage("c"), [0, written])
        }).pipe(Effect.provide(Simulator.layer()))
      ))

    it.effect("keeps models and tenants apart", () =>
      on(
        [rule],
        Effect.gen(function*() {
          yield* optimize(about("a"))
          assert.deepStrictEqual((yield* optimize(about("b", { model: "claude-opus-5" }))).changes, [])
          assert.deepStrictEqual((yield* CallContext.annotate(optimize(about("b")), { tenant: "t" })).changes, [])
          assert.lengthOf((yield* optimize(about("b"))).changes, 1)
        })
      ))

    it.effect("marks what was never seen only when it is eager, and for an hour when told so", () =>
      Effect.gen(function*() {
        const { request } = yield* once(CostOptimizer.cacheBreakpoints({ eager: true, ttl: "1h" }), about("a"))
        const hour = { ...control, ttl: "1h" as const }
        assert.deepStrictEqual(request, {
          ...about("a"),
          system: [{ type: "text", text: system, cache_control: hour }],
          messages: [user([{ type: "text", text: "a", cache_control: hour }])]
        })
      }))

    it.effect("marks the newest message of a conversation that goes on, and reads what the call before wrote", () =>
      on(
        [rule],
        Effect.gen(function*() {
          const turns = [user(words(3_000)), assistant("a"), user(words(100)), assistant("b"), user("c")]
          const call = (n: number) => optimize(frozen({ ...ask, messages: turns.slice(0, n) }))
          assert.deepStrictEqual((yield* call(1)).changes, [])
          const { changes: second, request } = yield* call(3)
          // Where the conversation was seen to stand, it can fork.
          assert.deepStrictEqual(request.messages, [
            user([{ type: "text", text: words(3_000), cache_control: control }]),
            turns[1]!,
            user([{ type: "text", text: words(100), cache_control: control }])
          ])
          const before = input({ ...ask, messages: turns.slice(0, 3) })
          assert.strictEqual(second[0]?.savedNanoUsd, before * -1_000)
          const { changes: third } = yield* call(5)
          const rest = input({ ...ask, messages: turns }) - before
          assert.strictEqual(third[0]?.savedNanoUsd, before * 3_800 - rest * 1_000)
        })
      ))

    it.effect("marks the tools where the system prompt is always another one", () =>
      on(
        [rule],
        Effect.gen(function*() {
          const tools = [
            { name: "a", input_schema: { type: "object" as const } },
            { name: "b", description: words(1_000), input_schema: { type: "object" as const } }
          ] satisfies Attempt.Request["tools"]
          yield* optimize(about("a", { tools, system: "It is Monday." }))
          const { request } = yield* optimize(about("b", { tools, system: "It is Tuesday." }))
          assert.deepStrictEqual(request.tools, [...tools.slice(0, 1), { ...tools.at(-1)!, cache_control: control }])
          assert.strictEqual(request.system, "It is Tuesday.")
        })
      ))

    it.effect("leaves a prompt alone that is too short for the cache of the model", () =>
      Effect.gen(function*() {
        const eager = CostOptimizer.cacheBreakpoints({ eager: true })
        const places = (model: string) => Effect.map(once(eager, about("a", { model })), (_) => _.changes.length)
        assert.strictEqual(yield* places("claude-opus-5-5"), 1)
        assert.strictEqual(yield* places("claude-haiku-4-5"), 0)
        assert.strictEqual(yield* places("a-model-of-tomorrow"), 0)
      }))

    it.effect("leaves breakpoints where they are and their part of the prompt alone", () =>
      Effect.gen(function*() {
        const eager = CostOptimizer.cacheBreakpoints({ eager: true })
        const own = about("a", { system: [{ ...marked[0]! }, { type: "text", text: "b" }] })
        const first = yield* once(eager, own)
        assert.strictEqual(first.request.system, own.system)
        assert.deepStrictEqual(first.request.messages, [user([{ type: "text", text: "a", cache_control: control }])])
        assert.isUndefined(first.changes[0]?.savedNanoUsd)
        const whole = about("a", { cache_control: control })
        assert.deepStrictEqual((yield* once(eager, whole)).request, { ...whole, system: marked })
      }))

    it.effect("never makes a fifth breakpoint, nor one of five minutes before one of an hour", () =>
      Effect.gen(function*() {
        const eager = CostOptimizer.cacheBreakpoints({ eager: true })
        const block = (ttl: "5m" | "1h") => ({ type: "text" as const, text: "x", cache_control: { ...control, ttl } })
        const full = about("a", { messages: [user(Array.from({ length: 4 }, () => block("5m")))] })
        assert.strictEqual((yield* once(eager, full)).request, full)
        const inside = { type: "tool_result" as const, tool_use_id: "t", content: [block("5m"), block("5m")] }
        const nested = about("a", { messages: [user([inside, block("5m"), block("5m")])] })
        assert.strictEqual((yield* once(eager, nested)).request, nested)
        const hour = about("a", { messages: [user([block("1h")])] })
        assert.strictEqual((yield* once(eager, hour)).request, hour)
        const short = about("a", { system: [{ ...marked[0]! }] })
        const eagerHour = CostOptimizer.cacheBreakpoints({ eager: true, ttl: "1h" })
        assert.strictEqual((yield* once(eagerHour, short)).request, short)
      }))

    it.effect("leaves alone what cannot hold a breakpoint", () =>
      Effect.gen(function*() {
        const eager = CostOptimizer.cacheBreakpoints({ eager: true })
        const stays: ReadonlyArray<Partial<Attempt.Request>> = [
          {
            tools: [{ name: "a", description: words(2_000), defer_loading: true, input_schema: { type: "object" } }],
            messages: [user([{ type: "text", text: " " }])]
          }
        ]
        for (const fields of stays) {
          const given = frozen({ ...ask, ...fields })
          assert.strictEqual((yield* once(eager, given)).request, given)
        }
      }))

    it.effect("marks the last place of the messages that can hold one", () =>
      Effect.gen(function*() {
        const eager = CostOptimizer.cacheBreakpoints({ eager: true })
        const block = { type: "text" as const, text: words(2_000) }
        const long = user([{ ...block, cache_control: control }])
        const pairs = [
          [[user(words(2_000)), assistant("The")], [long, assistant("The")]],
          [[user([block, { type: "text", text: " " }])], [user([...long.content as [], { type: "text", text: " " }])]]
        ] as const
        for (const [messages, expected] of pairs) {
          const given = frozen({ ...ask, system: "Be kind.", messages })
          assert.deepStrictEqual((yield* once(eager, given)).request, { ...given, messages: expected })
        }
      }))

    it.effect("marks no system prompt that is too short itself, before messages that are long", () =>
      Effect.gen(function*() {
        const given = frozen({ ...ask, system: "Be kind.", messages: [user(words(2_000))] })
        const { request } = yield* once(CostOptimizer.cacheBreakpoints({ eager: true }), given)
        assert.strictEqual(request.system, given.system)
        assert.notStrictEqual(request.messages, given.messages)
      }))

    it.effect("does not take a conversation for the same whose tool choice changed, or that is 20 blocks further", () =>
      on(
        [rule],
        Effect.gen(function*() {
          const turns = [user(words(3_000)), assistant("a"), user("b")]
          const next = (fields: Partial<Attempt.Request>) =>
            Effect.map(optimize(frozen({ ...ask, messages: turns, ...fields })), ({ changes }) => changes.length)
          const blocks = Array.from({ length: 20 }, () => ({ type: "text" as const, text: "c" }))
          assert.strictEqual(yield* next({ messages: turns.slice(0, 1) }), 0)
          assert.strictEqual(yield* next({ tool_choice: { type: "none" } }), 0)
          assert.strictEqual(yield* next({ messages: [...turns.slice(0, 2), user(blocks)] }), 0)
          assert.strictEqual(yield* next({}), 1)
        })
      ))

    const places = (request: Attempt.Request) =>
      Effect.map(
        optimize(frozen(request)),
        ({ changes }) => [...(changes[0]?.what ?? "").matchAll(/after (.*?) \(/g)].map(([, place]) => place)
      )

    it.effect("marks a document and not the questions about it", () =>
      on(
        [rule],
        Effect.gen(function*() {
          const document = { type: "text" as const, text: words(3_000) }
          const question = (text: string) => ({
            ...ask,
            messages: [user([document, { type: "text", text: `${text} ${words(500)}` }])]
          })
          const marks = yield* Effect.forEach(Array.from({ length: 30 }, (_, i) => `${i}`), (text) =>
            Effect.gen(function*() {
              const { request } = yield* optimize(question(text))
              yield* TestClock.adjust("100 seconds")
              const blocks = request.messages[0]!.content as ReadonlyArray<{ readonly cache_control?: unknown }>
              return blocks.map(({ cache_control }) =>
                cache_control !== undefined
              )
            }))
          assert.deepStrictEqual(marks[0], [false, false])
          assert.deepStrictEqual(marks[1], [true, true])
          // By then it has learnt that questions do not come again.
          assert.deepStrictEqual(marks.slice(10), Array.from({ length: 20 }, () => [true, false]))
        })
      ))

    it.effect("learns from a kind of call to write at first sight, or never", () =>
      on(
        [rule],
        Effect.gen(function*() {
          const call = (type: string, text: string) =>
            CallContext.annotate(places({ ...ask, system: `${text} ${words(2_000)}` }), { requestType: type })
          for (let i = 0; i < 60; i++) {
            yield* call("once", `once ${i}`)
            yield* call("twice", `twice ${i}`)
            yield* TestClock.adjust("10 seconds")
            yield* call("twice", `twice ${i}`)
          }
          assert.deepStrictEqual(yield* call("once", "new"), [])
          assert.include(yield* call("twice", "newer"), "the system prompt")
        })
      ))

    it.effect("marks the tools too, which other system prompts may share", () =>
      on(
        [CostOptimizer.cacheBreakpoints({ eager: true })],
        Effect.gen(function*() {
          const tools = [{ name: "a", description: words(1_000), input_schema: { type: "object" as const } }]
          assert.deepStrictEqual(yield* places({ ...ask, tools, system }), [
            "the tools",
            "the system prompt",
            "the newest message"
          ])
        })
      ))

    it.effect("forgets the oldest beginnings when there are too many", () =>
      Effect.andThen(
        TestClock.setTime(at),
        Effect.gen(function*() {
          yield* optimize(about("a"))
          yield* optimize(about("a", { system: words(3_000) }))
          assert.deepStrictEqual((yield* optimize(about("b"))).changes, [])
        })
      ).pipe(
        Effect.provide(
          Layer.provide(
            CostOptimizer.layer({ rules: [CostOptimizer.cacheBreakpoints({ maxPrefixes: 3 })] }),
            PriceBook.layer()
          )
        )
      ))
  })

  describe("batchAdvice", () => {
    const rule = CostOptimizer.batchAdvice()

    it.effect("says what a batch would save, and leaves the request alone", () =>
      Effect.gen(function*() {
        const { advice, changes, request } = yield* CallContext.annotate(once(rule, ask), { priority: "bulk" })
        assert.strictEqual(request, ask)
        assert.deepStrictEqual(changes, [])
        assert.strictEqual(advice[0]?.savedNanoUsd, (input(ask) * 4_000 + 1_024 * 20_000) / 2)
      }))

    it.effect("says nothing where somebody waits", () =>
      Effect.gen(function*() {
        const bulk = CallContext.annotate({ priority: "bulk" })
        const silent = [
          once(rule, ask),
          bulk(on([rule], optimize(ask, { stream: true }))),
          bulk(CallContext.withDeadline(once(rule, ask), "1 hour")),
          bulk(once(rule, { ...ask, speed: "fast" })),
          bulk(once(rule, { ...ask, max_tokens: 0 }))
        ]
        for (const { advice } of yield* Effect.all(silent)) assert.deepStrictEqual(advice, [])
      }))
  })
})

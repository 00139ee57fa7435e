/** Calls that move to another key, through the whole service over a simulated API: whatever is wrong, and whatever is called. */
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Fiber, Redacted, Stream } from "effect"
import type * as Budget from "effect-claude/Budget"
import * as CallContext from "effect-claude/CallContext"
import * as ClaudeConfig from "effect-claude/ClaudeConfig"
import * as ClaudeService from "effect-claude/ClaudeService"
import type * as KeyPool from "effect-claude/KeyPool"
import * as KeyStore from "effect-claude/KeyStore"
import * as Simulator from "effect-claude/testing/Simulator"
import { TestClock } from "effect/testing"
import { hello, settle } from "./utils/http.ts"
import { a, b, c, inFlight, keyOf, retry, states, total, value } from "./utils/organizations.ts"

const { Fault } = Simulator

const turns = { strategy: "roundRobin" } as const

/** Every way to ask, by what it is called. */
const ways: Readonly<Record<string, Effect.Effect<unknown, unknown, ClaudeService.ClaudeService>>> = {
  message: ClaudeService.create(hello),
  stream: Effect.gen(function*() {
    const events = yield* Stream.runCollect(ClaudeService.stream(hello))
    assert.strictEqual(events.at(-1)?.type, "message_stop")
    assert.lengthOf(events.filter(({ type }) => type === "message_start"), 1)
  }),
  "count of tokens": ClaudeService.countTokens(hello)
}

const refusing = (status: number, type: string, more: object = {}, headers: Record<string, string> = {}) => ({
  fault: Fault.Status({ status, body: { type: "error", error: { type, message: "no", ...more } }, headers }),
  when: { request: ({ key }: Simulator.Seen) => key !== "good" }
})

/** What may be wrong with all keys but the good one, and the state in which they are afterwards. */
const troubles: ReadonlyArray<readonly [what: string, rule: Simulator.Rule, state: KeyPool.KeyState]> = [
  ["401", refusing(401, "authentication_error"), "quarantined"],
  ["402", refusing(402, "billing_error"), "quarantined"],
  ["403", refusing(403, "permission_error"), "usable"],
  [
    "a credit balance that is too low",
    refusing(400, "invalid_request_error", { message: "Your credit balance is too low to access the Anthropic API." }),
    "quarantined"
  ],
  ["429", refusing(429, "rate_limit_error", {}, { "retry-after": "20" }), "cooling"],
  [
    "the spend limit of a tier",
    refusing(429, "rate_limit_error", { details: { error_code: "enforced_spend_limit_reached" } }),
    "cooling"
  ],
  [
    "a spend limit of one's own",
    refusing(400, "invalid_request_error", { message: "You have reached your specified API usage limits. Wait." }),
    "cooling"
  ]
]

const dead = [keyOf("a", "org-a"), keyOf("a-2", "org-a"), keyOf("b", "org-b"), keyOf("c", "org-c")]

describe("the one good key among several", () => {
  for (const [what, rule, state] of troubles) {
    for (const [way, call] of Object.entries(ways)) {
      it.effect(`is found in spite of ${what}, for a ${way}`, () =>
        Effect.gen(function*() {
          yield* call
          const after = Object.entries(yield* states)
          const others = after.filter(([label]) => label !== "good").map(([, state]) => state)
          // The keys of a group that reached a limit share it, and only one of them was tried.
          const isGroup = state === "cooling"
          assert.strictEqual(yield* total, isGroup ? 4 : 5)
          assert.deepStrictEqual(others, [state, state, state, state])
          assert.strictEqual(yield* inFlight, 0)
          if (!isGroup) return
          yield* call
          assert.strictEqual(yield* total, 5)
        }).pipe(Effect.provide(Simulator.layerClaude(
          { keys: [...dead, keyOf("good", "org-good")], faults: [rule] },
          { retry, keys: turns }
        ))))
    }
  }

  it.effect("is found before the first content of a stream, whatever its events say", () =>
    Effect.gen(function*() {
      const { script } = yield* Simulator.Simulator
      yield* script(
        ["authentication_error", "permission_error", "billing_error", "rate_limit_error"].map((type) =>
          Fault.ErrorEvent({ type, after: { events: 1 } })
        )
      )
      yield* ways["stream"]!
      assert.strictEqual(yield* total, 5)
      assert.strictEqual(yield* inFlight, 0)
    }).pipe(Effect.provide(Simulator.layerClaude(
      { keys: [a, b, c, keyOf("d", "org-d"), keyOf("e", "org-e")] },
      { retry, keys: turns }
    ))))
})

describe("a spend cap", () => {
  it.effect("moves streams that begin, and lets those that run end", () =>
    Effect.gen(function*() {
      const read = Stream.runCollect(ClaudeService.stream(hello))
      const running = yield* Effect.forkChild(read)
      yield* settle
      // The first is not billed yet, so that nothing stands against a second one.
      const used: Array<string | undefined> = []
      yield* value(Fiber.join(running))
      for (let call = 0; call < 8; call++) {
        yield* value(Stream.runDrain(ClaudeService.streamWithReport(hello, ({ keyLabel, outcome }) =>
          Effect.sync(() => {
            assert.strictEqual(outcome, "completed")
            used.push(keyLabel)
          }))))
      }
      assert.deepStrictEqual(used, Array.from({ length: 8 }, () => "b"))
      // One stream met the cap.
      assert.strictEqual(yield* total, 10)
      assert.deepStrictEqual(yield* states, { a: "cooling", b: "usable" })
    }).pipe(Effect.provide(Simulator.layerClaude({
      keys: [a, b],
      latency: { perToken: "10 millis" },
      spend: { kind: "enforced", limit: (organization) => organization === "org-a" ? 1 : Infinity }
    }, { retry, keys: turns }))))
})

describe("CLAUDE_KEY_STRATEGY", () => {
  const labelsWith = (environment: Record<string, string>) =>
    Effect.gen(function*() {
      const { keys } = yield* ClaudeConfig.config.parse(ConfigProvider.fromUnknown(environment))
      const calls = Effect.replicateEffect(ClaudeService.createWithReport(hello), 6)
      const reports = yield* calls.pipe(Effect.provide(Simulator.layerClaude(
        { keys: [a, keyOf("a-2", "org-a"), b] },
        { retry, keys }
      )))
      return reports.map(({ keyLabel }) => keyLabel).join(" ")
    })

  it.effect("names the strategy of the pool", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* labelsWith({ CLAUDE_KEY_STRATEGY: "roundRobin" }), "a a-2 b a a-2 b")
      // By default groups take turns rather than keys.
      const [byDefault, affinity] = [
        yield* labelsWith({}),
        yield* labelsWith({ CLAUDE_KEY_STRATEGY: "prefixAffinity" })
      ]
      assert.strictEqual(byDefault, affinity)
      assert.strictEqual(byDefault.split(" ").filter((label) => label === "b").length, 2)
    }))

  it.effect("that is none is an error that says which there are", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(labelsWith({ CLAUDE_KEY_STRATEGY: "fastest" }))
      assert.match(error.message, /prefixAffinity.*CLAUDE_KEY_STRATEGY/s)
    }))
})

describe("a budget", () => {
  const layer = (budgets: ReadonlyArray<Budget.BudgetOptions>, keys = [a, keyOf("a-2", "org-a"), b]) =>
    Simulator.layerClaude({ keys }, { retry, keys: turns, budget: { budgets } })

  const call = Effect.map(ClaudeService.createWithReport(hello), ({ keyLabel }) => keyLabel)

  it.effect("of each key that is full moves the call to a key with room, in its own group too", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* Effect.replicateEffect(call, 3), ["a-2", "a-2", "a-2"])
      assert.strictEqual(yield* total, 3)
      assert.strictEqual(yield* inFlight, 0)
    }).pipe(Effect.provide(layer([{ name: "each", limit: 1, limits: { a: 0, b: 0 }, per: "key" }]))))

  it.effect("for some keys only moves the call to the others", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* Effect.replicateEffect(call, 3), ["b", "b", "b"])
      const events = yield* Stream.runCollect(ClaudeService.stream(hello))
      assert.strictEqual(events.at(-1)?.type, "message_stop")
    }).pipe(Effect.provide(layer([{ name: "trial", limit: 0, filter: { key: ["a*"] } }]))))

  it.effect("that is full for every key refuses at once, and a call asks each of them once", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(call)
      assert.deepInclude(error, { _tag: "BudgetExceededError", budget: "each", isOfKey: true, attempts: 0 })
      assert.strictEqual(yield* total, 0)
      assert.strictEqual(yield* inFlight, 0)
      assert.deepStrictEqual(yield* states, { a: "usable", "a-2": "usable", b: "usable" })
    }).pipe(Effect.provide(layer([{ name: "each", limit: 0, per: "key" }]))))

  it.effect("that does not count by keys ends the call", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(call)
      assert.deepInclude(error, { _tag: "BudgetExceededError", budget: "all" })
      assert.isTrue(error._tag === "BudgetExceededError" && error.isOfKey === undefined)
    }).pipe(Effect.provide(layer([{ name: "all", limit: 0 }, { name: "each", limit: 1, per: "key" }]))))

  it.effect("of each key does not keep a call waiting for keys that cool down", () =>
    Effect.gen(function*() {
      const { inject } = yield* Simulator.Simulator
      yield* inject(Fault.Status({ status: 429, headers: { "retry-after": "20" } }), { times: 1 })
      const pinned = CallContext.annotate(call, { keyGroup: "org-b" })
      assert.strictEqual((yield* Effect.flip(pinned))._tag, "RateLimitError")
      assert.strictEqual((yield* Effect.flip(call))._tag, "BudgetExceededError")
    }).pipe(Effect.provide(layer([{ name: "each", limit: 1, limits: { a: 0, "a-2": 0 }, per: "key" }]))))
})

describe("the last key", () => {
  /** A source that takes so many milliseconds, and says only when it is asked that it has changed. */
  const sourceOf = (first: Simulator.Key) => {
    const state = { key: first, reads: 0, isDown: false, millis: 0 }
    const source: KeyStore.Source = {
      name: "manager",
      read: () =>
        Effect.suspend(() => {
          state.reads++
          if (state.isDown) return Effect.fail("down")
          const { key, label, organization } = state.key
          return Effect.delay(
            Effect.sync(() => ({
              secret: Redacted.make(JSON.stringify([{ label, group: organization, secret: key }]))
            })),
            state.millis
          )
        }),
      changes: Stream.never
    }
    return { state, layer: KeyStore.layer(source) }
  }

  const over = ({ layer }: ReturnType<typeof sourceOf>) => Simulator.layerClaude({ keys: [a] }, { retry, keys: layer })

  /** The source has another key, and the API no longer takes the one before. */
  const rotate = (source: ReturnType<typeof sourceOf>, next: Simulator.Key) =>
    Effect.gen(function*() {
      const { addKey, revoke } = yield* Simulator.Simulator
      yield* addKey(next)
      yield* revoke(source.state.key.key)
      source.state.key = next
    })

  it.effect("that is revoked before the store said so fails no call: the store is asked once for all", () => {
    const source = sourceOf(a)
    return Effect.gen(function*() {
      yield* ClaudeService.create(hello)
      yield* rotate(source, keyOf("a-next", "org-a"))
      const before = source.state.reads
      const calls = Effect.replicateEffect(ClaudeService.createWithReport(hello), 20, { concurrency: "unbounded" })
      const reports = yield* value(calls)
      assert.deepStrictEqual([...new Set(reports.map(({ keyLabel }) => keyLabel))], ["a-next"])
      assert.strictEqual(source.state.reads, before + 1)
      assert.strictEqual(yield* inFlight, 0)
      yield* rotate(source, keyOf("a-third", "org-a"))
      const events = yield* value(Stream.runCollect(ClaudeService.stream(hello)))
      assert.strictEqual(events.at(-1)?.type, "message_stop")
      yield* rotate(source, keyOf("a-fourth", "org-a"))
      assert.isAbove((yield* value(ClaudeService.countTokens(hello))).input_tokens, 0)
    }).pipe(Effect.provide(over(source)))
  })

  it.effect("that is still the one of the store, or of a store that is down, fails the call with what the API said", () => {
    const source = sourceOf(a)
    return Effect.gen(function*() {
      yield* ClaudeService.create(hello)
      const { revoke } = yield* Simulator.Simulator
      yield* revoke("a")
      const error = yield* value(Effect.flip(ClaudeService.create(hello)))
      assert.deepInclude(error, { _tag: "AuthError", attempts: 1 })
      assert.strictEqual(source.state.reads, 2)
      source.state.isDown = true
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* value(Effect.flip(ClaudeService.create(hello))))._tag, "NoUsableKeyError")
    }).pipe(Effect.provide(over(source)))
  })

  it.effect("waits for a slow store as long as its deadline allows, and for 5 seconds at most", () => {
    const source = sourceOf(a)
    return Effect.gen(function*() {
      yield* ClaudeService.create(hello)
      yield* rotate(source, keyOf("a-next", "org-a"))
      source.state.millis = 8_000
      const call = Effect.flip(ClaudeService.create(hello))
      const soon = yield* Effect.forkChild(CallContext.withDeadline(call, "2 seconds"))
      const later = yield* Effect.forkChild(call)
      yield* settle
      yield* TestClock.adjust(1_999)
      assert.isUndefined(soon.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.strictEqual((yield* Fiber.join(soon))._tag, "DeadlineExceededError")
      yield* TestClock.adjust(2_999)
      assert.isUndefined(later.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.strictEqual((yield* Fiber.join(later))._tag, "AuthError")
      // The reading goes on all the same.
      yield* TestClock.adjust("3 seconds")
      yield* settle
      assert.strictEqual((yield* ClaudeService.createWithReport(hello)).keyLabel, "a-next")
      assert.strictEqual(source.state.reads, 2)
      assert.strictEqual(yield* inFlight, 0)
    }).pipe(Effect.provide(over(source)))
  })
})

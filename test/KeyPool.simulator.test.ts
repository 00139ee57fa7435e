/** The pool under the whole service, over a simulated API. */
import { assert, describe, it } from "@effect/vitest"
import { Array as Arr, Clock, Duration, Effect, Fiber, Layer, Redacted, Schedule, Stream } from "effect"
import * as CallContext from "effect-claude/CallContext"
import * as CircuitBreaker from "effect-claude/CircuitBreaker"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as CostLedger from "effect-claude/CostLedger"
import * as KeyPool from "effect-claude/KeyPool"
import * as RateLimiter from "effect-claude/RateLimiter"
import * as Simulator from "effect-claude/testing/Simulator"
import { TestClock } from "effect/testing"
import { hello, settle } from "./utils/http.ts"
import {
  a,
  b,
  c,
  inFlight,
  keyOf,
  keys,
  labels,
  patiently,
  question,
  retry,
  states,
  total,
  value
} from "./utils/organizations.ts"
import * as MapStore from "./utils/rateLimiterMapStore.ts"

const { Fault } = Simulator

/** 429 for requests with keys of some organizations, until so many seconds after the start. */
const throttled = (seconds: number, ...organizations: ReadonlyArray<string>): Simulator.Rule => ({
  fault: Fault.Status({ status: 429, headers: { "retry-after": `${seconds}` } }),
  when: { until: `${seconds} seconds`, request: ({ organization }) => organizations.includes(organization ?? "") }
})

describe("a call without retries", () => {
  it.effect("is answered 500 times of 500 with one key revoked, one group at its limit and one healthy", () =>
    Effect.gen(function*() {
      const calls = Arr.makeBy(500, (i) => ClaudeService.createWithReport(question(i)))
      const answers = yield* patiently(Effect.all(calls, { concurrency: 16 }))
      assert.lengthOf(answers, 500)
      // Nobody waits for the group at its limit, but for a few that came before anything was known about it, and they for a second.
      assert.isAtMost(Math.max(...answers.map(({ latency }) => Duration.toSeconds(latency))), 2)
      const used = yield* labels
      assert.isFalse(used.includes("a"))
      assert.isTrue(used.includes("b"))
      assert.isTrue(used.includes("c"))
      assert.strictEqual((yield* states)["a"], "quarantined")
      assert.strictEqual(yield* inFlight, 0)
    }).pipe(Effect.provide(Simulator.layerClaude({
      keys: [keyOf("a", "org-a", { revoked: true }), b, c],
      latency: { firstToken: "200 millis" },
      limits: (_, organization) => organization === "org-b" ? { requestsPerMinute: 5 } : { requestsPerMinute: 5_000 }
    }, { retry }))))

  it.effect("moves all traffic away from an organization whose spend cap is reached", () =>
    Effect.gen(function*() {
      const reports = yield* value(Effect.replicateEffect(ClaudeService.createWithReport(hello), 20))
      const used = reports.map(({ keyLabel }) => keyLabel)
      assert.deepStrictEqual(used, ["a", "b", ...Array.from({ length: 18 }, () => "b")])
      // One request met the cap, and its call was answered all the same.
      assert.strictEqual(yield* total, 21)
    }).pipe(Effect.provide(Simulator.layerClaude({
      keys: [a, b],
      spend: { kind: "enforced", limit: (organization) => organization === "org-a" ? 1 : Infinity }
    }, { retry, keys: { strategy: "roundRobin" } }))))

  it.effect("finds the one good key among five dead ones", () =>
    Effect.gen(function*() {
      const { attempts, keyLabel, waits } = yield* ClaudeService.createWithReport(hello)
      assert.deepStrictEqual([attempts, keyLabel, waits], [6, "good", []])
      const rows = yield* Stream.runCollect((yield* CostLedger.CostLedger).rows({ from: 0, to: Infinity }))
      assert.deepStrictEqual(rows.map(({ attempt }) => attempt), [1, 2, 3, 4, 5, 6])
      assert.strictEqual(yield* inFlight, 0)
    }).pipe(Effect.provide(Simulator.layerClaude({
      keys: [
        keyOf("revoked", "org-a", { revoked: true }),
        keyOf("expired", "org-b", { expiresAt: 0 }),
        keyOf("unpaid", "org-c", { billing: "unpaid" }),
        keyOf("poor", "org-d", { billing: "lowCredit" }),
        keyOf("held", "org-e", { billing: "onHold" }),
        keyOf("good", "org-f")
      ]
    }, { retry, keys: { strategy: "roundRobin" } }))))

  it.effect("counts tokens, lists models and streams with another key as well", () =>
    Effect.gen(function*() {
      const claude = yield* ClaudeService.ClaudeService
      assert.isAbove((yield* claude.countTokens(hello)).input_tokens, 0)
      yield* TestClock.adjust("1 second")
      assert.isAbove((yield* claude.models).length, 0)
      const events = yield* Stream.runCollect(claude.stream(hello))
      assert.strictEqual(events.at(-1)?.type, "message_stop")
      assert.strictEqual(yield* inFlight, 0)
    }).pipe(Effect.provide(Simulator.layerClaude({
      keys: [keyOf("a", "org-a", { revoked: true }), keyOf("b", "org-b", { revoked: true }), c]
    }, { retry, keys: { strategy: "roundRobin" } }))))

  it.effect("of a stream moves before its first content only", () =>
    Effect.gen(function*() {
      const claude = yield* ClaudeService.ClaudeService
      const simulator = yield* Simulator.Simulator
      yield* simulator.script([
        Fault.ErrorEvent({ type: "authentication_error", after: { events: 1 } }),
        Fault.ErrorEvent({ type: "authentication_error", after: { events: 4 } })
      ])
      const error = yield* Effect.flip(Stream.runDrain(claude.stream(hello)))
      assert.deepInclude(error, { _tag: "StreamInterruptedError", attempts: 2 })
      assert.strictEqual(yield* inFlight, 0)
    }).pipe(Effect.provide(Simulator.layerClaude({ keys: [a, b] }, { retry, keys: { strategy: "roundRobin" } }))))

  it.effect("uses a model that only one key may use", () =>
    Effect.gen(function*() {
      const opus = { ...hello, model: "claude-opus-5-5" }
      for (const _ of [1, 2, 3]) assert.strictEqual((yield* ClaudeService.createWithReport(opus)).keyLabel, "b")
      const others = yield* Effect.replicateEffect(ClaudeService.createWithReport(hello), 2)
      assert.sameMembers(others.map(({ keyLabel }) => keyLabel), ["a", "b"])
      assert.deepStrictEqual(yield* states, { a: "usable", b: "usable" })
      assert.match((yield* keys)[0]?.reasons.join() ?? "", /permission for claude-opus-5-5/)
    }).pipe(Effect.provide(Simulator.layerClaude({
      keys: [keyOf("a", "org-a", { models: [hello.model] }), b]
    }, { retry, keys: { strategy: "roundRobin" } }))))

  it.effect("stays with the groups that its region names", () =>
    Effect.gen(function*() {
      const pinned = ClaudeService.createWithReport(hello).pipe(CallContext.annotate({ keyGroup: "org-b" }))
      const reports = yield* Effect.replicateEffect(pinned, 4)
      assert.deepStrictEqual(reports.map(({ keyLabel }) => keyLabel), ["b", "b", "b", "b"])
      const nowhere = ClaudeService.create(hello).pipe(CallContext.annotate({ keyGroup: "org-x" }))
      const error = yield* Effect.flip(nowhere)
      assert.strictEqual(error._tag, "NoUsableKeyError")
      assert.match(error.message, /a: not of the group org-x/)
    }).pipe(Effect.provide(Simulator.layerClaude({ keys: [a, b] }, { retry, keys: { strategy: "roundRobin" } }))))
})

describe("while every group cools down", () => {
  const layer = Simulator.layerClaude({ keys: [a, b], faults: [throttled(7, "org-a"), throttled(30, "org-b")] }, {
    retry
  })

  const calling = (deadline: "5 seconds" | "10 seconds") =>
    ClaudeService.createWithReport(hello).pipe(CallContext.withDeadline(deadline))

  it.effect("a call waits for the first as long as its deadline allows", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* Effect.flip(ClaudeService.create(hello)))._tag, "RateLimitError")
      const began = yield* Clock.currentTimeMillis
      const fiber = yield* Effect.forkChild(calling("10 seconds"))
      yield* settle
      yield* TestClock.adjust(6_999)
      yield* settle
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust(1)
      const { keyLabel } = yield* Fiber.join(fiber)
      assert.strictEqual(keyLabel, "a")
      assert.strictEqual((yield* Clock.currentTimeMillis) - began, 7_000)
      assert.strictEqual(yield* inFlight, 0)
    }).pipe(Effect.provide(layer)))

  it.effect("a call that cannot wait is refused immediately, with a reason for each key and when to come back", () =>
    Effect.gen(function*() {
      yield* Effect.flip(ClaudeService.create(hello))
      const before = yield* total
      const error = yield* Effect.flip(calling("5 seconds"))
      assert.strictEqual(
        error.message,
        "No API key is usable (a: cooling down: a rate limit of org-a was reached, 7s left; " +
          "b: cooling down: a rate limit of org-b was reached, 30s left). Try again in 7s."
      )
      assert.strictEqual(yield* total, before)
    }).pipe(Effect.provide(layer)))

  it.effect("a call waits no longer than the longest hint that is waited for", () =>
    Effect.gen(function*() {
      yield* Effect.flip(ClaudeService.create(hello))
      const error = yield* Effect.flip(ClaudeService.create(hello))
      assert.strictEqual(error._tag, "NoUsableKeyError")
    }).pipe(Effect.provide(Simulator.layerClaude(
      { keys: [a, b], faults: [throttled(7, "org-a", "org-b")] },
      { retry: { retries: 0, maxRetryAfter: "6 seconds" } }
    ))))

  it.effect("other model groups are not concerned", () =>
    Effect.gen(function*() {
      yield* Effect.flip(ClaudeService.create(hello))
      assert.deepStrictEqual(yield* states, { a: "cooling", b: "cooling" })
      const pool = yield* KeyPool.KeyPool
      const error = yield* Effect.flip(ClaudeService.create({ ...hello, model: "claude-opus-5-5" }))
      assert.strictEqual(error._tag, "RateLimitError") // it was sent
      assert.match((yield* pool.snapshot)[0]?.reasons.join() ?? "", /rate limit of org-a.*rate limit of org-a/)
    }).pipe(Effect.provide(layer)))
})

describe("a quarantined key", () => {
  it.effect("is checked off the path of calls, with back-off, until the API accepts it again", () =>
    Effect.gen(function*() {
      const simulator = yield* Simulator.Simulator
      const listed: Array<number> = []
      yield* Effect.replicateEffect(ClaudeService.create(hello), 4)
      yield* settle
      const began = yield* Clock.currentTimeMillis
      let seen = yield* total
      for (let second = 0; second < 40; second++) {
        yield* TestClock.adjust("1 second")
        yield* settle
        const now = yield* total
        if (now > seen) listed.push((yield* Clock.currentTimeMillis) - began)
        seen = now
      }
      assert.deepStrictEqual(listed, [1_000, 3_000, 7_000, 15_000, 31_000])
      yield* simulator.addKey(a)
      yield* TestClock.adjust("1 minute")
      yield* settle
      assert.deepStrictEqual(yield* states, { a: "usable", b: "usable" })
      yield* Effect.replicateEffect(ClaudeService.create(hello), 2)
      assert.isTrue((yield* labels).includes("a"))
    }).pipe(Effect.provide(Simulator.layerClaude(
      { keys: [keyOf("a", "org-a", { revoked: true }), b] },
      { retry, keys: { strategy: "roundRobin" } }
    ))))

  it.effect("is used where there is no other, until a second rejection", () =>
    Effect.gen(function*() {
      const { inject, requests } = yield* Simulator.Simulator
      yield* inject(Fault.Status({ status: 401 }))
      assert.strictEqual((yield* Effect.flip(ClaudeService.create(hello)))._tag, "AuthError")
      yield* ClaudeService.create(hello) // before the check
      yield* settle
      assert.deepStrictEqual(yield* states, { a: "usable" })
      yield* TestClock.adjust("1 second")
      yield* (yield* Simulator.Simulator).revoke("a")
      assert.strictEqual((yield* Effect.flip(ClaudeService.create(hello)))._tag, "AuthError")
      yield* settle
      const { total } = yield* requests
      const error = yield* Effect.flip(ClaudeService.create(hello))
      assert.strictEqual(
        error.message,
        "No API key is usable (a: quarantined: the API did not accept it). Check that they are right and paid for; " +
          "they are checked again in the background."
      )
      assert.strictEqual((yield* requests).total, total)
    }).pipe(Effect.provide(Simulator.layerClaude({ keys: [a] }, { retry }))))

  it.effect("does not open the circuit, whoever else is at fault", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.CircuitBreaker
      yield* Effect.flip(ClaudeService.create(hello))
      assert.strictEqual((yield* breaker.state("opus-4")).phase, "closed")
    }).pipe(Effect.provide(Simulator.layerClaude({
      keys: [a, b].map((key) => ({ ...key, revoked: true }))
    }, { retry, breaker: { consecutiveFailures: 1 } }))))
})

describe("a check", () => {
  it.effect("that is answered, if only by a refusal, ends a quarantine", () =>
    Effect.gen(function*() {
      const { inject } = yield* Simulator.Simulator
      const isListing = ({ path }: Simulator.Seen) => path.startsWith("/v1/models")
      yield* inject(Fault.Status({ status: 403 }), { request: isListing })
      yield* inject(Fault.Status({ status: 401 }), { times: 1, request: (request) => !isListing(request) })
      yield* ClaudeService.create(hello)
      yield* settle
      assert.deepStrictEqual(yield* states, { a: "usable", b: "usable" })
    }).pipe(Effect.provide(Simulator.layerClaude({ keys: [a, b] }, { retry }))))

  it.effect("for one model finds out that a key is revoked", () =>
    Effect.gen(function*() {
      const { inject, revoke } = yield* Simulator.Simulator
      yield* inject(Fault.Status({ status: 403 }))
      yield* revoke("a")
      yield* ClaudeService.create(hello)
      yield* settle
      assert.deepStrictEqual(yield* states, { a: "quarantined", b: "usable" })
    }).pipe(Effect.provide(Simulator.layerClaude({ keys: [a, b] }, { retry, keys: { strategy: "roundRobin" } }))))

  it.effect("that hangs keeps others waiting for 30 seconds at most", () =>
    Effect.gen(function*() {
      const { inject } = yield* Simulator.Simulator
      const isListing = ({ key, path }: Simulator.Seen) => path.startsWith("/v1/models") && key === "a"
      yield* inject(Fault.Stall({ after: "nothing" }), { request: isListing })
      yield* inject(Fault.Status({ status: 401 }), { times: 2, request: ({ path }) => path === "/v1/messages" })
      yield* ClaudeService.create(hello)
      yield* settle
      assert.deepStrictEqual(yield* states, { a: "quarantined", b: "quarantined", c: "usable" })
      yield* TestClock.adjust("30 seconds")
      yield* settle
      assert.deepStrictEqual(yield* states, { a: "quarantined", b: "usable", c: "usable" })
    }).pipe(Effect.provide(Simulator.layerClaude({ keys: [a, b, c] }, { retry, keys: { strategy: "roundRobin" } }))))
})

describe("a group without room", () => {
  const full = Simulator.layerClaude({ keys: [a, b] }, {
    retry,
    keys: { strategy: "roundRobin" },
    limiter: {
      limits: (_: string, group: string) => ({ requestsPerMinute: group === "org-a" ? 1 : 1_000 }),
      burst: "1 minute"
    }
  })

  it.effect("is passed by: time stands still, and nothing counts as an attempt that was not sent", () =>
    Effect.gen(function*() {
      const reports = yield* Effect.replicateEffect(ClaudeService.createWithReport(hello), 6)
      assert.deepStrictEqual(reports.map(({ keyLabel }) => keyLabel), ["a", "b", "b", "b", "b", "b"])
      assert.deepStrictEqual(reports.map(({ attempts }) => attempts), [1, 1, 1, 1, 1, 1])
      assert.strictEqual(yield* total, 6)
      assert.strictEqual(yield* inFlight, 0)
    }).pipe(Effect.provide(full)))

  it.effect("is passed by over a shared store too, although it would give a turn that begins soon", () =>
    Effect.gen(function*() {
      const reports = yield* Effect.replicateEffect(ClaudeService.createWithReport(hello), 6)
      assert.deepStrictEqual(reports.map(({ keyLabel }) => keyLabel), ["a", "b", "b", "b", "b", "b"])
    }).pipe(Effect.provide(Simulator.layerClaude({ keys: [a, b] }, {
      retry,
      keys: { strategy: "roundRobin" },
      limiter: Layer.provide(
        RateLimiter.layerNoDeps({
          limits: (_, group) => ({ requestsPerMinute: group === "org-a" ? 60 : 60_000 }),
          burst: "1 second"
        }),
        MapStore.layer()
      )
    }))))

  it.effect("is waited for by calls that are pinned to it", () =>
    Effect.gen(function*() {
      const pinned = ClaudeService.createWithReport(hello).pipe(CallContext.annotate({ keyGroup: "org-a" }))
      assert.strictEqual((yield* pinned).keyLabel, "a")
      const error = yield* Effect.flip(CallContext.withDeadline(pinned, "5 seconds"))
      assert.deepInclude(error, { _tag: "RateLimitedLocallyError", reason: "deadline" })
      const began = yield* Clock.currentTimeMillis
      assert.strictEqual((yield* value(pinned)).keyLabel, "a")
      assert.isAtLeast((yield* Clock.currentTimeMillis) - began, 60_000)
    }).pipe(Effect.provide(full)))

  it.effect("is waited for when no other has room, and the error is that of the limiter", () =>
    Effect.gen(function*() {
      yield* Effect.replicateEffect(ClaudeService.create(hello), 2)
      const error = yield* Effect.flip(CallContext.withDeadline(ClaudeService.create(hello), "5 seconds"))
      assert.deepInclude(error, { _tag: "RateLimitedLocallyError", reason: "deadline" })
      assert.lengthOf(yield* value(Effect.replicateEffect(ClaudeService.create(hello), 2)), 2)
      assert.strictEqual(yield* inFlight, 0)
    }).pipe(Effect.provide(Simulator.layerClaude({ keys: [a, b] }, {
      retry,
      limiter: { limits: { requestsPerMinute: 1 } }
    }))))
})

describe("rotation", () => {
  it.effect("every 50 ms under 64 callers fails none of 2,000 calls", () =>
    Effect.gen(function*() {
      const simulator = yield* Simulator.Simulator
      const pool = yield* KeyPool.KeyPool
      let generation = 0
      const rotate = Effect.gen(function*() {
        const next = keyOf(`a-${++generation}`, "org-a")
        yield* simulator.addKey(next)
        yield* pool.add({ label: "a", group: "org-a", secret: Redacted.make(next.key) })
        // The old one is revoked while attempts are on their way with it.
        yield* simulator.revoke(generation === 1 ? "a" : `a-${generation - 1}`)
      })
      const rotating = yield* Effect.forkChild(Effect.repeat(rotate, Schedule.spaced("50 millis")))
      const calls = Arr.makeBy(2_000, (i) => ClaudeService.create(question(i)))
      const fiber = yield* Effect.forkChild(Effect.all(calls, { concurrency: 64 }))
      for (let i = 0; i < 2_000 && fiber.pollUnsafe() === undefined; i++) {
        yield* settle
        yield* TestClock.adjust("10 millis")
      }
      assert.lengthOf(yield* Fiber.join(fiber), 2_000)
      yield* Fiber.interrupt(rotating)
      assert.isAbove(generation, 10)
      assert.strictEqual(yield* inFlight, 0)
    }).pipe(Effect.provide(Simulator.layerClaude(
      { keys: [a], latency: { firstToken: { median: "30 millis", sigma: 0.5 } } },
      { retry, limiter: RateLimiter.layerOff }
    ))))
})

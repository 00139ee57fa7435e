/** The limiter against a reference that is small enough to be seen to be right: it replays the whole history for each question. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Fiber, Layer, Redacted, Schema } from "effect"
import * as Attempt from "effect-claude/Attempt"
import { ConnectionError, RateLimitError } from "effect-claude/ClaudeError"
import * as RateLimiter from "effect-claude/RateLimiter"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import * as Usage from "effect-claude/Usage"
import { TestClock } from "effect/testing"
import { between } from "./utils/between.ts"
import * as MapStore from "./utils/rateLimiterMapStore.ts"
import { runs } from "./utils/thorough.ts"

/** A bucket that remembers everything that ever happened to it. */
class Reference {
  private readonly events: Array<{ readonly at: number; readonly charge: number; readonly perMinute?: number }> = []
  private readonly first: number

  constructor(perMinute: number) {
    this.first = perMinute
  }

  add(at: number, charge: number) {
    this.events.push({ at, charge })
  }

  limit(at: number, perMinute: number) {
    this.events.push({ at, charge: 0, perMinute })
  }

  state(at: number) {
    let perMinute = this.first
    let level = perMinute
    let last = 0
    const to = (time: number) => {
      level = Math.min(perMinute, level + (time - last) * perMinute / 60_000)
      last = time
    }
    for (const event of this.events) {
      to(event.at)
      perMinute = event.perMinute ?? perMinute
      level = Math.min(perMinute, level - event.charge)
    }
    to(at)
    return { level, perMinute }
  }
}

const Step = Schema.Union([
  Schema.Struct({
    do: Schema.Literal("call"),
    input: between(1, 400),
    output: between(1, 900),
    priority: Schema.Literals(["interactive", "standard", "standard", "bulk"]),
    tenant: Schema.Literals(["a", "b", "__proto__"])
  }),
  Schema.Struct({
    do: Schema.Literals(["complete", "notSent", "refused", "lost", "interrupt", "produce"]),
    which: between(0, 40),
    part: between(0, 100)
  }),
  Schema.Struct({ do: Schema.Literal("wait"), millis: between(0, 30_000) }),
  Schema.Struct({ do: Schema.Literal("limit"), requests: between(1, 30), input: between(400, 2_000) })
])

type Sketch = Pick<Extract<typeof Step.Type, { readonly do: "call" }>, "input" | "output" | "priority" | "tenant">

interface Running {
  readonly attempt: Attempt.Attempt
  readonly fiber: Fiber.Fiber<void, unknown>
  readonly ended: Deferred.Deferred<void>
  readonly input: number
  readonly output: number
  readonly priority: Sketch["priority"]
  admittedAt: number | undefined
  done: boolean
}

const settled = Effect.repeat(Effect.yieldNow, { times: 8 })

const near = (actual: number | undefined, expected: number, what: string) =>
  assert.approximately(actual ?? NaN, expected, 1e-6, what)

const law = (
  name: string,
  layer: Layer.Layer<RateLimiter.RateLimiter>,
  { isNear }: { readonly isNear: boolean }
) =>
  it.effect.prop(
    name,
    { requests: between(1, 30), input: between(400, 2_000), steps: Schema.Array(Step) },
    ({ input, requests, steps }) =>
      Effect.gen(function*() {
        const limits = { requestsPerMinute: requests, inputTokensPerMinute: input, outputTokensPerMinute: 1e9 }
        const limiter = yield* RateLimiter.RateLimiter
        yield* limiter.setLimits(limits)
        // The server books requests and input when they come. Ours must hold the same.
        const server = { requests: new Reference(requests), input: new Reference(input) }
        const calls: Array<Running> = []
        const now = Clock.currentTimeMillis

        const call = ({ input, output, priority, tenant }: Sketch) =>
          Effect.gen(function*() {
            const ended = yield* Deferred.make<void>()
            const attempt = ClaudeTest.attempt({
              model: "claude-opus-5",
              context: { priority, tenant },
              estimate: { inputTokens: input, maxOutputTokens: output },
              key: { label: "k", group: "g", secret: Redacted.make("s") }
            })
            const use = Effect.gen(function*() {
              const at = yield* now
              self.admittedAt = at
              if (isNear) {
                assert.isAtLeast(server.requests.state(at).level, 1 - 1e-6, "the server would refuse the request")
                assert.isAtLeast(server.input.state(at).level, input - 1e-6, "the server would refuse the input")
              }
              server.requests.add(at, 1)
              server.input.add(at, input)
              attempt.outcome = Attempt.Outcome.Aborted({ usage: Usage.zero })
              yield* Deferred.await(ended)
            })
            const fiber = yield* Effect.forkChild(Effect.suspend(() => Attempt.guard(limiter, attempt, use)))
            const self: Running = { attempt, fiber, ended, input, output, priority, admittedAt: undefined, done: false }
            calls.push(self)
            yield* settled
          })

        const end = (self: Running, outcome: Attempt.Outcome, requests: number, input: number) =>
          Effect.gen(function*() {
            const at = yield* now
            self.attempt.outcome = outcome
            self.done = true
            server.requests.add(at, requests)
            server.input.add(at, input)
            yield* Deferred.succeed(self.ended, undefined)
            yield* settled
          })

        const usage = (self: Running) => Usage.make({ inputTokens: self.input, outputTokens: self.output })

        const step = Effect.fnUntraced(function*(step: typeof Step.Type) {
          if (step.do === "call") return yield* call(step)
          if (step.do === "wait") return yield* TestClock.adjust(step.millis)
          if (step.do === "limit") {
            // What was reserved under old limits goes out under them.
            if (!isNear) return
            const at = yield* now
            // Who waits may go as soon as they are set.
            server.requests.limit(at, step.requests)
            server.input.limit(at, step.input)
            yield* limiter.setLimits({
              ...limits,
              requestsPerMinute: step.requests,
              inputTokensPerMinute: step.input
            })
            return yield* settled
          }
          if (step.do === "interrupt") {
            const running = calls.filter(({ done }) => !done)
            const self = running[step.which % Math.max(1, running.length)]
            if (self === undefined) return
            self.done = true
            yield* Fiber.interrupt(self.fiber)
            return yield* settled
          }
          const sent = calls.filter(({ admittedAt, done }) => admittedAt !== undefined && !done)
          const self = sent[step.which % Math.max(1, sent.length)]
          if (self === undefined) return
          switch (step.do) {
            case "produce": {
              const outputTokens = Math.ceil(self.output * step.part / 100)
              self.attempt.outcome = Attempt.Outcome.Aborted({ usage: { ...usage(self), outputTokens } })
              return
            }
            case "notSent":
              return yield* end(self, Attempt.Outcome.NotSent(), -1, -self.input)
            case "refused": {
              const error = new RateLimitError({ limit: "unknown" })
              return yield* end(
                self,
                Attempt.Outcome.Failed({ usage: Usage.zero, error, limits: undefined }),
                -1,
                -self.input
              )
            }
            case "lost": {
              const error = new ConnectionError({ reason: "reset", billed: "unknown" })
              return yield* end(self, Attempt.Outcome.Failed({ usage: Usage.zero, error, limits: undefined }), 0, 0)
            }
            case "complete":
              return yield* end(
                self,
                Attempt.Outcome.Completed({
                  usage: usage(self),
                  limits: undefined,
                  model: undefined,
                  requestId: undefined,
                  stopReason: undefined
                }),
                0,
                0
              )
          }
        })

        const check = Effect.gen(function*() {
          const at = yield* now
          const snapshot = (yield* limiter.snapshot)[0]
          if (snapshot === undefined) return
          const { levels, inFlight, waiting } = snapshot
          const queue = calls.filter(({ admittedAt, done }) => admittedAt === undefined && !done)
          assert.strictEqual(waiting, queue.length, "waiting")
          assert.strictEqual(inFlight, calls.filter(({ admittedAt, done }) => admittedAt !== undefined && !done).length)
          // What is reserved ahead is taken before it is sent.
          if (!isNear) return
          const requests = server.requests.state(at)
          const input = server.input.state(at)
          near(levels.requests?.free, requests.level, "requests")
          near(levels.inputTokens?.free, input.level, "input")
          for (const { priority } of queue) waited.set(priority, at)
          if (queue.length === 0 || levels.pausedMillis > 0 || ramping) return
          // What a class has saved up is kept for it until it has asked for nothing for two seconds.
          const classes = [...waited.values()].filter((last) => at - last <= 2_000).length
          const room = classes > 1 ? Infinity : Math.max(...queue.map(({ input }) => input))
          assert.isFalse(
            requests.level >= Math.min(classes > 1 ? Infinity : 1, requests.perMinute) &&
              input.level >= Math.min(room, input.perMinute),
            "all wait while there is room for each, or beside a full bucket"
          )
        })

        // The buckets exist from the first call on.
        yield* call({ input: 1, output: 1, priority: "standard", tenant: "a" })
        yield* end(calls[0]!, Attempt.Outcome.NotSent(), -1, -1)

        let ramping = false
        const waited = new Map<string, number>()
        for (const one of steps) {
          ramping ||= one.do === "refused"
          yield* step(one)
          yield* check
        }

        for (let i = 0; i < 2_000 && calls.some(({ done }) => !done); i++) {
          const sent = calls.find(({ admittedAt, done }) => admittedAt !== undefined && !done)
          if (sent === undefined) yield* TestClock.adjust("30 seconds")
          else yield* end(sent, Attempt.Outcome.NotSent(), -1, -sent.input)
        }
        assert.isTrue(calls.every(({ done }) => done), "somebody waits for ever")
        yield* TestClock.adjust("10 minutes")
        yield* check
        for (const { levels } of yield* limiter.snapshot) {
          near(levels.requests?.free, levels.requests!.capacity, "not full again")
          near(levels.inputTokens?.free, levels.inputTokens!.capacity, "not full again")
          assert.strictEqual(levels.outputTokens!.reserved, 0)
        }
      }).pipe(Effect.provide(layer)),
    { arbitrary: { runs: runs(isNear ? 1_000 : 250), size: 60 } }
  )

describe("RateLimiter, against a reference", () => {
  law(
    "lets in what the server would, nobody waits while there is room, nothing leaks and nothing sticks",
    RateLimiter.layer(),
    { isNear: true }
  )

  law(
    "nothing leaks and nothing sticks over a store across a network, where reservations are made ahead",
    RateLimiter.layerNoDeps().pipe(Layer.provide(Layer.fresh(MapStore.layer(Effect.yieldNow)))),
    { isNear: false }
  )
})

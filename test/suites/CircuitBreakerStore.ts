/**
 * What every store of circuits does, step by step. `sleep` lets time pass where the store keeps it: times are short, so that a store with a clock of its
 * own can be asked too.
 */
import { assert, describe, type it } from "@effect/vitest"
import { Effect, type Layer } from "effect"
import * as CircuitBreaker from "effect-claude/CircuitBreaker"

export interface SuiteOptions {
  readonly name: string
  readonly layer: Layer.Layer<CircuitBreaker.Store, unknown>
  readonly sleep: (millis: number) => Effect.Effect<void>
  /** `it.effect` for a store on `Clock`, `it.live` for one with a clock of its own. */
  readonly test: typeof it.effect | typeof it.live
}

type Batch = CircuitBreaker.Batch
type Rules = CircuitBreaker.Rules

const rules: Rules = {
  windowDuration: 60_000,
  windowSize: 10,
  consecutiveFailures: 3,
  failureRate: 0.5,
  slowCallRate: 0.5,
  minimumCalls: 4,
  openDuration: 60_000,
  maxOpenDuration: 240_000,
  jitter: 0,
  halfOpenCalls: 1,
  successThreshold: 1,
  halfOpenDuration: 60_000
}

/** Open no longer than a test waits. */
const brief: Rules = { ...rules, openDuration: 50, maxOpenDuration: 200 }

const proposal: CircuitBreaker.Proposal = {
  when: "ifNone",
  isOpen: false,
  waitMillis: 0,
  openings: 0,
  openMillis: 0,
  closedMillis: 0,
  window: null
}

let keys = 0

/** One circuit, and what a process that knows its epoch says to it. */
const circuit = Effect.fnUntraced(function*(rules: Rules) {
  const store = yield* CircuitBreaker.Store
  const key = `circuit-${++keys}`
  const quiet: Batch = {
    key,
    rules,
    epoch: 0,
    results: [],
    early: 0,
    tripped: false,
    round: 0,
    returned: 0,
    ask: false,
    openShare: 1,
    proposal: undefined
  }
  const say = (batch: Partial<Batch> = {}) => Effect.suspend(() => Effect.orDie(store.step({ ...quiet, ...batch })))
  let { epoch } = yield* say()
  /** Says it in the epoch that was answered last. */
  const tell = (batch: Partial<Batch>) =>
    Effect.map(Effect.suspend(() => say({ epoch, ...batch })), (reply) => {
      epoch = reply.epoch
      return reply
    })
  return {
    say,
    tell,
    count: (...results: ReadonlyArray<CircuitBreaker.Result>) => tell({ results }),
    ask: tell({ ask: true }),
    look: say()
  }
})

const times = (count: number): ReadonlyArray<number> => Array.from({ length: count }, (_, index) => index)

export const suite = ({ layer, name, sleep, test }: SuiteOptions) => {
  const holds = (title: string, body: Effect.Effect<void, never, CircuitBreaker.Store>) =>
    test(title, () => Effect.provide(body, layer))

  /** Fails it until it opens, and waits until a half-open call may go. */
  const due = Effect.fnUntraced(function*(rules: Rules) {
    const made = yield* circuit(rules)
    yield* made.tell({ tripped: true })
    yield* sleep(60)
    return made
  })

  describe(`CircuitBreaker.Store: ${name}`, () => {
    describe("a closed circuit", () => {
      holds(
        "counts the results of all batches together, and opens at the rate",
        Effect.gen(function*() {
          const { count, look } = yield* circuit(rules)
          yield* count("failure", "success")
          yield* count("success", "success")
          assert.strictEqual((yield* count("failure")).phase, "closed")
          const opened = yield* count("failure")
          assert.deepInclude(opened, { phase: "open", openings: 1, openMillis: 60_000, permits: 0, granted: 0 })
          const { phase, waitMillis } = yield* look
          assert.strictEqual(phase, "open")
          assert.isTrue(waitMillis > 50_000 && waitMillis <= 60_000)
        })
      )

      holds(
        "loses none of the batches that come at once, and counts none twice",
        Effect.gen(function*() {
          const { say, tell } = yield* circuit({ ...rules, windowSize: 100, minimumCalls: 40 })
          const { epoch } = yield* tell({})
          yield* Effect.forEach(times(39), () => say({ epoch, results: ["failure"] }), { concurrency: "unbounded" })
          assert.strictEqual((yield* say()).phase, "closed")
          assert.strictEqual((yield* say({ epoch, results: ["failure"] })).phase, "open")
        })
      )

      holds(
        "judges by the last results only",
        Effect.gen(function*() {
          const { count } = yield* circuit(rules)
          for (const _ of times(4)) yield* count("success")
          for (const _ of times(3)) yield* count("failure")
          for (const _ of times(10)) yield* count("success")
          for (const _ of times(4)) assert.strictEqual((yield* count("failure")).phase, "closed")
          assert.strictEqual((yield* count("failure")).phase, "open")
        })
      )

      holds(
        "stops counting where a batch opens it",
        Effect.gen(function*() {
          const { count } = yield* circuit({ ...rules, minimumCalls: 2 })
          assert.strictEqual((yield* count("failure", "failure", "success", "success", "success")).phase, "open")
        })
      )

      holds(
        "opens on slow calls, and judges by time",
        Effect.gen(function*() {
          const { count } = yield* circuit({ ...rules, windowSize: 0 })
          assert.strictEqual((yield* count("success", "success", "success", "slowSuccess")).phase, "closed")
          assert.strictEqual((yield* count("slowSuccess", "slowSuccess")).phase, "open")
        })
      )

      holds(
        "forgets the results of a time that is over",
        Effect.gen(function*() {
          const { count } = yield* circuit({ ...rules, windowSize: 0, windowDuration: 200, minimumCalls: 6 })
          yield* count("failure", "failure", "failure", "failure", "failure")
          yield* sleep(300)
          assert.strictEqual((yield* count("failure")).phase, "closed")
          assert.strictEqual((yield* count("failure", "failure", "failure", "failure", "failure")).phase, "open")
        })
      )

      holds(
        "counts attempts in flight as successes, as many as are left of all that were reported",
        Effect.gen(function*() {
          const { tell } = yield* circuit(rules)
          yield* tell({ early: 2, results: ["success", "success"] })
          yield* tell({ early: 3, results: ["failure", "failure"] })
          assert.strictEqual((yield* tell({ results: ["failure"] })).phase, "closed")
          assert.strictEqual((yield* tell({ early: -1, results: ["failure"] })).phase, "closed")
          assert.strictEqual((yield* tell({ early: -1, returned: 1 })).phase, "closed")
          assert.strictEqual((yield* tell({ early: -1, returned: 1 })).phase, "open")
        })
      )

      holds(
        "opens when a process has seen enough consecutive failures",
        Effect.gen(function*() {
          const { tell } = yield* circuit({ ...rules, minimumCalls: Infinity })
          assert.strictEqual((yield* tell({ results: ["failure", "failure"] })).phase, "closed")
          assert.strictEqual((yield* tell({ results: ["failure"], tripped: true })).phase, "open")
        })
      )

      holds(
        "gives no permit to those who ask",
        Effect.gen(function*() {
          const { ask } = yield* circuit(rules)
          assert.deepInclude(yield* ask, { phase: "closed", granted: 0, waitMillis: 0 })
        })
      )

      holds(
        "is one for each key",
        Effect.gen(function*() {
          const one = yield* circuit(rules)
          const other = yield* circuit(rules)
          yield* one.tell({ tripped: true })
          assert.strictEqual((yield* one.look).phase, "open")
          assert.strictEqual((yield* other.look).phase, "closed")
        })
      )
    })

    describe("an open circuit", () => {
      holds(
        "grants nothing before its time, and one half-open call after it",
        Effect.gen(function*() {
          const early = yield* circuit(rules)
          yield* early.tell({ tripped: true })
          assert.deepInclude(yield* early.ask, { phase: "open", granted: 0 })

          const { look, say, tell } = yield* due(brief)
          assert.deepInclude(yield* look, { phase: "open", waitMillis: 0 })
          const first = yield* tell({ ask: true })
          assert.deepInclude(first, { phase: "halfOpen", permits: 0 })
          assert.isAbove(first.granted, 0)
          assert.isTrue(first.waitMillis > 50_000 && first.waitMillis <= 60_000)
          assert.deepInclude(yield* say({ ask: true }), { phase: "halfOpen", granted: 0 })
        })
      )

      holds(
        "is open for the share that jitter leaves",
        Effect.gen(function*() {
          const { tell } = yield* circuit(rules)
          assert.strictEqual((yield* tell({ tripped: true, openShare: 0.75 })).openMillis, 45_000)
        })
      )

      holds(
        "ignores results of an earlier epoch, and never gives an epoch again",
        Effect.gen(function*() {
          const { ask, count, look, say, tell } = yield* circuit(brief)
          const { epoch: first } = yield* look
          const { epoch: second } = yield* tell({ tripped: true })
          yield* sleep(60)
          const { epoch: third } = yield* ask
          const { epoch: fourth } = yield* count("success")
          assert.strictEqual(new Set([first, second, third, fourth]).size, 4)
          for (const epoch of [first, second, third]) {
            yield* say({ epoch, results: ["failure", "failure", "failure", "failure"], tripped: true, early: 5 })
          }
          assert.strictEqual((yield* count("failure", "success", "success")).phase, "closed")
          assert.strictEqual((yield* count("failure")).phase, "open")
        })
      )
    })

    describe("a half-open circuit", () => {
      holds(
        "closes on success, for all, with an empty window",
        Effect.gen(function*() {
          const { ask, count, look } = yield* due(brief)
          yield* ask
          assert.strictEqual((yield* count("success")).phase, "closed")
          assert.strictEqual((yield* look).phase, "closed")
          assert.strictEqual((yield* count("failure", "failure", "failure")).phase, "closed")
          assert.strictEqual((yield* count("failure")).phase, "open")
        })
      )

      holds(
        "opens again, and for longer, on failure, up to the longest",
        Effect.gen(function*() {
          const { ask, count } = yield* due(brief)
          for (const [index, openMillis] of [100, 200, 200].entries()) {
            yield* ask
            assert.deepInclude(yield* count("failure"), { phase: "open", openings: index + 2, openMillis })
            yield* sleep(openMillis + 10)
          }
        })
      )

      holds(
        "opens on a slow answer where slowness opens",
        Effect.gen(function*() {
          const strict = yield* due(brief)
          yield* strict.ask
          assert.strictEqual((yield* strict.count("slowSuccess")).phase, "open")
          const lenient = yield* due({ ...brief, slowCallRate: Infinity })
          yield* lenient.ask
          assert.strictEqual((yield* lenient.count("slowSuccess")).phase, "closed")
        })
      )

      holds(
        "grants a permit again that came back, once, and none of another round",
        Effect.gen(function*() {
          const { ask, tell } = yield* due(brief)
          const { granted } = yield* ask
          assert.strictEqual((yield* tell({ round: granted + 1, returned: 1 })).permits, 0)
          assert.strictEqual((yield* tell({ round: granted, returned: 1 })).permits, 1)
          assert.strictEqual((yield* ask).granted, granted)
          assert.strictEqual((yield* ask).granted, 0)
        })
      )

      holds(
        "needs as many successes as its threshold, of the calls that it lets go",
        Effect.gen(function*() {
          const { ask, count } = yield* due({ ...brief, halfOpenCalls: 3, successThreshold: 2 })
          for (const permits of [2, 1, 0]) assert.strictEqual((yield* ask).permits, permits)
          assert.strictEqual((yield* ask).granted, 0)
          assert.strictEqual((yield* count("success")).phase, "halfOpen")
          assert.strictEqual((yield* count("success")).phase, "closed")
        })
      )

      holds(
        "begins another round when no verdict comes, and the first verdict still counts",
        Effect.gen(function*() {
          const { ask, count } = yield* due({ ...brief, halfOpenDuration: 50 })
          const first = yield* ask
          yield* sleep(60)
          const second = yield* ask
          assert.isAbove(second.granted, first.granted)
          assert.strictEqual(second.epoch, first.epoch)
          assert.strictEqual((yield* count("success")).phase, "closed")
        })
      )
    })

    describe("a state from outside", () => {
      const opened: CircuitBreaker.Proposal = {
        ...proposal,
        isOpen: true,
        waitMillis: 30_000,
        openings: 3,
        openMillis: 40_000
      }

      holds(
        "is taken over where the store has none",
        Effect.gen(function*() {
          const key = `circuit-${++keys}`
          const store = yield* CircuitBreaker.Store
          const batch: Batch = {
            key,
            rules,
            epoch: 0,
            results: [],
            early: 0,
            tripped: false,
            round: 0,
            returned: 0,
            ask: false,
            openShare: 1,
            proposal: opened
          }
          const reply = yield* Effect.orDie(store.step(batch))
          assert.deepInclude(reply, { phase: "open", openings: 3, openMillis: 40_000 })
          assert.isTrue(reply.waitMillis > 20_000 && reply.waitMillis <= 30_000)
        })
      )

      holds(
        "replaces a closed circuit if it is open, and any circuit if it must",
        Effect.gen(function*() {
          const { look, tell } = yield* circuit(rules)
          assert.strictEqual((yield* tell({ proposal: opened })).phase, "closed")
          assert.strictEqual((yield* tell({ proposal: { ...proposal, when: "ifWorse", openings: 9 } })).openings, 0)
          assert.strictEqual((yield* tell({ proposal: { ...opened, when: "ifWorse" } })).phase, "open")
          assert.strictEqual((yield* tell({ proposal: { ...opened, when: "ifWorse", openings: 9 } })).openings, 3)
          assert.strictEqual((yield* tell({ proposal: { ...proposal, when: "always" } })).phase, "closed")
          assert.strictEqual((yield* look).phase, "closed")
        })
      )

      holds(
        "waits no longer than the rules allow",
        Effect.gen(function*() {
          const { tell } = yield* circuit(rules)
          const { waitMillis } = yield* tell({ proposal: { ...opened, when: "always", waitMillis: 1e12 } })
          assert.isAtMost(waitMillis, rules.maxOpenDuration)
        })
      )
    })
  })
}

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
  /** Where all tests may share one store, they sleep at once. */
  readonly isConcurrent?: boolean | undefined
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

const quiet: Omit<Batch, "key" | "rules"> = {
  epoch: 0,
  counts: [],
  tripped: false,
  trials: [],
  ask: false,
  openShare: 1,
  proposal: undefined
}

const isFailed = (result: CircuitBreaker.Result) => result === "failure" || result === "slowFailure"
const isSlow = (result: CircuitBreaker.Result) => result === "slowSuccess" || result === "slowFailure"

/** One circuit, and what a process that knows its epoch says to it. */
const circuit = Effect.fnUntraced(function*(rules: Rules) {
  const store = yield* CircuitBreaker.Store
  const key = `circuit-${++keys}`
  const say = (batch: Partial<Batch> = {}) =>
    Effect.suspend(() => Effect.orDie(store.step({ ...quiet, key, rules, ...batch })))
  let last = yield* say()
  /** Says it in the epoch that was answered last. */
  const tell = (batch: Partial<Batch>) =>
    Effect.map(Effect.suspend(() => say({ epoch: last.epoch, ...batch })), (reply) => (last = reply))
  /** The slot of an attempt that is sent now, after so many others. */
  const slot = (index = 0) =>
    rules.windowSize > 0 ? last.slot + index : Math.floor(last.now / (rules.windowDuration / 10))
  return {
    say,
    tell,
    slot,
    /** Attempts that were sent one after the other, and ended. */
    count: (...results: ReadonlyArray<CircuitBreaker.Result>) =>
      Effect.flatMap(tell({}), () =>
        tell({
          counts: results.map((result, index) => ({
            index: slot(index),
            calls: 1,
            failures: isFailed(result) ? 1 : 0,
            slow: isSlow(result) ? 1 : 0
          }))
        })),
    /** What became of the half-open calls of the last permit. */
    verdict: (...results: ReadonlyArray<CircuitBreaker.Result | undefined>) =>
      Effect.suspend(() => {
        const { granted } = last
        return tell({ trials: results.map((result) => ({ round: granted, result })) })
      }),
    ask: tell({ ask: true }),
    look: say()
  }
})

const times = (count: number): ReadonlyArray<number> => Array.from({ length: count }, (_, index) => index)

export const suite = ({ isConcurrent = false, layer, name, sleep, test }: SuiteOptions) => {
  const holds = (title: string, body: Effect.Effect<void, never, CircuitBreaker.Store>) =>
    test(title, () => Effect.provide(body, layer))

  /** Fails it until it opens, and waits until a half-open call may go. */
  const due = Effect.fnUntraced(function*(rules: Rules) {
    const made = yield* circuit(rules)
    yield* made.tell({ tripped: true })
    yield* sleep(60)
    return made
  })

  describe(`CircuitBreaker.Store: ${name}`, { concurrent: isConcurrent }, () => {
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
          const failure = { epoch, counts: [{ index: 0, calls: 1, failures: 1, slow: 0 }] }
          yield* Effect.forEach(times(39), () => say(failure), { concurrency: "unbounded" })
          assert.strictEqual((yield* say()).phase, "closed")
          assert.strictEqual((yield* say(failure)).phase, "open")
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
        "judges a late failure by the attempts that were sent with it, those in flight included",
        Effect.gen(function*() {
          for (const windowSize of [10, 0]) {
            const { slot, tell } = yield* circuit({ ...rules, windowSize })
            const first = slot()
            yield* tell({ counts: [{ index: first, calls: 8, failures: 3, slow: 0 }] })
            const later = windowSize > 0 ? first + 10 : first - 10
            yield* tell({ counts: [{ index: later, calls: 100, failures: 0, slow: 0 }] })
            assert.strictEqual(
              (yield* tell({ counts: [{ index: first, calls: 0, failures: 1, slow: 0 }] })).phase,
              "open"
            )
          }
        })
      )

      holds(
        "judges again when attempts came to nothing",
        Effect.gen(function*() {
          const { slot, tell } = yield* circuit(rules)
          const index = slot()
          assert.strictEqual((yield* tell({ counts: [{ index, calls: 7, failures: 3, slow: 0 }] })).phase, "closed")
          assert.strictEqual((yield* tell({ counts: [{ index, calls: -1, failures: 0, slow: 0 }] })).phase, "open")
        })
      )

      holds(
        "says which slot is next, and how many attempts fit into it",
        Effect.gen(function*() {
          const { look, slot, tell } = yield* circuit({ ...rules, windowSize: 25 })
          assert.deepInclude(yield* look, { slot: 0, room: 3 })
          assert.deepInclude(yield* tell({ counts: [{ index: slot(), calls: 2, failures: 0, slow: 0 }] }), {
            slot: 0,
            room: 1
          })
          assert.deepInclude(yield* tell({ counts: [{ index: slot(), calls: 2, failures: 0, slow: 0 }] }), {
            slot: 1,
            room: 3
          })
        })
      )

      holds(
        "forgets its window where the rules ask for other slots",
        Effect.gen(function*() {
          const { say, slot, tell } = yield* circuit(rules)
          yield* tell({ counts: [{ index: slot(), calls: 3, failures: 3, slow: 0 }] })
          const { epoch } = yield* say({ rules: { ...rules, windowSize: 20 } })
          const counts = [{ index: slot(), calls: 1, failures: 1, slow: 0 }]
          assert.strictEqual((yield* say({ epoch, counts, rules: { ...rules, windowSize: 20 } })).phase, "closed")
        })
      )

      holds(
        "opens when a process has seen enough consecutive failures",
        Effect.gen(function*() {
          const { tell } = yield* circuit({ ...rules, minimumCalls: Infinity })
          assert.strictEqual((yield* tell({})).phase, "closed")
          assert.strictEqual((yield* tell({ tripped: true })).phase, "open")
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
        "ignores what belongs to an earlier epoch, and never gives an epoch again",
        Effect.gen(function*() {
          const { ask, count, look, say, tell, verdict } = yield* circuit(brief)
          const { epoch: first } = yield* look
          const { epoch: second } = yield* tell({ tripped: true })
          yield* sleep(60)
          const { granted } = yield* ask
          const { epoch: third } = yield* verdict("success")
          assert.strictEqual(new Set([first, second, third]).size, 3)
          for (const epoch of [first, second]) {
            const counts = [{ index: 0, calls: 9, failures: 9, slow: 0 }]
            yield* say({ epoch, counts, tripped: true, trials: [{ round: granted, result: "failure" }] })
          }
          assert.strictEqual((yield* count("failure", "success", "success")).phase, "closed")
          assert.strictEqual((yield* count("failure")).phase, "open")
        })
      )

      holds(
        "closes by a trial of before, which says at last that the API is back",
        Effect.gen(function*() {
          const { ask, say, verdict } = yield* due(brief)
          const { granted: round } = yield* ask
          const { epoch } = yield* verdict("failure")
          assert.strictEqual((yield* say({ epoch, trials: [{ round, result: "failure" }] })).openings, 2)
          assert.strictEqual((yield* say({ epoch, trials: [{ round, result: "success" }] })).phase, "closed")
        })
      )
    })

    describe("a half-open circuit", () => {
      holds(
        "closes on success, for all, with an empty window",
        Effect.gen(function*() {
          const { ask, count, look, verdict } = yield* due(brief)
          yield* ask
          assert.strictEqual((yield* verdict("success")).phase, "closed")
          assert.strictEqual((yield* look).phase, "closed")
          assert.strictEqual((yield* count("failure", "failure", "failure")).phase, "closed")
          assert.strictEqual((yield* count("failure")).phase, "open")
        })
      )

      holds(
        "opens again, and for longer, on failure, up to the longest",
        Effect.gen(function*() {
          const { ask, verdict } = yield* due(brief)
          for (const [index, openMillis] of [100, 200, 200].entries()) {
            yield* ask
            assert.deepInclude(yield* verdict("failure"), { phase: "open", openings: index + 2, openMillis })
            yield* sleep(openMillis + 10)
          }
        })
      )

      holds(
        "opens on a slow answer where slowness opens",
        Effect.gen(function*() {
          const strict = yield* due(brief)
          yield* strict.ask
          assert.strictEqual((yield* strict.verdict("slowSuccess")).phase, "open")
          const lenient = yield* due({ ...brief, slowCallRate: Infinity })
          yield* lenient.ask
          assert.strictEqual((yield* lenient.verdict("slowSuccess")).phase, "closed")
        })
      )

      holds(
        "grants a permit again that came back, once, and none of another round",
        Effect.gen(function*() {
          const { ask, tell } = yield* due(brief)
          const { granted } = yield* ask
          const back = (round: number) => tell({ trials: [{ round, result: undefined }] })
          assert.strictEqual((yield* back(granted + 1)).permits, 0)
          assert.strictEqual((yield* back(granted)).permits, 1)
          assert.strictEqual((yield* ask).granted, granted)
          assert.strictEqual((yield* ask).granted, 0)
        })
      )

      holds(
        "needs as many successes as its threshold, of the calls that it lets go",
        Effect.gen(function*() {
          const { ask, tell } = yield* due({ ...brief, halfOpenCalls: 3, successThreshold: 2 })
          const { granted: round } = yield* ask
          for (const permits of [1, 0]) assert.strictEqual((yield* ask).permits, permits)
          assert.strictEqual((yield* ask).granted, 0)
          for (const phase of ["halfOpen", "closed"]) {
            assert.strictEqual((yield* tell({ trials: [{ round, result: "success" }] })).phase, phase)
          }
        })
      )

      holds(
        "opens again by the share of its trials that failed, of those that were sent and are to be sent",
        Effect.gen(function*() {
          const { ask, tell } = yield* due({ ...brief, halfOpenCalls: 4, successThreshold: 4, halfOpenDuration: 50 })
          const { granted: first } = yield* ask
          const fail = (round: number) => tell({ trials: [{ round, result: "failure" }] })
          assert.strictEqual((yield* fail(first)).phase, "halfOpen")
          for (const _ of times(3)) yield* ask
          yield* sleep(60)
          const { granted: second } = yield* ask
          assert.strictEqual((yield* fail(second)).phase, "halfOpen")
          assert.strictEqual((yield* fail(first)).phase, "open")
        })
      )

      holds(
        "begins another round when no verdict comes, and the first verdict still counts",
        Effect.gen(function*() {
          const { ask, tell } = yield* due({ ...brief, halfOpenDuration: 50 })
          const first = yield* ask
          yield* sleep(60)
          const second = yield* ask
          assert.isAbove(second.granted, first.granted)
          assert.strictEqual(second.epoch, first.epoch)
          assert.isTrue(second.waitMillis > 50 && second.waitMillis <= 100)
          assert.strictEqual((yield* tell({ trials: [{ round: first.granted, result: "success" }] })).phase, "closed")
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
          const batch: Batch = { ...quiet, key, rules, proposal: opened }
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
        "goes on with the epoch of the first that comes, so that who knows more can say so",
        Effect.gen(function*() {
          const key = `circuit-${++keys}`
          const store = yield* CircuitBreaker.Store
          const say = (batch: Partial<Batch>) => Effect.orDie(store.step({ ...quiet, key, rules, ...batch }))
          assert.deepInclude(yield* say({ epoch: 5, proposal }), { phase: "closed", epoch: 5 })
          assert.deepInclude(yield* say({ epoch: 6, proposal: opened }), { phase: "open", openings: 3 })
          assert.deepInclude(yield* say({ epoch: 5, proposal }), { phase: "open", openings: 3 })
        })
      )

      holds(
        "replaces a closed circuit that lacks an opening of which the process knows",
        Effect.gen(function*() {
          const { look, tell } = yield* circuit(rules)
          const { epoch } = yield* look
          assert.strictEqual((yield* tell({ epoch: epoch - 1, proposal: opened })).phase, "closed")
          assert.strictEqual((yield* tell({ epoch: epoch + 1, proposal })).epoch, epoch)
          const reply = yield* tell({ epoch: epoch + 1, proposal: opened })
          assert.deepInclude(reply, { phase: "open", openings: 3 })
          assert.isAbove(reply.epoch, epoch)
          assert.strictEqual(
            (yield* tell({ epoch: reply.epoch + 1, proposal: { ...opened, openings: 9 } })).openings,
            3
          )
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

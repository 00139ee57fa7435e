/** What every store of circuits does, for all processes that use it. Times are real, and short. */
import { assert, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import type { Admission, Change, Circuit, Permit, Result, Rules, Store } from "effect-claude/CircuitBreaker"

/** The store as one more process has it, over the same circuits. */
export type Process = Effect.Effect<Store["Service"], never, Scope.Scope>

export const rules: Rules = {
  window: { _tag: "Calls", size: 10 },
  inARow: 3,
  failureRate: 0.5,
  slowRate: 0.5,
  minimumCalls: 4,
  openMillis: 100,
  maxOpenMillis: 400,
  jitter: 0,
  trials: 1,
  successes: 1,
  halfOpenMillis: 60_000
}

/** Waits for what another process is told in the background. */
export const eventually = <A>(
  effect: Effect.Effect<A>,
  holds: (value: A) => boolean,
  seconds = 10
): Effect.Effect<A> =>
  Effect.gen(function*() {
    for (let left = seconds * 100; left > 0; left--) {
      const value = yield* effect
      if (holds(value)) return value
      yield* Effect.sleep(10)
    }
    const value = yield* effect
    assert.isTrue(holds(value), `still ${JSON.stringify(value)}`)
    return value
  })

export const phaseIs = (circuit: Circuit, phase: string) => eventually(circuit.view, (view) => view.phase === phase)

export const permit = (circuit: Circuit): Effect.Effect<Permit> =>
  Effect.map(circuit.admit, (admission) => {
    if (admission._tag === "Refusal") throw new Error("refused")
    return admission
  })

/** The first permit that there is. */
export const permitSoon = (circuit: Circuit): Effect.Effect<Permit> =>
  Effect.map(eventually(circuit.admit, isPermit), (admission) => {
    if (admission._tag === "Refusal") throw new Error("refused")
    return admission
  })

const isPermit = (admission: Admission): admission is Permit => admission._tag === "Permit"

export const count = Effect.fnUntraced(function*(circuit: Circuit, ...results: ReadonlyArray<Result | undefined>) {
  for (const result of results) circuit.settle(yield* permit(circuit), result)
})

let keys = 0

/** One circuit as two processes hold it. */
export const pair = Effect.fnUntraced(function*(
  process: Process,
  rules: Rules,
  changed: (change: Change) => void = () => {}
) {
  const key = `circuit-${keys++}`
  const here = yield* (yield* process).circuit(key, rules, changed)
  const there = yield* (yield* process).circuit(key, rules, changed)
  return [here, there] as const
})

/** `environment` is what one test is given for itself. */
export const suite = (environment: Effect.Effect<Process, never, Scope.Scope>): void => {
  const circuits = (rules: Rules, changed?: (change: Change) => void) =>
    Effect.flatMap(environment, (process) => pair(process, rules, changed))

  const live = (name: string, test: Effect.Effect<void, never, Scope.Scope>) => it.live(name, () => Effect.scoped(test))

  live(
    "counts the results of all processes together",
    Effect.gen(function*() {
      const [here, there] = yield* circuits({ ...rules, inARow: Infinity, openMillis: 60_000, maxOpenMillis: 60_000 })
      yield* count(here, 1, 0)
      yield* count(there, 0, 0)
      yield* Effect.sleep(50)
      yield* count(there, 1)
      yield* Effect.sleep(50)
      assert.strictEqual((yield* here.view).phase, "closed")
      yield* count(there, 1)
      yield* phaseIs(here, "open")
      yield* phaseIs(there, "open")
      assert.strictEqual((yield* there.admit)._tag, "Refusal")
      assert.strictEqual((yield* here.peek)?._tag, "Refusal")
    })
  )

  live(
    "opens after failures in a row, over a success of nobody",
    Effect.gen(function*() {
      const [here] = yield* circuits({ ...rules, minimumCalls: Infinity })
      yield* count(here, 1, 1, 0, 1, 1, undefined)
      assert.strictEqual((yield* here.view).phase, "closed")
      yield* count(here, 1)
      yield* phaseIs(here, "open")
    })
  )

  live(
    "takes failures for a row in the order in which their attempts were admitted",
    Effect.gen(function*() {
      const [here, there] = yield* circuits({ ...rules, minimumCalls: Infinity })
      const early = yield* permit(here)
      yield* count(here, 1)
      here.settle(early, 0)
      const between = yield* permit(here)
      yield* count(here, 1)
      yield* Effect.sleep(50)
      assert.strictEqual((yield* here.view).phase, "closed")
      here.settle(between, 1)
      yield* phaseIs(there, "open")
    })
  )

  live(
    "takes attempts under way for successes at first, when failures may be the first to end",
    Effect.gen(function*() {
      const [here, there] = yield* circuits({ ...rules, inARow: Infinity })
      const underway = yield* Effect.all([permit(here), permit(here), permit(there), permit(there), permit(there)])
      yield* count(there, 0, 0)
      yield* count(here, 1, 1)
      yield* count(there, 1)
      yield* Effect.sleep(50)
      assert.strictEqual((yield* here.view).phase, "closed")
      for (const [index, circuit] of [here, here, there, there].entries()) circuit.settle(underway[index]!, 1)
      yield* phaseIs(here, "open")
      yield* phaseIs(there, "open")
    })
  )

  live(
    "closes at as many successes as its rules say, with more trials under way",
    Effect.gen(function*() {
      const [here, there] = yield* circuits({ ...rules, trials: 2, successes: 1 })
      yield* count(here, 1, 1, 1)
      yield* phaseIs(there, "open")
      const first = yield* permitSoon(here)
      yield* permitSoon(there)
      here.settle(first, 0)
      yield* phaseIs(here, "closed")
      yield* phaseIs(there, "closed")
    })
  )

  live(
    "opens on slow answers and judges by time",
    Effect.gen(function*() {
      const [here, there] = yield* circuits({ ...rules, window: { _tag: "Time", millis: 60_000 } })
      yield* count(there, 0, 0, 0, 2)
      yield* Effect.sleep(50)
      assert.strictEqual((yield* there.view).phase, "closed")
      yield* count(there, 2, 2)
      yield* phaseIs(there, "open")
      yield* phaseIs(here, "open")
    })
  )

  live(
    "forgets the results of a time that is over",
    Effect.gen(function*() {
      const time = { ...rules, inARow: Infinity, minimumCalls: 6, window: { _tag: "Time" as const, millis: 200 } }
      const [here] = yield* circuits(time)
      yield* count(here, 1, 1, 1, 1, 1)
      yield* Effect.sleep(300)
      yield* count(here, 1)
      yield* Effect.sleep(50)
      assert.strictEqual((yield* here.view).phase, "closed")
    })
  )

  live(
    "lets one trial go among all processes, and its success closes the circuit for all",
    Effect.gen(function*() {
      const [here, there] = yield* circuits(rules)
      yield* count(here, 1, 1, 1)
      yield* phaseIs(there, "open")
      const trial = yield* permitSoon(there)
      assert.isAbove(trial.round, 0)
      for (const circuit of [here, there]) {
        // A process may think a little longer that it is open.
        const refusal = yield* eventually(circuit.admit, (admission) => admission._tag === "Permit" || admission.trial)
        assert.deepInclude(refusal, { _tag: "Refusal", trial: true })
      }
      there.settle(trial, 0)
      yield* phaseIs(there, "closed")
      yield* phaseIs(here, "closed")
      yield* count(here, 0)
    })
  )

  live(
    "opens again, and for longer, when the trial fails",
    Effect.gen(function*() {
      const [here, there] = yield* circuits(rules)
      yield* count(here, 1, 1, 1)
      yield* phaseIs(here, "open")
      here.settle(yield* permitSoon(here), 1)
      yield* eventually(there.view, ({ openings, phase }) => phase === "open" && openings === 2)
      there.settle(yield* permitSoon(there), 0)
      yield* phaseIs(here, "closed")
    })
  )

  live(
    "hands a permit that came back to another process",
    Effect.gen(function*() {
      const [here, there] = yield* circuits(rules)
      yield* count(here, 1, 1, 1)
      yield* phaseIs(there, "open")
      here.settle(yield* permitSoon(here), undefined)
      there.settle(yield* permitSoon(there), 0)
      yield* phaseIs(here, "closed")
    })
  )

  live(
    "needs as many successes as it lets trials go",
    Effect.gen(function*() {
      const [here, there] = yield* circuits({ ...rules, trials: 2, successes: 2 })
      yield* count(here, 1, 1, 1)
      yield* phaseIs(there, "open")
      const first = yield* permitSoon(here)
      const second = yield* permitSoon(there)
      assert.strictEqual((yield* there.admit)._tag, "Refusal")
      here.settle(first, 0)
      yield* Effect.sleep(50)
      assert.strictEqual((yield* here.view).phase, "halfOpen")
      there.settle(second, 0)
      yield* phaseIs(here, "closed")
    })
  )

  live(
    "lets another trial go when the first says nothing, and its success still counts",
    Effect.gen(function*() {
      const [here, there] = yield* circuits({ ...rules, halfOpenMillis: 100 })
      yield* count(here, 1, 1, 1)
      yield* phaseIs(there, "open")
      const first = yield* permitSoon(here)
      const second = yield* permitSoon(there)
      assert.isAbove(second.round, first.round)
      here.settle(first, 0)
      yield* phaseIs(there, "closed")
    })
  )

  live(
    "ignores results of an earlier stretch",
    Effect.gen(function*() {
      const [here, there] = yield* circuits(rules)
      const late = yield* Effect.all([permit(here), permit(there)])
      yield* count(here, 1, 1, 1)
      yield* phaseIs(there, "open")
      there.settle(yield* permitSoon(there), 0)
      yield* phaseIs(here, "closed")
      here.settle(late[0], 1)
      there.settle(late[1], 1)
      yield* count(here, 1)
      yield* Effect.sleep(50)
      assert.strictEqual((yield* here.view).phase, "closed")
    })
  )

  live(
    "takes over a state from outside, for all",
    Effect.gen(function*() {
      const [here, there] = yield* circuits({ ...rules, openMillis: 60_000, maxOpenMillis: 60_000 })
      yield* count(there, 0)
      const before = yield* there.save
      yield* count(here, 1, 1, 1)
      yield* phaseIs(there, "open")
      const saved = yield* there.save
      yield* there.restore(before)
      yield* phaseIs(there, "closed")
      yield* phaseIs(here, "closed")
      yield* here.restore(saved)
      const { openings, waitMillis } = yield* eventually(there.view, (view) => view.phase === "open")
      assert.strictEqual(openings, 1)
      assert.isTrue(waitMillis > 30_000 && waitMillis <= 60_000)
    })
  )

  live(
    "tells each process of the steps it learns of",
    Effect.gen(function*() {
      const told: Array<string> = []
      const [here, there] = yield* circuits(
        rules,
        ({ from, to }) => {
          if (from !== to) told.push(`${from} ${to}`)
        }
      )
      yield* count(here, 1, 1, 1)
      yield* phaseIs(here, "open")
      yield* phaseIs(there, "open")
      assert.deepStrictEqual(told, ["closed open", "closed open"])
    })
  )
}

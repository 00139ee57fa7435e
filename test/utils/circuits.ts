/** A circuit as one process has it over a shared store, without a breaker around it. */
import { Clock, Effect, FiberSet, type Scope } from "effect"
import type { Rules, Store } from "effect-claude/CircuitBreaker"
import type { Change, Circuit, Permit, Result } from "../../src/CircuitBreaker/internal/circuit.ts"
import { makeLink, SharedCircuit } from "../../src/CircuitBreaker/internal/shared.ts"
import { eventually } from "./eventually.ts"

export const rules: Rules = {
  windowDuration: 30_000,
  windowSize: 10,
  consecutiveFailures: 3,
  failureRate: 0.5,
  slowCallRate: 0.5,
  minimumCalls: 4,
  openDuration: 100,
  maxOpenDuration: 400,
  jitter: 0,
  halfOpenCalls: 1,
  successThreshold: 1,
  halfOpenDuration: 60_000
}

export const sharedCircuit = Effect.fnUntraced(function*(
  store: Store["Service"],
  key: string,
  rules: Rules,
  times: { readonly storeTimeout: number; readonly syncInterval: number; readonly staleAfter: number },
  changed: (change: Change) => void = () => {}
): Effect.fn.Return<SharedCircuit, never, Scope.Scope> {
  const clock = yield* Clock.Clock
  const run = yield* FiberSet.makeRuntime<never, void, never>()
  const link = makeLink(store.step, { clock, run: (effect) => run(effect), ...times })
  return new SharedCircuit(link, key, rules, changed, () => 0)
})

export const admit = (circuit: Circuit) => Effect.suspend(() => circuit.admit())
export const view = (circuit: Circuit) => Effect.suspend(() => circuit.view())

export const phaseIs = (circuit: Circuit, phase: string) => eventually(view(circuit), (view) => view.phase === phase)

export const permit = (circuit: Circuit): Effect.Effect<Permit> =>
  Effect.map(admit(circuit), (admission) => {
    if (admission._tag === "Refusal") throw new Error("refused")
    return admission
  })

/** The first permit that there is. */
export const permitSoon = (circuit: Circuit): Effect.Effect<Permit> =>
  Effect.map(eventually(admit(circuit), ({ _tag }) => _tag === "Permit"), (admission) => {
    if (admission._tag === "Refusal") throw new Error("refused")
    return admission
  })

export const count = Effect.fnUntraced(function*(circuit: Circuit, ...results: ReadonlyArray<Result | undefined>) {
  for (const result of results) yield* circuit.settle(yield* permit(circuit), result)
})

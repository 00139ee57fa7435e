/** Where circuits are kept, and the store in memory. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Batch, Reply, State } from "./circuit.ts"
import { step } from "./machine.ts"

/**
 * Where circuits are kept. Breakers that use one store for one base URL share its circuits.
 *
 * - `step`: reads the state under `batch.key` (undefined at first), applies `CircuitBreaker.step` to it with the time of the store in milliseconds, writes
 *   the new state, and returns the reply. It must be atomic for each key: a map in this process, a row lock in a database. States are plain data
 *   and survive JSON; batches do not, since their rules may hold `Infinity`. A state may be deleted when it was not used for an hour.
 * - `isLocal`: the store is in this process and answers immediately. A failure is then a defect.
 *
 * A breaker admits attempts by its own copy while the circuit is closed, and reports them: to a local store with the next verdict that may open it, in the
 * background to any other. Those may also fail or hang: until they answer again, each process decides by what it sees itself, and then tells the store about circuits
 * that have opened in the meantime.
 *
 * **Example** (A store that is a map)
 *
 * ```ts
 * import { CircuitBreaker } from "effect-claude"
 * import { Clock, Effect, Layer } from "effect"
 *
 * export const layer = Layer.sync(CircuitBreaker.Store, () => {
 *   const states = new Map<string, CircuitBreaker.State>()
 *   return {
 *     step: (batch) =>
 *       Effect.map(Clock.currentTimeMillis, (now) => {
 *         const [state, reply] = CircuitBreaker.step(states.get(batch.key), batch, now)
 *         states.set(batch.key, state)
 *         return reply
 *       })
 *   }
 * })
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class Store extends Context.Service<Store, {
  readonly isLocal?: boolean | undefined
  readonly step: (batch: Batch) => Effect.Effect<Reply, unknown>
}>()("effect-claude/CircuitBreaker/Store") {}

/**
 * Keeps circuits in this process.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStoreMemory: Layer.Layer<Store> = Layer.effect(
  Store,
  Effect.map(Clock.Clock, (clock) => {
    const circuits = new Map<string, { state: State | undefined }>()
    return Store.of({
      isLocal: true,
      step: (batch) => {
        let circuit = circuits.get(batch.key)
        if (circuit === undefined) circuits.set(batch.key, circuit = { state: undefined })
        const [state, reply] = step(circuit.state, batch, clock.currentTimeMillisUnsafe())
        circuit.state = state
        return Effect.succeed(reply)
      }
    })
  })
)

/**
 * Stops calling an API that is down, and notices when it is back.
 *
 * There is one circuit for each base URL and model group. While it is closed, attempts go out and their results are counted. When too many fail or
 * are slow, it opens: attempts are refused immediately with `CircuitOpenError`. After a while, which grows with each opening in a row, it becomes
 * half-open: a few attempts go out to probe the API. If they succeed, the circuit closes; the first that fails opens it again.
 *
 * - **Failures** are `ConnectionError` and `ServerError`. `AuthError`, `BadRequestError` and `RateLimitError` prove that the API
 *   answers: they are successes. A 5xx that a call meets again with another key is none of both: it is about the request. An attempt that was not sent or whose caller went away counts as neither.
 * - **Slow** is an attempt that took longer than `slowCallDuration` from its admission to its end; for a stream, to its first content. The time
 *   that a caller takes to read a stream is not the API's.
 * - A result counts only if the circuit has not changed state since its attempt was admitted. In the first window after such a change, rates count
 *   attempts in flight as successes: failures may be the first to end.
 * - A half-open call without a verdict blocks others for at most `halfOpenDuration`; then more calls are admitted, and the first verdict counts. A
 *   circuit can leave every state.
 *
 * **Example** (A circuit that opens after three consecutive failures)
 *
 * ```ts
 * import { CircuitBreaker } from "effect-claude"
 *
 * export const layer = CircuitBreaker.layer({
 *   consecutiveFailures: 3,
 *   openDuration: "2 seconds",
 *   maxOpenDuration: "30 seconds"
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { admitted, type Attempt, type Policy } from "./Attempt.ts"
import {
  type Batch,
  type Change,
  fresh,
  type Phase,
  type Reply,
  SavedCircuit,
  type State
} from "./CircuitBreaker/internal/circuit.ts"
import { Gate, LocalCircuit, type Settings } from "./CircuitBreaker/internal/gate.ts"
import { step } from "./CircuitBreaker/internal/machine.ts"
import { type Mode, type Options, resolve } from "./CircuitBreaker/internal/options.ts"
import * as Shared from "./CircuitBreaker/internal/shared.ts"
import { ClaudeApi } from "./ClaudeApi.ts"
import type { CircuitOpenError } from "./ClaudeError.ts"
import * as Feed from "./internal/feed.ts"
import * as Metrics from "./internal/metrics.ts"
import * as Model from "./Model.ts"

export type {
  Batch,
  Closed,
  HalfOpen,
  Open,
  Phase,
  Proposal,
  Reply,
  Result,
  Rules,
  SavedCircuit,
  State,
  Window
} from "./CircuitBreaker/internal/circuit.ts"
export { step } from "./CircuitBreaker/internal/machine.ts"
export type { Mode, Options } from "./CircuitBreaker/internal/options.ts"

/**
 * A circuit at one moment.
 *
 * - `phase`: an open circuit stays `open` until an attempt becomes a half-open call.
 * - `retryAfter`: the time until an attempt may go; zero if one may go now.
 * - `openings`: how often it has opened in a row.
 * - `calls`, `failures`, `slow`: the results in its window.
 *
 * @category models
 * @since 0.1.0
 */
export interface Snapshot {
  readonly group: Model.Group
  readonly mode: Mode
  readonly phase: Phase
  readonly retryAfter: Duration.Duration
  readonly openings: number
  readonly calls: number
  readonly failures: number
  readonly slow: number
}

/**
 * A circuit changed its phase. `at` is in milliseconds since the epoch; `openDuration` is how long it stays open, if it opened.
 *
 * @category models
 * @since 0.1.0
 */
export interface Transition {
  readonly group: Model.Group
  readonly from: Phase
  readonly to: Phase
  readonly at: number
  readonly openDuration: Duration.Duration | undefined
}

/**
 * The circuits of a breaker as they are kept over a restart. Attempts in flight are not kept.
 *
 * **Example** (Through JSON and back)
 *
 * ```ts
 * import { CircuitBreaker } from "effect-claude"
 * import { Schema } from "effect"
 *
 * const saved = new CircuitBreaker.Saved({ circuits: {} })
 * const codec = Schema.toCodecJson(CircuitBreaker.Saved)
 * const json = Schema.encodeSync(codec)(saved)
 *
 * Schema.decodeUnknownSync(codec)(json) instanceof CircuitBreaker.Saved // => true
 * ```
 *
 * @category schemas
 * @since 0.1.0
 */
export class Saved extends Schema.Class<Saved>("effect-claude/CircuitBreaker/Saved")({
  circuits: Schema.Record(Schema.String, SavedCircuit)
}) {}

/**
 * Admits attempts while the API answers.
 *
 * - `check`: fails as `admit` would, and takes nothing. Call it before waiting for anything else.
 * - `transitions`: those since the subscription. The last 256 are buffered for each subscriber; a slower one loses the oldest. The stream ends with
 *   the layer.
 * - `reset`: closes a circuit and clears its results.
 * - `setMode`: for one group, or for all.
 * - `restore`: groups that are not in `saved` keep their state.
 *
 * @category services
 * @since 0.1.0
 */
export class CircuitBreaker extends Context.Service<
  CircuitBreaker,
  Policy<CircuitOpenError> & {
    readonly check: (attempt: Attempt) => Effect.Effect<void, CircuitOpenError>
    readonly state: (group: Model.Group) => Effect.Effect<Snapshot>
    readonly transitions: Stream.Stream<Transition>
    readonly reset: (group: Model.Group) => Effect.Effect<void>
    readonly setMode: (mode: Mode, group?: Model.Group) => Effect.Effect<void>
    readonly save: Effect.Effect<Saved>
    readonly restore: (saved: Saved) => Effect.Effect<void>
  }
>()("effect-claude/CircuitBreaker") {}

/**
 * Where circuits are kept. Breakers that use one store for one base URL share its circuits.
 *
 * - `step`: reads the state under `batch.key` (undefined at first), applies `CircuitBreaker.step` to it with the time of the store in milliseconds, writes
 *   the new state, and returns the reply. It must be atomic for each key: a map in this process, a row lock in a database. States are plain data
 *   and survive JSON; batches do not, since their rules may hold `Infinity`. A state may be deleted when it was not used for an hour.
 * - `isLocal`: the store is in this process and answers immediately. A failure is then a defect.
 *
 * A breaker admits attempts by its own copy while the circuit is closed, and reports every result: immediately to a local store, in the background to
 * any other. Those may also fail or hang: until they answer again, each process decides by what it sees itself, and then tells the store about circuits
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

/** The key of a circuit in a shared store, without credentials that the base URL may hold. */
const keyOf = (baseUrl: string, group: Model.Group): string => {
  const { host, pathname } = new URL(baseUrl, "https://localhost")
  return `${host}${pathname === "/" ? "" : pathname}:${group}`
}

/** The values of the gauge. */
const phaseCodes: Readonly<Record<Phase, number>> = { closed: 0, halfOpen: 1, open: 2 }

/**
 * Builds the breaker for the API of this context. An option out of range is a defect.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(options: Options = {}) {
  const { baseUrl } = yield* ClaudeApi
  const store = yield* Store
  const { groups } = yield* Model.Catalogue
  const clock = yield* Clock.Clock
  const random = yield* Random.Random
  const services = yield* Effect.context<never>()
  const run = yield* FiberSet.makeRuntime<never>()
  const feed = yield* Feed.make<Transition>({ name: "circuits" })
  const { slowCallDuration, staleAfter, storeTimeout, syncInterval, ...rules } = resolve(options)
  const settings: Settings = {
    rules,
    slowMillis: slowCallDuration,
    waitForHalfOpen: options.waitForHalfOpen ?? false,
    pollMillis: syncInterval,
    clock,
    run
  }
  const chance = () => random.nextDoubleUnsafe()
  const link = Shared.makeLink(store.step, { clock, run, staleAfter, storeTimeout, syncInterval })

  const gates = new Map<Model.Group, Gate>()
  for (const group of groups) {
    const state = Metrics.gauge(Metrics.metrics.circuit, { group })
    state.updateUnsafe(phaseCodes.closed, services)
    const changed = ({ at, from, openMillis, to }: Change) => {
      state.updateUnsafe(phaseCodes[to], services)
      if (from !== to) Metrics.counter(Metrics.metrics.transitions, { group, to }).updateUnsafe(1, services)
      const openDuration = to === "open" ? Duration.millis(openMillis) : undefined
      if (from !== to) run(feed.publish({ group, from, to, at, openDuration }))
      gate.wake()
    }
    const key = keyOf(baseUrl, group)
    const circuit = store.isLocal === true
      ? new LocalCircuit(store.step, clock, key, rules, changed, chance)
      : new Shared.SharedCircuit(link, key, rules, changed, chance)
    const gate = new Gate(group, options.mode ?? "normal", circuit, settings)
    gates.set(group, gate)
  }
  // The groups of every catalogue end with "other".
  const gateOf = (group: Model.Group): Gate => gates.get(group) ?? gates.get("other")!

  return CircuitBreaker.of({
    check: (attempt) => Effect.suspend(() => gateOf(attempt.facts.group).check(attempt)),

    admit: (attempt) => Effect.suspend(() => gateOf(attempt.facts.group).admit(attempt)),

    state: (group) =>
      Effect.suspend(() => {
        const { circuit, mode } = gateOf(group)
        return Effect.map(circuit.view(), ({ waitMillis, ...view }) => ({
          group,
          mode,
          ...view,
          retryAfter: Duration.millis(waitMillis)
        }))
      }),

    transitions: feed.stream,

    reset: (group) => Effect.suspend(() => gateOf(group).circuit.restore(fresh)),

    setMode: (mode, group) =>
      Effect.sync(() => {
        for (const name of group === undefined ? groups : [group]) gateOf(name).mode = mode
      }),

    save: Effect.gen(function*() {
      const circuits: Record<string, SavedCircuit> = {}
      for (const { circuit, group } of gates.values()) circuits[group] = yield* circuit.save()
      return new Saved({ circuits })
    }),

    restore: Effect.fnUntraced(function*({ circuits }: Saved) {
      for (const [group, saved] of Object.entries(circuits)) {
        if (gates.has(group)) yield* gateOf(group).circuit.restore(saved)
      }
    })
  })
})

/**
 * The breaker over a store that the user provides.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerNoDeps = (options: Options = {}): Layer.Layer<CircuitBreaker, never, ClaudeApi | Store> =>
  Layer.effect(CircuitBreaker, make(options))

/**
 * The breaker with its circuits in this process. Each call of `layer` builds its own circuits: call it once and share the value.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<CircuitBreaker, never, ClaudeApi> =>
  layerNoDeps(options).pipe(Layer.provide(Layer.fresh(layerStoreMemory)))

/**
 * `layer` with options from configuration.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<CircuitBreaker, Config.ConfigError, ClaudeApi> =>
  Layer.effect(CircuitBreaker, Effect.flatMap(Config.unwrap(options), make)).pipe(
    Layer.provide(Layer.fresh(layerStoreMemory))
  )

/**
 * The breaker that does nothing: every circuit stays closed.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerOff: Layer.Layer<CircuitBreaker> = Layer.succeed(
  CircuitBreaker,
  CircuitBreaker.of({
    check: () => Effect.void,
    admit: () => admitted,
    state: (group) =>
      Effect.succeed({
        group,
        mode: "disabled",
        phase: "closed",
        retryAfter: Duration.zero,
        openings: 0,
        calls: 0,
        failures: 0,
        slow: 0
      }),
    transitions: Stream.empty,
    reset: () => Effect.void,
    setMode: () => Effect.void,
    save: Effect.sync(() => new Saved({ circuits: {} })),
    restore: () => Effect.void
  })
)

/**
 * Stops calling an API that is down, and notices when it is back.
 *
 * There is one circuit for each base URL and model group, for attempts to get a message; what asks nothing of a model (token counts, lists of models) is
 * never refused and counts as nothing. While it is closed, attempts go out and are counted. When too many fail or are slow, it opens: attempts are
 * refused immediately with `CircuitOpenError`. After a while, which grows with each opening in a row, it becomes half-open: a few attempts go out to try
 * the API. If they succeed, the circuit closes; if too many fail, it opens again.
 *
 * - **Failures** are `ConnectionError` and `ServerError`. `AuthError`, `BadRequestError` and `RateLimitError` prove that the API
 *   answers: they are successes. A 5xx that a call meets again with another key, and what was not sent, is none of both.
 * - **The first content of a stream** is its success, at that moment. Afterwards only the API can make a failure of it (a reset, an error event, a
 *   truncated answer), not a reader who stops, a deadline or an interruption.
 * - **A caller who left** before that, by an interruption or its deadline, counts as a failure if it had waited for longer than such calls usually take:
 *   the time in which nine of ten calls of its model and request type are answered, learnt from the last 64; before ten answers
 *   of such calls are known, twice the time of all calls, and before ten of any, a minute. Else it counts as nothing.
 * - **Slow** is an attempt that took longer than `slowCallDuration` from its admission to its end; for a stream, to its first content.
 * - **Rates** are of attempts that were sent within one window, whenever they end; those in flight count as neither failed nor slow. An attempt that hangs
 *   counts as failed after two minutes and as much time as twice its `max_tokens` take. An answer after that takes it back.
 * - **Silence**: where the newest attempts in a row are all without an answer, and an API that answers as it usually does would leave them so once in a
 *   million times, all of them count as failed, as long as their callers have deadlines. The first answer to the newer half of them closes the circuit
 *   again.
 * - **A half-open call** counts whenever it ends: its success proves that the API is back, also if the circuit has opened again since. A result of an
 *   attempt from before the opening does not count. Each round of half-open calls without a verdict is followed by another, so a circuit can
 *   leave every state.
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
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { admitted, type Attempt, type Policy } from "./Attempt.ts"
import { type Change, fresh, type Phase, SavedCircuit } from "./CircuitBreaker/internal/circuit.ts"
import { LocalCircuit } from "./CircuitBreaker/internal/follower.ts"
import { Gate } from "./CircuitBreaker/internal/gate.ts"
import { check, type Mode, ofStore, type Options, resolve } from "./CircuitBreaker/internal/options.ts"
import * as Shared from "./CircuitBreaker/internal/shared.ts"
import { layerStoreMemory, Store } from "./CircuitBreaker/internal/store.ts"
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
  Slot,
  State,
  Trial,
  Window
} from "./CircuitBreaker/internal/circuit.ts"
export { step } from "./CircuitBreaker/internal/machine.ts"
export type { Mode, Options } from "./CircuitBreaker/internal/options.ts"
export { layerStoreMemory, Store } from "./CircuitBreaker/internal/store.ts"

/**
 * A circuit at one moment.
 *
 * - `phase`: an open circuit stays `open` until an attempt becomes a half-open call.
 * - `retryAfter`: the time until an attempt may go; zero if one may go now.
 * - `openings`: how often it has opened in a row.
 * - `calls`, `failures`, `slow`: the attempts that were sent in the window that ends now, those in flight included, and how many failed or were slow.
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
 * Until when a circuit is forced open: for a time from now, or until a time (with a number, milliseconds since the epoch).
 *
 * @category models
 * @since 0.1.0
 */
export type Until = { readonly for: Duration.Input } | { readonly until: DateTime.DateTime.Input }

/**
 * Admits attempts while the API answers.
 *
 * - `groups`: the model groups that have a circuit.
 * - `check`: fails as `admit` would, and takes nothing. Call it before waiting for anything else.
 * - `transitions`: those since the subscription. The last 256 are buffered for each subscriber; a slower one loses the oldest. The stream ends with
 *   the layer.
 * - `reset`: closes a circuit and clears its results.
 * - `setMode`: for one group, or for all. It holds from now on, also for callers that wait.
 * - `open`: refuses every attempt of one group, or of all, until a time, which is the `retryAfter` of the refusals. Then the mode from before holds again;
 *   `setMode` ends it sooner.
 * - `changed`: completes when attempts of the group may go that were refused: its circuit has closed, or its mode or its options were changed.
 * - `update`: changes options of one group, or of all, while calls run; what is left out stays. Attempts in flight count by the new ones, and no
 *   opening lasts longer than they allow. What concerns the store holds for all groups. Fails, and changes nothing, where one is out of range.
 * - `restore`: groups that are not in `saved` keep their state.
 *
 * @category services
 * @since 0.1.0
 */
export class CircuitBreaker extends Context.Service<
  CircuitBreaker,
  Policy<CircuitOpenError> & {
    readonly groups: ReadonlyArray<Model.Group>
    readonly check: (attempt: Attempt) => Effect.Effect<void, CircuitOpenError>
    readonly state: (group: Model.Group) => Effect.Effect<Snapshot>
    readonly transitions: Stream.Stream<Transition>
    readonly reset: (group: Model.Group) => Effect.Effect<void>
    readonly setMode: (mode: Mode, group?: Model.Group) => Effect.Effect<void>
    readonly open: (until: Until, group?: Model.Group) => Effect.Effect<void>
    readonly changed: (refused: { readonly group: Model.Group }) => Effect.Effect<void>
    readonly update: (options: Options, group?: Model.Group) => Effect.Effect<void, Config.ConfigError>
    readonly save: Effect.Effect<Saved>
    readonly restore: (saved: Saved) => Effect.Effect<void>
  }
>()("effect-claude/CircuitBreaker") {}

/** The key of a circuit in a shared store, without credentials that the base URL may hold. */
const keyOf = (baseUrl: string, group: Model.Group): string => {
  const { host, pathname } = new URL(baseUrl, "https://localhost")
  return `${host}${pathname === "/" ? "" : pathname}:${group}`
}

/** The values of the gauge. */
const phaseCodes: Readonly<Record<Phase, number>> = { closed: 0, halfOpen: 1, open: 2 }

/** Shows the phase of a circuit, which is closed at first, and counts its transitions and refusals; the latter from 0, so that rates know the first. */
const showing = (group: Model.Group, services: Context.Context<never>) => {
  const gauge = Metrics.gauge(Metrics.metrics.circuit, { group })
  const refusals = Metrics.counter(Metrics.metrics.circuitRefusals, { group })
  gauge.updateUnsafe(phaseCodes.closed, services)
  refusals.updateUnsafe(0, services)
  return {
    changed: (from: Phase, to: Phase): void => {
      gauge.updateUnsafe(phaseCodes[to], services)
      if (from !== to) Metrics.counter(Metrics.metrics.transitions, { group, to }).updateUnsafe(1, services)
    },
    refused: (): void => refusals.updateUnsafe(1, services)
  }
}

/**
 * Builds the breaker for the API of this context. An option out of range fails with `ConfigError`, which names it, its value and what is allowed.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(options: Options = {}) {
  yield* check(options)
  const { baseUrl } = yield* ClaudeApi
  const store = yield* Store
  const clock = yield* Clock.Clock
  const random = yield* Random.Random
  const services = yield* Effect.context<never>()
  const run = yield* FiberSet.makeRuntime<never>()
  const feed = yield* Feed.make<Transition>({ name: "circuits" })
  const { rules, settings, ...times } = resolve(options)
  const chance = () => random.nextDoubleUnsafe()
  const link = Shared.makeLink(store.step, { clock, run, ...times })

  const gates = new Map<Model.Group, Gate>()
  for (const group of (yield* Model.Catalogue).groups) {
    const shows = showing(group, services)
    const changed = (change: Change) => {
      const { at, from, openMillis, to } = change
      const openDuration = to === "open" ? Duration.millis(openMillis) : undefined
      shows.changed(from, to)
      if (from !== to) run(feed.publish({ group, from, to, at, openDuration }))
      gate.changed(change)
    }
    const key = keyOf(baseUrl, group)
    const circuit = store.isLocal === true
      ? new LocalCircuit(store.step, clock, key, rules, changed, chance)
      : new Shared.SharedCircuit(link, key, rules, changed, chance)
    const gate = new Gate(group, options, circuit, settings, { clock, run, refused: shows.refused })
    gates.set(group, gate)
  }
  // The groups of every catalogue end with "other".
  const other = gates.get("other")!
  const gateOf = (group: Model.Group): Gate => gates.get(group) ?? other
  const gatesOf = (group: Model.Group | undefined): Iterable<Gate> =>
    group === undefined ? gates.values() : [gateOf(group)]

  return CircuitBreaker.of({
    groups: [...gates.keys()],

    check: (attempt) =>
      attempt.endpoint === "messages" ? Effect.suspend(() => gateOf(attempt.facts.group).check(attempt)) : Effect.void,

    admit: (attempt) =>
      attempt.endpoint === "messages" ? Effect.suspend(() => gateOf(attempt.facts.group).admit(attempt)) : admitted,

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
        for (const gate of gatesOf(group)) gate.setMode(mode)
      }),

    open: (until, group) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const at = "for" in until
          ? now + Duration.toMillis(until.for)
          : DateTime.toEpochMillis(DateTime.makeUnsafe(until.until))
        for (const gate of gatesOf(group)) gate.forceOpen(at)
      }),

    changed: ({ group }) => gateOf(group).released,

    update: Effect.fnUntraced(function*(changes, group) {
      const named = new Set(gatesOf(group))
      const updates = [...gates.values()].map((gate) =>
        [gate, { ...gate.options, ...(named.has(gate) ? changes : ofStore(changes)) }] as const
      )
      for (const [, options] of updates) yield* check(options)
      for (const [gate, options] of updates) {
        Object.assign(link, gate.update(options))
        if (changes.mode !== undefined && named.has(gate)) gate.setMode(changes.mode)
      }
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
export const layerNoDeps = (
  options: Options = {}
): Layer.Layer<CircuitBreaker, Config.ConfigError, ClaudeApi | Store> => Layer.effect(CircuitBreaker, make(options))

/**
 * The breaker with its circuits in this process. Each call of `layer` builds its own circuits: call it once and share the value.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<CircuitBreaker, Config.ConfigError, ClaudeApi> =>
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
    groups: [],
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
    open: () => Effect.void,
    changed: () => Effect.never,
    update: () => Effect.void,
    save: Effect.sync(() => new Saved({ circuits: {} })),
    restore: () => Effect.void
  })
)

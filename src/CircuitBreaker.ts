/**
 * Stops calling an API that is down, and finds out when it is back.
 *
 * There is one circuit for each base URL and model group. While it is closed, attempts go out and their results are counted. When too
 * many failed, or were slow, it opens: attempts are refused at once with `CircuitOpenError`. After a while, which grows with each
 * opening in a row, it is half-open: a few attempts go out as trials. When they succeed it closes; the first that fails opens it again.
 *
 * - **Failures** are `ConnectionError` and `ServerError`. `AuthError`, `BadRequestError` and `RateLimitError` prove that the API
 *   answers: they are successes. An attempt that was not sent or whose caller went away counts as nothing.
 * - **Slow** is an attempt that took longer than `slowCall` from its admission to its end; for a stream, to its first content. The time
 *   that a caller takes to read a stream is not the API's.
 * - A result counts only in the stretch between two transitions in which its attempt was admitted. In the first window of a stretch,
 *   rates take attempts under way for successes: failures may be the first to end.
 * - A trial that says nothing within `halfOpenFor` does not keep the others from trying: new permits are given then, and the verdict
 *   of the first one still counts. There is no state that a circuit cannot leave.
 *
 * **Example** (A circuit that opens after three failures in a row)
 *
 * ```ts
 * import { CircuitBreaker } from "effect-claude"
 *
 * export const layer = CircuitBreaker.layer({ inARow: 3, openFor: "2 seconds", maxOpenFor: "30 seconds" })
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as PubSub from "effect/PubSub"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Take from "effect/Take"
import { admitted, type Attempt, nothing, onContent, type Outcome, type Policy, type Settle } from "./Attempt.ts"
import {
  type Admission,
  type Change,
  type Circuit,
  fresh,
  type Permit,
  type Phase,
  type Refusal,
  type Result,
  type Rules,
  SavedCircuit
} from "./CircuitBreaker/internal/circuit.ts"
import * as Local from "./CircuitBreaker/internal/local.ts"
import { Machine } from "./CircuitBreaker/internal/machine.ts"
import { ClaudeApi } from "./ClaudeApi.ts"
import { CircuitOpenError } from "./ClaudeError.ts"
import * as Model from "./Model.ts"

export type {
  Admission,
  Change,
  Circuit,
  Permit,
  Phase,
  Refusal,
  Result,
  Rules,
  SavedCircuit,
  View
} from "./CircuitBreaker/internal/circuit.ts"

/**
 * What a circuit does with what it knows.
 *
 * - `normal`: it refuses while it is open.
 * - `observe`: it opens and closes and says so, and refuses nothing. To try settings on real traffic.
 * - `forcedOpen`: it refuses everything, and names `maxOpenFor` as the wait.
 * - `disabled`: it refuses nothing and counts nothing.
 *
 * @category models
 * @since 0.1.0
 */
export type Mode = "normal" | "observe" | "forcedOpen" | "disabled"

/**
 * When a circuit opens: any one of `inARow`, `failureRate` and `slowRate` is enough, and `Infinity` turns it off.
 *
 * - `windowTime`: rates are those of the results of this long. It moves by tenths. Default 30 seconds.
 * - `windowCalls`: rates are those of so many results instead, at least 1.
 * - `failureRate`: share of failures, above 0. Default 0.5.
 * - `slowCall`: what takes longer is slow. By default nothing is: a long answer takes long.
 * - `slowRate`: share of slow attempts, above 0. Default 0.8.
 * - `minimumCalls`: rates say nothing before so many results; at most `windowCalls`. Default 50, so that a rate of 30 % does not pass
 *   for one of 50 %.
 * - `inARow`: so many attempts that were admitted one after the other all failed. One under way is no failure yet, so that failures which
 *   are faster than answers make no row; one that counts as nothing is passed over. Default 15, which a rate of 30 % reaches once in
 *   70 million calls.
 *
 * And when it closes:
 *
 * - `openFor`: how long it is open the first time. It doubles with each opening in a row, up to `maxOpenFor`, and starts anew after the
 *   circuit was closed as long as it had been open. Default 1 second, and 5.
 * - `jitter`: up to this share of the open time is left out, by lot. From 0 to 1, default 0.2.
 * - `trials`: attempts that may go while it is half-open. Default 1.
 * - `successes`: of trials that close it, at most `trials`; the first failure opens it again. Default `trials`.
 * - `halfOpenFor`: how long they keep others from trying. Default 1 second, so that an answer that takes long holds nobody up.
 * - `waitForTrial`: callers that are refused because of a trial wait for its verdict, at most `halfOpenFor`, where their deadline
 *   allows. Default false.
 *
 * And `mode`: of all circuits at the start. Default `normal`.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly windowTime?: Duration.Input | undefined
  readonly windowCalls?: number | undefined
  readonly failureRate?: number | undefined
  readonly slowCall?: Duration.Input | undefined
  readonly slowRate?: number | undefined
  readonly minimumCalls?: number | undefined
  readonly inARow?: number | undefined
  readonly openFor?: Duration.Input | undefined
  readonly maxOpenFor?: Duration.Input | undefined
  readonly jitter?: number | undefined
  readonly trials?: number | undefined
  readonly successes?: number | undefined
  readonly halfOpenFor?: Duration.Input | undefined
  readonly waitForTrial?: boolean | undefined
  readonly mode?: Mode | undefined
}

/**
 * One circuit now.
 *
 * - `phase`: an open circuit stays `open` until an attempt asks to be its trial.
 * - `retryAfter`: until an attempt may go; zero where one may go now.
 * - `openings`: how often it opened in a row.
 * - `calls`, `failures`, `slow`: the results in its window.
 *
 * @category models
 * @since 0.1.0
 */
export interface State {
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
 * One step of one circuit. `at` is in milliseconds since the epoch; `openFor` is how long it is open, where it opened.
 *
 * @category models
 * @since 0.1.0
 */
export interface Transition {
  readonly group: Model.Group
  readonly from: Phase
  readonly to: Phase
  readonly at: number
  readonly openFor: Duration.Duration | undefined
}

/**
 * The circuits of a breaker as they are kept over a restart. Attempts that run are not kept.
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
 * - `check`: the refusal that `admit` would give, and nothing is taken: for use before anything else is waited for.
 * - `transitions`: from the moment of subscribing. The last 256 are kept for a subscriber; one that is slower loses the oldest. It
 *   ends with the layer.
 * - `reset`: closes a circuit and forgets what it knew.
 * - `setMode`: of one group, or of all.
 * - `restore`: groups that `save` did not know are left alone.
 *
 * @category services
 * @since 0.1.0
 */
export class CircuitBreaker extends Context.Service<
  CircuitBreaker,
  Policy<CircuitOpenError> & {
    readonly check: (attempt: Attempt) => Effect.Effect<void, CircuitOpenError>
    readonly state: (group: Model.Group) => Effect.Effect<State>
    readonly transitions: Stream.Stream<Transition>
    readonly reset: (group: Model.Group) => Effect.Effect<void>
    readonly setMode: (mode: Mode, group?: Model.Group) => Effect.Effect<void>
    readonly save: Effect.Effect<Saved>
    readonly restore: (saved: Saved) => Effect.Effect<void>
  }
>()("effect-claude/CircuitBreaker") {}

/**
 * Where circuits are kept. Breakers that ask one store for one key share a circuit, with the rules of the first.
 *
 * `changed` is told of each step that this process learns of, as it happens.
 *
 * @category services
 * @since 0.1.0
 */
export class Store extends Context.Service<Store, {
  readonly circuit: (
    key: string,
    rules: Rules,
    changed: (change: Change) => void
  ) => Effect.Effect<Circuit, never, Scope.Scope>
}>()("effect-claude/CircuitBreaker/Store") {}

/**
 * Keeps circuits in this process.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStoreMemory: Layer.Layer<Store> = Layer.effect(
  Store,
  Effect.gen(function*() {
    const random = yield* Random.Random
    const clock = yield* Clock.Clock
    const shared = new Map<
      string,
      { readonly circuit: Circuit; readonly listeners: Set<(change: Change) => void> }
    >()
    return Store.of({
      circuit: Effect.fnUntraced(function*(key, rules, changed) {
        let known = shared.get(key)
        if (known === undefined) {
          const listeners = new Set<(change: Change) => void>()
          const tell = (change: Change) => listeners.forEach((listener) => listener(change))
          known = { circuit: Local.make(new Machine(rules, tell, () => random.nextDoubleUnsafe()), clock), listeners }
          shared.set(key, known)
        }
        const { circuit, listeners } = known
        const listener = (change: Change) => changed(change)
        yield* Effect.acquireRelease(
          Effect.sync(() => listeners.add(listener)),
          () => Effect.sync(() => listeners.delete(listener))
        )
        return circuit
      })
    })
  })
)

/** The circuit of one group as the breaker holds it. `turn` is opened when something changes that callers wait for. */
interface Entry {
  readonly group: Model.Group
  readonly circuit: Circuit
  mode: Mode
  turn: Deferred.Deferred<void> | undefined
}

const rulesOf = (options: Options): Rules => {
  const inRange = (name: keyof Options, value: number, minimum: number, maximum: number) => {
    if (value >= minimum && value <= maximum) return value
    throw new RangeError(`CircuitBreaker: ${name} must be from ${minimum} to ${maximum}, and is ${value}`)
  }
  const millis = (name: keyof Options, value: Duration.Input) => inRange(name, Duration.toMillis(value), 1, 2 ** 40)
  const count = (name: keyof Options, value: number) => inRange(name, Math.floor(value), 1, Infinity)
  const rate = (name: keyof Options, value: number) => inRange(name, value, Number.MIN_VALUE, Infinity)
  const { windowCalls } = options
  const openMillis = millis("openFor", options.openFor ?? "1 second")
  const trials = count("trials", options.trials ?? 1)
  return {
    window: windowCalls === undefined
      ? { _tag: "Time", millis: millis("windowTime", options.windowTime ?? "30 seconds") }
      : { _tag: "Calls", size: inRange("windowCalls", Math.floor(windowCalls), 1, 1_000_000) },
    inARow: count("inARow", options.inARow ?? 15),
    failureRate: rate("failureRate", options.failureRate ?? 0.5),
    slowRate: rate("slowRate", options.slowRate ?? 0.8),
    minimumCalls: Math.min(count("minimumCalls", options.minimumCalls ?? 50), windowCalls ?? Infinity),
    openMillis,
    maxOpenMillis: Math.max(openMillis, millis("maxOpenFor", options.maxOpenFor ?? "5 seconds")),
    jitter: inRange("jitter", options.jitter ?? 0.2, 0, 1),
    trials,
    successes: inRange("successes", Math.floor(options.successes ?? trials), 1, trials),
    halfOpenMillis: millis("halfOpenFor", options.halfOpenFor ?? "1 second")
  }
}

/** Names a circuit in a store that others use too: credentials in a base URL stay out of it. */
const keyOf = (baseUrl: string, group: Model.Group): string => {
  const { host, pathname } = new URL(baseUrl, "https://localhost")
  return `${host}${pathname === "/" ? "" : pathname}:${group}`
}

const isDown = (outcome: Outcome): boolean =>
  outcome._tag === "Failed" && (outcome.error._tag === "ConnectionError" || outcome.error._tag === "ServerError")

/**
 * Builds the breaker for the API of this context. Settings that make no sense are a defect.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(options: Options = {}) {
  const { baseUrl } = yield* ClaudeApi
  const store = yield* Store
  const { groups } = yield* Model.Catalogue
  const clock = yield* Clock.Clock
  const rules = rulesOf(options)
  const slowMillis = options.slowCall === undefined ? Infinity : Duration.toMillis(options.slowCall)
  const waits = options.waitForTrial ?? false
  const transitions = yield* PubSub.sliding<Take.Take<Transition>>(256)
  yield* Effect.addFinalizer(() => PubSub.end(transitions, Exit.void))
  // Publishing to a sliding PubSub is one step; its unsafe form would refuse where this slides.
  const runSync = Effect.runSyncWith(yield* Effect.context<never>())

  const entries = new Map<Model.Group, Entry>()
  for (const group of groups) {
    const changed = ({ at, from, openMillis, to }: Change) => {
      const openFor = to === "open" ? Duration.millis(openMillis) : undefined
      if (from !== to) runSync(PubSub.publish(transitions, [{ group, from, to, at, openFor }]))
      if (entry.turn !== undefined) Deferred.doneUnsafe(entry.turn, Effect.void)
      entry.turn = undefined
    }
    const circuit = yield* store.circuit(keyOf(baseUrl, group), rules, changed)
    const entry: Entry = { group, circuit, mode: options.mode ?? "normal", turn: undefined }
    entries.set(group, entry)
  }
  // The groups of every catalogue end with "other".
  const entryOf = (group: Model.Group): Entry => entries.get(group) ?? entries.get("other")!

  const refuse = (entry: Entry, attempt: Attempt, waitMillis: number) =>
    new CircuitOpenError({
      group: entry.group,
      retryAfter: Duration.millis(waitMillis),
      attempts: attempt.number - 1
    })

  /** Waits until there is reason to ask again; false where no wait that may help ends in time. */
  const untilTurn = Effect.fnUntraced(function*(entry: Entry, attempt: Attempt, refusal: Refusal, until: number) {
    const now = yield* Clock.currentTimeMillis
    if (!waits || !refusal.trial || now >= until || until > (attempt.context.deadline ?? Infinity)) return false
    const turn = (entry.turn ??= Deferred.makeUnsafe())
    const wait = Math.min(refusal.againMillis, until - now)
    yield* Effect.interruptible(Effect.timeoutOption(Deferred.await(turn), wait))
    return true
  })

  /** What `ask` says in the end to a caller that it first refused. */
  const orRefuse = Effect.fnUntraced(function*(
    entry: Entry,
    attempt: Attempt,
    first: Refusal,
    ask: Effect.Effect<Admission | undefined>
  ) {
    const until = (yield* Clock.currentTimeMillis) + first.waitMillis
    let answer: Admission | undefined = first
    while (answer?._tag === "Refusal") {
      if (!(yield* untilTurn(entry, attempt, answer, until))) return yield* refuse(entry, attempt, answer.waitMillis)
      answer = yield* ask
    }
    return answer
  })

  /** The settlement of an attempt under a permit. The first content of a stream is the verdict of a trial, and where latency ends. */
  const settlement = (entry: Entry, attempt: Attempt, permit: Permit): Settle => {
    let latency: number | undefined
    let isSettled = false
    if (attempt.endpoint === "messages") {
      onContent(attempt, (now) => {
        latency = now - permit.at
        if (permit.round === 0) return
        isSettled = true
        entry.circuit.settle(permit, latency > slowMillis ? 2 : 0)
      })
    }
    return Effect.sync(() => {
      if (isSettled) return
      const isSlow = slowMillis < Infinity && (latency ?? clock.currentTimeMillisUnsafe() - permit.at) > slowMillis
      entry.circuit.settle(permit, entry.mode === "disabled" ? undefined : resultOf(attempt.outcome, isSlow))
    })
  }

  const resultOf = (outcome: Outcome, isSlow: boolean): Result | undefined => {
    if (outcome._tag === "NotSent" || outcome._tag === "Aborted") return undefined
    return isDown(outcome) ? isSlow ? 3 : 1 : isSlow ? 2 : 0
  }

  return CircuitBreaker.of({
    check: (attempt) =>
      Effect.suspend(() => {
        const entry = entryOf(attempt.facts.group)
        if (entry.mode === "forcedOpen") return Effect.fail(refuse(entry, attempt, rules.maxOpenMillis))
        if (entry.mode !== "normal" || entry.circuit.isClosed()) return Effect.void
        const { peek } = entry.circuit
        return Effect.flatMap(
          peek,
          (refusal) => refusal === undefined ? Effect.void : Effect.asVoid(orRefuse(entry, attempt, refusal, peek))
        )
      }),

    admit: (attempt) =>
      Effect.suspend(() => {
        const entry = entryOf(attempt.facts.group)
        if (entry.mode === "disabled") return admitted
        if (entry.mode === "forcedOpen") return Effect.fail(refuse(entry, attempt, rules.maxOpenMillis))
        const { admit } = entry.circuit
        const turn = entry.circuit.enter(clock.currentTimeMillisUnsafe())
        if (turn !== undefined) return Effect.succeed(settlement(entry, attempt, turn))
        return Effect.flatMap(admit, (admission) => {
          if (admission._tag === "Permit") return Effect.succeed(settlement(entry, attempt, admission))
          if (entry.mode === "observe") return admitted
          return Effect.map(
            orRefuse(entry, attempt, admission, admit),
            (permit) => permit === undefined ? nothing : settlement(entry, attempt, permit)
          )
        })
      }),

    state: (group) =>
      Effect.map(entryOf(group).circuit.view, ({ waitMillis, ...view }) => ({
        group,
        mode: entryOf(group).mode,
        ...view,
        retryAfter: Duration.millis(waitMillis)
      })),

    transitions: Stream.fromPubSubTake(transitions),

    reset: (group) => entryOf(group).circuit.restore(fresh),

    setMode: (mode, group) =>
      Effect.sync(() => {
        for (const name of group === undefined ? groups : [group]) entryOf(name).mode = mode
      }),

    save: Effect.gen(function*() {
      const circuits: Record<string, SavedCircuit> = {}
      for (const { circuit, group } of entries.values()) circuits[group] = yield* circuit.save
      return new Saved({ circuits })
    }),

    restore: Effect.fnUntraced(function*({ circuits }: Saved) {
      for (const [group, saved] of Object.entries(circuits)) {
        if (entries.has(group)) yield* entryOf(group).circuit.restore(saved)
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
 * The breaker with circuits of its own in this process. Each call makes its own: call it once and share the value.
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
 * The breaker that does nothing: every circuit is closed for ever.
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

/**
 * Whether calls can be made now, from what calls, circuits, keys, limits and budgets show. `effect-claude/Http` serves it over HTTP.
 *
 * - **Live** is whoever answers: what is wrong at the API is no reason to restart a process.
 * - **Ready** follows from real traffic and from state, and asks nobody. It is true again as soon as a call may be tried: a service that gets no
 *   calls while it is not ready would never see its circuit close.
 * - What stands in the way of some calls only, such as the circuit of one model group, counts as long as no other call has succeeded since. A budget that
 *   is divided or filtered counts only where you name it in `budgets`.
 * - **Probe**: by option, the free endpoint that lists models is asked while there is no traffic. It costs nothing.
 *
 * **Example** (Ready, and what it would say if not)
 *
 * ```ts
 * import { ClaudeService, Health } from "effect-claude"
 * import { Effect, Layer } from "effect"
 * import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
 *
 * const claude = ClaudeService.layerWithParts({ api: ClaudeTest.layerApi("Hello!"), keys: [ClaudeTest.key] })
 * const ready = Effect.flatMap(Health.Health, (health) => health.ready)
 *
 * await Effect.runPromise(Effect.provide(ready, Layer.provide(Health.layer(), claude))) // => { ready: true, reasons: [] }
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { Budget } from "./Budget.ts"
import * as CallContext from "./CallContext.ts"
import { CircuitBreaker } from "./CircuitBreaker.ts"
import { ClaudeService } from "./ClaudeService.ts"
import { CostLedger } from "./CostLedger.ts"
import { type Detail, detailOf } from "./Health/internal/detail.ts"
import { accountId, type Reason, reasonsOf, type State } from "./Health/internal/readiness.ts"
import { type Seen, Traffic } from "./Health/internal/traffic.ts"
import { BoundedMap } from "./internal/boundedMap.ts"
import { KeyPool } from "./KeyPool.ts"
import * as Model from "./Model.ts"
import { Monitor } from "./Monitor.ts"
import { RateLimiter } from "./RateLimiter.ts"

export { Detail } from "./Health/internal/detail.ts"
export { Reason } from "./Health/internal/readiness.ts"

/**
 * - `groups`: the model groups that the program cannot do without: it is not ready while the circuit of one of them is open. Default: while a
 *   circuit is open and no call of another group succeeds.
 * - `budgets`: the names of budgets that the program cannot do without: it is not ready while one of them has no room, in whichever account. Default
 *   budgets that every call counts towards, while no call succeeds.
 * - `probe`: asks for the list of models where no call has ended for `every`, at least one second, and waits `timeout` for it. Default no probe; `every`
 *   defaults to 30 seconds and `timeout` to 5 seconds.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly groups?: ReadonlyArray<Model.Group> | undefined
  readonly budgets?: ReadonlyArray<string> | undefined
  readonly probe?:
    | { readonly every?: Duration.Input | undefined; readonly timeout?: Duration.Input | undefined }
    | undefined
}

/**
 * Whether calls can be made, and if not, why.
 *
 * @category models
 * @since 0.1.0
 */
export interface Readiness {
  readonly ready: boolean
  readonly reasons: ReadonlyArray<Reason>
}

/**
 * - `ready`: reads the state of every part; it is cheap, and the budgets are read at most once a second.
 * - `detail`: the same and how each part stands.
 * - `stop`: from now on it is not ready.
 * - `stopping`: waits until `stop`; `isStopping` says whether that was. Loops that take new work end with it.
 * - `drain`: `stop`, and then waits until no call is in flight, at most so long; gives the number of those that are.
 *
 * @category services
 * @since 0.1.0
 */
export class Health extends Context.Service<Health, {
  readonly ready: Effect.Effect<Readiness>
  readonly detail: Effect.Effect<Detail>
  readonly stop: Effect.Effect<void>
  readonly stopping: Effect.Effect<void>
  readonly isStopping: Effect.Effect<boolean>
  readonly drain: (timeout: Duration.Input) => Effect.Effect<number>
}>()("effect-claude/Health") {}

type Parts = Budget | CircuitBreaker | ClaudeService | CostLedger | KeyPool | Monitor | RateLimiter

/** Of so many accounts it is remembered what calls needed that were refused. */
const maxAmounts = 1_000

/** How often a drain looks whether calls are in flight. */
const drainEvery = Duration.millis(20)

/** The last probe. While calls end, there is none. */
const probing = Effect.fnUntraced(function*(traffic: Traffic, options: NonNullable<Options["probe"]>) {
  const claude = yield* ClaudeService
  const everyMillis = Math.max(1_000, Duration.toMillis(options.every ?? "30 seconds"))
  const probe: { last: Seen | undefined } = { last: undefined }
  const ask = Effect.match(claude.models, {
    onFailure: ({ _tag: error, message }) => ({ error, message }),
    onSuccess: () => ({})
  }).pipe(
    CallContext.annotate({ requestType: "health probe", retries: 0 }),
    CallContext.withDeadline(options.timeout ?? "5 seconds")
  )
  const once = Effect.gen(function*() {
    const began = yield* Clock.currentTimeMillis
    if (began - Math.max(traffic.lastSuccess?.at ?? 0, traffic.lastError?.at ?? 0) < everyMillis) return
    const result = yield* ask
    probe.last = { at: yield* Clock.currentTimeMillis, began, model: "", ...result }
  })
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep(everyMillis), once)))
  return probe
})

/**
 * Builds it over the parts of a service. It lives as long as its scope.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(options: Options = {}) {
  const breaker = yield* CircuitBreaker
  const budget = yield* Budget
  const ledger = yield* CostLedger
  const limiter = yield* RateLimiter
  const monitor = yield* Monitor
  const pool = yield* KeyPool
  const { groups } = yield* Model.Catalogue
  const clock = yield* Clock.Clock
  const stopping = yield* Deferred.make<void>()
  const traffic = new Traffic()
  const needed = { names: options.budgets ?? [], amounts: new BoundedMap<string, number>(maxAmounts) }
  /** When each reason was first seen. */
  const since = new Map<string, number>()

  const follow = <A>(events: Stream.Stream<A>, note: (event: A) => void) =>
    Effect.forkScoped(Stream.runForEachArray(events, (events) => Effect.sync(() => events.forEach(note))), {
      startImmediately: true
    })
  yield* follow(monitor.events, (event) => {
    if (event._tag === "CallEnded") traffic.add(event.record)
  })
  yield* follow(budget.events, (event) => {
    if (event._tag === "Exceeded") needed.amounts.set(accountId(event), event.neededNanoUsd)
  })
  const probe = options.probe === undefined ? { last: undefined } : yield* probing(traffic, options.probe)

  const budgets = yield* Effect.cachedWithTTL(
    Effect.catch(budget.snapshot, () => Effect.succeed(undefined)),
    "1 second"
  )
  const state: Effect.Effect<State> = Effect.all({
    circuits: Effect.forEach(groups, breaker.state),
    keys: pool.snapshot,
    limits: limiter.snapshot,
    budgets
  })

  const isNeeded = ({ kind, subject }: Reason): boolean =>
    kind !== "circuit" || options.groups === undefined || options.groups.includes(subject)
  const isPartial = ({ kind, subject }: Reason): boolean =>
    kind === "limits" || (kind === "budget" && !needed.names.includes(subject)) ||
    (kind === "circuit" && options.groups === undefined)

  /** Notes what is new, and leaves out what does not stop other calls. */
  const effective = (reasons: ReadonlyArray<Reason>, now: number): ReadonlyArray<Reason> => {
    const idOf = ({ kind, subject }: Reason) => `${kind} ${subject}`
    const present = new Set(reasons.map(idOf))
    for (const id of since.keys()) if (!present.has(id)) since.delete(id)
    return reasons.filter((reason) => {
      const id = idOf(reason)
      const at = since.get(id) ?? now
      since.set(id, at)
      return isNeeded(reason) && !(isPartial(reason) && traffic.hasServedSince(at))
    })
  }

  const readinessOf = (state: State, now: number): Readiness => {
    const reasons: Array<Reason> = []
    if (Deferred.isDoneUnsafe(stopping)) {
      reasons.push({ kind: "stopping", subject: "", message: "The service is shutting down." })
    }
    reasons.push(...effective(reasonsOf(state, needed, now), now))
    const { last } = probe
    const { lastError } = traffic
    if (traffic.isFailing(now) && state.circuits.every(({ mode }) => mode !== "normal")) {
      const message = `The last calls have failed, the last one with ${lastError?.error}.`
      reasons.push({ kind: "calls", subject: lastError?.error ?? "", message })
    }
    if (last?.error !== undefined && !traffic.hasServedSince(last.began)) {
      reasons.push({ kind: "probe", subject: last.error, message: `The last probe has failed with ${last.error}.` })
    }
    return { ready: reasons.length === 0, reasons }
  }

  const stop = Effect.asVoid(Deferred.succeed(stopping, undefined))
  const active = Effect.map(monitor.snapshot, (snapshot) => snapshot.active)
  const idle: Effect.Effect<void> = Effect.flatMap(
    active,
    (count) => count === 0 ? Effect.void : Effect.andThen(Effect.sleep(drainEvery), idle)
  )

  return Health.of({
    ready: Effect.map(state, (state) => readinessOf(state, clock.currentTimeMillisUnsafe())),
    detail: Effect.gen(function*() {
      const current = yield* state
      const { active, at, startedAt } = yield* monitor.snapshot
      return detailOf(current, traffic, yield* ledger.status, { at, startedAt, active, ...readinessOf(current, at) })
    }),
    stop,
    stopping: Deferred.await(stopping),
    isStopping: Deferred.isDone(stopping),
    drain: (timeout) => stop.pipe(Effect.andThen(Effect.timeoutOption(idle, timeout)), Effect.andThen(active))
  })
})

/**
 * Whether calls can be made, from the parts of `ClaudeService.layerWithParts`. Each call of `layer` watches anew: call it once and share the value.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Health, never, Parts> => Layer.effect(Health, make(options))

/**
 * Runs a program that lets its calls end before it is interrupted, as SIGTERM does under `NodeRuntime.runMain`: it is not ready from then on, and
 * goes on until no call is in flight or it ends by itself, at most `timeout`. Then it is interrupted, and the layers around it write what they have: the
 * ledger its rows, exporters their spans.
 *
 * **Example** (A worker that loses no call)
 *
 * ```ts
 * import { ClaudeService, Health } from "effect-claude"
 * import { Effect, Layer } from "effect"
 *
 * // Takes a job and does it.
 * const work: Effect.Effect<void, never, ClaudeService.ClaudeService> = Effect.sleep("1 second")
 *
 * const worker = Effect.flatMap(Health.Health, ({ isStopping }) => Effect.repeat(work, { until: () => isStopping }))
 *
 * export const main = Health.drained(worker, "20 seconds").pipe(
 *   Effect.provide(Layer.provideMerge(Health.layer(), ClaudeService.layerWithParts()))
 * )
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const drained: {
  (timeout: Duration.Input): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R | Health>
  <A, E, R>(self: Effect.Effect<A, E, R>, timeout: Duration.Input): Effect.Effect<A, E, R | Health>
} = dual(
  2,
  <A, E, R>(self: Effect.Effect<A, E, R>, timeout: Duration.Input): Effect.Effect<A, E, R | Health> =>
    Effect.flatMap(
      Health,
      (health) =>
        Effect.uninterruptibleMask((restore) =>
          Effect.flatMap(Effect.forkChild(restore(self)), (fiber) =>
            Effect.onInterrupt(restore(Fiber.join(fiber)), () =>
              Effect.andThen(
                Effect.raceFirst(health.drain(timeout), Fiber.await(fiber)),
                Fiber.interrupt(fiber)
              )))
        )
    )
)

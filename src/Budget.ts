/**
 * Bounds what calls may cost, in US dollars, before they are sent.
 *
 * Each attempt reserves its worst case in every budget that it counts towards, in one step: in all of them or, where one has no room, in none, and
 * then it fails with `BudgetExceededError`. When the attempt ends, its cost replaces the reservation. Spent and reserved amounts together never
 * exceed the limit at admission, however many calls run at once and, over a shared store, in however many processes.
 *
 * - **Worst case**: the estimated input at the most expensive rate that the request allows, and `max_tokens` of output.
 * - **Cost**: an attempt is charged what `Attempt.costOf` says, the same amount as in its ledger row. An attempt that was not sent costs nothing. One
 *   that was sent and returned nothing costs its estimate. A call that waits for its next attempt reserves nothing.
 * - **Windows**: an attempt counts in the window in which it was admitted, even if it ends in a later one. A rolling window advances in sixtieths of
 *   its length, and a sixtieth counts until all of it is outside the window.
 * - **Wrong estimates**: if a call costs more than was reserved, the excess is reported as `overshotNanoUsd`. If that exceeds the limit, an event is
 *   published and logged.
 * - **Doubt**: what is charged for an attempt that was sent and returned no whole answer is reported as `doubtfulNanoUsd` too, until it is credited.
 * - **Crashes**: a reservation in a shared store is a lease, renewed while its call runs. What a crashed process had reserved lapses after `lease`: it is
 *   reported as `lapsedNanoUsd` and, since the API may have charged it, counts as spent until it is credited, unless `lapsed` says otherwise. A
 *   process that cannot reach its store for that long is treated as crashed; once it reconnects, what it still holds is reserved again.
 * - **Outages**: if the store is unreachable, calls are refused with `BudgetUnavailableError` and settlements are queued until it recovers. One warning
 *   is logged.
 *
 * **Example** (A monthly limit for each tenant, and a daily one for each user)
 *
 * ```ts
 * import * as Budget from "effect-claude/Budget"
 *
 * export const layer = Budget.layer({
 *   budgets: [
 *     { name: "tenants", per: "tenant", limit: 100, limits: { acme: 500 }, window: { calendar: "month", zone: "Europe/Berlin" } },
 *     { name: "users", per: "user", limit: 5, window: { calendar: "day" } },
 *     { name: "opus", limit: 1_000, filter: { model: ["claude-opus-*"] }, window: { rolling: "7 days" } }
 *   ]
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
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import { admitted, type Attempt, type Policy } from "./Attempt.ts"
import * as Admission from "./Budget/internal/admission.ts"
import type { BudgetOptions, LimitOverride } from "./Budget/internal/budgets.ts"
import * as Client from "./Budget/internal/client.ts"
import type { Account, Batch, Event, Reply } from "./Budget/internal/data.ts"
import { Refusals } from "./Budget/internal/refusals.ts"
import { type BudgetInputError, type Charged, type Credit, Registry } from "./Budget/internal/registry.ts"
import * as Room from "./Budget/internal/room.ts"
import { type AccountStatus, statusesOf } from "./Budget/internal/snapshot.ts"
import { Memory } from "./Budget/internal/step.ts"
import * as Telemetry from "./Budget/internal/telemetry.ts"
import { spanAt } from "./Budget/internal/window.ts"
import { type BudgetExceededError, BudgetUnavailableError, type UnpricedModelError } from "./ClaudeError.ts"
import * as Eventually from "./internal/eventually.ts"
import * as Model from "./Model.ts"
import * as PriceBook from "./PriceBook.ts"

export type { BudgetOptions, Dimension, Filter, LimitOverride, WindowOptions } from "./Budget/internal/budgets.ts"
export type {
  Account,
  Balance,
  Batch,
  Decision,
  Event,
  Override,
  Renewal,
  Reply,
  Reservation,
  Reserve,
  Settlement,
  State
} from "./Budget/internal/data.ts"
export { Row } from "./Budget/internal/data.ts"
export { BudgetInputError, type Charged, type Credit } from "./Budget/internal/registry.ts"
export { keyOf, keysOf } from "./Budget/internal/rows.ts"
export type { AccountStatus } from "./Budget/internal/snapshot.ts"
export { step } from "./Budget/internal/step.ts"
export type { Window } from "./Budget/internal/window.ts"

/**
 * - `budgets`: an attempt needs room in each that it counts towards.
 * - `reserveOutput`: how much output is reserved for. `"max"`, the default: `max_tokens`. `"learned"`: what 98 % of such calls (model and request
 *   type) stayed below, once 50 of them have ended. More calls fit, and some cost more than was reserved for them.
 * - `unpriced`: what happens to a model without a price. `"refuse"`, the default: it fails with `UnpricedModelError`. `"mostExpensive"`: it reserves the
 *   price of the most expensive model in the catalogue, and is charged all of it. `"allow"`: it is let through without counting, and reported.
 * - `lease`: how long a reservation in a shared store outlives a crashed process. It is renewed four times as often. Default 2 minutes.
 * - `timeout`: how long an attempt waits for a store in another process, within its deadline. Default 2 seconds.
 * - `lapsed`: what becomes of a reservation whose process crashed. `"spent"`: it counts as spent until it is credited, so the limit holds whatever the
 *   API charged. `"released"`: it is free again. Default `"spent"`, and `"released"` with `reserveOutput: "learned"`, whose limits are not exact either.
 * - `waitForRoom`: how long an attempt waits, within its deadline, for calls in flight to settle for less than they reserved, before it is refused.
 *   Those of one account get room in the order of arrival. Default 0: a refusal at once can be answered at once, by a smaller `max_tokens` or
 *   another model, and whoever waits holds what the limiter gave.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly budgets: ReadonlyArray<BudgetOptions>
  readonly reserveOutput?: "max" | "learned" | undefined
  readonly unpriced?: "refuse" | "mostExpensive" | "allow" | undefined
  readonly lease?: Duration.Input | undefined
  readonly timeout?: Duration.Input | undefined
  readonly lapsed?: "spent" | "released" | undefined
  readonly waitForRoom?: Duration.Input | undefined
}

/**
 * Admits an attempt when every budget that it counts towards has room for its worst case. Only attempts to get a message count.
 *
 * It stands after the key pool, so that budgets of keys know the key, and after the limiter, so that a call that waits for its turn reserves nothing.
 *
 * - `check`: fails for an attempt that would not fit if nothing but what is spent counted, before it waits for its turn. A store in another process is
 *   not asked: its refusals of the last second are remembered.
 * - `events`: thresholds reached, budgets exceeded and overshot, each once per account and window (in a rolling window, once in its length), published
 *   by the process whose call caused it; and models without a price, once each. A subscriber gets events from the moment of subscribing; at most
 *   256 are buffered, then it loses the oldest. The stream ends with the layer. Each event is logged, too.
 * - `snapshot`: every account with an amount in its window, and every budget that is not divided.
 * - `setBudgets`: replaces the budgets of this process. What a budget has spent is kept by its name; one whose window changes starts anew.
 * - `overrideLimit`: in all processes that share the store.
 * - `credit`: takes an amount off what counts as spent in an account: what lapsed first, then what calls cost. No more is taken than was counted.
 * - `creditAttempt`: the same in every account in which an attempt counted, for a row of the ledger that was not on the bill; `nanoUsd` is by default all
 *   of it. `Reconciliation.credits` finds such rows.
 *
 * @category services
 * @since 0.1.0
 */
export class Budget extends Context.Service<
  Budget,
  Policy<BudgetExceededError | BudgetUnavailableError | UnpricedModelError> & {
    readonly events: Stream.Stream<Event>
    readonly snapshot: Effect.Effect<ReadonlyArray<AccountStatus>, BudgetUnavailableError>
    readonly setBudgets: (budgets: ReadonlyArray<BudgetOptions>) => Effect.Effect<void>
    readonly check: (
      attempt: Attempt
    ) => Effect.Effect<void, BudgetExceededError | BudgetUnavailableError | UnpricedModelError>
    readonly overrideLimit: (
      budget: string,
      override: LimitOverride
    ) => Effect.Effect<void, BudgetUnavailableError | BudgetInputError>
    readonly credit: (budget: string, credit: Credit) => Effect.Effect<void, BudgetInputError>
    readonly creditAttempt: (attempt: Charged, nanoUsd?: number) => Effect.Effect<void>
  }
>()("effect-claude/Budget") {}

/**
 * Where accounts are kept: rows by keys.
 *
 * `step` does one batch atomically and may fail. Whatever the rows live in, it is: lock and load the rows that `Budget.keysOf(batch)` names and, where
 * the batch reads budgets, all rows whose `budget` is one of `batch.read`; call `Budget.step` with them and the time; write back the rows that it
 * returns; answer with its reply. Rows are plain data; decode stored ones by the schema `Budget.Row`. Rows whose `forgetAt` has passed may be deleted
 * at any time.
 *
 * - `isLocal`: whether it is part of this process, answers at once and never fails. Then reservations have no leases, and batches are not sent again.
 *
 * **Example** (A store in a `Map`)
 *
 * ```ts
 * import * as Budget from "effect-claude/Budget"
 * import { Clock, Effect } from "effect"
 *
 * const rows = new Map<string, Budget.Row>()
 *
 * export const store: Budget.Store["Service"] = {
 *   step: (batch) =>
 *     Effect.map(Clock.currentTimeMillis, (now) => {
 *       const [changed, reply] = Budget.step(rows, batch, now)
 *       changed.forEach((row, key) => rows.set(key, row))
 *       return reply
 *     })
 * }
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class Store extends Context.Service<Store, {
  readonly isLocal?: boolean | undefined
  readonly step: (batch: Batch) => Effect.Effect<Reply, unknown>
}>()("effect-claude/Budget/Store") {}

/**
 * Keeps accounts in this process. At `maxAccounts` of them (default 100,000), those whose window is over are deleted. If none is, calls that need a
 * new account are refused, since deleting another would forget what it spent.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStoreMemory = (
  { maxAccounts = 100_000 }: { readonly maxAccounts?: number | undefined } = {}
): Layer.Layer<Store> =>
  Layer.effect(
    Store,
    Effect.map(Clock.Clock, (clock) => new Memory(maxAccounts, clock))
  )

/**
 * A store that may be away when the program starts. It is built when it is first asked, and anew until that succeeds; meanwhile the layer is there and
 * calls are refused. Without this, a program does not start while its store is away. Give it all that the store needs, its client too.
 *
 * **Example** (A service that starts without its database)
 *
 * ```ts
 * import * as Budget from "effect-claude/Budget"
 * import * as BudgetSql from "effect-claude/Budget/Sql"
 * import * as Sqlite from "effect-claude/Sqlite"
 * import { Layer } from "effect"
 *
 * const store = BudgetSql.layerStore().pipe(Layer.provide(Sqlite.layer({ filename: "/mnt/shared/budgets.db" })))
 *
 * export const layer = Budget.layerNoDeps({ budgets: [{ name: "all", limit: 100 }] }).pipe(
 *   Layer.provide(Budget.layerStoreEventually(store))
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStoreEventually = <E, R>(store: Layer.Layer<Store, E, R>): Layer.Layer<Store, never, R> =>
  Layer.effect(Store, Eventually.make(Store, store))

/** Those that do not end are of no use after a crash, and those without any length would be renewed without a pause. */
const leaseOf = (lease: Duration.Input = "2 minutes"): number => {
  const millis = Math.ceil(Duration.toMillis(lease))
  if (millis >= 1 && millis < Infinity) return millis
  throw new RangeError(`Budget: lease must be finite and at least 1 ms, and is ${millis} ms`)
}

/** How many settlements are queued while the store does not answer. */
const maxSettlements = 100_000

/**
 * Builds the policy over the `Store`. Budgets with invalid options are a defect, a `RangeError` that says what is wrong.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(options: Options) {
  const book = yield* PriceBook.PriceBook
  const store = yield* Store
  const catalogue = yield* Model.Catalogue
  const clock = yield* Clock.Clock
  const owner = (yield* Random.nextIntBetween(0, 2 ** 52)).toString(36)
  const leaseMillis = leaseOf(options.lease)
  const timeoutMillis = Duration.toMillis(options.timeout ?? "2 seconds")
  const waitMillis = Duration.toMillis(options.waitForRoom ?? 0)
  const countsLapsed = (options.lapsed ?? (options.reserveOutput === "learned" ? "released" : "spent")) === "spent"
  const isLocal = store.isLocal === true
  const registry = new Registry(options.budgets, catalogue, countsLapsed)
  const telemetry = yield* Telemetry.make(registry.find)
  const report = Admission.reporting(telemetry)
  const asked = isLocal
    ? Admission.local(store, report)
    : yield* Client.make({ step: store.step, owner, timeoutMillis, maxSettlements, report })
  const client = waitMillis > 0 ? yield* Room.make(asked, waitMillis) : asked
  const refusals = new Refusals()
  const unavailable = (reason: "store" | "accounts", attempts = 0) =>
    new BudgetUnavailableError({
      reason,
      retryAfter: reason === "store" ? Duration.millis(timeoutMillis) : undefined,
      attempts
    })
  const { admit, check } = yield* Admission.make({
    asked,
    book,
    catalogue,
    client,
    configured: registry,
    isLocal,
    leaseMillis,
    owner,
    refusals,
    reserveOutput: options.reserveOutput ?? "max",
    unpriced: options.unpriced ?? "refuse",
    telemetry,
    unavailable
  })

  const ask = (batch: Batch): Effect.Effect<Reply, BudgetUnavailableError> =>
    Effect.filterOrFail(client.step(batch), (reply) => reply !== undefined, () => unavailable("store"))

  const credited = (accounts: ReadonlyArray<Account>, nanoUsd: number, at: number): Effect.Effect<void> => {
    refusals.clear()
    if (nanoUsd === 0 || accounts.length === 0) return Effect.void
    const reservations = accounts.map((account) => ({ account, slot: spanAt(account.window, at).slot }))
    return client.settle({ reservedNanoUsd: 0, spentNanoUsd: -nanoUsd, reservations })
  }

  return Budget.of({
    admit,
    check,
    events: telemetry.events,

    snapshot: Effect.suspend(() =>
      Effect.map(
        ask({ read: registry.budgets.map(({ name }) => name) }),
        (reply) => statusesOf(registry.budgets, reply)
      )
    ),

    setBudgets: (next) =>
      Effect.sync(() => {
        registry.set(next)
        refusals.clear()
        telemetry.reset()
      }),

    overrideLimit: (budget, override) =>
      Effect.flatMap(registry.overrideOf(budget, override), (override) => {
        refusals.clear()
        return Effect.asVoid(ask({ overrides: [override] }))
      }),

    credit: (budget, credit) =>
      Effect.flatMap(
        registry.creditOf(budget, credit),
        ({ account, nanoUsd }) => credited([account], nanoUsd, credit.at ?? clock.currentTimeMillisUnsafe())
      ),

    creditAttempt: (charged, nanoUsd = charged.nanoUsd ?? 0) =>
      Effect.suspend(() => credited(registry.accountsOf(charged), Math.max(0, Math.round(nanoUsd)), charged.at))
  })
})

/**
 * Budgets over the `Store` that you provide.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerNoDeps = (options: Options): Layer.Layer<Budget, never, PriceBook.PriceBook | Store> =>
  Layer.effect(Budget, make(options))

/**
 * Budgets in the memory of this process; what was spent is forgotten when the layer ends. Each call of this function makes separate budgets: call it once
 * and share the value.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<Budget, never, PriceBook.PriceBook> =>
  layerNoDeps(options).pipe(Layer.provide(layerStoreMemory()))

/**
 * `layer` with options from configuration.
 *
 * **Example** (One budget, its limit from the environment)
 *
 * ```ts
 * import * as Budget from "effect-claude/Budget"
 * import { Config } from "effect"
 *
 * export const layer = Budget.layerConfig({
 *   budgets: Config.map(Config.Number("CLAUDE_BUDGET_USD"), (limit) => [
 *     { name: "all", limit, window: { calendar: "month" } } as const
 *   ])
 * })
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<Budget, Config.ConfigError, PriceBook.PriceBook> =>
  Layer.effect(Budget, Effect.flatMap(Config.unwrap(options), make)).pipe(Layer.provide(layerStoreMemory()))

/**
 * No budget: everything may be spent.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerOff: Layer.Layer<Budget> = Layer.succeed(
  Budget,
  Budget.of({
    admit: () => admitted,
    check: () => Effect.void,
    events: Stream.empty,
    snapshot: Effect.succeed([]),
    setBudgets: () => Effect.void,
    overrideLimit: () => Effect.void,
    credit: () => Effect.void,
    creditAttempt: () => Effect.void
  })
)

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
 * - **Crashes**: a reservation in a shared store is a lease, renewed while its call runs. What a crashed process had reserved is released after `lease`
 *   and reported as `lapsedNanoUsd`, since the API may have charged it. A process that cannot reach its store for that long is treated as crashed;
 *   the cost of its calls is counted once it reconnects.
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
import { admitted, type Attempt, costOf, type MessageAttempt, type Policy, type Settle } from "./Attempt.ts"
import {
  accountFor,
  accountOf,
  accountText,
  type Budget as Definition,
  type BudgetOptions,
  budgetsOf,
  type LimitOverride,
  toNanoUsd
} from "./Budget/internal/budgets.ts"
import * as Client from "./Budget/internal/client.ts"
import type { Account, Batch, Decision, Event, Reply, Reserve } from "./Budget/internal/data.ts"
import { type AccountStatus, statusesOf } from "./Budget/internal/snapshot.ts"
import { stepInMemory } from "./Budget/internal/step.ts"
import * as Telemetry from "./Budget/internal/telemetry.ts"
import { BudgetExceededError, BudgetUnavailableError, UnpricedModelError } from "./ClaudeError.ts"
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
}

/**
 * Admits an attempt when every budget that it counts towards has room for its worst case. Only attempts to get a message count.
 *
 * It stands after the key pool, so that budgets of keys know the key, and before policies that wait.
 *
 * - `events`: thresholds reached, budgets exceeded and overshot, each once per account and window (in a rolling window, once in its length), published
 *   by the process whose call caused it; and models without a price, once each. A subscriber gets events from the moment of subscribing; at most
 *   256 are buffered, then it loses the oldest. The stream ends with the layer. Each event is logged, too.
 * - `snapshot`: every account with an amount in its window, and every budget that is not divided.
 * - `setBudgets`: replaces the budgets of this process. What a budget has spent is kept by its name; one whose window changes starts anew.
 * - `overrideLimit`: in all processes that share the store.
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
    readonly overrideLimit: (budget: string, override: LimitOverride) => Effect.Effect<void, BudgetUnavailableError>
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
    Effect.map(Clock.Clock, (clock) => ({ isLocal: true, step: stepInMemory(maxAccounts, clock) }))
  )

/** How many settlements are queued while the store does not answer. */
const maxSettlements = 100_000

type Own = BudgetExceededError | BudgetUnavailableError | UnpricedModelError

/** An amount in whole nano-dollars; undefined where a price book gives none that can be counted. */
const amountOf = (nanoUsd: number | undefined): number | undefined =>
  nanoUsd !== undefined && nanoUsd >= 0 && nanoUsd <= Number.MAX_SAFE_INTEGER ? Math.ceil(nanoUsd) : undefined

/** What an attempt may cost at most, in whole nano-dollars: more than can be counted is as much as can be. */
const mostOf = (nanoUsd: number | undefined): number | undefined =>
  nanoUsd !== undefined && nanoUsd >= 0 ? Math.min(Math.ceil(nanoUsd), Number.MAX_SAFE_INTEGER) : undefined

/** A store in this process answers at once. */
const local = ({ step }: Store["Service"], report: (reply: Reply) => Effect.Effect<void>): Client.Client => ({
  reserve: (ask) =>
    Effect.orDie(Effect.flatMap(step({ reserves: [ask] }), (reply) => {
      const { decisions: [decision], events } = reply
      // A refusal changes nothing, and only the first in a window is an event.
      const isNews = decision?._tag !== "Refused" || events.length > 0
      return isNews ? Effect.as(report(reply), decision) : Effect.succeed(decision)
    })),
  settle: (settlement) => Effect.orDie(Effect.flatMap(step({ settlements: [settlement] }), report)),
  step: (batch) => Effect.orDie(step(batch))
})

/** The most that an attempt can cost; undefined where its model has no price. */
const ceilingOf = (
  book: PriceBook.PriceBook["Service"],
  { models }: Model.Catalogue,
  { reserveOutput, unpriced }: Options,
  { context, estimate: { inputTokens, maxOutputTokens }, kind, request }: MessageAttempt,
  at: number
): number | undefined => {
  const outputTokens = reserveOutput === "learned" ? kind.highOutput(maxOutputTokens) : maxOutputTokens
  const tokens = { inputTokens, outputTokens, at }
  const uncounted = mostOf((context.expectedCost ?? 0) * 1e9) ?? 0
  const ceiling = mostOf(book.ceiling(request, tokens)) ?? (uncounted > 0 ? 0 : undefined)
  if (ceiling !== undefined) return mostOf(ceiling + uncounted)
  if (unpriced !== "mostExpensive") return undefined
  const ceilings = models.flatMap(({ id }) => mostOf(book.ceiling({ ...request, model: id }, tokens)) ?? [])
  return ceilings.length === 0 ? undefined : Math.max(...ceilings)
}

const refused = (
  { account, at, resetsAt, ...amounts }: Extract<Decision, { _tag: "Refused" }>,
  budget: Definition | undefined,
  { nanoUsd }: Reserve,
  { number }: MessageAttempt
) =>
  new BudgetExceededError({
    budget: account.budget,
    account: budget?.dimension === undefined ? undefined : accountText(budget.dimension, account.account),
    limitNanoUsd: amounts.limitNanoUsd,
    spentNanoUsd: amounts.spentNanoUsd,
    reservedNanoUsd: amounts.reservedNanoUsd,
    neededNanoUsd: nanoUsd,
    resetsAt,
    retryAfter: resetsAt === undefined ? undefined : Duration.millis(resetsAt - at),
    ...(budget?.isOfKey === true && { isOfKey: true }),
    attempts: number - 1
  })

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
  const leaseMillis = Math.ceil(Duration.toMillis(options.lease ?? "2 minutes"))
  const timeoutMillis = Duration.toMillis(options.timeout ?? "2 seconds")
  let budgets = budgetsOf(options.budgets, catalogue)
  let leases = 0
  const find = (name: string): Definition | undefined => budgets.find((budget) => budget.name === name)
  const telemetry = yield* Telemetry.make(find)
  const { report } = telemetry
  const client = store.isLocal === true
    ? local(store, report)
    : yield* Client.make({ step: store.step, owner, timeoutMillis, maxSettlements, report })

  const unavailable = (reason: "store" | "accounts", attempts = 0) =>
    new BudgetUnavailableError({
      reason,
      retryAfter: reason === "store" ? Duration.millis(timeoutMillis) : undefined,
      attempts
    })

  const admit = (attempt: Attempt): Effect.Effect<Settle, Own> =>
    Effect.suspend(() => {
      if (attempt.endpoint !== "messages") return admitted
      const accounts: Array<Account> = []
      for (const budget of budgets) {
        if (budget.matches === undefined || budget.matches(attempt)) {
          accounts.push(budget.whole ?? accountFor(budget, attempt))
        }
      }
      if (accounts.length === 0) return admitted
      const now = clock.currentTimeMillisUnsafe()
      const ceiling = ceilingOf(book, catalogue, options, attempt, now)
      if (ceiling === undefined && options.unpriced !== "allow") {
        return Effect.fail(new UnpricedModelError({ model: attempt.model, attempts: attempt.number - 1 }))
      }
      const lease = store.isLocal === true ? undefined : { id: `${owner}-${++leases}`, millis: leaseMillis }
      const ask: Reserve = { lease, nanoUsd: ceiling ?? 0, accounts }
      const boundMillis = Math.max(0, (attempt.context.deadline ?? Infinity) - now)
      const reserved = Effect.flatMap(client.reserve(ask, boundMillis), (decision): Effect.Effect<Settle, Own> => {
        switch (decision?._tag) {
          case "Reserved":
            return Effect.succeed(Effect.suspend(() => {
              const cost = costOf(book, attempt, clock.currentTimeMillisUnsafe())
              const spent = cost === undefined ? 0 : amountOf(cost.cost?.nanoUsd) ?? ask.nanoUsd
              return client.settle({ ...decision.settlement, spentNanoUsd: spent })
            }))
          case "Refused":
            return Effect.fail(refused(decision, find(decision.account.budget), ask, attempt))
          default:
            return Effect.fail(unavailable(decision === undefined ? "store" : "accounts", attempt.number - 1))
        }
      })
      return ceiling === undefined ? Effect.andThen(telemetry.letThrough(attempt.model, now), reserved) : reserved
    })

  const ask = (batch: Batch): Effect.Effect<Reply, BudgetUnavailableError> =>
    Effect.filterOrFail(client.step(batch), (reply) => reply !== undefined, () => unavailable("store"))

  return Budget.of({
    admit,
    events: telemetry.events,

    snapshot: Effect.suspend(() =>
      Effect.map(ask({ read: budgets.map(({ name }) => name) }), (reply) => statusesOf(budgets, reply))
    ),

    setBudgets: (next) =>
      Effect.sync(() => {
        budgets = budgetsOf(next, catalogue)
        telemetry.reset()
      }),

    overrideLimit: (budget, { account, limit, until }) =>
      Effect.suspend(() => {
        const override = {
          budget,
          account: account === undefined ? undefined : accountOf(find(budget)?.dimension, account, catalogue),
          limitNanoUsd: limit === undefined ? undefined : toNanoUsd(limit, `the new limit of ${budget}`),
          until: until === undefined || until === Infinity ? undefined : Math.ceil(until)
        }
        return Effect.asVoid(ask({ overrides: [override] }))
      })
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
    events: Stream.empty,
    snapshot: Effect.succeed([]),
    setBudgets: () => Effect.void,
    overrideLimit: () => Effect.void
  })
)

/**
 * Bounds what calls may cost, in US dollars, before they are sent.
 *
 * Each attempt reserves its worst case in every budget that it touches, in one step: in all of them or, where one has no room, in none, and then it
 * fails with `BudgetExceededError`. When the attempt ends, what it really cost replaces the reservation. At every instant, what is spent and
 * what is reserved together are within the limit, however many calls run at once and, over a shared store, in however many processes.
 *
 * - **Worst case**: the estimated input in the dearest category that the request allows, and `max_tokens` of output.
 * - **An attempt that was not sent** costs nothing; one that was sent and of which nothing came back keeps its reservation as spent, since nobody
 *   knows better. A call that waits for its next attempt reserves nothing.
 * - **Windows**: a call counts in the window in which it was admitted, also when it ends in a later one. A rolling window moves by sixtieths,
 *   and a sixtieth counts until it is wholly outside.
 * - **Wrong estimates**: where calls cost more than was reserved for them, `snapshot` says how much (`overshotNanoUsd`), and where that
 *   passes the limit, an event and a log line say so.
 * - **Crashes**: a reservation is a lease, renewed while its call runs. What a crashed process had reserved is free again after `lease`, and
 *   counted as `lapsedNanoUsd`, for the API may have charged it. A process that cannot reach its store for so long is taken for crashed; what its calls
 *   cost is counted when it is back.
 * - **A store that does not answer** is no room: calls are refused with `BudgetUnavailableError`, one warning is logged, and settlements are kept
 *   until it answers again.
 *
 * **Example** (A monthly cap for each tenant, and a daily one for each user)
 *
 * ```ts
 * import * as Budget from "effect-claude/Budget"
 *
 * export const layer = Budget.layer({
 *   budgets: [
 *     { name: "tenants", per: "tenant", limit: 100, limits: { acme: 500 }, window: { calendar: "month", zone: "Europe/Berlin" } },
 *     { name: "users", per: "user", limit: 5, window: { calendar: "day" } },
 *     { name: "opus", limit: 1_000, only: { model: ["claude-opus-*"] }, window: { rolling: "7 days" } }
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
import * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as PubSub from "effect/PubSub"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import type * as Take from "effect/Take"
import {
  admitted,
  type Attempt,
  costOf,
  type MessageAttempt,
  type Policy,
  type Settle as Settlement
} from "./Attempt.ts"
import {
  Account,
  type Batch,
  type Done,
  Event,
  type Hold,
  holdsOf,
  type Level,
  limitOf,
  type Override,
  type Reply,
  type Reserve,
  type Stored
} from "./Budget/internal/account.ts"
import * as Desk from "./Budget/internal/desk.ts"
import { Memory } from "./Budget/internal/memory.ts"
import { accountOf, accountText, type Line, linesOf, type Rule, toNanoUsd } from "./Budget/internal/rules.ts"
import { BudgetExceededError, BudgetUnavailableError, UnpricedModelError } from "./ClaudeError.ts"
import * as Model from "./Model.ts"
import * as PriceBook from "./PriceBook.ts"

export type {
  Batch,
  Done,
  Event,
  Hold,
  Level,
  Override,
  Reply,
  Reserve,
  Rules,
  Settle,
  Share,
  Slot,
  Stored
} from "./Budget/internal/account.ts"
export type { Dimension, Only, Rule, WindowOf } from "./Budget/internal/rules.ts"
export type { Span, Window } from "./Budget/internal/window.ts"

/**
 * - `budgets`: those that hold; an attempt needs room in all that it touches.
 * - `output`: how much output is reserved for. `max`, the default: `max_tokens`. `learnt`: what 98 % of such calls (model and request
 *   type) stayed below, once 50 were seen; more calls fit, and some cost more than was reserved for them.
 * - `unpriced`: a model without a price is refused with `UnpricedModelError` (`refuse`, the default), taken for the dearest one of the catalogue, all
 *   that is reserved for it counting as spent (`dearest`), or let pass for nothing and told of (`allow`).
 * - `lease`: how long a reservation in a store that outlives this process does so. It is renewed four times as often. Default 2 minutes.
 * - `timeout`: how long an attempt waits for a store in another process, where its deadline allows. Default 2 seconds.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly budgets: ReadonlyArray<Rule>
  readonly output?: "max" | "learnt" | undefined
  readonly unpriced?: "refuse" | "dearest" | "allow" | undefined
  readonly lease?: Duration.Input | undefined
  readonly timeout?: Duration.Input | undefined
}

/**
 * One account of a budget as it stands, in integer nano-dollars (1 USD = 1_000_000_000).
 *
 * - `account`: the tenant, user, model, key or tag value; `""` where it is for all or for those that name none.
 * - `remainingNanoUsd`: negative where more is spent than the limit.
 * - `overshotNanoUsd`: what calls cost beyond what was reserved for them.
 * - `lapsedNanoUsd`: what was reserved by processes that ended without a word; it is free again, and the API may have charged it.
 * - `windowStart`, `windowEnd`: milliseconds since the epoch. A rolling window ends when it next moves; one without end has `Infinity`.
 *
 * @category models
 * @since 0.1.0
 */
export interface State {
  readonly budget: string
  readonly account: string
  readonly limitNanoUsd: number
  readonly spentNanoUsd: number
  readonly reservedNanoUsd: number
  readonly remainingNanoUsd: number
  readonly overshotNanoUsd: number
  readonly lapsedNanoUsd: number
  readonly windowStart: number
  readonly windowEnd: number
}

/**
 * Another limit of a budget, or of one of its accounts: US dollars, or `undefined` to take it back. It holds before `until` (milliseconds since
 * the epoch), by default until it is taken back. The one for an account goes before the one for its budget.
 *
 * @category models
 * @since 0.1.0
 */
export interface OtherLimit {
  readonly limit: number | undefined
  readonly account?: string | undefined
  readonly until?: number | undefined
}

/**
 * Admits an attempt when every budget that it touches has room for its worst case. Only attempts to get a message cost anything.
 *
 * Its place is after the key pool, so that budgets of keys know the key, and before whatever waits.
 *
 * - `events`: thresholds reached, budgets exceeded and overshot, each once for an account in its window (in a rolling window, once in its
 *   length), told by the process whose call did it; and models without a price, once. From the moment of subscribing. The last 256 are
 *   kept for a subscriber; one that is slower loses the oldest. It ends with the layer. Each is logged, too.
 * - `snapshot`: every account that has something in its window, and every budget that is not divided.
 * - `setBudgets`: in this process. What is spent stays with the name of a budget; one whose window changes starts anew.
 * - `override`: in all processes that share the store.
 *
 * @category services
 * @since 0.1.0
 */
export class Budget extends Context.Service<
  Budget,
  Policy<BudgetExceededError | BudgetUnavailableError | UnpricedModelError> & {
    readonly events: Stream.Stream<Event>
    readonly snapshot: Effect.Effect<ReadonlyArray<State>, BudgetUnavailableError>
    readonly setBudgets: (budgets: ReadonlyArray<Rule>) => Effect.Effect<void>
    readonly override: (budget: string, limit: OtherLimit) => Effect.Effect<void, BudgetUnavailableError>
  }
>()("effect-claude/Budget") {}

/**
 * Where accounts are kept.
 *
 * - `isLocal`: whether it is part of this process. Then `step` answers at once and never fails.
 * - `step`: all of a batch in one atomic step. Batches of one owner come one after another. When one fails or is interrupted, it may have been
 *   made; its settlements come again under its number, and are made once.
 * - `renew`: leases that still stand, for so long from now.
 * - `read`: the accounts of some budgets, and the overrides.
 *
 * Time is the store's.
 *
 * @category services
 * @since 0.1.0
 */
export class Store extends Context.Service<Store, {
  readonly isLocal: boolean
  readonly step: (batch: Batch) => Effect.Effect<Done, unknown>
  readonly renew: (leases: ReadonlyArray<string>, leaseMillis: number) => Effect.Effect<void, unknown>
  readonly override: (override: Override) => Effect.Effect<void, unknown>
  readonly read: (budgets: ReadonlyArray<string>) => Effect.Effect<{
    readonly accounts: ReadonlyArray<Stored>
    readonly overrides: ReadonlyArray<Override>
    readonly now: number
  }, unknown>
}>()("effect-claude/Budget/Store") {}

/**
 * Keeps accounts in this process. With `maxAccounts` of them (default 100,000), those whose window is over make room; where none is, calls that need a
 * new one are refused rather than that money spent is forgotten.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStoreMemory = (options: { readonly maxAccounts?: number | undefined } = {}): Layer.Layer<Store> =>
  Layer.effect(
    Store,
    Effect.map(Clock.Clock, (clock) => {
      const memory = new Memory(options.maxAccounts ?? 100_000)
      const now = () => clock.currentTimeMillisUnsafe()
      return {
        isLocal: true,
        step: (batch) => Effect.sync(() => memory.step(batch, now())),
        renew: (leases, leaseMillis) => Effect.sync(() => memory.renew(leases, leaseMillis, now())),
        override: (override) => Effect.sync(() => memory.override(override)),
        read: (budgets) => Effect.sync(() => ({ ...memory.read(budgets, now()), now: now() }))
      }
    })
  )

const remainingGauge = Metric.gauge("anthropic_budget_remaining_usd", {
  description:
    "What is left of a budget, in US dollars; of a divided one, where the least is left, as this process last saw it"
})

const unpricedCalls = Metric.counter("anthropic_budget_unpriced_total", {
  description: "Attempts at models without a price that budgets let pass",
  incremental: true
})

/** The most settlements that are kept while the store does not answer. */
const maxSettles = 100_000

/** The most models without a price that are remembered as told of. */
const maxUnpriced = 1_000

/** What an attempt reserved. */
interface Entry {
  readonly lease: string
  readonly nanoUsd: number
  readonly holds: ReadonlyArray<Hold>
}

type Own = BudgetExceededError | BudgetUnavailableError | UnpricedModelError

/** An amount that can be counted; undefined where a price book says something else. */
const amountOf = (nanoUsd: number | undefined): number | undefined =>
  nanoUsd !== undefined && nanoUsd >= 0 && nanoUsd <= Number.MAX_SAFE_INTEGER ? Math.ceil(nanoUsd) : undefined

const usd = (nanoUsd: number): string => `$${(nanoUsd / 1e9).toFixed(4)}`

/**
 * Builds the policy over the `Store`. Budgets that make no sense are a defect.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(options: Options) {
  const book = yield* PriceBook.PriceBook
  const store = yield* Store
  const catalogue = yield* Model.Catalogue
  const clock = yield* Clock.Clock
  const services = yield* Effect.context<never>()
  const owner = (yield* Random.nextIntBetween(0, 2 ** 52)).toString(36)
  // A process and its own memory end together.
  const leaseMillis = store.isLocal ? Infinity : Math.ceil(Duration.toMillis(options.lease ?? "2 minutes"))
  const timeoutMillis = Duration.toMillis(options.timeout ?? "2 seconds")
  const entries = new Set<Entry>()
  const unpriced = new Set<string>()
  const least = new Map<string, { readonly gauge: Metric.Metric<number, unknown>; level: Level | undefined }>()
  let lines = linesOf(options.budgets, catalogue)
  let leases = 0

  const events = yield* PubSub.sliding<Take.Take<Event>>(256)
  yield* Effect.addFinalizer(() => PubSub.end(events, Exit.void))

  const lineOf = (name: string): Line | undefined => lines.find(({ rules }) => rules.name === name)

  const textOf = (event: Event): string => {
    if (event._tag === "Unpriced") return `Budget: ${event.model} has no price and is let pass for nothing.`
    const text = accountText(lineOf(event.budget)?.dimension, event.account)
    const who = `Budget: "${event.budget}"${text === undefined ? "" : ` of ${text}`}`
    const limit = usd(event.limitNanoUsd)
    switch (event._tag) {
      case "Threshold":
        return `${who} has spent ${event.percent} % of ${limit}.`
      case "Exceeded":
        return `${who} has no room and refuses calls: ${usd(event.spentNanoUsd)} spent and ` +
          `${usd(event.reservedNanoUsd)} reserved of ${limit}.`
      case "Overshot":
        return `${who} is overshot, since calls cost more than was estimated: ${
          usd(event.spentNanoUsd)
        } spent of ${limit}.`
    }
  }

  const tell = (event: Event): Effect.Effect<void> =>
    Effect.andThen(PubSub.publish(events, [event]), Effect.logWarning(textOf(event)))

  const gauge = (level: Level): void => {
    let known = least.get(level.budget)
    if (known === undefined) {
      if (lineOf(level.budget) === undefined) return
      known = { gauge: Metric.withAttributes(remainingGauge, { budget: level.budget }), level: undefined }
      least.set(level.budget, known)
    }
    const { level: last } = known
    const stands = last !== undefined && last.account !== level.account &&
      last.remainingNanoUsd <= level.remainingNanoUsd && clock.currentTimeMillisUnsafe() < last.until
    if (stands) return
    known.level = level
    known.gauge.updateUnsafe(level.remainingNanoUsd / 1e9, services)
  }

  const told = (done: Done): Effect.Effect<void> => {
    done.levels.forEach(gauge)
    // Whatever a logger does, what was reserved is known to be.
    return done.events.length === 0 ? Effect.void : Effect.asVoid(Effect.exit(Effect.forEach(done.events, tell)))
  }

  const desk = yield* Desk.make(store, owner, { timeoutMillis, maxSettles }, told)

  const run = yield* FiberSet.makeRuntime<never>()
  let renewing = false

  /** Renews the leases of the calls that run, while there are any. */
  const renew: Effect.Effect<void> = Effect.suspend(() => {
    renewing = entries.size > 0
    if (!renewing) return Effect.void
    const open = Effect.suspend(() => store.renew(Array.from(entries, ({ lease }) => lease), leaseMillis))
    const once = Effect.exit(Effect.timeout(open, leaseMillis / 4))
    return Effect.andThen(Effect.delay(once, leaseMillis / 4), renew)
  })

  const keep = (attempt: MessageAttempt, entry: Entry): Settlement => {
    entries.add(entry)
    if (!store.isLocal && !renewing) {
      renewing = true
      run(renew)
    }
    return Effect.suspend(() => {
      entries.delete(entry)
      const { holds, lease, nanoUsd } = entry
      return desk.settle({ lease, heldNanoUsd: nanoUsd, spentNanoUsd: spentBy(attempt, nanoUsd), holds })
    })
  }

  /** The most that an attempt can cost; undefined where nobody knows. */
  const ceilingOf = ({ estimate, kind, request }: MessageAttempt, at: number): number | undefined => {
    const { inputTokens, maxOutputTokens } = estimate
    const outputTokens = options.output === "learnt" ? kind.highOutput(maxOutputTokens) : maxOutputTokens
    const tokens = { inputTokens, outputTokens, at }
    const ceiling = amountOf(book.ceiling(request, tokens))
    if (ceiling !== undefined || options.unpriced !== "dearest") return ceiling
    const ceilings = catalogue.models.flatMap(({ id }) =>
      amountOf(book.ceiling({ ...request, model: id }, tokens)) ?? []
    )
    return ceilings.length === 0 ? undefined : Math.max(...ceilings)
  }

  const flag = (model: string, at: number): Effect.Effect<void> => {
    unpricedCalls.updateUnsafe(1, services)
    if (unpriced.has(model) || unpriced.size >= maxUnpriced) return Effect.void
    unpriced.add(model)
    return tell(Event.Unpriced({ model, at }))
  }

  const unavailable = (reason: "store" | "accounts", attempts = 0) =>
    new BudgetUnavailableError({
      reason,
      retryAfter: reason === "store" ? Duration.millis(timeoutMillis) : undefined,
      attempts
    })

  const exceeded = (
    { at, limitNanoUsd, reservedNanoUsd, resetsAt, share, spentNanoUsd }: Extract<Reply, { _tag: "Refused" }>,
    neededNanoUsd: number,
    attempt: Attempt
  ) =>
    new BudgetExceededError({
      budget: share.rules.name,
      account: accountText(lineOf(share.rules.name)?.dimension, share.account),
      limitNanoUsd,
      spentNanoUsd,
      reservedNanoUsd,
      neededNanoUsd,
      resetsAt,
      retryAfter: resetsAt === undefined ? undefined : Duration.millis(resetsAt - at),
      attempts: attempt.number - 1
    })

  const admit = (attempt: MessageAttempt, touched: ReadonlyArray<Line>): Effect.Effect<Settlement, Own> => {
    const now = clock.currentTimeMillisUnsafe()
    const ceiling = ceilingOf(attempt, now)
    if (ceiling === undefined && options.unpriced !== "allow") {
      return Effect.fail(new UnpricedModelError({ model: attempt.model, attempts: attempt.number - 1 }))
    }
    const nanoUsd = ceiling ?? 0
    const lease = `${owner}-${(++leases).toString(36)}`
    const shares = touched.map((line) => line.share(attempt))
    const ask: Reserve = { lease, leaseMillis, nanoUsd, shares }
    const boundMillis = Math.max(0, (attempt.context.deadline ?? Infinity) - now)
    const reserved = Effect.flatMap(desk.reserve(ask, boundMillis), (reply): Effect.Effect<Settlement, Own> => {
      switch (reply?._tag) {
        case "Reserved":
          return Effect.succeed(keep(attempt, { lease, nanoUsd, holds: holdsOf(ask, reply) }))
        case "Refused":
          return Effect.fail(exceeded(reply, nanoUsd, attempt))
        default:
          return Effect.fail(unavailable(reply === undefined ? "store" : "accounts", attempt.number - 1))
      }
    })
    return ceiling === undefined ? Effect.andThen(flag(attempt.model, now), reserved) : reserved
  }

  const spentBy = (attempt: MessageAttempt, reserved: number): number => {
    const cost = costOf(book, attempt, clock.currentTimeMillisUnsafe())
    return cost === undefined ? 0 : amountOf(cost.cost?.nanoUsd) ?? reserved
  }

  const orUnavailable = <A>(effect: Effect.Effect<A, unknown>): Effect.Effect<A, BudgetUnavailableError> =>
    Effect.mapError(store.isLocal ? effect : Effect.timeout(effect, timeoutMillis), () => unavailable("store"))

  const stateOf = (
    line: Line,
    { account, slots }: Omit<Stored, "budget">,
    limitNanoUsd: number,
    now: number
  ): State => {
    const { from, until } = line.rules.window.at(now)
    const sums = new Account(slots).sums(from)
    return {
      budget: line.rules.name,
      account,
      limitNanoUsd,
      spentNanoUsd: sums.spent,
      reservedNanoUsd: sums.reserved,
      remainingNanoUsd: limitNanoUsd - sums.spent - sums.reserved,
      overshotNanoUsd: sums.overshot,
      lapsedNanoUsd: sums.lapsed,
      windowStart: from,
      windowEnd: until
    }
  }

  const snapshot = Effect.suspend(() => orUnavailable(store.read(lines.map(({ rules }) => rules.name)))).pipe(
    Effect.map(({ accounts, now, overrides }) =>
      lines.flatMap((line) => {
        const { name, window } = line.rules
        const { from } = window.at(now)
        const own = accounts.filter(({ budget, slots }) => budget === name && !new Account(slots).isIdle(from))
        const shown = own.length === 0 && line.dimension === undefined ? [{ account: "", slots: [] }] : own
        const find = (budget: string, account: string | undefined) =>
          overrides.find((override) => override.budget === budget && override.account === account)
        return shown.map((stored) => stateOf(line, stored, limitOf(line.shareOf(stored.account), now, find), now))
      })
    )
  )

  return Budget.of({
    admit: (attempt) =>
      Effect.suspend(() => {
        if (attempt.endpoint !== "messages") return admitted
        const touched = lines.filter((line) => line.touches(attempt))
        return touched.length === 0 ? admitted : admit(attempt, touched)
      }),

    events: Stream.fromPubSubTake(events),
    snapshot,

    setBudgets: (budgets) =>
      Effect.sync(() => {
        lines = linesOf(budgets, catalogue)
        least.clear()
      }),

    override: (budget, { account, limit, until }) =>
      orUnavailable(store.override({
        budget,
        account: account === undefined ? undefined : accountOf(lineOf(budget)?.dimension, account, catalogue),
        limitNanoUsd: limit === undefined ? undefined : toNanoUsd(limit, `the other limit of ${budget}`),
        until: Math.ceil(until ?? Infinity)
      }))
  })
})

/**
 * Budgets over a `Store` that the user provides.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerNoDeps = (options: Options): Layer.Layer<Budget, never, PriceBook.PriceBook | Store> =>
  Layer.effect(Budget, make(options))

/**
 * Budgets for one process, which forget what was spent when their layer ends. Each call has budgets of its own: call it once and share the value.
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
    override: () => Effect.void
  })
)

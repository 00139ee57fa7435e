/** What budgets tell: events with a log line for each, the gauge of what remains, and the count of calls without a price. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import * as Feed from "../../internal/feed.ts"
import * as Metrics from "../../internal/metrics.ts"
import { accountText, type Budget } from "./budgets.ts"
import { type Balance, Event, type Reply } from "./data.ts"
import { Pace } from "./pace.ts"

const unpricedCalls = Metrics.counter(Metrics.metrics.budgetUnpriced, {})

/** The most models without a price that are remembered as reported. */
const maxUnpriced = 1_000

const usd = (nanoUsd: number): string => `$${(nanoUsd / 1e9).toFixed(4)}`

const textOf = (event: Event, budget: Budget | undefined): string => {
  if (event._tag === "Unpriced") {
    return `Budget: ${event.model} has no price, so its calls are let through without counting towards any budget.`
  }
  const account = accountText(budget?.dimension, event.account)
  const who = `Budget: "${event.budget}"${account === undefined ? "" : ` of ${account}`}`
  const limit = usd(event.limitNanoUsd)
  switch (event._tag) {
    case "Threshold":
      return `${who} has spent ${event.percent} % of ${limit}.`
    case "Exceeded":
      return `${who} has no room and refuses calls: ${usd(event.spentNanoUsd)} spent and ` +
        `${usd(event.reservedNanoUsd)} reserved of ${limit}.`
    case "Overshot":
      return `${who} is over its limit, because calls cost more than was reserved for them: ` +
        `${usd(event.spentNanoUsd)} spent of ${limit}.`
  }
}

/**
 * What the gauges of one budget read.
 *
 * - `shown`: the account with the least.
 * - `looksAt`: when the pace looks again at what is spent, in milliseconds since the epoch.
 */
export interface Gauge {
  shown: Balance
  looksAt: number
}

/**
 * - `gauges`: by the names of budgets. Whoever knows that the account shown has another balance in the same window may write it there, before `looksAt`.
 * - `tell`: shows the balances of a reply and publishes its events. It succeeds whatever a logger does.
 * - `letThrough`: counts a call of a model without a price; the first one of each model is an event.
 * - `reset`: forgets what the gauges show, since budgets were replaced.
 */
export interface Telemetry {
  readonly events: Stream.Stream<Event>
  readonly gauges: ReadonlyMap<string, Gauge>
  readonly tell: (reply: Reply) => Effect.Effect<void>
  readonly letThrough: (model: string, at: number) => Effect.Effect<void>
  readonly reset: () => void
}

/** `find` finds a budget by its name, as it is configured now. */
export const make = Effect.fnUntraced(function*(
  find: (budget: string) => Budget | undefined
): Effect.fn.Return<Telemetry, never, Scope.Scope> {
  const feed = yield* Feed.make<Event>({ name: "budget" })
  const clock = yield* Clock.Clock
  const services = yield* Effect.context<never>()
  const gauges = new Map<string, Gauge & { readonly pace: Pace }>()
  const unpriced = new Set<string>()

  const add = (budget: string, shown: Balance): void => {
    const gauge = { shown, pace: new Pace(), looksAt: 0 }
    // Read when they are asked for: a budget of which nothing is spent any more lasts longer all the time.
    const register = (definition: Metrics.Definition, read: () => number) =>
      Metric.registerUnsafe(Metrics.gauge(definition, { budget }), services, {
        get: () => ({ value: read() }),
        update: constVoid,
        modify: constVoid
      })
    register(Metrics.metrics.budgetRemaining, () => gauge.shown.remainingNanoUsd / 1e9)
    register(Metrics.metrics.budgetLimit, () => gauge.shown.limitNanoUsd / 1e9)
    register(Metrics.metrics.budgetExhaustion, () => {
      const now = clock.currentTimeMillisUnsafe()
      gauge.pace.add(gauge.shown, now)
      return gauge.pace.exhaustion(now)
    })
    gauges.set(budget, gauge)
  }

  const show = (balance: Balance, now: number): void => {
    const { account, budget, remainingNanoUsd } = balance
    if (!gauges.has(budget) && find(budget) !== undefined) add(budget, balance)
    const gauge = gauges.get(budget)
    if (gauge === undefined) return
    const { pace, shown } = gauge
    const isLeast = shown.account === account || remainingNanoUsd < shown.remainingNanoUsd ||
      (shown.until !== undefined && now >= shown.until)
    if (!isLeast) return
    // First what was written there since it looked.
    pace.add(shown, now)
    gauge.shown = balance
    gauge.looksAt = pace.add(balance, now)
  }

  /** Whatever a logger does. */
  const publish = (event: Event): Effect.Effect<unknown> => {
    const budget = event._tag === "Unpriced" ? undefined : find(event.budget)
    return Effect.exit(Effect.andThen(feed.publish(event), Effect.logWarning(textOf(event, budget))))
  }

  return {
    events: feed.stream,
    gauges,
    tell: ({ balances, events }) => {
      const now = clock.currentTimeMillisUnsafe()
      for (const balance of balances) show(balance, now)
      return events.length === 0 ? Effect.void : Effect.forEach(events, publish, { discard: true })
    },
    letThrough: (model, at) => {
      unpricedCalls.updateUnsafe(1, services)
      if (unpriced.has(model) || unpriced.size >= maxUnpriced) return Effect.void
      unpriced.add(model)
      return Effect.asVoid(publish(Event.Unpriced({ model, at })))
    },
    reset: () => gauges.clear()
  }
})

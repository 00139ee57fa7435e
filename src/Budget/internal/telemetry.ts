/** What budgets tell: events with a log line for each, the gauge of what remains, and the count of calls without a price. */
import type * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type * as Stream from "effect/Stream"
import * as Feed from "../../internal/feed.ts"
import { accountText, type Budget } from "./budgets.ts"
import { type Balance, Event, type Reply } from "./data.ts"

const remainingGauge = Metric.gauge("anthropic_budget_remaining_usd", {
  description:
    "What remains of a budget, in US dollars; of a divided one, the least of any account, as this process last saw it"
})

const unpricedCalls = Metric.counter("anthropic_budget_unpriced_total", {
  description: "Attempts at models without a price that budgets let through",
  incremental: true
})

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

interface Gauge {
  readonly metric: Metric.Metric<number, unknown>
  shown: Balance | undefined
}

/** `find` finds a budget by its name, as it is configured now. */
export class Telemetry {
  readonly events: Stream.Stream<Event>
  private readonly feed: Feed.Feed<Event>
  private readonly clock: Clock.Clock
  private readonly services: Context.Context<never>
  private readonly find: (budget: string) => Budget | undefined
  private readonly gauges = new Map<string, Gauge>()
  private readonly unpriced = new Set<string>()

  constructor(
    feed: Feed.Feed<Event>,
    clock: Clock.Clock,
    services: Context.Context<never>,
    find: (budget: string) => Budget | undefined
  ) {
    this.feed = feed
    this.events = feed.stream
    this.clock = clock
    this.services = services
    this.find = find
  }

  /** Forgets what the gauges show: budgets were replaced. */
  reset(): void {
    this.gauges.clear()
  }

  /** Shows the balances of a reply, and publishes its events. Whatever a logger does, it succeeds. */
  report({ balances, events }: Reply): Effect.Effect<void> {
    for (const balance of balances) this.show(balance)
    return events.length === 0
      ? Effect.void
      : Effect.asVoid(Effect.exit(Effect.forEach(events, (event) => this.publish(event))))
  }

  /** Counts a call of a model without a price; the first one of each model is an event. */
  letThrough(model: string, at: number): Effect.Effect<void> {
    unpricedCalls.updateUnsafe(1, this.services)
    if (this.unpriced.has(model) || this.unpriced.size >= maxUnpriced) return Effect.void
    this.unpriced.add(model)
    return this.publish(Event.Unpriced({ model, at }))
  }

  private publish(event: Event): Effect.Effect<void> {
    const budget = event._tag === "Unpriced" ? undefined : this.find(event.budget)
    return Effect.andThen(this.feed.publish(event), Effect.logWarning(textOf(event, budget)))
  }

  private show(balance: Balance): void {
    let gauge = this.gauges.get(balance.budget)
    if (gauge === undefined) {
      if (this.find(balance.budget) === undefined) return
      gauge = { metric: Metric.withAttributes(remainingGauge, { budget: balance.budget }), shown: undefined }
      this.gauges.set(balance.budget, gauge)
    }
    const { shown } = gauge
    const isLeast = shown === undefined || shown.account === balance.account ||
      balance.remainingNanoUsd < shown.remainingNanoUsd ||
      (shown.until !== undefined && this.clock.currentTimeMillisUnsafe() >= shown.until)
    if (!isLeast) return
    gauge.shown = balance
    gauge.metric.updateUnsafe(balance.remainingNanoUsd / 1e9, this.services)
  }
}

export const make = Effect.fnUntraced(function*(find: (budget: string) => Budget | undefined) {
  return yield* Effect.clockWith((clock) =>
    Effect.contextWith((services: Context.Context<never>) =>
      Effect.map(Feed.make<Event>(), (feed) => new Telemetry(feed, clock, services, find))
    )
  )
})

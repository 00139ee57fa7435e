/** What the status page shows: the last ten minutes second by second, circuits over that time, and the last calls with what happened to them. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { type Detail, Health } from "../../Health.ts"
import { BoundedMap } from "../../internal/boundedMap.ts"
import * as Feed from "../../internal/feed.ts"
import * as Monitor from "../../Monitor.ts"
import { RateLimiter } from "../../RateLimiter.ts"
import { type Point, Seconds } from "./seconds.ts"

export type { Point } from "./seconds.ts"

/**
 * Something that happened to a call, in milliseconds since it began.
 *
 * @category models
 * @since 0.1.0
 */
export type Step =
  & { readonly at: number }
  & Extract<
    Monitor.Happening,
    {
      readonly _tag:
        | "AttemptStarted"
        | "Waited"
        | "FirstContent"
        | "AttemptEnded"
        | "Retrying"
        | "Moved"
        | "FellBack"
        | "Hedged"
        | "GaveUp"
    }
  >

/**
 * A call that has ended, what happened to it, and whether that is worth a look: it failed, was given up, retried, moved or had to wait, or it was slower than
 * 95 % of the calls around it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Shown {
  readonly record: Monitor.CallRecord
  readonly steps: ReadonlyArray<Step>
  readonly notable: boolean
}

/**
 * How a circuit changed, in milliseconds since the epoch.
 *
 * @category models
 * @since 0.1.0
 */
export interface Circuits {
  readonly at: number
  readonly group: string
  readonly to: "closed" | "open" | "halfOpen"
}

/** What is new on the status page. */
export interface Update {
  readonly sequence: number
  readonly points: ReadonlyArray<Point>
  readonly calls: ReadonlyArray<Shown>
  readonly circuits: ReadonlyArray<Circuits>
  readonly health: Detail
}

/** The most calls in flight that are followed step by step, the most steps of a call, and the most calls and changes that are kept. */
const maxFollowed = 2_000
const maxSteps = 60
const maxCalls = 50
const maxChanges = 500

/** A call that waited so long is worth a look. */
const longWaitMillis = 1_000

const isNotable = (
  { latencyMillis, moves, retries, status, waits, fallbacks }: Monitor.CallRecord,
  slowMillis: number
): boolean =>
  status !== "success" || retries + moves + fallbacks.length > 0 || latencyMillis > slowMillis ||
  waits.reduce((sum, { millis }) => sum + millis, 0) >= longWaitMillis

interface Followed {
  readonly at: number
  readonly steps: Array<Step>
}

const keep = <A>(list: Array<A>, value: A, most: number): void => {
  list.push(value)
  if (list.length > most) list.shift()
}

/** Everything that is kept, and what is new since the last update. */
class Ring {
  readonly seconds = new Seconds()
  private readonly followed = new BoundedMap<string, Followed>(maxFollowed)
  readonly recent: Array<Shown> = []
  readonly notable: Array<Shown> = []
  readonly changes: Array<Circuits> = []
  ended: Array<Shown> = []
  changed: Array<Circuits> = []

  add(event: Monitor.Event): void {
    switch (event._tag) {
      case "CallStarted":
        if (event.operation === "chat") this.follow(event.callId, event.at)
        return
      case "CallEnded":
        return this.end(event.record)
      case "CircuitChanged": {
        const change = { at: event.at, group: event.group, to: event.to }
        keep(this.changes, change, maxChanges)
        keep(this.changed, change, maxChanges)
        return
      }
      case "KeyChanged":
      case "BudgetEvent":
      case "InputFound":
        return
      default: {
        if (event._tag === "Waited") this.seconds.addWait(event)
        const call = this.followed.peek(event.callId)
        if (call !== undefined && call.steps.length < maxSteps) call.steps.push({ ...event, at: event.at - call.at })
      }
    }
  }

  private follow(id: string, at: number): void {
    this.followed.set(id, { at, steps: [] })
  }

  private end(record: Monitor.CallRecord): void {
    if (record.operation !== "chat") return
    const steps = this.followed.peek(record.callId)?.steps ?? []
    this.followed.delete(record.callId)
    const notable = isNotable(record, this.seconds.slowMillis)
    this.seconds.add(record)
    const shown = { record, steps, notable }
    keep(this.recent, shown, maxCalls)
    if (notable) keep(this.notable, shown, maxCalls)
    keep(this.ended, shown, maxCalls)
  }

  /** All that is kept. */
  get all(): Pick<Update, "calls" | "circuits" | "points"> {
    const calls = [...new Set([...this.notable, ...this.recent])]
    return { points: this.seconds.points, calls, circuits: this.changes }
  }

  /** What is new since the last time. */
  take(point: Point): Pick<Update, "calls" | "circuits" | "points"> {
    const news = { points: [point], calls: this.ended, circuits: this.changed }
    this.ended = []
    this.changed = []
    return news
  }
}

/** Follows what happens for as long as its scope, and publishes what is new once a second. */
export const make = Effect.gen(function*() {
  const health = yield* Health
  const monitor = yield* Monitor.Monitor
  const limiter = yield* RateLimiter
  const feed = yield* Feed.make<Update>()
  const ring = new Ring()
  let sequence = 0

  yield* Effect.forkScoped(
    Stream.runForEachArray(monitor.events, (events) => Effect.sync(() => events.forEach((event) => ring.add(event)))),
    { startImmediately: true }
  )

  const active = Effect.map(monitor.snapshot, ({ active }) => active)
  const waiting = Effect.map(limiter.snapshot, (limits) => limits.reduce((sum, limit) => sum + limit.waiting, 0))
  const tick = Effect.gen(function*() {
    const now = yield* Clock.currentTimeMillis
    const news = ring.take(ring.seconds.end(now, yield* active, yield* waiting))
    sequence++
    // The budgets may be far away: they are only asked for those who look.
    if (feed.subscribers > 0) yield* feed.publish({ sequence, ...news, health: yield* health.detail })
  })
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep("1 second"), tick)))

  const first = Effect.map(health.detail, (health): Update => ({ sequence, ...ring.all, health }))
  return { updates: Stream.concat(Stream.fromEffect(first), feed.stream) }
})

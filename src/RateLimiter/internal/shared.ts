/**
 * Bucket sets that several processes share through a remote store.
 *
 * Each asks the store, in one call, where somebody wants to send; what became of attempts goes along with the next such call, or
 * in the background soon. Calls are numbered and so are reports, so that the store takes in each once, whether its answer arrived or not: a report
 * is told until it is acknowledged, and a grant whose answer was given up goes back with the next call.
 *
 * While the store does not answer, a process admits by itself out of its share: what it last saw, divided by the processes that were
 * seen.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import type * as Attempt from "../../Attempt.ts"
import * as Buckets from "./Buckets.ts"
import type { BucketSet } from "./Group.ts"
import type { Limits } from "./Limits.ts"
import type * as Script from "./script.ts"

/** One call of the store; undefined where it wants to hear first what the process knows. */
export type Remote = (key: string, message: Script.Message) => Effect.Effect<Script.Reply | undefined, unknown>

/**
 * - `boundMillis`: the longest that a call waits for the store.
 * - `retryMillis`: after how long without the store it is tried again at first.
 * - `flushMillis`: how long a report waits for a call to go along with.
 * - `processes`: how many share the limits before the store told.
 * - `id`: a new name for a process.
 */
export interface Options {
  readonly boundMillis: number
  readonly retryMillis: number
  readonly flushMillis: number
  readonly processes: number
  readonly id: () => string
}

/** The longest time without the store before it is tried again, in milliseconds. */
const maxLostMillis = 10_000

/** Reports beyond so many are merged. */
const maxReports = 64

/** When so many reports wait they are told at once. */
const manyReports = 16

/** The most bucket sets that are kept; the one opened first makes room. */
const maxSets = 10_000

/** No wait is longer, in milliseconds; JSON has no infinity. */
const forever = 1e15

type Mutable<A> = { -readonly [K in keyof A]: A[K] }

/** What is yet to be told. A pause is kept by its end on the clock of this process. */
interface Pending extends Omit<Script.Told, "pause"> {
  readonly pause: { readonly reason: Buckets.Pause["reason"]; readonly until: number } | undefined
}

/** A place in the order of the attempts that this process admitted by itself. */
interface LocalTicket extends Buckets.Ticket {
  readonly local: Local
}

/**
 * The share of this process: what was taken of it, what of that is held, and what came back of attempts that the store had
 * admitted.
 */
interface Local {
  readonly state: Buckets.State
  readonly processes: number
  readonly charged: Mutable<Buckets.Amounts>
  readonly held: Mutable<Buckets.Amounts>
  readonly back: Mutable<Buckets.Amounts>
  limits: Limits
  share: Limits
}

/** A bucket set of this process as the store's link sees it. */
interface Member {
  /** Tells what there is to tell. */
  readonly tell: (bye: boolean) => Effect.Effect<void>
  /** The store is back: what was done alone is to be told. */
  readonly rejoin: (now: number) => void
}

const add = (to: Mutable<Buckets.Amounts>, amounts: Buckets.Amounts, sign: 1 | -1): void => {
  for (const dimension of Buckets.dimensions) to[dimension] += sign * amounts[dimension]
}

const sum = (a: Buckets.Amounts, b: Buckets.Amounts, sign: 1 | -1): Buckets.Amounts => {
  const result = { ...a }
  add(result, b, sign)
  return result
}

const isPlain = ({ observed, pause }: Pending): boolean => observed === undefined && pause === undefined

/** Charges add up, the headers of the attempt that was sent last stand, and the pause that ends last. */
const merge = (a: Pending, b: Pending): Pending => {
  const newer = a.observed !== undefined && (b.observed === undefined || a.ticket.sequence > b.ticket.sequence) ? a : b
  return {
    charge: sum(a.charge, b.charge, 1),
    ticket: newer.ticket,
    observed: newer.observed,
    pause: a.pause !== undefined && (b.pause === undefined || a.pause.until > b.pause.until) ? a.pause : b.pause
  }
}

const told = (report: Pending, now: number): Script.Told => ({
  ...report,
  pause: report.pause && { reason: report.pause.reason, millis: Math.max(0, report.pause.until - now) }
})

const finite = (value: number | undefined): number | undefined =>
  value === undefined || !Number.isFinite(value) ? undefined : value

const rates = (limits: Limits): Partial<Buckets.Amounts> =>
  // Keys that are undefined do not get into JSON.
  Object.fromEntries(
    Buckets.dimensions.map((dimension) => [dimension, finite(Buckets.configured(limits, dimension))])
  )

const divided = (limits: Limits, by: number): Limits => {
  const part = (value: number | undefined) => value === undefined ? undefined : value / by
  return {
    requestsPerMinute: part(limits.requestsPerMinute),
    inputTokensPerMinute: part(limits.inputTokensPerMinute),
    outputTokensPerMinute: part(limits.outputTokensPerMinute),
    tokensPerMinute: part(limits.tokensPerMinute)
  }
}

const dividedLimits = (limits: Attempt.Limits, by: number): Attempt.Limits => {
  const part = (seen: Attempt.Limit | undefined) =>
    seen === undefined ? undefined : { ...seen, limit: seen.limit / by, remaining: seen.remaining / by }
  return {
    requests: part(limits.requests),
    tokens: part(limits.tokens),
    inputTokens: part(limits.inputTokens),
    outputTokens: part(limits.outputTokens)
  }
}

/** Makes the bucket sets of one store. */
export const make = Effect.fnUntraced(function*(
  remote: Remote,
  options: Options
): Effect.fn.Return<(key: string, burstMillis: number) => BucketSet, never, Scope.Scope> {
  const clock = yield* Clock.Clock
  const run = yield* FiberSet.makeRuntime<never>()
  const nowMillis = () => clock.currentTimeMillisUnsafe()
  const members = new Map<string, Member & { readonly buckets: BucketSet }>()
  let lost = false
  let losses = 0

  /** Tries until the store answers again. */
  const retry = (member: Member, loss: number, millis: number): Effect.Effect<void> =>
    Effect.delay(
      Effect.suspend(() =>
        lost && loss === losses
          ? Effect.andThen(member.tell(false), retry(member, loss, Math.min(maxLostMillis, millis * 2)))
          : Effect.void
      ),
      millis
    )

  const lose = (member: Member): Effect.Effect<void> => {
    if (lost) return Effect.void
    lost = true
    run(retry(member, ++losses, options.retryMillis))
    return Effect.logWarning(
      "RateLimiter: its store does not answer. Until it does, each process goes on with its share of the limits."
    )
  }

  const regain = (): Effect.Effect<void> => {
    if (!lost) return Effect.void
    lost = false
    const now = nowMillis()
    for (const member of members.values()) member.rejoin(now)
    return Effect.logInfo("RateLimiter: its store answers again.")
  }

  /** What arrived while this process was busy is read before the store is judged, hence in two steps. */
  const late = Effect.andThen(Effect.sleep(Math.max(1, options.boundMillis - 1)), Effect.sleep(1)).pipe(
    Effect.as(undefined)
  )

  const open = (key: string, burstMillis: number): Member & { readonly buckets: BucketSet } => {
    const id = options.id()
    /** The buckets as the store last told of them. */
    const mirror = Buckets.make(burstMillis, nowMillis())
    let processes = options.processes
    let born = 0
    let calls = 0
    const flying = new Set<number>()
    let gone: Array<number> = []
    /** Reports that were not acknowledged; the first of them has the number after `acknowledged`. */
    const reports: Array<Pending> = []
    let acknowledged = 0
    let sent = 0
    let planned = false
    const held: Mutable<Buckets.Amounts> = { ...Buckets.zero }
    let limits: Limits = {}
    let local: Local | undefined

    const hasNews = () => acknowledged + reports.length > sent || gone.length > 0

    const adopt = (reply: Script.Reply, now: number): void => {
      born = reply.born
      processes = Math.max(1, reply.processes)
      mirror.at = mirror.heardAt = now
      mirror.limits = limits
      Object.assign(mirror.buckets, reply.buckets)
      Object.assign(mirror.held, reply.held)
      mirror.pausedUntil = now + reply.pausedMillis
      mirror.closed = reply.closed
      mirror.ramp = reply.ramp && { ...reply.ramp, from: now + reply.ramp.from }
    }

    const known = (now: number): Script.Known => {
      Buckets.advance(mirror, now)
      const { buckets, closed, pausedUntil, ramp } = mirror
      return {
        buckets: { ...buckets },
        pausedMillis: Math.max(0, pausedUntil - now),
        closed,
        ramp: ramp && { ...ramp, from: ramp.from - now }
      }
    }

    const message = (
      call: number,
      ask: Buckets.Ask | undefined,
      bye: boolean,
      upTo: number,
      now: number
    ): Script.Message => {
      // Calls that are under way stand in their order.
      const acked = (flying.values().next().value ?? call) - 1
      return {
        id,
        call,
        acked,
        gone: gone.filter((one) => one <= acked),
        held: { ...held },
        born,
        burst: burstMillis,
        first: acknowledged + 1,
        reports: reports.slice(0, upTo - acknowledged).map((report) => told(report, now)),
        // A store that knows nothing has no buckets to charge.
        limits: ask !== undefined || born === 0 ? rates(limits) : undefined,
        ask: ask && { charge: ask.charge, hold: ask.hold, within: Math.min(forever, ask.withinMillis) },
        known: undefined,
        bye
      }
    }

    /** One call of the store; undefined where it did not answer in time. */
    const exchange = (ask: Buckets.Ask | undefined, bye = false): Effect.Effect<Buckets.Slot | undefined> =>
      Effect.suspend(() => {
        const call = ++calls
        flying.add(call)
        // While the store is out of reach nothing but what was sent before is sent again, so that the rest can be merged.
        const upTo = lost && sent > acknowledged && !bye ? sent : acknowledged + reports.length
        sent = upTo
        const asked = message(call, ask, bye, upTo, nowMillis())
        const answer = Effect.flatMap(remote(key, asked), (reply) =>
          reply === undefined
            ? remote(key, { ...asked, limits: rates(limits), known: known(nowMillis()) })
            : Effect.succeed(reply))
        return Effect.flatMap(
          Effect.exit(Effect.raceFirst(answer, late)),
          (exit): Effect.Effect<Buckets.Slot | undefined> => {
            flying.delete(call)
            const reply = Exit.isSuccess(exit) ? exit.value : undefined
            if (reply === undefined) {
              if (ask !== undefined) gone.push(call)
              return Effect.as(lose(member), undefined)
            }
            gone = gone.filter((one) => !asked.gone.includes(one))
            reports.splice(0, upTo - acknowledged)
            acknowledged = Math.max(acknowledged, upTo)
            // What was used alone is judged by what was known then.
            const regained = regain()
            adopt(reply, nowMillis())
            if (ask !== undefined && reply.slot.ticket !== undefined) add(held, ask.hold, 1)
            return Effect.as(regained, reply.slot)
          }
        )
      })

    /** Tells soon what no call takes along. */
    const later = (millis: number): void => {
      if (planned && millis > 0 || lost) return
      planned ||= millis > 0
      run(Effect.delay(
        Effect.suspend(() => {
          if (millis > 0) planned = false
          return lost || !hasNews() ? Effect.void : exchange(undefined)
        }),
        millis
      ))
    }

    const push = (report: Pending): void => {
      const last = reports.at(-1)
      const isUnsent = acknowledged + reports.length > sent
      if (last !== undefined && isUnsent && (reports.length >= maxReports || (isPlain(last) && isPlain(report)))) {
        reports[reports.length - 1] = merge(last, report)
      } else reports.push(report)
    }

    /** The share of this process, out of what was last seen. */
    const alone = (now: number): Local => {
      if (local !== undefined) return local
      Buckets.advance(mirror, now)
      const state = Buckets.make(burstMillis, now)
      for (const dimension of Buckets.dimensions) {
        const bucket = mirror.buckets[dimension]
        if (bucket === undefined) continue
        state.buckets[dimension] = {
          perMinute: bucket.perMinute / processes,
          capacity: Math.max(1, bucket.capacity / processes),
          level: (bucket.level - mirror.held[dimension]) / processes,
          heard: bucket.heard === undefined ? undefined : bucket.heard / processes
        }
      }
      state.pausedUntil = mirror.pausedUntil
      state.closed = mirror.closed
      const { ramp } = mirror
      state.ramp = ramp && { ...ramp, perMinute: ramp.perMinute / processes, until: ramp.until / processes }
      local = {
        state,
        processes,
        charged: { ...Buckets.zero },
        held: { ...Buckets.zero },
        back: { ...Buckets.zero },
        limits,
        share: divided(limits, processes)
      }
      // Also what the store told nothing of is limited.
      Buckets.configure(state, local.share)
      for (const report of reports) {
        add(local.back, report.charge, -1)
        Buckets.report(state, { ...told(report, now), release: Buckets.zero, observed: undefined }, now)
      }
      return local
    }

    /** A request that is larger than the share, and not than the whole, waits for all of the share and overdraws it. */
    const reserveAlone = (ask: Buckets.Ask, now: number): Buckets.Slot => {
      const own = alone(now)
      if (own.limits !== ask.limits) {
        own.limits = ask.limits
        own.share = divided(ask.limits, own.processes)
      }
      const { state } = own
      const asked = { ...ask, limits: own.share }
      Buckets.reserve(state, { ...asked, charge: Buckets.zero, hold: Buckets.zero }, now)
      const { inputTokens, tokens } = state.buckets
      const isLarger = Buckets.isTooLarge(state.buckets, burstMillis, ask.charge)
      if (isLarger && Buckets.isTooLarge(state.buckets, burstMillis * own.processes, ask.charge)) {
        return { ticket: undefined, waitMillis: Infinity, closed: state.closed }
      }
      const charge = isLarger
        ? {
          ...ask.charge,
          inputTokens: Math.min(ask.charge.inputTokens, inputTokens?.capacity ?? Infinity),
          tokens: Math.min(ask.charge.tokens, tokens?.capacity ?? Infinity)
        }
        : ask.charge
      const slot = Buckets.reserve(state, { ...asked, charge }, now)
      if (slot.ticket === undefined) return slot
      if (isLarger) {
        Buckets.report(state, {
          ticket: slot.ticket,
          charge: sum(ask.charge, charge, -1),
          release: Buckets.zero,
          observed: undefined,
          pause: undefined
        }, now)
      }
      add(own.charged, ask.charge, 1)
      add(own.held, ask.hold, 1)
      const ticket: LocalTicket = { ...slot.ticket, local: own }
      return { ...slot, ticket }
    }

    const localOf = (ticket: Buckets.Ticket): Local | undefined =>
      "local" in ticket ? (ticket as LocalTicket).local : undefined // made by `reserveAlone` alone

    const report = (report: Buckets.Report): Effect.Effect<void> =>
      Effect.sync(() => {
        const now = nowMillis()
        const { charge, observed, pause, release, ticket } = report
        const origin = localOf(ticket)
        if (origin !== undefined && origin === local) {
          add(local.charged, charge, 1)
          add(local.held, release, -1)
          return Buckets.report(local.state, {
            ...report,
            observed: observed && { ...observed, limits: dividedLimits(observed.limits, local.processes) }
          }, now)
        }
        const own = lost ? alone(now) : undefined
        add(held, release, -1)
        push({
          charge,
          ticket,
          // What was admitted alone has no place in the order of all.
          observed: origin === undefined ? observed : undefined,
          pause: pause && { reason: pause.reason, until: now + pause.millis }
        })
        if (own === undefined) {
          return later(pause !== undefined || reports.length >= manyReports ? 0 : options.flushMillis)
        }
        // What all held was not free when the share was divided.
        const change = sum(charge, release, -1)
        add(own.back, change, -1)
        Buckets.report(own.state, { ticket, charge: change, release: Buckets.zero, observed: undefined, pause }, now)
      })

    /**
     * Tells the store what was used without it: by how much less the share holds than it would have had with no use. What was refilled meanwhile
     * is there in the store's buckets as well, as far as they were not full.
     */
    const account = ({ back, charged, held: kept, processes, state }: Local, now: number): void => {
      const seen = Buckets.levels(state, now)
      const whole = Buckets.levels(mirror, now)
      const used = { ...charged }
      for (const dimension of Buckets.dimensions) {
        const level = seen[dimension]
        if (level === undefined) continue
        const unused = whole[dimension] === undefined
          ? level.capacity
          : whole[dimension].free / processes + back[dimension]
        const missing = Math.max(0, unused - level.free - level.held)
        used[dimension] = Math.min(used[dimension], missing)
      }
      add(held, kept, 1)
      push({
        charge: used,
        ticket: { sequence: 0, charged: Buckets.zero },
        observed: undefined,
        pause: seen.pausedMillis > 0
          ? { reason: seen.closed ? "spend" : "throttle", until: now + seen.pausedMillis }
          : undefined
      })
    }

    const member: Member & { readonly buckets: BucketSet } = {
      tell: (bye) =>
        Effect.suspend(() => {
          if (bye && calls === 0) return Effect.void
          if (bye) member.rejoin(nowMillis())
          return Effect.asVoid(exchange(undefined, bye))
        }),

      rejoin: (now) => {
        if (local !== undefined) account(local, now)
        local = undefined
        if (hasNews()) later(0)
      },

      buckets: {
        reserve: (ask) =>
          Effect.suspend(() => {
            const isNew = ask.limits !== limits
            limits = ask.limits
            const now = nowMillis()
            if (lost) return Effect.succeed(reserveAlone(ask, now))
            // A clock that was set back makes no pause longer.
            if (now < mirror.at) Buckets.advance(mirror, now)
            const pausedMillis = Math.ceil(mirror.pausedUntil - now)
            if (pausedMillis > ask.withinMillis && !isNew) {
              return Effect.succeed({ ticket: undefined, waitMillis: pausedMillis, closed: mirror.closed })
            }
            let left = false
            let granted: Buckets.Ticket | undefined
            const giveBack = Effect.suspend(() => {
              left = true
              return granted === undefined ? Effect.void : report({
                ticket: granted,
                charge: sum(Buckets.zero, ask.charge, -1),
                release: ask.hold,
                observed: undefined,
                pause: undefined
              })
            })
            const fiber = run(Effect.flatMap(exchange(ask), (slot) => {
              granted = slot?.ticket
              return Effect.as(left ? giveBack : Effect.void, slot)
            }))
            return Fiber.await(fiber).pipe(
              Effect.onInterrupt(() => giveBack),
              Effect.map((exit) => {
                const slot = Exit.isSuccess(exit) ? exit.value : undefined
                if (slot !== undefined) return slot
                const now = nowMillis()
                const own = reserveAlone(ask, now)
                // The store may be back by now.
                if (!lost) member.rejoin(now)
                return own
              })
            )
          }),

        report,

        levels: Effect.sync(() => {
          const now = nowMillis()
          if (!lost) return Buckets.levels(mirror, now)
          const own = alone(now)
          return { ...Buckets.levels(own.state, now), share: 1 / own.processes }
        })
      }
    }
    return member
  }

  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      const fibers = [...members.values()].map((member) => run(member.tell(true)))
      return Effect.asVoid(Fiber.awaitAll(fibers))
    })
  )

  return (key, burstMillis) => {
    const opened = members.get(key)
    if (opened !== undefined) return opened.buckets
    const oldest = members.size < maxSets ? undefined : members.keys().next().value
    if (oldest !== undefined) members.delete(oldest)
    const member = open(key, burstMillis)
    members.set(key, member)
    return member.buckets
  }
})

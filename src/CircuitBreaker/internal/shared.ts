/**
 * A circuit that several processes share through a remote store.
 *
 * Each process keeps a mirror of it, by which it decides at once while the circuit is closed, and tells the store its results in the
 * background. It asks the store, and waits for that no longer than a bound, for the permit of a trial and where the mirror is old.
 * While the store does not answer, the mirror is a circuit of its own.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import type { Admission, Change, Circuit, Permit, Phase, Refusal, Result, Rules } from "./circuit.ts"
import { Machine } from "./machine.ts"
import { isFailure, isSlow } from "./window.ts"

/**
 * What a process tells the store in one step.
 *
 * - `epoch`: the stretch that `results` and `back` belong to; the store ignores them in another one.
 * - `results`: a digit for each, in order.
 * - `early`: in the epoch, how many more attempts are under way that rates take for successes than when it was last told.
 * - `row`: in the epoch, so many of this process failed in a row as open it.
 * - `back`: so many permits of `round` come back.
 * - `ask`: a permit is wanted, where the circuit is not closed.
 * - `factor`: what is left of the time that the circuit stays open, should it open.
 * - `propose`: when the state that follows replaces the store's: where it has none, also where it is closed and this is open, or always.
 * - `openMillis`: how long it is open yet; -1 where it is closed.
 */
export interface Report {
  readonly epoch: number
  readonly results: string
  readonly early: number
  readonly row: boolean
  readonly round: number
  readonly back: number
  readonly ask: boolean
  readonly factor: number
  readonly propose: "ifNone" | "ifWorse" | "always"
  readonly openMillis: number
  readonly openings: number
  readonly openedMillis: number
}

/** The circuit after a step. `granted` is the round of the permit that was asked for, 0 where there was none. */
export interface Reply {
  readonly phase: Phase
  readonly epoch: number
  readonly waitMillis: number
  readonly openings: number
  readonly openedMillis: number
  readonly permits: number
  readonly granted: number
}

/** One atomic step of the circuit `key`. */
export type Remote = (key: string, rules: Rules, report: Report) => Effect.Effect<Reply, unknown>

/**
 * - `boundMillis`: the longest that a call waits for the store.
 * - `syncMillis`: how old a mirror gets before it is renewed in the background.
 * - `freshMillis`: how old it gets before an attempt waits for its renewal.
 */
export interface Times {
  readonly boundMillis: number
  readonly syncMillis: number
  readonly freshMillis: number
}

/** The longest time without the store before it is tried again, in milliseconds. */
const maxLostMillis = 10_000

/** The most results that wait to be told; the oldest make room. */
const maxPending = 1_000

/** What the store is yet to be told; `urgent` is what others should know at once. */
interface Pending {
  readonly epoch: number
  results: string
  round: number
  back: number
  urgent: boolean
}

const nothing = (epoch: number): Pending => ({ epoch, results: "", round: 0, back: 0, urgent: false })

/** What all circuits of one store know about it. `losses` tells a mirror that it must come back first. */
interface Link {
  lost: boolean
  losses: number
  lostMillis: number
  tryAt: number
}

class Mirror extends Machine {
  private told = { epoch: 0, early: 0 }

  /** What `Report.early` is now; it is told once. */
  tellEarly(): number {
    const before = this.told.epoch === this.epoch ? this.told.early : 0
    this.told = { epoch: this.epoch, early: this.early }
    return this.early - before
  }

  /** What the store says holds. */
  adopt(reply: Reply, now: number): void {
    this.until = now + reply.waitMillis
    this.openings = reply.openings
    this.openedMillis = reply.openedMillis
    this.permits = reply.permits
    if (reply.epoch === this.epoch && reply.phase === this.phase) return
    if (reply.phase === "closed") this.closedAt = now
    this.window.clear()
    this.become(reply.phase, now, reply.epoch)
  }

  state(now: number): Pick<Report, "openMillis" | "openings" | "openedMillis"> {
    const openMillis = this.phase === "closed" ? -1 : this.phase === "open" ? Math.max(0, this.until - now) : 0
    return { openMillis, openings: this.openings, openedMillis: this.openedMillis }
  }

  factor(): number {
    return 1 - this.rules.jitter * this.chance()
  }

  weighs(result: Result): boolean {
    return isFailure(result) || (isSlow(result) && this.rules.slowRate <= 1)
  }
}

/** Makes the circuits of one store. */
export const make = Effect.fnUntraced(function*(
  remote: Remote,
  times: Times
): Effect.fn.Return<
  (key: string, rules: Rules, changed: (change: Change) => void, chance: () => number) => Circuit,
  never,
  Scope.Scope
> {
  const clock = yield* Clock.Clock
  const run = yield* FiberSet.makeRuntime<never>()
  const link: Link = { lost: false, losses: 0, lostMillis: 0, tryAt: 0 }

  const lose = (now: number): Effect.Effect<void> => {
    const told = link.lost
    link.lost = true
    link.losses++
    link.lostMillis = Math.min(maxLostMillis, Math.max(1_000, link.lostMillis * 2))
    link.tryAt = now + link.lostMillis
    return told
      ? Effect.void
      : Effect.logWarning("CircuitBreaker: its store does not answer. Until it does, each process judges for itself.")
  }

  const regain = (): Effect.Effect<void> => {
    if (!link.lost) return Effect.void
    link.lost = false
    link.lostMillis = 0
    return Effect.logInfo("CircuitBreaker: its store answers again.")
  }

  return (key, rules, changed, chance) => {
    const mirror = new Mirror(rules, changed, chance)
    let pending = nothing(0)
    /** How many states were given from outside, and how many of them the store took over. */
    let given = 0
    let taken = 0
    /** The losses of the link as of the last answer; -1 before the first. */
    let joined = -1
    let syncedAt = -Infinity
    let asking: Fiber.Fiber<void> | undefined
    let telling = false
    let planned = false

    /** The store decides, and the mirror shows what it decided. */
    const isShared = (): boolean => joined === link.losses && !link.lost

    /** One step of the store, undefined where it did not answer in time. It is told once, whether it heard or not. */
    const exchange = (ask: boolean): Effect.Effect<Reply | undefined> =>
      Clock.clockWith((clock) => {
        const now = clock.currentTimeMillisUnsafe()
        const { losses } = link
        const proposed = given
        const { back, epoch, results, round } = pending
        pending = nothing(0)
        const isOfNow = epoch === mirror.epoch
        // The others leave the store alone until it is known whether it is back.
        if (link.lost) link.tryAt = now + times.boundMillis
        const report: Report = {
          epoch,
          results,
          early: isOfNow ? mirror.tellEarly() : 0,
          row: isOfNow && mirror.hasRow,
          round,
          back,
          ask,
          factor: mirror.factor(),
          propose: proposed > taken ? "always" : isShared() ? "ifNone" : "ifWorse",
          ...mirror.state(now)
        }
        return Effect.exit(Effect.timeout(remote(key, rules, report), times.boundMillis)).pipe(
          Effect.flatMap((exit): Effect.Effect<Reply | undefined> => {
            const then = clock.currentTimeMillisUnsafe()
            if (Exit.isFailure(exit)) {
              const lost = losses === link.losses ? lose(then) : Effect.void
              mirror.judge(then)
              return Effect.as(lost, undefined)
            }
            const regained = regain()
            // A state that was given meanwhile is newer than what the store says.
            if (given !== proposed) return Effect.as(regained, undefined)
            taken = proposed
            joined = link.losses
            syncedAt = then
            mirror.adopt(exit.value, then)
            return Effect.as(regained, exit.value)
          })
        )
      })

    const tell: Effect.Effect<void> = Effect.suspend(() => {
      telling = true
      return Effect.flatMap(exchange(false), () => {
        telling = false
        return pending.urgent && isShared() ? tell : Effect.void
      })
    })

    /** Renews the mirror and tells what there is to tell, in the background, where it is time. */
    const touch = (now: number): void => {
      if (telling || asking !== undefined) return
      const due = link.lost
        ? now >= link.tryAt || now < link.tryAt - maxLostMillis
        : pending.urgent || !isShared() || now - syncedAt >= times.syncMillis || now < syncedAt
      if (due) run(tell)
    }

    /** What is pending for the stretch that the mirror shows. */
    const noted = (): Pending => {
      if (pending.epoch !== mirror.epoch) pending = nothing(mirror.epoch)
      return pending
    }

    const giveBack = (permit: Permit, now: number): void => {
      if (permit.epoch !== mirror.epoch) return
      const pending = noted()
      pending.back = pending.round === permit.round ? pending.back + 1 : 1
      pending.round = permit.round
      pending.urgent = true
      touch(now)
    }

    const count = (permit: Permit, result: Result | undefined, now: number): void => {
      if (permit.epoch !== mirror.epoch) return
      if (permit.round === 0) mirror.count(permit, result, now)
      if (result === undefined && !mirror.hasRow) return
      const pending = noted()
      pending.results = (pending.results + (result ?? "")).slice(-maxPending)
      pending.urgent ||= permit.round > 0 || result === undefined || mirror.weighs(result)
      touch(now)
      later()
    }

    /** Tells what is left to tell also when no other call gives rise to it. */
    const later = (): void => {
      const isLeft = given > taken || (isShared() && pending.results !== "")
      if (planned || !isLeft) return
      planned = true
      run(Clock.clockWith((clock) =>
        Effect.delay(
          Effect.sync(() => {
            planned = false
            pending.urgent = true
            touch(clock.currentTimeMillisUnsafe())
            later()
          }),
          times.syncMillis
        )
      ))
    }

    /** A refusal as the mirror knows it; the store may have news sooner. */
    const refusalAt = (now: number): Refusal | undefined => {
      const refusal = mirror.peek(now)
      return refusal && { ...refusal, againMillis: Math.min(refusal.againMillis, times.syncMillis) }
    }

    const afterOthers = (now: number): Admission => {
      if (!isShared() || mirror.phase === "closed") return mirror.admit(now)
      const { boundMillis } = times
      return refusalAt(now) ?? { _tag: "Refusal", trial: true, waitMillis: boundMillis, againMillis: boundMillis }
    }

    /** Whether an attempt asks the store although the circuit may be closed. */
    const isOld = (now: number): boolean => joined < 0 ? !link.lost : isShared() && now - syncedAt >= times.freshMillis

    const enter = (now: number): Permit | undefined => {
      if (isOld(now) || mirror.phase !== "closed") return undefined
      touch(now)
      return mirror.enter(now)
    }

    const ask: Effect.Effect<Admission> = Clock.clockWith((clock) => {
      const now = () => clock.currentTimeMillisUnsafe()
      if (asking !== undefined) {
        return Effect.map(Effect.interruptible(Fiber.await(asking)), () => afterOthers(now()))
      }
      let granted: Permit | undefined
      let gone = false
      const left = () => {
        gone = true
        if (granted !== undefined) giveBack(granted, now())
      }
      const fiber = run(Effect.map(exchange(true), (reply) => {
        asking = undefined
        if (reply !== undefined && reply.granted > 0) {
          granted = { _tag: "Permit", epoch: reply.epoch, round: reply.granted, at: now() }
          if (gone) left()
        }
        touch(now())
      }))
      if (fiber.pollUnsafe() === undefined) asking = fiber
      return Effect.interruptible(Fiber.await(fiber)).pipe(
        Effect.onInterrupt(() => Effect.sync(left)),
        Effect.map(() => granted ?? afterOthers(now()))
      )
    })

    const atNow = <A>(f: (now: number) => Effect.Effect<A>): Effect.Effect<A> =>
      Clock.clockWith((clock) => f(clock.currentTimeMillisUnsafe()))

    return {
      isClosed: () => mirror.phase === "closed",

      enter,

      peek: atNow((now) => {
        touch(now)
        return Effect.succeed(refusalAt(now))
      }),

      admit: atNow((now) => {
        const turn = enter(now)
        if (turn !== undefined) return Effect.succeed(turn)
        if (isOld(now) || (isShared() && mirror.peek(now) === undefined)) return ask
        touch(now)
        return Effect.succeed(isShared() ? afterOthers(now) : mirror.admit(now))
      }),

      settle: (permit, result) => {
        const now = clock.currentTimeMillisUnsafe()
        if (!isShared()) {
          mirror.settle(permit, result, now)
          touch(now)
        } else if (result === undefined && permit.round > 0) giveBack(permit, now)
        else count(permit, result, now)
      },

      view: atNow((now) => {
        touch(now)
        return Effect.succeed(mirror.view(now))
      }),

      save: Effect.sync(() => mirror.save()),

      restore: (saved) =>
        atNow((now) => {
          mirror.restore(saved, now)
          given++
          pending = nothing(0)
          pending.urgent = true
          touch(now)
          later()
          return Effect.void
        })
    }
  }
})

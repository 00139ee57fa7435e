/** What a process knows about a circuit whose state a store keeps, and a circuit whose store is in this process. */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import {
  type Admission,
  type Batch,
  type Change,
  type Circuit,
  fresh,
  type Permit,
  type Phase,
  type Proposal,
  type Refusal,
  type Reply,
  type Result,
  type Rules,
  type SavedCircuit,
  type Trial,
  type View
} from "./circuit.ts"
import { type ClosedPermit, InFlight, isFailure, isSlow, Tally } from "./inFlight.ts"
import { proposalOf, saved } from "./saved.ts"
import { lengthOf, summary, unitOf } from "./window.ts"

/** The share of the open time that jitter leaves. */
const openShare = ({ jitter }: Rules, chance: () => number): number => jitter === 0 ? 1 : 1 - jitter * chance()

export const isClosedPermit = (permit: Permit): permit is ClosedPermit => permit.round === 0

/** What a process knows about a circuit, and its batches for the store. */
export class Follower {
  phase: Phase = "closed"
  epoch = 0
  /** The epoch that ended when it opened. */
  private openedFrom = 0
  protected inFlight = new InFlight(0)
  /** What the store is yet to be told about slots. */
  protected tally = new Tally()
  private permits = 0
  private openings = 0
  private openShare: number
  /** By how much the clock of the store is ahead. */
  protected ahead = 0
  /** Where slots are numbered by attempts: that of the next one, and how many fit into it. */
  private slot = 0
  private room = 0
  /** The newest slot with an attempt that failed, was slow, or came to nothing: rates may open the circuit at the next verdict too. */
  private newestBad = -Infinity
  readonly key: string
  private ruling: Rules
  private unit: number
  /** The slots of one window. */
  private length: number
  private readonly changed: (change: Change) => void
  /** Uniform in [0, 1). */
  private readonly chance: () => number

  constructor(key: string, rules: Rules, changed: (change: Change) => void, chance: () => number) {
    this.key = key
    this.ruling = rules
    this.unit = unitOf(rules)
    this.length = lengthOf(rules)
    this.changed = changed
    this.chance = chance
    this.openShare = openShare(rules, chance)
  }

  get rules(): Rules {
    return this.ruling
  }

  /** Attempts that were sent under other slots count for rows only. */
  set rules(rules: Rules) {
    this.ruling = rules
    this.openShare = openShare(rules, this.chance)
    this.length = lengthOf(rules)
    if (unitOf(rules) === this.unit) return
    this.unit = unitOf(rules)
    this.restart()
  }

  protected get isTripped(): boolean {
    return this.inFlight.longest >= this.ruling.consecutiveFailures
  }

  protected restart(): void {
    this.tally = new Tally()
    this.newestBad = -Infinity
    this.slot = this.room = 0
  }

  /** The state of the store after a step. */
  protected adopt(reply: Reply, now: number): void {
    const { epoch, openings, permits, phase, waitMillis } = reply
    const { phase: from } = this
    const isNew = epoch !== this.epoch
    if (isNew) {
      if (phase !== "closed") this.openedFrom = this.epoch
      this.inFlight = new InFlight(0)
      this.restart()
    }
    if (isNew || openings !== this.openings) this.openShare = openShare(this.rules, this.chance)
    const isChanged = isNew || phase !== from || openings !== this.openings || permits > this.permits
    this.phase = phase
    this.epoch = epoch
    this.openings = openings
    this.permits = permits
    this.ahead = reply.now - now
    // What was sent since the report is not in it.
    if (reply.slot >= this.slot || this.tally.isEmpty) {
      this.slot = reply.slot
      this.room = reply.room
    }
    if (isChanged) this.changed({ from, to: phase, at: now, openMillis: phase === "open" ? waitMillis : 0 })
  }

  /** What is told to the store: verdicts of half-open calls, a state from outside, and what changed in slots. */
  protected batch(
    ask: boolean,
    trials: ReadonlyArray<Trial> = [],
    proposal?: Proposal,
    counts = this.tally.take()
  ): Batch {
    const { epoch, key, openShare, rules } = this
    return {
      key,
      rules,
      epoch,
      counts,
      tripped: this.isTripped,
      trials,
      ask,
      openShare,
      proposal
    }
  }

  /** Notes what changed in the slot of an attempt. */
  protected note(slot: number, calls: number, failures: number, slow: number): void {
    this.tally.note(slot, calls, failures, slow)
  }

  /** Lets an attempt go while the circuit is closed. */
  protected enterClosed(now: number): ClosedPermit {
    const slot = this.slotAt(now)
    this.note(slot, 1, 0, 0)
    return this.inFlight.admit(this.epoch, now, slot, this.unit)
  }

  private slotAt(now: number): number {
    if (this.unit > 0) return Math.floor((now + this.ahead) / this.unit)
    if (this.room <= 0) {
      this.slot++
      this.room = -this.unit
    }
    this.room--
    return this.slot
  }

  /** Counts those that had no verdict in time. Whether there were any. */
  protected sweep(now: number): boolean {
    const { consecutiveFailures, minimumCalls } = this.ruling
    const hung = this.inFlight.sweep(now, Math.min(consecutiveFailures, minimumCalls))
    for (const permit of hung) this.mark(permit, 0, 1, 0)
    return hung.length > 0
  }

  private mark(permit: ClosedPermit, calls: number, failures: number, slow: number): void {
    if (permit.unit !== this.unit) return
    this.note(permit.slot, calls, failures, slow)
    if (calls < 0 || failures > 0 || slow > 0) this.newestBad = Math.max(this.newestBad, permit.slot)
  }

  /** Ends an attempt of this epoch. Whether the circuit may open by that. */
  protected end(permit: ClosedPermit, result: Result | undefined): boolean {
    if (permit.isHung) {
      // It has counted as failed. The row that it was part of stands.
      if (result !== undefined && !isFailure(result)) this.mark(permit, 0, -1, 0)
      return false
    }
    this.inFlight.settle(permit, result)
    if (result === undefined) this.mark(permit, -1, 0, 0)
    // It was counted when it was admitted.
    else if (result !== "success") this.mark(permit, 0, isFailure(result) ? 1 : 0, isSlow(result) ? 1 : 0)
    return this.isTripped || this.newestBad > permit.slot - this.length
  }

  /** An attempt by whose silence the circuit has opened was answered after all: the API does answer. */
  protected refuted(permit: Permit, result: Result | undefined): boolean {
    return this.phase !== "closed" && permit.epoch === this.openedFrom && isClosedPermit(permit) && permit.refutes &&
      result !== undefined && !isFailure(result)
  }

  /** An attempt that was a success failed after all. Whether the circuit may open by that. */
  protected turned(permit: Permit): boolean {
    if (permit.epoch !== this.epoch || !isClosedPermit(permit)) return false
    this.mark(permit, 0, 1, 0)
    return true
  }

  /** Begins with `row` consecutive failures, after a state was restored. */
  protected resume(row: number): void {
    this.inFlight = new InFlight(row)
  }

  protected admission(reply: Reply, now: number): Admission {
    this.adopt(reply, now)
    if (reply.phase === "closed") return this.enterClosed(now)
    return reply.granted > 0 ? this.trial(reply, now) : refused(reply)
  }

  /** The permit of a half-open call. */
  protected trial({ epoch, granted }: Reply, now: number): Permit {
    return { _tag: "Permit", epoch, round: granted, at: now, slot: 0, unit: 0, ...never }
  }
}

/** The silence of a half-open call says nothing. */
const never = { hungAt: Infinity, quietAt: Infinity, usual: undefined }

const refused = ({ phase, waitMillis }: Reply): Refusal => ({
  _tag: "Refusal",
  isHalfOpen: phase === "halfOpen",
  waitMillis
})

/** The refusal of an attempt that asks now, where there is one. */
export const refusalOf = (reply: Reply): Refusal | undefined =>
  reply.phase === "closed" || reply.waitMillis === 0 || reply.permits > 0 ? undefined : refused(reply)

export const viewOf = (reply: Reply, rules: Rules): View => {
  const { now, openings, phase, state } = reply
  const counts = state?.phase === "closed" ? summary(state.window, rules, now) : { calls: 0, failures: 0, slow: 0 }
  return { phase, waitMillis: refusalOf(reply)?.waitMillis ?? 0, openings, ...counts }
}

/** A circuit whose store is in this process: each question is a step, made at once. */
export class LocalCircuit extends Follower implements Circuit {
  private readonly clock: Clock.Clock
  private readonly step: (batch: Batch) => Effect.Effect<Reply, unknown>

  constructor(
    step: (batch: Batch) => Effect.Effect<Reply, unknown>,
    clock: Clock.Clock,
    ...following: ConstructorParameters<typeof Follower>
  ) {
    super(...following)
    this.step = step
    this.clock = clock
  }

  enter(now: number): Permit | undefined {
    const isKnown = this.phase === "closed" && this.epoch > 0 && !this.sweep(now)
    return isKnown ? this.enterClosed(now) : undefined
  }

  admit(): Effect.Effect<Admission> {
    return this.ask(this.batch(true), (reply, now) => this.admission(reply, now))
  }

  settle(permit: Permit, result: Result | undefined): Effect.Effect<void> {
    if (permit.epoch !== this.epoch) {
      return this.refuted(permit, result) ? this.report([{ round: 0, result }]) : Effect.void
    }
    if (!isClosedPermit(permit)) return this.report([{ round: permit.round, result }])
    return this.end(permit, result) ? this.report([]) : Effect.void
  }

  turn(permit: Permit): Effect.Effect<void> {
    return this.turned(permit) ? this.report([]) : Effect.void
  }

  peek(): Effect.Effect<Refusal | undefined> {
    return this.ask(this.batch(false), (reply, now) => {
      this.adopt(reply, now)
      return refusalOf(reply)
    })
  }

  view(): Effect.Effect<View> {
    return this.ask(this.batch(false), (reply, now) => {
      this.adopt(reply, now)
      return viewOf(reply, this.rules)
    })
  }

  save(): Effect.Effect<SavedCircuit> {
    return this.ask(this.batch(false), (reply, now) => {
      this.adopt(reply, now)
      return reply.state === undefined ? fresh : saved(reply.state, this.inFlight.row)
    })
  }

  restore(circuit: SavedCircuit): Effect.Effect<void> {
    const proposal = proposalOf(circuit, this.clock.currentTimeMillisUnsafe())
    return this.ask(this.batch(false, [], proposal), (reply, now) => {
      this.adopt(reply, now)
      this.resume(circuit.consecutiveFailures)
    })
  }

  private report(trials: ReadonlyArray<Trial>): Effect.Effect<void> {
    const step = this.step(this.batch(false, trials))
    if (!Exit.isExit(step)) return this.answered(step, (reply, now) => this.adopt(reply, now))
    // What is there already takes no turn of the fiber. An exit that is a step carries what the step does.
    const exit = step as Exit.Exit<Reply, unknown>
    if (exit._tag === "Failure") return Effect.die(Cause.squash(exit.cause))
    this.adopt(exit.value, this.clock.currentTimeMillisUnsafe())
    return Effect.void
  }

  private ask<A>(batch: Batch, use: (reply: Reply, now: number) => A): Effect.Effect<A> {
    return this.answered(this.step(batch), use)
  }

  private answered<A>(step: Effect.Effect<Reply, unknown>, use: (reply: Reply, now: number) => A): Effect.Effect<A> {
    return Effect.matchCauseEffect(step, {
      // A store in this process has no outages.
      onFailure: (cause) => Effect.die(Cause.squash(cause)),
      onSuccess: (reply) => Effect.succeed(use(reply, this.clock.currentTimeMillisUnsafe()))
    })
  }
}

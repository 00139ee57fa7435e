/**
 * A circuit that several processes share through a store outside of them.
 *
 * Each process keeps a copy of it, by which it decides at once while the circuit is closed, and reports its results in the background. It asks the store,
 * and waits for that no longer than the timeout, for the permit of a half-open call and where the copy is stale. While the store does not answer, the copy
 * is a circuit of its own.
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { StoreClient } from "../../internal/storeClient.ts"
import type {
  Admission,
  Batch,
  Circuit,
  Permit,
  Proposal,
  Refusal,
  Reply,
  Result,
  SavedCircuit,
  State,
  View
} from "./circuit.ts"
import { Follower, refusalOf, viewOf } from "./gate.ts"
import { closed, counted, isFailure, isSlow, step } from "./machine.ts"
import { proposalOf, saved } from "./saved.ts"

/** The most results that wait to be reported; the oldest make room. */
const maxPending = 1_000

/** What the circuits of one breaker share: the way to the store, and how long they wait for it. Times are milliseconds. */
export interface Link {
  readonly client: StoreClient<Batch, Reply>
  readonly clock: Clock.Clock
  readonly run: (effect: Effect.Effect<void>) => Fiber.Fiber<void>
  readonly storeTimeout: number
  readonly syncInterval: number
  readonly staleAfter: number
  /** One circuit tries whether a lost store is back; the others leave it alone until that is known. */
  isTrying: boolean
}

const phases: ReadonlySet<Reply["phase"]> = new Set(["closed", "open", "halfOpen"])

export const makeLink = (
  step: (batch: Batch) => Effect.Effect<Reply, unknown>,
  options: Omit<Link, "client" | "isTrying">
): Link => ({
  ...options,
  isTrying: false,
  client: new StoreClient({
    name: "CircuitBreaker",
    step,
    timeoutMillis: options.storeTimeout,
    isReply: ({ epoch, phase, waitMillis }) =>
      phases.has(phase) && Number.isFinite(epoch) && Number.isFinite(waitMillis),
    whileLost: "Until it does, each process decides by what it sees itself."
  })
})

/** What the store is yet to be told about one epoch; `isUrgent` is what others should know at once. */
interface Pending {
  readonly epoch: number
  results: Array<Result>
  round: number
  returned: number
  isUrgent: boolean
}

const nothing = (epoch: number): Pending => ({ epoch, results: [], round: 0, returned: 0, isUrgent: false })

/** Who asks the store, and what became of that. */
type Asking = { readonly fiber: Fiber.Fiber<void> }

export class SharedCircuit extends Follower implements Circuit {
  protected override readonly isCopy = true
  private readonly link: Link
  /** The circuit as this process sees it: the state of the store, with the results of this process. */
  private copy: State
  private pending = nothing(0)
  /** The state from outside that the store has not taken over yet. */
  private proposal: Proposal | undefined
  /** The losses of the client as of the last answer; -1 before the first. */
  private joined = -1
  private syncedAt = -Infinity
  private asking: Asking | undefined
  private isReporting = false
  private isPlanned = false

  constructor(link: Link, ...following: ConstructorParameters<typeof Follower>) {
    super(...following)
    this.link = link
    this.copy = closed(this.rules, this.now(), 0, 0, 0)
  }

  enter(now: number): Permit | undefined {
    if (this.phase !== "closed" || this.isStale(now)) return undefined
    this.touch(now)
    return this.inFlight.admit(this.epoch, now, this.rules)
  }

  admit(): Effect.Effect<Admission> {
    const now = this.now()
    if (this.isStale(now)) return this.ask()
    if (this.phase !== "closed" && this.isShared && this.refusal(now) === undefined) return this.ask()
    this.touch(now)
    return Effect.succeed(this.decide(now))
  }

  settle(permit: Permit, result: Result | undefined): Effect.Effect<void> {
    const now = this.now()
    if (!this.isShared) {
      if (permit.epoch === this.epoch) {
        this.inFlight.settle(permit, result)
        this.stepAlone(this.batch(permit, result, false, undefined), now)
      }
      this.touch(now)
    } else if (result === undefined && permit.round > 0) this.giveBack(permit, now)
    else this.count(permit, result, now)
    return Effect.void
  }

  peek(): Effect.Effect<Refusal | undefined> {
    const now = this.now()
    this.touch(now)
    return Effect.succeed(this.refusal(now))
  }

  view(): Effect.Effect<View> {
    const now = this.now()
    this.touch(now)
    return Effect.succeed(viewOf(this.look(now)))
  }

  save(): Effect.Effect<SavedCircuit> {
    return Effect.succeed(saved(this.copy, this.rules, this.inFlight.row))
  }

  restore(circuit: SavedCircuit): Effect.Effect<void> {
    const now = this.now()
    this.proposal = proposalOf(circuit, now)
    this.stepAlone(this.question(false, this.proposal), now)
    this.resume(circuit.consecutiveFailures)
    this.pending = nothing(0)
    this.pending.isUrgent = true
    this.touch(now)
    this.later()
    return Effect.void
  }

  private get isTripped(): boolean {
    return this.inFlight.longest >= this.rules.consecutiveFailures
  }

  private now(): number {
    return this.link.clock.currentTimeMillisUnsafe()
  }

  /** The store decides, and the copy shows what it decided. */
  private get isShared(): boolean {
    return this.joined === this.link.client.losses && !this.link.client.isLost
  }

  /** Whether an attempt asks the store although the circuit may be closed. */
  private isStale(now: number): boolean {
    if (this.joined < 0) return !this.link.client.isLost
    return this.isShared && now - this.syncedAt >= this.link.staleAfter
  }

  /** One step of the copy alone. */
  private stepAlone(batch: Batch, now: number): Reply {
    const { copy } = this
    const [state, reply] = step(
      copy.phase === "closed" ? { ...copy, early: this.inFlight.early, earlyAt: now } : copy,
      batch,
      now
    )
    this.copy = state
    this.adopt(reply, now)
    return reply
  }

  private look(now: number): Reply {
    const [state, reply] = step(this.copy, { ...this.question(false), tripped: false }, now)
    this.copy = state
    return reply
  }

  private refusal(now: number): Refusal | undefined {
    return refusalOf(this.look(now))
  }

  /** An admission without the store, or a refusal where only the store could grant one. */
  private decide(now: number): Admission {
    if (this.phase === "closed") return this.inFlight.admit(this.epoch, now, this.rules)
    if (!this.isShared) return this.admission(this.stepAlone(this.question(true), now), now)
    return this.refusal(now) ?? { _tag: "Refusal", isHalfOpen: true, waitMillis: this.link.storeTimeout }
  }

  /** One step of the store, undefined where it did not answer in time. It is reported once, whether the store heard it or not. */
  private exchange(ask: boolean): Effect.Effect<Reply | undefined> {
    return Effect.suspend(() => {
      const { client } = this.link
      const { pending, proposal } = this
      const isOfNow = pending.epoch === this.epoch
      this.pending = nothing(0)
      if (client.isLost) this.link.isTrying = true
      const batch: Batch = {
        ...this.question(ask, proposal ?? this.asProposal(this.now())),
        epoch: pending.epoch,
        results: pending.results,
        round: pending.round,
        returned: pending.returned,
        early: isOfNow ? this.inFlight.early - this.inFlight.reported : 0,
        tripped: isOfNow && this.isTripped
      }
      if (isOfNow) this.inFlight.reported = this.inFlight.early
      return Effect.map(client.step(batch), (reply) => {
        this.link.isTrying = false
        const now = this.now()
        if (reply === undefined) this.judge(now)
        // A state that was given meanwhile is newer than what the store says.
        if (reply === undefined || this.proposal !== proposal) return undefined
        this.proposal = undefined
        this.joined = client.losses
        this.syncedAt = now
        this.follow(reply, now)
        return reply
      })
    })
  }

  /** What the store is to take over from the copy, should it have lost the circuit or missed an opening. */
  private asProposal(now: number): Proposal {
    const circuit = saved(this.copy, this.rules, 0)
    return { ...proposalOf(circuit, now), when: this.isShared ? "ifNone" : "ifWorse", window: null }
  }

  /** What the store says holds. */
  private follow(reply: Reply, now: number): void {
    const { copy } = this
    const { epoch, openMillis, openings, permits, phase, waitMillis } = reply
    const common = { epoch, openMillis, openings }
    const until = now + waitMillis
    if (phase === "open") this.copy = { phase, ...common, until }
    else if (phase === "halfOpen") {
      const [round, successes] = copy.phase === phase && copy.epoch === epoch ? [copy.round, copy.successes] : [1, 0]
      this.copy = { phase, ...common, until, permits, round: reply.granted || round, successes }
    } else if (copy.phase === "closed" && copy.epoch === epoch) this.copy = { ...copy, ...common }
    else this.copy = closed(this.rules, now, epoch, openings, openMillis)
    this.adopt(reply, now)
  }

  /** Opens a copy whose results say so, when the store cannot. */
  private judge(now: number): void {
    this.stepAlone({ ...this.question(false), returned: 1 }, now)
  }

  private readonly report: Effect.Effect<void> = Effect.suspend(() => {
    this.isReporting = true
    return Effect.flatMap(this.exchange(false), () => {
      this.isReporting = false
      return this.pending.isUrgent && this.isShared ? this.report : Effect.void
    })
  })

  /** Renews the copy and reports what there is to report, in the background, where it is time. */
  private touch(now: number): void {
    if (this.isReporting || this.asking !== undefined) return
    const { client, isTrying, run, syncInterval } = this.link
    const isDue = client.isLost
      ? !isTrying && client.waitMillis(now) === 0
      : this.pending.isUrgent || !this.isShared || now - this.syncedAt >= syncInterval || now < this.syncedAt
    if (isDue) run(this.report)
  }

  /** Reports what is left also when no other call gives rise to it. */
  private later(): void {
    const isLeft = this.proposal !== undefined || (this.isShared && this.pending.results.length > 0)
    if (this.isPlanned || !isLeft) return
    this.isPlanned = true
    const soon = Effect.sync(() => {
      this.isPlanned = false
      this.pending.isUrgent = true
      this.touch(this.now())
      this.later()
    })
    this.link.run(Effect.delay(soon, this.link.syncInterval))
  }

  /** What is pending for the epoch that the copy shows. */
  private noted(): Pending {
    if (this.pending.epoch !== this.epoch) this.pending = nothing(this.epoch)
    return this.pending
  }

  private giveBack(permit: Permit, now: number): void {
    if (permit.epoch !== this.epoch) return
    const pending = this.noted()
    pending.returned = pending.round === permit.round ? pending.returned + 1 : 1
    pending.round = permit.round
    pending.isUrgent = true
    this.touch(now)
  }

  /** Counts a result in the copy, which does not judge by it, and reports it. */
  private count(permit: Permit, result: Result | undefined, now: number): void {
    if (permit.epoch !== this.epoch) return
    this.inFlight.settle(permit, result)
    if (result !== undefined && this.copy.phase === "closed") this.copy = counted(this.copy, result, this.rules, now)
    if (result === undefined && !this.isTripped) return
    const pending = this.noted()
    if (result !== undefined) pending.results.push(result)
    if (pending.results.length > maxPending) pending.results.shift()
    const isBad = result === undefined || isFailure(result) || (isSlow(result) && this.rules.slowCallRate <= 1)
    pending.isUrgent ||= permit.round > 0 || isBad
    this.touch(now)
    this.later()
  }

  /** Asks the store for a permit; who comes meanwhile waits for the same answer. */
  private ask(): Effect.Effect<Admission> {
    const { asking } = this
    if (asking !== undefined) {
      return Effect.map(Effect.interruptible(Fiber.await(asking.fiber)), () => this.decide(this.now()))
    }
    let granted: Permit | undefined
    let isGone = false
    const leave = () => {
      isGone = true
      if (granted !== undefined) this.giveBack(granted, this.now())
    }
    const fiber = this.link.run(Effect.map(this.exchange(true), (reply) => {
      this.asking = undefined
      if (reply !== undefined && reply.granted > 0) {
        granted = { _tag: "Permit", epoch: reply.epoch, round: reply.granted, at: this.now() }
        if (isGone) leave()
      }
      this.touch(this.now())
    }))
    if (fiber.pollUnsafe() === undefined) this.asking = { fiber }
    return Effect.interruptible(Fiber.await(fiber)).pipe(
      Effect.onInterrupt(() => Effect.sync(leave)),
      Effect.map(() => granted ?? this.decide(this.now()))
    )
  }
}

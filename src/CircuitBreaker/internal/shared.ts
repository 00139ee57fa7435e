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
  Trial,
  View
} from "./circuit.ts"
import { Follower, isClosedPermit, refusalOf, viewOf } from "./follower.ts"
import { isFailure, isSlow, Tally } from "./inFlight.ts"
import { closed, counted, step } from "./machine.ts"
import { proposalOf, saved } from "./saved.ts"

/** The most verdicts of half-open calls that wait to be reported; the oldest make room. */
const maxPending = 1_000

/** What the circuits of one breaker share: the way to the store, and how long they wait for it. Times are milliseconds, and may change. */
export interface Link {
  readonly client: StoreClient<Batch, Reply>
  readonly clock: Clock.Clock
  readonly run: (effect: Effect.Effect<void>) => Fiber.Fiber<void>
  storeTimeout: number
  syncInterval: number
  staleAfter: number
  /** One circuit tries whether a lost store is back; the others leave it alone until that is known. */
  isTrying: boolean
}

const phases: ReadonlySet<Reply["phase"]> = new Set(["closed", "open", "halfOpen"])

export const makeLink = (
  step: (batch: Batch) => Effect.Effect<Reply, unknown>,
  options: Omit<Link, "client" | "isTrying">
): Link => {
  const link: Link = {
    ...options,
    isTrying: false,
    client: new StoreClient({
      name: "CircuitBreaker",
      step,
      get timeoutMillis() {
        return link.storeTimeout
      },
      isReply: ({ epoch, now, phase, waitMillis }) =>
        phases.has(phase) && Number.isFinite(epoch) && Number.isFinite(now) && Number.isFinite(waitMillis),
      whileLost: "Until it does, each process decides by what it sees itself."
    })
  }
  return link
}

/** What the store is yet to be told about the half-open calls of one epoch; `isUrgent` is what others should know at once. */
interface Pending {
  readonly epoch: number
  readonly trials: Array<Trial>
  isUrgent: boolean
}

const nothing = (epoch: number): Pending => ({ epoch, trials: [], isUrgent: false })

/** Has all windows judged. */
const everything = { index: -Number.MAX_VALUE, calls: 0, failures: 0, slow: 0 }

/** Who asks the store, and what became of that. */
type Asking = { readonly fiber: Fiber.Fiber<void> }

export class SharedCircuit extends Follower implements Circuit {
  private readonly link: Link
  /** The circuit as this process sees it, by the clock of the store: the state of the store, with the verdicts of this process. */
  private copy: State
  /** What the copy is yet to be told about slots. */
  private mine = new Tally()
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
    if (this.sweep(now)) this.judgeSoon(now)
    if (this.phase !== "closed") return undefined
    const permit = this.enterClosed(now)
    this.touch(now)
    return permit
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
    if (permit.epoch !== this.epoch) {
      if (this.refuted(permit, result)) this.tried({ round: 0, result }, now)
    } else if (isClosedPermit(permit)) {
      const mayOpen = this.end(permit, result)
      if (!this.isShared) {
        if (mayOpen) this.judge(now)
      } else {
        const isBad = result !== undefined &&
          (isFailure(result) || (isSlow(result) && this.rules.slowCallRate <= 1))
        if (isBad || this.isTripped) this.noted().isUrgent = true
      }
    } else this.tried({ round: permit.round, result }, now)
    this.touch(now)
    this.later()
    return Effect.void
  }

  turn(permit: Permit): Effect.Effect<void> {
    const now = this.now()
    if (this.turned(permit)) this.judgeSoon(now)
    this.later()
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
    return Effect.succeed(viewOf(this.look(now), this.rules))
  }

  save(): Effect.Effect<SavedCircuit> {
    this.look(this.now())
    return Effect.succeed(saved(this.copy, this.inFlight.row))
  }

  restore(circuit: SavedCircuit): Effect.Effect<void> {
    const now = this.now()
    this.proposal = proposalOf(circuit, now)
    this.stepAlone(this.batch(false, [], this.proposal, []), now)
    this.resume(circuit.consecutiveFailures)
    this.pending = nothing(0)
    this.pending.isUrgent = true
    this.touch(now)
    this.later()
    return Effect.void
  }

  protected override note(slot: number, calls: number, failures: number, slow: number): void {
    super.note(slot, calls, failures, slow)
    this.mine.note(slot, calls, failures, slow)
  }

  protected override restart(): void {
    super.restart()
    this.mine = new Tally()
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
    const [state, reply] = step(this.copy, batch, now + this.ahead)
    this.copy = state
    this.adopt(reply, now)
    return reply
  }

  private look(now: number): Reply {
    const time = now + this.ahead
    if (this.copy.phase === "closed") this.copy = counted(this.copy, this.mine.take(), this.rules, time)
    const [state, reply] = step(this.copy, { ...this.batch(false, [], undefined, []), tripped: false }, time)
    this.copy = state
    return reply
  }

  private refusal(now: number): Refusal | undefined {
    return refusalOf(this.look(now))
  }

  /** An admission without the store, or a refusal where only the store could grant one. */
  private decide(now: number): Admission {
    if (this.phase === "closed") return this.enterClosed(now)
    if (!this.isShared) {
      return this.admission(this.stepAlone(this.batch(true, [], undefined, this.mine.take()), now), now)
    }
    return this.refusal(now) ?? { _tag: "Refusal", isHalfOpen: true, waitMillis: this.link.storeTimeout }
  }

  /** One step of the store, undefined where it did not answer in time. It is reported once, whether the store heard it or not. */
  private exchange(ask: boolean): Effect.Effect<Reply | undefined> {
    return Effect.suspend(() => {
      const { client } = this.link
      const { pending, proposal } = this
      this.pending = nothing(0)
      if (client.isLost) this.link.isTrying = true
      const trials = pending.epoch === this.epoch ? pending.trials : []
      const batch = this.batch(ask, trials, proposal ?? this.asProposal(this.now()))
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
    const proposal = proposalOf(saved(this.copy, 0), now + this.ahead)
    return { ...proposal, when: this.isShared ? "ifNone" : "ifWorse", window: null }
  }

  /** What the store says holds. */
  private follow(reply: Reply, now: number): void {
    const { copy } = this
    const { epoch, granted, openMillis, openings, permits, phase, waitMillis } = reply
    const common = { epoch, openMillis, openings }
    const until = reply.now + waitMillis
    if (phase === "closed") {
      this.copy = copy.phase === "closed" && copy.epoch === epoch
        ? { ...copy, ...common }
        : closed(this.rules, reply.now, epoch, openings, openMillis)
    } else {
      const before = copy.phase !== "closed" && copy.epoch === epoch ? copy : undefined
      const round = Math.max(before?.round ?? 0, granted)
      const tried = { ...common, until, round, successes: before?.successes ?? 0 }
      const { failures, first, trials } = before?.phase === "halfOpen"
        ? before
        : { first: round, trials: Math.max(1, this.rules.halfOpenCalls - permits), failures: 0 }
      this.copy = phase === "open" ? { phase, ...tried } : { phase, ...tried, permits, first, trials, failures }
    }
    this.adopt(reply, now)
  }

  /** Opens a copy whose attempts say so, when the store cannot. */
  private judge(now: number): void {
    this.stepAlone(this.batch(false, [], undefined, [everything, ...this.mine.take()]), now)
  }

  /** Has it judged, by the store where there is one. */
  private judgeSoon(now: number): void {
    if (this.isShared) this.noted().isUrgent = true
    else this.judge(now)
    this.touch(now)
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
    const isLeft = this.proposal !== undefined ||
      (this.isShared && !(this.tally.isEmpty && this.pending.trials.length === 0))
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

  /** Tells the verdict of a half-open call to whoever decides. */
  private tried(trial: Trial, now: number): void {
    if (this.isShared) this.tell(trial)
    else this.stepAlone(this.batch(false, [trial], undefined, this.mine.take()), now)
  }

  /** The verdict of a half-open call, for the store. */
  private tell(trial: Trial): void {
    const pending = this.noted()
    pending.trials.push(trial)
    if (pending.trials.length > maxPending) pending.trials.shift()
    pending.isUrgent = true
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
      if (granted === undefined || granted.epoch !== this.epoch) return
      this.tell({ round: granted.round, result: undefined })
      this.touch(this.now())
    }
    const fiber = this.link.run(Effect.map(this.exchange(true), (reply) => {
      this.asking = undefined
      if (reply !== undefined && reply.granted > 0) {
        granted = this.trial(reply, this.now())
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

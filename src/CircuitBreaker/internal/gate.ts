/** One process in front of a circuit: what it reports to the store, and which attempts it admits. */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { admitted, type Attempt, nothing, onContent, type Settle, waited } from "../../Attempt.ts"
import { CircuitOpenError } from "../../ClaudeError.ts"
import type * as Model from "../../Model.ts"
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
  type View
} from "./circuit.ts"
import { InFlight } from "./machine.ts"
import type { Mode } from "./options.ts"
import { proposalOf, saved } from "./saved.ts"

/** The share of the open time that jitter leaves. */
const openShare = ({ jitter }: Rules, chance: () => number): number => jitter === 0 ? 1 : 1 - jitter * chance()

const none: ReadonlyArray<Result> = []
const single: Record<Result, ReadonlyArray<Result>> = {
  success: ["success"],
  failure: ["failure"],
  slowSuccess: ["slowSuccess"],
  slowFailure: ["slowFailure"]
}

/** What a process knows about a circuit, and its batches for the store. */
export class Follower {
  /** Whether batches go to a copy in this process, which knows the attempts in flight; a store is told how their number changed. */
  protected readonly isCopy: boolean = false
  phase: Phase = "closed"
  epoch = 0
  inFlight = new InFlight(0)
  private permits = 0
  private openShare: number
  readonly key: string
  readonly rules: Rules
  private readonly changed: (change: Change) => void
  /** Uniform in [0, 1). */
  private readonly chance: () => number

  constructor(key: string, rules: Rules, changed: (change: Change) => void, chance: () => number) {
    this.key = key
    this.rules = rules
    this.changed = changed
    this.chance = chance
    this.openShare = openShare(rules, chance)
  }

  /** The state of the store after a step. */
  adopt(reply: Reply, now: number): void {
    const { epoch, permits, phase, waitMillis } = reply
    const { phase: from } = this
    if (epoch !== this.epoch) {
      this.inFlight = new InFlight(0)
      this.openShare = openShare(this.rules, this.chance)
    }
    const isChanged = epoch !== this.epoch || permits > this.permits
    this.phase = phase
    this.epoch = epoch
    this.permits = permits
    if (isChanged) this.changed({ from, to: phase, at: now, openMillis: phase === "open" ? waitMillis : 0 })
  }

  /** A batch that asks for a permit, or only reads the state. */
  question(ask: boolean, proposal?: Proposal): Batch {
    return this.batch(undefined, undefined, ask, proposal)
  }

  /** Reports what became of a permit, or asks for one. */
  batch(permit: Permit | undefined, result: Result | undefined, ask: boolean, proposal: Proposal | undefined): Batch {
    const { epoch, inFlight, key, openShare, rules } = this
    const early = this.isCopy ? 0 : inFlight.early - inFlight.reported
    inFlight.reported += early
    return {
      key,
      rules,
      epoch,
      results: result === undefined ? none : single[result],
      early,
      tripped: inFlight.longest >= rules.consecutiveFailures,
      round: permit === undefined ? 0 : permit.round,
      returned: permit === undefined || result !== undefined ? 0 : 1,
      ask,
      openShare,
      proposal
    }
  }

  /** Begins with `row` consecutive failures, after a state was restored. */
  resume(row: number): void {
    this.inFlight = new InFlight(row)
  }

  admission(reply: Reply, now: number): Admission {
    this.adopt(reply, now)
    if (reply.phase === "closed") return this.inFlight.admit(reply.epoch, now, this.rules)
    return reply.granted > 0
      ? { _tag: "Permit", epoch: reply.epoch, round: reply.granted, at: now }
      : refused(reply)
  }
}

const refused = ({ phase, waitMillis }: Reply): Refusal => ({
  _tag: "Refusal",
  isHalfOpen: phase === "halfOpen",
  waitMillis
})

/** The refusal of an attempt that asks now, where there is one. */
export const refusalOf = (reply: Reply): Refusal | undefined =>
  reply.phase === "closed" || reply.waitMillis === 0 || reply.permits > 0 ? undefined : refused(reply)

export const viewOf = (reply: Reply): View => {
  const { openings, phase, state } = reply
  const { calls, failures, slow } = state?.phase === "closed" ? state.window : { calls: 0, failures: 0, slow: 0 }
  return { phase, waitMillis: refusalOf(reply)?.waitMillis ?? 0, openings, calls, failures, slow }
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
    const isKnown = this.phase === "closed" && this.epoch > 0
    return isKnown ? this.inFlight.admit(this.epoch, now, this.rules) : undefined
  }

  admit(): Effect.Effect<Admission> {
    return this.ask(this.step(this.question(true)), (reply, now) => this.admission(reply, now))
  }

  settle(permit: Permit, result: Result | undefined): Effect.Effect<void> {
    if (permit.epoch !== this.epoch) return Effect.void
    this.inFlight.settle(permit, result)
    const batch = this.batch(permit, result, false, undefined)
    const step = this.step(batch)
    if (!Exit.isExit(step)) return this.ask(step, (reply, now) => this.adopt(reply, now))
    // What is there already takes no turn of the fiber. An exit that is a step carries what the step does.
    const exit = step as Exit.Exit<Reply, unknown>
    if (exit._tag === "Failure") return Effect.die(Cause.squash(exit.cause))
    const { epoch, permits } = exit.value
    if (epoch !== batch.epoch || permits > 0) this.adopt(exit.value, this.clock.currentTimeMillisUnsafe())
    return Effect.void
  }

  peek(): Effect.Effect<Refusal | undefined> {
    return this.ask(this.step(this.question(false)), (reply, now) => {
      this.adopt(reply, now)
      return refusalOf(reply)
    })
  }

  view(): Effect.Effect<View> {
    return this.ask(this.step(this.question(false)), (reply, now) => {
      this.adopt(reply, now)
      return viewOf(reply)
    })
  }

  save(): Effect.Effect<SavedCircuit> {
    return this.ask(this.step(this.question(false)), (reply, now) => {
      this.adopt(reply, now)
      return reply.state === undefined ? fresh : saved(reply.state, this.rules, this.inFlight.row)
    })
  }

  restore(circuit: SavedCircuit): Effect.Effect<void> {
    const proposal = proposalOf(circuit, this.clock.currentTimeMillisUnsafe())
    return this.ask(this.step(this.question(false, proposal)), (reply, now) => {
      this.adopt(reply, now)
      this.resume(circuit.consecutiveFailures)
    })
  }

  private ask<A>(step: Effect.Effect<Reply, unknown>, use: (reply: Reply, now: number) => A): Effect.Effect<A> {
    return Effect.matchCauseEffect(step, {
      // A store in this process has no outages.
      onFailure: (cause) => Effect.die(Cause.squash(cause)),
      onSuccess: (reply) => Effect.succeed(use(reply, this.clock.currentTimeMillisUnsafe()))
    })
  }
}

/** The settings of all gates of a breaker. `pollMillis`: how often a waiting caller looks for news from other processes. */
export interface Settings {
  readonly rules: Rules
  readonly slowMillis: number
  readonly waitForHalfOpen: boolean
  readonly pollMillis: number
  readonly clock: Clock.Clock
  readonly run: (effect: Effect.Effect<void>) => void
}

/** The failure that the attempt before it met with another key says something about the request, and nothing new about the API. */
const isRepeated = ({ key, outcome, previous }: Attempt): boolean => {
  if (previous === undefined || outcome._tag !== "Failed" || previous.outcome._tag !== "Failed") return false
  const { error } = outcome
  const { error: before } = previous.outcome
  return error._tag === "ServerError" && before._tag === "ServerError" && !error.overloaded && !before.overloaded &&
    error.status === before.status && previous.key !== key
}

const resultOf = (attempt: Attempt, isSlow: boolean): Result | undefined => {
  const { outcome } = attempt
  if (outcome._tag === "NotSent" || outcome._tag === "Aborted") return undefined
  const isDown = outcome._tag === "Failed" &&
    (outcome.error._tag === "ConnectionError" || outcome.error._tag === "ServerError")
  if (isDown && isRepeated(attempt)) return undefined
  return isDown ? isSlow ? "slowFailure" : "failure" : isSlow ? "slowSuccess" : "success"
}

/** The circuit of one group as attempts meet it. */
export class Gate {
  mode: Mode
  readonly group: Model.Group
  readonly circuit: Circuit
  private readonly settings: Settings
  /** Done at the next change, for callers that wait for it. */
  private news: Deferred.Deferred<void> | undefined

  constructor(group: Model.Group, mode: Mode, circuit: Circuit, settings: Settings) {
    this.group = group
    this.mode = mode
    this.circuit = circuit
    this.settings = settings
  }

  /** Something changed that callers may wait for. */
  wake(): void {
    if (this.news !== undefined) Deferred.doneUnsafe(this.news, Effect.void)
    this.news = undefined
  }

  check(attempt: Attempt): Effect.Effect<void, CircuitOpenError> {
    const { circuit, mode, settings } = this
    if (mode === "forcedOpen") return Effect.fail(this.refuse(attempt, settings.rules.maxOpenDuration))
    if (mode !== "normal" || circuit.phase === "closed") return Effect.void
    return Effect.flatMap(
      circuit.peek(),
      (refusal) =>
        refusal === undefined ? Effect.void : Effect.asVoid(this.wait(attempt, refusal, () => circuit.peek()))
    )
  }

  admit(attempt: Attempt): Effect.Effect<Settle, CircuitOpenError> {
    const { circuit, mode, settings } = this
    if (mode === "disabled") return admitted
    if (mode === "forcedOpen") return Effect.fail(this.refuse(attempt, settings.rules.maxOpenDuration))
    const permit = circuit.enter(settings.clock.currentTimeMillisUnsafe())
    if (permit !== undefined) return Effect.succeed(this.settlement(attempt, permit))
    return Effect.flatMap(circuit.admit(), (admission) => {
      if (admission._tag === "Permit") return Effect.succeed(this.settlement(attempt, admission))
      if (this.mode === "observe") return admitted
      return Effect.map(
        this.wait(attempt, admission, () => circuit.admit()),
        (permit) => permit === undefined ? nothing : this.settlement(attempt, permit)
      )
    })
  }

  /** The first content of a stream is the verdict of a half-open call, and where latency ends. */
  private settlement(attempt: Attempt, permit: Permit): Settle {
    const { circuit, settings: { clock, run, slowMillis } } = this
    let latency: number | undefined
    let isSettled = false
    if (attempt.endpoint === "messages" && (permit.round > 0 || slowMillis < Infinity)) {
      onContent(attempt, (now) => {
        latency = now - permit.at
        if (permit.round === 0) return
        isSettled = true
        run(circuit.settle(permit, latency > slowMillis ? "slowSuccess" : "success"))
      })
    }
    return Effect.suspend(() => {
      if (isSettled) return Effect.void
      const isSlow = slowMillis < Infinity && (latency ?? clock.currentTimeMillisUnsafe() - permit.at) > slowMillis
      return circuit.settle(permit, this.mode === "disabled" ? undefined : resultOf(attempt, isSlow))
    })
  }

  /** Asks again for a caller that was refused at first, as long as it may wait for half-open calls. */
  private readonly wait = Effect.fnUntraced(function*(
    this: Gate,
    attempt: Attempt,
    first: Refusal,
    ask: () => Effect.Effect<Admission | undefined>
  ) {
    const { clock, pollMillis, waitForHalfOpen } = this.settings
    const until = clock.currentTimeMillisUnsafe() + first.waitMillis
    let answer: Admission | undefined = first
    while (answer?._tag === "Refusal") {
      const left = until - clock.currentTimeMillisUnsafe()
      const mayWait = waitForHalfOpen && answer.isHalfOpen && left > 0 &&
        until <= (attempt.context.deadline ?? Infinity)
      if (!mayWait) return yield* this.refuse(attempt, answer.waitMillis)
      const news = (this.news ??= Deferred.makeUnsafe())
      const began = clock.currentTimeMillisUnsafe()
      yield* Effect.interruptible(Effect.timeoutOption(Deferred.await(news), Math.min(pollMillis, left))).pipe(
        Effect.onExit(() => Effect.sync(() => waited(attempt, "circuit", clock.currentTimeMillisUnsafe() - began)))
      )
      answer = yield* ask()
    }
    return answer
  })

  private refuse(attempt: Attempt, waitMillis: number): CircuitOpenError {
    return new CircuitOpenError({
      group: this.group,
      retryAfter: Duration.millis(waitMillis),
      attempts: attempt.number - 1
    })
  }
}

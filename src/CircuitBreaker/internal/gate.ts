/** The circuit of one group as attempts meet it: which of them it admits, and what their ends and their silence say about the API. */
import type * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { admitted, type Attempt, nothing, onContent, type Settle, waited } from "../../Attempt.ts"
import { CircuitOpenError } from "../../ClaudeError.ts"
import type * as Model from "../../Model.ts"
import type { Admission, Change, Circuit, Permit, Refusal, Result } from "./circuit.ts"
import { resultOf } from "./inFlight.ts"
import { type Mode, type Options, resolve, type Resolved, type Settings } from "./options.ts"

/** The newest calls of a kind that are known. */
const callsKnown = 64

/** Before so many answers nothing is known. */
const answersNeeded = 10

/** So many of the calls are answered in the usual time. */
const usualShare = 0.9

/** What counts as long where nothing is known about any calls. */
const firstMillis = 60_000

/** Calls of a kind of which nothing is known may take so many times as long as those of other kinds. */
const unknownFactor = 2

/** No attempt counts as failed before this only because it takes long. */
const hungMillis = 120_000

/** Silence says nothing to a caller before so much of the time that it has. */
const patience = 0.1

/**
 * The newest calls of one kind: how long it was until they were answered or, where their caller left before that, how long they were waited for at
 * least. Callers who were judged to have left late are not among them: they say something about the API, and not about such calls.
 */
export class Usual {
  private readonly times: Array<number> = []
  private readonly answered: Array<boolean> = []
  private oldest = 0
  private learnt = unknown
  private isKnown = true
  private readonly others: Usual | undefined

  /** `others`: calls of all kinds, by which this one is judged until it is known. */
  constructor(others?: Usual) {
    this.others = others
  }

  add(millis: number, isAnswered: boolean): void {
    this.others?.add(millis, isAnswered)
    this.times[this.oldest] = millis
    this.answered[this.oldest] = isAnswered
    this.oldest = (this.oldest + 1) % callsKnown
    this.isKnown = false
  }

  /** The time in which nine of ten calls are answered, of those that were waited for as long; undefined where that is not known. */
  get millis(): number | undefined {
    const { known, others } = this
    if (known !== unknown || others?.millis === undefined) return known.usual
    return unknownFactor * others.millis
  }

  /** How much it says that a call is not answered after `millis`: the negative logarithm of the share of those that take longer. */
  silence(millis: number): number {
    const { known: { answers }, others } = this
    if (answers.length === 0) return others?.silence(millis / unknownFactor) ?? 0
    let before = 0
    for (const [index, answer] of answers.entries()) {
      if (answer.millis > millis) break
      before = index + 1
    }
    return before === 0 ? 0 : answers[before - 1]!.silence
  }

  private get known(): Learnt {
    if (!this.isKnown) {
      this.learnt = this.learn()
      this.isKnown = true
    }
    return this.learnt
  }

  private learn(): Learnt {
    const { answered, times } = this
    // Who left after so long was not answered in that time.
    const all = times.map((millis, index) => ({ millis, isAnswered: answered[index] === true }))
      .sort((a, b) => a.millis - b.millis || Number(b.isAnswered) - Number(a.isAnswered))
    const answers: Array<{ readonly millis: number; readonly silence: number }> = []
    let usual: number | undefined
    let silence = 0
    for (const [index, { isAnswered, millis }] of all.entries()) {
      if (!isAnswered) continue
      const later = all.length - index - 1
      // One more may take for ever.
      silence += Math.log((later + 2) / (later + 1))
      answers.push({ millis, silence })
      if (usual === undefined && answers.length >= usualShare * (answers.length + later)) usual = millis
    }
    return answers.length < answersNeeded ? unknown : { usual, answers }
  }
}

/** What is known about calls of one kind: the usual time, and how much it says that one is not answered after so long. */
interface Learnt {
  readonly usual: number | undefined
  readonly answers: ReadonlyArray<{ readonly millis: number; readonly silence: number }>
}

const unknown: Learnt = { usual: undefined, answers: [] }

/** What is usual for each kind of call of one circuit. It is forgotten with each recovery: an API that was down may answer more slowly. */
class Usuals {
  private kinds = new WeakMap<object, Usual>()
  private all = new Usual()

  forget(): void {
    this.kinds = new WeakMap()
    this.all = new Usual()
  }

  private of(attempt: Attempt): Usual {
    const kind = attempt.endpoint === "messages" ? attempt.kind : this
    let usual = this.kinds.get(kind)
    if (usual === undefined) this.kinds.set(kind, usual = new Usual(this.all))
    return usual
  }

  answered(attempt: Attempt, millis: number): void {
    this.of(attempt).add(millis, true)
  }

  /** Whether a caller who left after `millis` had waited for longer than such calls usually take. */
  leftLate(attempt: Attempt, millis: number): boolean {
    const usual = this.of(attempt)
    const isLate = millis > 0 && millis >= (usual.millis ?? firstMillis)
    if (!isLate) usual.add(millis, false)
    return isLate
  }

  /**
   * Says when an attempt that is sent now counts as failed, as long as it is not answered: after two minutes and as much time as twice its `max_tokens`
   * take at the pace of such calls. Where its caller has a deadline, what is known about such calls says how much its silence means.
   */
  watch(attempt: Attempt, permit: Permit): void {
    const { at } = permit
    if (attempt.endpoint !== "messages") {
      permit.hungAt = at + hungMillis
      return
    }
    const { context: { deadline }, estimate, kind } = attempt
    if (deadline !== undefined) {
      permit.usual = this.of(attempt)
      permit.quietAt = at + patience * (deadline - at)
    }
    let millis = hungMillis
    while (kind.producedIn(millis) < 2 * estimate.maxOutputTokens && millis < 3_600_000) millis *= 2
    permit.hungAt = at + millis
  }
}

/** What is around a gate: `refused` is told of each refusal. */
export interface Around {
  readonly clock: Clock.Clock
  readonly refused: () => void
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

/** Nobody waits any more: the attempt was interrupted, or its caller's deadline passed. */
const isLeft = ({ outcome }: Attempt): boolean =>
  outcome._tag === "Aborted" ||
  (outcome._tag === "Failed" && outcome.error._tag === "ConnectionError" && outcome.error.limit === "deadline")

/** The API failed, or cannot be reached. */
const isDown = (attempt: Attempt): boolean => {
  const { outcome } = attempt
  return outcome._tag === "Failed" && !isLeft(attempt) &&
    (outcome.error._tag === "ConnectionError" || outcome.error._tag === "ServerError")
}

/** The circuit of one group as attempts meet it. */
export class Gate {
  options: Options
  private settings: Settings
  readonly group: Model.Group
  readonly circuit: Circuit
  private readonly around: Around
  private readonly usuals = new Usuals()
  private ownMode: Mode
  /** Until when it is forced open, in milliseconds since the epoch; then its own mode holds again. */
  private forcedUntil = -Infinity
  /** Done at the next change, for callers that wait for it. */
  private news: Deferred.Deferred<void> | undefined
  /** Done when attempts may go that were refused. */
  private release: Deferred.Deferred<void> | undefined

  /** Completes when attempts may go that were refused: it has closed, or its mode or its rules were changed. */
  readonly released: Effect.Effect<void> = Effect.suspend(() => Deferred.await(this.release ??= Deferred.makeUnsafe()))

  constructor(group: Model.Group, options: Options, circuit: Circuit, settings: Settings, around: Around) {
    this.group = group
    this.options = options
    this.ownMode = options.mode ?? "normal"
    this.circuit = circuit
    this.settings = settings
    this.around = around
  }

  get mode(): Mode {
    return this.now() < this.forcedUntil ? "forcedOpen" : this.ownMode
  }

  /** The mode from now on; it ends an opening that was forced for a time. */
  setMode(mode: Mode): void {
    this.ownMode = mode
    this.forcedUntil = -Infinity
    this.letGo()
  }

  /** Refuses everything until then. */
  forceOpen(until: number): void {
    this.forcedUntil = until
    this.letGo()
  }

  /** Acts by these options from now on, save for their mode; gives the durations that concern the store. */
  update(options: Options): Omit<Resolved, "rules" | "settings"> {
    const { rules, settings, ...times } = resolve(options)
    this.options = options
    this.circuit.rules = rules
    this.settings = settings
    this.letGo()
    return times
  }

  /** Another phase of the circuit, or a permit that came back. */
  changed({ from, to }: Change): void {
    if (from === "closed" || to !== "closed") return this.wake()
    this.usuals.forget()
    this.letGo()
  }

  /** Attempts come and go: the circuit is closed, as far as this process knows, and nothing was said from outside. */
  get isUntroubled(): boolean {
    return this.ownMode === "normal" && this.forcedUntil === -Infinity && this.circuit.phase === "closed"
  }

  check(attempt: Attempt): Effect.Effect<void, CircuitOpenError> {
    if (this.isUntroubled) return Effect.void
    const { circuit } = this
    const refusal = this.forced
    if (refusal !== undefined) return Effect.fail(this.refuse(attempt, refusal))
    if (this.mode !== "normal" || circuit.phase === "closed") return Effect.void
    return Effect.flatMap(
      circuit.peek(),
      (refusal) =>
        refusal === undefined ? Effect.void : Effect.asVoid(this.wait(attempt, refusal, () => circuit.peek()))
    )
  }

  admit(attempt: Attempt): Effect.Effect<Settle, CircuitOpenError> {
    const { circuit } = this
    if (!this.isUntroubled) {
      if (this.mode === "disabled") return admitted
      const refusal = this.forced
      if (refusal !== undefined) return Effect.fail(this.refuse(attempt, refusal))
    }
    const permit = circuit.enter(this.around.clock.currentTimeMillisUnsafe())
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

  private now(): number {
    return this.around.clock.currentTimeMillisUnsafe()
  }

  private letGo(): void {
    if (this.release !== undefined) Deferred.doneUnsafe(this.release, Effect.void)
    this.release = undefined
    this.wake()
  }

  private wake(): void {
    if (this.news !== undefined) Deferred.doneUnsafe(this.news, Effect.void)
    this.news = undefined
  }

  /** The refusal of an attempt while the circuit is forced open. */
  private get forced(): Refusal | undefined {
    if (this.mode !== "forcedOpen") return undefined
    const left = this.forcedUntil - this.now()
    const waitMillis = left > 0 ? left : this.circuit.rules.maxOpenDuration
    return { _tag: "Refusal", isHalfOpen: false, waitMillis, isForced: true }
  }

  /** Settles an attempt once. The first content of a stream is its success; afterwards only the API, no reader or deadline, can make a failure of it. */
  private settlement(attempt: Attempt, permit: Permit): Settle {
    const { circuit, usuals } = this
    const began = this.around.clock.monotonicTimeNanosUnsafe()
    let hasContent = false
    usuals.watch(attempt, permit)
    if (attempt.endpoint === "messages") {
      onContent(attempt, () => {
        if (this.mode === "disabled") return
        hasContent = true
        const millis = Number(this.around.clock.monotonicTimeNanosUnsafe() - began) / 1e6
        usuals.answered(attempt, millis)
        this.runNow(circuit.settle(permit, resultOf(false, millis > this.settings.slowMillis)))
      })
    }
    return Effect.suspend(() => {
      const isOver = this.ownMode === "disabled" && this.mode === "disabled"
      if (hasContent) return !isOver && isDown(attempt) ? circuit.turn(permit) : Effect.void
      const millis = Number(this.around.clock.monotonicTimeNanosUnsafe() - began) / 1e6
      return circuit.settle(permit, isOver ? undefined : this.verdict(attempt, millis))
    })
  }

  /** What an attempt that showed no content says about the API; undefined for nothing. */
  private verdict(attempt: Attempt, millis: number): Result | undefined {
    const { outcome } = attempt
    if (outcome._tag === "NotSent") return undefined
    const isSlow = millis > this.settings.slowMillis
    if (outcome._tag === "Completed") {
      this.usuals.answered(attempt, millis)
      return isSlow ? "slowSuccess" : "success"
    }
    if (isLeft(attempt)) return this.usuals.leftLate(attempt, millis) ? resultOf(true, isSlow) : undefined
    const isFailed = isDown(attempt)
    if (isFailed && isRepeated(attempt)) return undefined
    return resultOf(isFailed, isSlow)
  }

  /** What takes no time needs no fiber. */
  private runNow(effect: Effect.Effect<void>): void {
    if (!Exit.isExit(effect)) this.around.run(effect)
  }

  /** Asks again for a caller that was refused at first, as long as it may wait for half-open calls. The mode of each moment holds. */
  private readonly wait = Effect.fnUntraced(function*(
    this: Gate,
    attempt: Attempt,
    first: Refusal,
    ask: () => Effect.Effect<Admission | undefined>
  ) {
    const until = this.now() + first.waitMillis
    let answer: Admission | undefined = first
    while (answer?._tag === "Refusal") {
      const { pollMillis, waitForHalfOpen } = this.settings
      const left = until - this.now()
      const mayWait = waitForHalfOpen && answer.isHalfOpen && left > 0 &&
        until <= Math.min(attempt.context.deadline ?? Infinity, attempt.waitUntil ?? Infinity)
      if (!mayWait) return yield* this.refuse(attempt, answer)
      const news = (this.news ??= Deferred.makeUnsafe())
      const began = this.now()
      yield* Effect.interruptible(Effect.timeoutOption(Deferred.await(news), Math.min(pollMillis, left))).pipe(
        Effect.onExit(() => Effect.sync(() => waited(attempt, "circuit", this.now() - began)))
      )
      if (this.mode === "disabled") return undefined
      answer = this.forced ?? (yield* ask())
      if (answer?._tag === "Refusal" && this.mode === "observe") return undefined
    }
    return answer
  })

  /** A half-open circuit may close before its round ends: asking again is worth it earlier. */
  private refuse(attempt: Attempt, { isForced, isHalfOpen, waitMillis }: Refusal): CircuitOpenError {
    this.around.refused()
    return new CircuitOpenError({
      group: this.group,
      retryAfter: Duration.millis(isHalfOpen ? Math.min(waitMillis, this.circuit.rules.halfOpenDuration) : waitMillis),
      isForced,
      attempts: attempt.number - 1
    })
  }
}

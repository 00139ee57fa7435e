/** How long calls of one kind usually take, from which a caller who left before the answer is judged. */
import type { Attempt } from "../../Attempt.ts"
import type { Permit } from "./circuit.ts"

/** The newest calls of a kind that are known. */
const callsKnown = 64

/** Before so many answers nothing is known. */
const answersNeeded = 10

/** So many of the calls are answered in the usual time. */
const usualShare = 0.9

/** What counts as long where nothing is known about such calls. */
export const firstMillis = 60_000

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

  add(millis: number, isAnswered: boolean): void {
    this.times[this.oldest] = millis
    this.answered[this.oldest] = isAnswered
    this.oldest = (this.oldest + 1) % callsKnown
    this.isKnown = false
  }

  /** The time in which nine of ten calls are answered, of those that were waited for as long; undefined where that is not known. */
  get millis(): number | undefined {
    return this.known.usual
  }

  /** How much it says that a call is not answered after `millis`: the negative logarithm of the share of those that take longer. */
  silence(millis: number): number {
    const { answers } = this.known
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
export class Usuals {
  private kinds = new WeakMap<object, Usual>()

  forget(): void {
    this.kinds = new WeakMap()
  }

  private of(attempt: Attempt): Usual {
    const kind = attempt.endpoint === "messages" ? attempt.kind : this
    let usual = this.kinds.get(kind)
    if (usual === undefined) this.kinds.set(kind, usual = new Usual())
    return usual
  }

  answered(attempt: Attempt, millis: number): void {
    this.of(attempt).add(millis, true)
  }

  /** Whether a caller who left after `millis` had waited for longer than such calls usually take. */
  leftLate(attempt: Attempt, millis: number): boolean {
    const usual = this.of(attempt)
    const isLate = millis >= (usual.millis ?? firstMillis)
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

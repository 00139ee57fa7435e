/** How long calls of one kind usually take, from which a caller who left before the answer is judged. */
import type { Attempt } from "../../Attempt.ts"

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

/** A caller with a deadline will probably leave after so much of it and so many times the usual time. */
const hungShare = 1 / 3
const hungFactor = 1.5

/**
 * The newest calls of one kind: how long it was until they were answered or, where their caller left before that, how long they were waited for at
 * least. Callers who were judged to have left late are not among them: they say something about the API, and not about such calls.
 */
class Usual {
  private readonly times: Array<number> = []
  private readonly answered: Array<boolean> = []
  private oldest = 0
  private known: number | undefined
  private isKnown = true

  add(millis: number, isAnswered: boolean): void {
    this.times[this.oldest] = millis
    this.answered[this.oldest] = isAnswered
    this.oldest = (this.oldest + 1) % callsKnown
    this.isKnown = false
  }

  /** The time in which nine of ten calls are answered, of those that were waited for as long; undefined where that is not known. */
  get millis(): number | undefined {
    if (!this.isKnown) {
      this.known = this.learn()
      this.isKnown = true
    }
    return this.known
  }

  private learn(): number | undefined {
    const { answered, times } = this
    // Who left after so long was not answered in that time.
    const all = times.map((millis, index) => ({ millis, isAnswered: answered[index] === true }))
      .sort((a, b) => a.millis - b.millis || Number(b.isAnswered) - Number(a.isAnswered))
    const answers = all.filter(({ isAnswered }) => isAnswered).length
    if (answers < answersNeeded) return undefined
    let within = 0
    for (const [index, { isAnswered, millis }] of all.entries()) {
      if (!isAnswered) continue
      within++
      const later = all.length - index - 1
      if (within >= usualShare * (within + later)) return millis
    }
    return undefined
  }
}

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
   * When an attempt that is sent now counts as failed, as long as it is not answered: after two minutes and as much time as twice its `max_tokens` take
   * at the pace of such calls; and sooner for a caller with a deadline, who has waited for a third of it and half as long again as usual.
   */
  hungAt(attempt: Attempt, now: number): number {
    if (attempt.endpoint !== "messages") return now + hungMillis
    const { context: { deadline = Infinity }, estimate, kind } = attempt
    const usual = deadline === Infinity ? undefined : this.of(attempt).millis
    if (usual !== undefined) {
      const soon = Math.max(hungFactor * usual, hungShare * (deadline - now))
      if (now + soon < deadline) return now + soon
    }
    let millis = hungMillis
    while (kind.producedIn(millis) < 2 * estimate.maxOutputTokens && millis < 3_600_000) millis *= 2
    return now + millis
  }
}

/** The states of one circuit. Time and chance come in from outside, so that the same steps always lead to the same state. */
import type { Admission, Change, Permit, Phase, Refusal, Rules, SavedCircuit, View } from "./circuit.ts"
import { Stretch, Turn } from "./stretch.ts"
import { isFailure, isSlow, ofCalls, ofTime, type Result, type Window } from "./window.ts"

export class Machine {
  readonly rules: Rules
  private readonly changed: (change: Change) => void
  /** Uniform in [0, 1). */
  protected readonly chance: () => number
  protected readonly window: Window
  phase: Phase = "closed"
  epoch = 1
  /** When the next trial may go (open), or the permits of this round lapse (half-open). */
  protected until = 0
  protected openings = 0
  protected openedMillis = 0
  protected closedAt = 0
  private stretch = new Stretch(0)
  private round = 0
  protected permits = 0
  private successes = 0

  constructor(rules: Rules, changed: (change: Change) => void, chance: () => number) {
    this.rules = rules
    this.changed = changed
    this.chance = chance
    this.window = rules.window._tag === "Calls" ? ofCalls(rules.window.size) : ofTime(rules.window.millis)
  }

  peek(now: number): Refusal | undefined {
    if (this.phase === "closed" || now >= this.until) return undefined
    const trial = this.phase === "halfOpen"
    if (trial && this.permits > 0) return undefined
    // A clock that was set back, or another clock that saved the state, makes no wait longer than the rules do.
    this.until = Math.min(this.until, now + (trial ? this.rules.halfOpenMillis : this.rules.maxOpenMillis))
    return { _tag: "Refusal", trial, waitMillis: this.until - now, againMillis: this.until - now }
  }

  /** The permit of a closed circuit. */
  enter(now: number): Permit | undefined {
    return this.phase === "closed" ? this.stretch.admit(this.epoch, now, this.isEarly(now)) : undefined
  }

  admit(now: number): Admission {
    const turn = this.enter(now)
    if (turn !== undefined) return turn
    const refusal = this.peek(now)
    if (refusal !== undefined) return refusal
    if (this.phase === "open") {
      this.successes = 0
      this.newRound(now)
      this.become("halfOpen", now)
    } else if (now >= this.until) this.newRound(now)
    this.permits--
    return { _tag: "Permit", epoch: this.epoch, round: this.round, at: now }
  }

  settle(permit: Permit, result: Result | undefined, now: number): void {
    if (permit.epoch !== this.epoch) return
    if (this.phase === "closed") {
      this.count(permit, result, now)
      this.judge(now)
    } else if (result === undefined) {
      if (permit.round !== this.round) return
      this.permits++
      this.changed({ from: this.phase, to: this.phase, at: now, openMillis: 0 })
    } else if (isFailure(result) || (isSlow(result) && this.rules.slowRate <= 1)) this.open(now)
    else if (++this.successes >= this.rules.successes) this.close(now)
  }

  /** Ends an attempt of a closed circuit. */
  count(permit: Permit, result: Result | undefined, now: number): void {
    if (permit instanceof Turn) permit.stretch.settle(permit, result)
    if (result !== undefined) this.window.add(result, now)
  }

  /** Whether so many attempts failed in a row as open it. */
  get hasRow(): boolean {
    return this.stretch.longest >= this.rules.inARow
  }

  /** Attempts under way that rates take for successes. */
  get early(): number {
    return this.stretch.early
  }

  /** In the first window of a stretch fewer successes than failures may have ended, only because they take longer. */
  private isEarly(now: number): boolean {
    const { rules: { window }, stretch } = this
    if (window._tag === "Calls") return stretch.admitted < window.size
    return stretch.admitted === 0 || now - stretch.since < window.millis
  }

  /** Opens a closed circuit where its results say so. */
  judge(now: number): void {
    this.window.advance(now)
    if (this.phase === "closed" && this.trips()) this.open(now)
  }

  private trips(): boolean {
    const { rules, window } = this
    if (this.hasRow) return true
    if (window.calls < rules.minimumCalls) return false
    const calls = window.calls + this.early
    return window.failures >= rules.failureRate * calls && window.failures > 0 ||
      window.slow >= rules.slowRate * calls && window.slow > 0
  }

  private open(now: number): void {
    // A circuit that stayed closed as long as it was last open has recovered: the next opening is a first one again.
    if (this.phase === "closed" && now - this.closedAt >= this.openedMillis) this.openings = 0
    const { jitter, maxOpenMillis, openMillis } = this.rules
    const grown = Math.min(maxOpenMillis, openMillis * 2 ** this.openings)
    this.openedMillis = Math.round(grown * (1 - jitter * this.chance()))
    this.openings++
    this.until = now + this.openedMillis
    this.window.clear()
    this.become("open", now)
  }

  private close(now: number): void {
    this.closedAt = now
    this.window.clear()
    this.become("closed", now)
  }

  private newRound(now: number): void {
    this.round++
    this.permits = this.rules.trials
    this.until = now + this.rules.halfOpenMillis
  }

  protected become(phase: Phase, now: number, epoch = this.epoch + 1, row = 0): void {
    const from = this.phase
    this.stretch = new Stretch(row)
    this.phase = phase
    this.epoch = epoch
    this.changed({ from, to: phase, at: now, openMillis: phase === "open" ? Math.max(0, this.until - now) : 0 })
  }

  view(now: number): View {
    this.window.advance(now)
    const { calls, failures, slow } = this.window
    const waitMillis = this.peek(now)?.waitMillis ?? 0
    return { phase: this.phase, waitMillis, openings: this.openings, calls, failures, slow }
  }

  save(): SavedCircuit {
    return {
      openUntil: this.phase === "closed" ? null : this.phase === "open" ? this.until : 0,
      openings: this.openings,
      openedMillis: this.openedMillis,
      closedAt: this.closedAt,
      failuresInARow: this.stretch.row,
      window: this.window.save()
    }
  }

  restore(saved: SavedCircuit, now: number): void {
    this.openings = saved.openings
    this.openedMillis = saved.openedMillis
    this.closedAt = saved.closedAt
    if (saved.window === null) this.window.clear()
    else this.window.restore(saved.window, now)
    this.until = saved.openUntil ?? 0
    this.become(saved.openUntil === null ? "closed" : "open", now, this.epoch + 1, saved.failuresInARow)
  }
}

/** The models that one call goes through. */
import type { CallKind, Fallback, MessageAttempt } from "../../Attempt.ts"
import type { CallContext } from "../../CallContext.ts"
import type { CallError } from "../../ClaudeError.ts"
import * as Estimate from "../../Estimate.ts"
import type { Cause, Rule } from "../../internal/fallbackRule.ts"
import { incompatibility } from "../../internal/incompatibility.ts"
import * as Model from "../../Model.ts"
import { adapt, growth } from "./adapt.ts"
import { causeOf, conditionsOf, isImpatient, waitOf } from "./cause.ts"

/** What all attempts of a call at one model share. */
export type Base = Omit<MessageAttempt, "number">

/** What a course stands on. */
export interface Surroundings {
  readonly kindOf: (model: string) => CallKind
  readonly now: () => number
  /** Hears of each step from one model to another. */
  readonly told: (step: Fallback) => void
}

/** A request for another model. */
interface Candidate {
  readonly base: Base
  readonly changes: ReadonlyArray<string>
}

/** The caller counted for the model that was asked. */
const estimateFor = ({ estimate }: CallContext, from: Model.Model, to: Model.Model): Estimate.Known | undefined =>
  estimate?.inputTokens === undefined
    ? estimate
    : { ...estimate, inputTokens: estimate.inputTokens * growth(from, to) }

const betasOf = ({ headers }: CallContext): string =>
  Object.entries(headers).flatMap(([name, value]) => name.toLowerCase() === "anthropic-beta" ? [value] : []).join()

export class Course {
  /** What the next attempt is made of. */
  base: Base
  private readonly asked: Base
  private readonly rules: ReadonlyArray<Rule>
  private readonly around: Surroundings
  /** The last rule that was followed. */
  private at = -1
  /** Those since the last wait. */
  private steps: Array<Fallback> = []
  /** Models that were asked, by their ids: since the last wait, and ever. */
  private readonly recent = new Set<string>()
  private readonly ever = new Set<string>()
  /** By the names that rules have; a text says why the model cannot be asked. */
  private readonly candidates = new Map<string, Candidate | string>()
  /** The first model that would only have made the call wait too long. */
  private late: Base | undefined

  constructor(asked: Base, rules: ReadonlyArray<Rule>, around: Surroundings) {
    this.asked = asked
    this.rules = rules
    this.around = around
    this.base = asked
    this.begin()
  }

  /** The first attempt is about to be made, or the first after a wait. */
  begin(): void {
    this.at = -1
    this.steps = []
    this.recent.clear()
    this.late = undefined
    this.base = this.timed(this.asked)
    if (Model.lifecycleAt(this.asked.facts, this.around.now()) !== "retired") return
    this.follow((rule) => conditionsOf(rule).includes("retired") ? "retired" : undefined, () => true)
  }

  /**
   * After a failure: whether another attempt follows at once, at another model (`on`), or again at the first one that only would have made it wait, now
   * for as long as it takes (`back`). `pay` is asked for a model that this call has asked before.
   */
  next(error: CallError, pay: () => boolean): "on" | "back" | undefined {
    const { base, recent } = this
    const isFallback = base.facts !== this.asked.facts
    if (base.waitUntil !== undefined && isImpatient(error)) this.late ??= base
    recent.add(base.facts.id)
    this.ever.add(base.facts.id)
    if (this.follow((rule) => causeOf(rule, error, isFallback), pay)) return "on"
    if (this.late === undefined) return undefined
    this.at = this.rules.length
    this.base = { ...this.late, waitUntil: undefined, fallbacks: this.steps }
    this.late = undefined
    return "back"
  }

  /** Takes the next rule that holds and leads to a model that can be asked. */
  private follow(causeFor: (rule: Rule) => Cause | undefined, pay: () => boolean): boolean {
    const { facts: from } = this.base
    for (let at = this.at + 1; at < this.rules.length; at++) {
      const rule = this.rules[at]!
      const cause = causeFor(rule)
      if (cause === undefined) continue
      const candidate = this.candidateOf(rule.to)
      if (typeof candidate === "string") {
        this.step({ from: from.id, to: rule.to, because: cause, changes: [], skipped: candidate })
        continue
      }
      const { base, changes } = candidate
      const { id } = base.facts
      if (this.recent.has(id) || id === from.id) continue
      if (this.ever.has(id) && !pay()) return false
      this.step({ from: from.id, to: rule.to, because: cause, changes, skipped: undefined })
      this.at = at
      this.base = this.timed({ ...base, fallbacks: [...this.steps] })
      return true
    }
    return false
  }

  private step(step: Fallback): void {
    this.steps.push(step)
    this.around.told(step)
  }

  /** With the bound of its wait, where a rule further on has one. */
  private timed(base: Base): Base {
    const wait = waitOf(this.rules.slice(this.at + 1))
    return wait === undefined ? base : { ...base, waitUntil: this.around.now() + wait }
  }

  private candidateOf(model: string): Candidate | string {
    const known = this.candidates.get(model) ?? this.candidate(model)
    this.candidates.set(model, known)
    return known
  }

  private candidate(model: string): Candidate | string {
    const { asked, around } = this
    const { context, facts: from } = asked
    const kind = around.kindOf(model)
    const { facts } = kind
    const { changes, request } = adapt(asked.request, from, facts, model, betasOf(context))
    const estimate = Estimate.make(request, facts, estimateFor(context, from, facts))
    const why = incompatibility(facts, request, { at: around.now(), inputTokens: estimate.inputTokens })
    if (why !== undefined) return why
    const isFast = request.speed === "fast" && Model.isFast(facts, request.speed)
    return { base: { ...asked, model, facts, request, estimate, kind, isFast }, changes }
  }
}

/** Records a call: its spans, its metrics, its events, and in the end its record. */
import type { Message } from "@anthropic-ai/sdk/resources/messages"
import type * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type * as Tracer from "effect/Tracer"
import * as Attempt from "../../Attempt.ts"
import type { ApiError, CircuitOpenError } from "../../ClaudeError.ts"
import type { PriceBook } from "../../PriceBook.ts"
import * as Usage from "../../Usage.ts"
import type { CallRecord, GiveUp, Happening, Status, Wait } from "./events.ts"
import { type Failure, failureOf, ofCause, ofError, retryReason, succeeded } from "./fault.ts"
import type { Conventions } from "./genAi.ts"
import type { ModelSeries, Series } from "./series.ts"
import { describeAttempt, describeCall, nanos } from "./spans.ts"
import type { Exchanged, Start } from "./start.ts"

/** What a recorder stands on. */
export interface Surroundings {
  readonly book: PriceBook["Service"]
  readonly clock: Clock.Clock
  readonly services: Context.Context<never>
  readonly series: Series
  readonly version: Conventions
  /** Where there is nobody, nothing needs to be published. */
  readonly feed: { readonly subscribers: number }
  /** Those that have begun and not ended. */
  readonly active: Set<Recorder>
  readonly publish: (happening: Happening, at: number) => void
}

const noStack = { captureStackTrace: false } as const

/** Runs in a span, where there is one. */
export const within = <A, E, R>(span: Tracer.Span | undefined, run: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  span === undefined ? run : Effect.withParentSpan(run, span, noStack)

const outcomes = { NotSent: "refused", Aborted: "aborted", Failed: "failed", Completed: "completed" } as const

const isMessage = (value: unknown): value is Message =>
  typeof value === "object" && value !== null && "type" in value && value.type === "message" && "id" in value

/** The most steps between models that a record has. */
const maxFallbacks = 32

interface Waiting {
  readonly for: "retry" | "circuit"
  readonly at: number
}

export class Recorder {
  readonly callId: string
  /** Undefined where nobody could see what it says. */
  readonly span: Tracer.Span | undefined
  private readonly start: Start
  private readonly to: Surroundings
  private readonly began: number
  /** The same on the monotonic clock, which nobody sets. */
  private readonly beganNanos: bigint
  private series: ModelSeries
  private readonly waits: Array<Wait> = []
  /** A wait before the next attempt that has begun. */
  private waiting: Waiting | undefined
  private last: Attempt.Attempt | undefined
  private failure: Failure | undefined
  private usage = Usage.zero
  private costNanoUsd: number | undefined = 0
  private apiMillis = 0
  private sent = 0
  private retries = 0
  private moves = 0
  private hedges = 0
  private readonly fallbacks: Array<Attempt.Fallback> = []
  private firstTokenMillis: number | undefined
  /** What the last attempt gave, and what a stream has added up to. */
  private answer: unknown
  private streamed: (() => Message | undefined) | undefined
  private stopped: { readonly status: Status; readonly failure: Failure | undefined } | undefined

  constructor(start: Start, span: Tracer.Span | undefined, to: Surroundings) {
    this.callId = start.callId
    this.start = start
    this.span = span
    this.to = to
    this.began = to.clock.currentTimeMillisUnsafe()
    this.beganNanos = to.clock.monotonicTimeNanosUnsafe()
    to.active.add(this)
    this.series = to.series.of(start.model)
    to.series.active.modifyUnsafe(1, to.services)
    if (to.feed.subscribers === 0) return
    const { callId, context: { priority, requestType, tenant, user }, model, operation, stream } = start
    to.publish(
      { _tag: "CallStarted", callId, operation, stream, model, user, tenant, requestType, priority },
      this.began
    )
  }

  /** The rate-limit group of the model that it asks; undefined before its first attempt. */
  get group(): string | undefined {
    return this.last?.facts.group
  }

  /** Milliseconds since the epoch, by the time at which the call began: the system's may be set while it runs. */
  private now(): number {
    return this.began + Math.round(Number(this.to.clock.monotonicTimeNanosUnsafe() - this.beganNanos) / 1e6)
  }

  /** Runs an attempt and records what became of it. */
  attempt<A, E, R>(attempt: Attempt.Attempt, run: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.acquireUseRelease(
      this.startAttempt(attempt),
      (span) => within(span, run),
      (span, exit) => this.attemptEnded(attempt, span, exit)
    )
  }

  /** The same for an attempt that lives as long as a scope. */
  attemptScoped<A, E, R>(
    attempt: Attempt.Attempt,
    run: Effect.Effect<A, E, R>
  ): Effect.Effect<A, E, R | Scope.Scope> {
    return Effect.flatMap(
      Effect.acquireRelease(this.startAttempt(attempt), (span, exit) => this.attemptEnded(attempt, span, exit)),
      (span) => within(span, run)
    )
  }

  private startAttempt(attempt: Attempt.Attempt): Effect.Effect<Tracer.Span | undefined> {
    return Effect.suspend(() => {
      const { callId, model, number } = attempt
      const now = this.now()
      if (this.waiting !== undefined) this.endWait(this.waiting, now)
      if ((attempt.moves ?? 0) > 0) this.moved(attempt, now)
      this.series = this.to.series.of(model)
      this.last = attempt
      if (this.to.feed.subscribers > 0) this.to.publish({ _tag: "AttemptStarted", callId, attempt: number }, now)
      return this.span === undefined ? Effect.undefined : Effect.makeSpan("claude.attempt", {
        attributes: { "claude.call_id": callId, "claude.attempt": number, "gen_ai.request.model": model }
      })
    })
  }

  /** The attempt before failed for a reason of its key, and this one has another. */
  private moved({ callId, number }: Attempt.Attempt, now: number): void {
    this.moves++
    const keyLabel = this.last?.key?.label
    const error = this.failure?.error ?? "other"
    this.event("claude.move", now, { "error.type": error, "claude.key": keyLabel })
    this.to.publish({ _tag: "Moved", callId, attempt: number, error, keyLabel }, now)
  }

  private attemptEnded(
    attempt: Attempt.Attempt,
    span: Tracer.Span | undefined,
    exit: Exit.Exit<unknown, unknown>
  ): Effect.Effect<void> {
    const now = this.now()
    const { outcome, sentAt = now, waits } = attempt
    const what = outcomes[outcome._tag]
    const cost = Attempt.costOf(this.to.book, attempt, now)
    if (outcome._tag !== "NotSent") {
      this.sent++
      this.apiMillis += now - sentAt
      if (cost !== undefined && attempt.endpoint === "messages") {
        this.usage = this.usage === Usage.zero ? cost.usage : Usage.sum(this.usage, cost.usage)
        this.series.add(cost, this.to.services)
        const nanoUsd = cost.cost?.nanoUsd
        this.costNanoUsd = this.costNanoUsd === undefined || nanoUsd === undefined
          ? undefined
          : this.costNanoUsd + nanoUsd
      }
    }
    this.series.attempts[what]!.updateUnsafe(1, this.to.services)
    if (waits !== undefined) { for (const wait of waits) this.addWait(wait, now) }
    this.failure = outcome._tag === "Failed"
      ? ofError(outcome.error)
      : Exit.isFailure(exit)
      ? ofCause(exit.cause)
      : undefined
    if (Exit.isSuccess(exit)) this.answer = exit.value
    if (this.to.feed.subscribers > 0) this.publishEnd(attempt, what, cost, now)
    if (span !== undefined) {
      if (span.sampled) describeAttempt(span, attempt, what, cost, this.failure, now)
      // The exit of a scope does not say how its stream ended.
      const how = outcome._tag === "Failed" && Exit.isSuccess(exit) ? Exit.fail(outcome.error) : exit
      span.end(this.to.clock.currentTimeNanosUnsafe(), how)
    }
    return Effect.void
  }

  private publishEnd(
    { callId, key, number, outcome, sentAt }: Attempt.Attempt,
    what: (typeof outcomes)[Attempt.Outcome["_tag"]],
    cost: Attempt.AttemptCost | undefined,
    now: number
  ): void {
    this.to.publish({
      _tag: "AttemptEnded",
      callId,
      attempt: number,
      outcome: what,
      error: this.failure?.error,
      keyLabel: key?.label,
      requestId: requestIdOf(outcome),
      millis: now - (sentAt ?? now),
      usage: cost?.usage ?? Usage.zero,
      costNanoUsd: cost?.cost?.nanoUsd
    }, now)
  }

  private addWait(wait: Wait, now: number): void {
    this.waits.push(wait)
    const { callId, context: { priority, tenant } } = this.start
    this.to.series.wait(wait.for, priority, tenant).updateUnsafe(wait.millis / 1_000, this.to.services)
    this.to.publish({ _tag: "Waited", callId, attempt: this.last?.number ?? 1, ...wait }, now)
  }

  /** Of a wait that did not end before the call did, so much as there was of it. */
  private endWait({ at, for: reason }: Waiting, now: number): void {
    this.waiting = undefined
    this.addWait({ for: reason, millis: now - at }, now)
  }

  /** An attempt has failed, or was refused by an open circuit, and will be followed by another after a wait. */
  retrying(error: ApiError | CircuitOpenError, waitMillis: number): void {
    const now = this.now()
    const isRetry = error._tag !== "CircuitOpenError"
    this.waiting = { for: isRetry ? "retry" : "circuit", at: now }
    this.event(isRetry ? "claude.retry" : "claude.wait", now, {
      "error.type": error._tag,
      "claude.wait.for": this.waiting.for,
      "claude.wait.seconds": waitMillis / 1_000
    })
    if (!isRetry) return
    this.retries++
    this.series.retries[retryReason(error)]!.updateUnsafe(1, this.to.services)
    const attempt = this.last?.number ?? 1
    this.to.publish({ _tag: "Retrying", callId: this.callId, attempt, error: error._tag, waitMillis }, now)
  }

  /** Something happened while the call was under way. */
  event(name: string, now: number, attributes: Record<string, unknown>): void {
    if (this.span?.sampled === true) this.span.event(name, nanos(now), attributes)
  }

  /** There is no further attempt, although one might have helped. */
  gaveUp(error: ApiError, reason: GiveUp): void {
    const now = this.now()
    this.series.giveUps[reason]!.updateUnsafe(1, this.to.services)
    this.event("claude.give_up", now, { "error.type": error._tag, "claude.reason": reason })
    const attempt = this.last?.number ?? 1
    this.to.publish({ _tag: "GaveUp", callId: this.callId, attempt, error: error._tag, reason }, now)
  }

  /** A second attempt is made, since the first showed no content after so many milliseconds. */
  hedged({ number }: Attempt.Attempt, lateMillis: number): void {
    const now = this.to.clock.currentTimeMillisUnsafe()
    this.hedges++
    this.event("claude.hedge", now, { "claude.attempt": number, "claude.late_seconds": lateMillis / 1_000 })
    this.to.publish({ _tag: "Hedged", callId: this.callId, attempt: number, lateMillis }, now)
  }

  /** The one of two attempts that showed content first. */
  won(attempt: Attempt.Attempt): void {
    const isSecond = this.last === attempt
    this.last = attempt
    this.series.hedges[isSecond ? "won" : "lost"]!.updateUnsafe(1, this.to.services)
  }

  /** It goes on to another model, or passes one over. */
  fellBack(step: Attempt.Fallback): void {
    const { because, from, skipped, to } = step
    const now = this.to.clock.currentTimeMillisUnsafe()
    if (this.fallbacks.length < maxFallbacks) this.fallbacks.push(step)
    if (skipped === undefined) this.to.series.of(from).fallbacks[because]!.updateUnsafe(1, this.to.services)
    this.event("claude.fallback", now, {
      "claude.fallback.from": from,
      "claude.fallback.to": to,
      "claude.reason": because,
      ...(skipped === undefined ? undefined : { "claude.fallback.skipped": skipped })
    })
    this.to.publish({ _tag: "FellBack", callId: this.callId, attempt: this.last?.number ?? 1, ...step }, now)
  }

  /** The first content of a stream has arrived. */
  contentArrived(): void {
    const now = this.now()
    const millis = this.firstTokenMillis = now - this.began
    this.series.firstToken.updateUnsafe(millis / 1_000, this.to.services)
    const attempt = this.last?.number ?? 1
    this.to.publish({ _tag: "FirstContent", callId: this.callId, attempt, millis }, now)
  }

  /** What a stream has added up to whenever it is asked; undefined once nobody will ask. */
  streaming(message: (() => Message | undefined) | undefined): void {
    this.streamed = message
  }

  /** How a stream ended, which the exit of its scope does not say. */
  streamEnded(status: Status, error: unknown): void {
    this.stopped = { status, failure: status === "error" ? ofError(error) : undefined }
  }

  /** Counts the call and publishes its record. */
  end(exit: Exit.Exit<unknown, unknown>): CallRecord {
    const { active, feed, publish, series, services } = this.to
    const now = this.now()
    active.delete(this)
    if (this.waiting !== undefined) this.endWait(this.waiting, now)
    const { failure, status } = this.stopped ?? (Exit.isSuccess(exit) ? succeeded : failureOf(exit.cause))
    const record = this.recordOf(status, failure, now)
    series.active.modifyUnsafe(-1, services)
    series.overhead.updateUnsafe(record.overheadMillis / 1_000, services)
    this.series.ended(record, now, services)
    if (feed.subscribers > 0) publish({ _tag: "CallEnded", record }, now)
    return record
  }

  get exchanged(): Exchanged {
    const request = this.last?.endpoint === "messages" ? this.last.request : this.start.request
    const message = this.streamed === undefined ? isMessage(this.answer) ? this.answer : undefined : this.streamed()
    return { request, message }
  }

  /** Ends the span of the call. */
  endSpan(span: Tracer.Span, record: CallRecord, exit: Exit.Exit<unknown, unknown>): void {
    const { last, stopped } = this
    if (span.sampled) describeCall(span, this.to.version, record, { last, ...this.exchanged })
    const how = stopped?.failure === undefined || Exit.isFailure(exit) ? exit : Exit.fail(stopped.failure.cause)
    span.end(this.to.clock.currentTimeNanosUnsafe(), how)
  }

  private recordOf(status: Status, failure: Failure | undefined, now: number): CallRecord {
    const { callId, context, model, operation, stream } = this.start
    const { priority, requestType, tags, tenant, user } = context
    const { last } = this
    const outcome = last?.outcome
    const latencyMillis = now - this.began
    let waitedMillis = 0
    for (const { millis } of this.waits) waitedMillis += millis
    const cause = failure?.cause
    return {
      callId,
      at: this.began,
      operation,
      stream,
      model,
      servedModel: outcome !== undefined && outcome._tag !== "NotSent" ? outcome.model : undefined,
      requestId: outcome && requestIdOf(outcome),
      status,
      error: failure?.error,
      fault: failure?.fault,
      message: cause?.message,
      httpStatus: cause !== undefined && "status" in cause ? cause.status : undefined,
      stopReason: outcome?._tag === "Completed" ? outcome.stopReason : undefined,
      latencyMillis,
      firstTokenMillis: this.firstTokenMillis,
      overheadMillis: Math.max(0, latencyMillis - this.apiMillis - waitedMillis),
      waits: this.waits,
      attempts: this.sent,
      retries: this.retries,
      moves: this.moves,
      fallbacks: this.fallbacks,
      hedges: this.hedges,
      keyLabel: last?.key?.label,
      usage: this.usage,
      costNanoUsd: this.costNanoUsd,
      changes: last?.endpoint === "messages" ? last.optimized?.changes.map(({ rule }) => rule) ?? [] : [],
      user,
      tenant,
      requestType,
      priority,
      metadata: tags
    }
  }
}

const requestIdOf = (outcome: Attempt.Outcome): string | undefined =>
  outcome._tag === "Failed" ? outcome.error.requestId : outcome._tag === "NotSent" ? undefined : outcome.requestId

/** Records a call: its spans, its metrics, its events and its record. */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type * as Tracer from "effect/Tracer"
import * as Attempt from "../../Attempt.ts"
import type { CallContext } from "../../CallContext.ts"
import { type ApiError, isApiError } from "../../ClaudeError.ts"
import type { PriceBook } from "../../PriceBook.ts"
import * as Usage from "../../Usage.ts"
import type { CallRecord, GiveUp, Happening, Operation, Status, Wait } from "./events.ts"
import { type Failure, ofCause, ofError } from "./fault.ts"
import type { ModelSeries, Series } from "./series.ts"

/** What a call is known by when it begins. */
export interface Start {
  readonly callId: string
  readonly operation: Operation
  readonly stream: boolean
  readonly model: string
  readonly context: CallContext
}

/** What a recorder stands on. */
export interface Surroundings {
  readonly book: PriceBook["Service"]
  readonly clock: Clock.Clock
  readonly services: Context.Context<never>
  readonly series: Series
  readonly idOf: (model: string) => string
  readonly publish: (happening: Happening, at: number) => void
  readonly ended: (record: CallRecord, modelId: string, now: number) => Effect.Effect<void>
}

export const noStack = { captureStackTrace: false } as const

const outcomes = { NotSent: "refused", Aborted: "aborted", Failed: "failed", Completed: "completed" } as const

/** The label of a retry after an error. */
const retryReason = (error: ApiError): string =>
  error._tag === "RateLimitError"
    ? "rate_limit"
    : error._tag === "ConnectionError"
    ? "connection"
    : error._tag === "ServerError"
    ? error.overloaded ? "overloaded" : "server"
    : "other"

const statusOf = (exit: Exit.Exit<unknown, unknown>): Status =>
  Exit.isSuccess(exit) ? "success" : Cause.hasInterruptsOnly(exit.cause) ? "cancelled" : "error"

export class Recorder {
  readonly callId: string
  private readonly start: Start
  private readonly to: Surroundings
  private readonly began: number
  private readonly series: ModelSeries
  private readonly waits: Array<Wait> = []
  private last: Attempt.Attempt | undefined
  private usage = Usage.zero
  private costNanoUsd: number | undefined = 0
  private apiMillis = 0
  private sent = 0
  private retries = 0
  private moves = 0
  private firstTokenMillis: number | undefined
  private stopped: Status | undefined
  readonly span: Tracer.Span

  constructor(start: Start, span: Tracer.Span, to: Surroundings) {
    this.callId = start.callId
    this.start = start
    this.span = span
    this.to = to
    this.began = to.clock.currentTimeMillisUnsafe()
    this.series = to.series.of(to.idOf(start.model))
    to.series.active.modifyUnsafe(1, to.services)
    const { callId, context: { priority, requestType, tenant, user }, model, operation, stream } = start
    to.publish(
      { _tag: "CallStarted", callId, operation, stream, model, user, tenant, requestType, priority },
      this.began
    )
  }

  /** Runs an attempt and records what became of it. */
  attempt<A, E, R>(attempt: Attempt.Attempt, run: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.acquireUseRelease(
      this.startAttempt(attempt),
      (span) => Effect.withParentSpan(run, span, noStack),
      (span, exit) => this.attemptEnded(attempt, span, exit)
    )
  }

  /** The same for an attempt that lives as long as a scope. */
  attemptScoped<A, E, R>(
    attempt: Attempt.Attempt,
    run: Effect.Effect<A, E, R>
  ): Effect.Effect<A, E, R | Scope.Scope> {
    return Effect.flatMap(
      Effect.acquireRelease(
        this.startAttempt(attempt),
        (span, exit) => this.attemptEnded(attempt, span, exit)
      ),
      (span) => Effect.withParentSpan(run, span, noStack)
    )
  }

  private startAttempt(attempt: Attempt.Attempt): Effect.Effect<Tracer.Span> {
    const { callId, number } = attempt
    return Effect.map(
      Effect.makeSpan("ClaudeService.attempt", {
        attributes: { "claude.call_id": callId, "claude.attempt": number }
      }),
      (span) => {
        this.last = attempt
        this.to.publish({ _tag: "AttemptStarted", callId, attempt: number }, this.now)
        return span
      }
    )
  }

  private attemptEnded(
    attempt: Attempt.Attempt,
    span: Tracer.Span,
    exit: Exit.Exit<unknown, unknown>
  ): Effect.Effect<void> {
    const { now } = this
    const { services } = this.to
    const { callId, key, number, outcome, sentAt } = attempt
    const cost = Attempt.costOf(this.to.book, attempt, now)
    const usage = cost?.usage ?? Usage.zero
    if (outcome._tag !== "NotSent") {
      this.sent++
      this.apiMillis += now - (sentAt ?? now)
      this.usage = this.usage === Usage.zero ? usage : Usage.sum(this.usage, usage)
      this.series.addUsage(usage, services)
      if (attempt.endpoint === "messages") this.addCost(cost?.cost?.nanoUsd)
    }
    this.series.attempts[outcomes[outcome._tag]]!.updateUnsafe(1, services)
    const failure = outcome._tag === "Failed"
      ? ofError(outcome.error)
      : Exit.isFailure(exit)
      ? ofCause(exit.cause)
      : undefined
    this.to.publish({
      _tag: "AttemptEnded",
      callId,
      attempt: number,
      outcome: outcomes[outcome._tag],
      error: failure?.error,
      keyLabel: key?.label,
      requestId: requestIdOf(outcome),
      millis: now - (sentAt ?? now),
      usage,
      costNanoUsd: cost?.cost?.nanoUsd
    }, now)
    span.end(this.to.clock.currentTimeNanosUnsafe(), exit)
    return Effect.void
  }

  private addCost(nanoUsd: number | undefined): void {
    const { services } = this.to
    if (nanoUsd === undefined) {
      this.costNanoUsd = undefined
      this.series.unpriced.updateUnsafe(1, services)
      return
    }
    if (this.costNanoUsd !== undefined) this.costNanoUsd += nanoUsd
    this.series.cost.updateUnsafe(nanoUsd / 1e9, services)
  }

  /** A failed attempt will be followed by another after a wait. */
  retrying(error: ApiError, waitMillis: number): void {
    this.retries++
    this.waits.push({ for: "retry", millis: waitMillis })
    this.series.retries[retryReason(error)]!.updateUnsafe(1, this.to.services)
    const { callId } = this.start
    const attempt = this.last?.number ?? 1
    this.to.publish({ _tag: "Retrying", callId, attempt, error: error._tag, waitMillis }, this.now)
  }

  /** There is no further attempt, although one might have helped. */
  gaveUp(error: ApiError, reason: GiveUp): void {
    this.series.giveUps[reason]!.updateUnsafe(1, this.to.services)
    const { callId } = this.start
    this.to.publish({ _tag: "GaveUp", callId, attempt: this.last?.number ?? 1, error: error._tag, reason }, this.now)
  }

  /** The first content of a stream has arrived. */
  contentArrived(now: number): void {
    if (this.firstTokenMillis !== undefined) return
    const millis = this.firstTokenMillis = now - this.began
    this.series.firstToken.updateUnsafe(millis / 1_000, this.to.services)
    this.to.publish(
      { _tag: "FirstContent", callId: this.start.callId, attempt: this.last?.number ?? 1, millis },
      now
    )
  }

  /** How a stream ended, which the exit of its scope does not say. */
  streamEnded(status: Status): void {
    this.stopped = status
  }

  end(exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> {
    const { now } = this
    const { series, services } = this.to
    series.active.modifyUnsafe(-1, services)
    const failure = Exit.isFailure(exit) ? ofCause(exit.cause) : undefined
    const record = this.recordOf(this.stopped ?? statusOf(exit), failure, now)
    this.series.requests[record.status]!.updateUnsafe(1, services)
    this.series.latency.updateUnsafe(record.latencyMillis / 1_000, services)
    if (failure !== undefined) this.series.error(failure.error, failure.fault).updateUnsafe(1, services)
    series.overhead.updateUnsafe(record.overheadMillis / 1_000, services)
    this.to.publish({ _tag: "CallEnded", record }, now)
    this.span.end(this.to.clock.currentTimeNanosUnsafe(), exit)
    return this.to.ended(record, this.series.model, now)
  }

  private recordOf(status: Status, failure: Failure | undefined, now: number): CallRecord {
    const { callId, context, model, operation, stream } = this.start
    const { priority, requestType, tags, tenant, user } = context
    const { last } = this
    const outcome = last?.outcome
    const latencyMillis = now - this.began
    const waited = this.waits.reduce((sum, { millis }) => sum + millis, 0)
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
      httpStatus: cause !== undefined && isApiError(cause) ? cause.status : undefined,
      stopReason: outcome?._tag === "Completed" ? outcome.stopReason : undefined,
      latencyMillis,
      firstTokenMillis: this.firstTokenMillis,
      overheadMillis: Math.max(0, latencyMillis - this.apiMillis - waited),
      waits: this.waits,
      attempts: this.sent,
      retries: this.retries,
      moves: this.moves,
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

  private get now(): number {
    return this.to.clock.currentTimeMillisUnsafe()
  }
}

const requestIdOf = (outcome: Attempt.Outcome): string | undefined =>
  outcome._tag === "Failed" ? outcome.error.requestId : outcome._tag === "NotSent" ? undefined : outcome.requestId

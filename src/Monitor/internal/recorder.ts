/** Records a call: its spans, its metrics, its events, and in the end its record. */
import type { Message } from "@anthropic-ai/sdk/resources/messages"
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type * as Tracer from "effect/Tracer"
import * as Attempt from "../../Attempt.ts"
import type { CallContext } from "../../CallContext.ts"
import { type ApiError, type CircuitOpenError, isApiError } from "../../ClaudeError.ts"
import type { PriceBook } from "../../PriceBook.ts"
import type { Request } from "../../Request.ts"
import * as Usage from "../../Usage.ts"
import type { CallRecord, GiveUp, Happening, Operation, Status, Wait } from "./events.ts"
import { type Failure, ofCause, ofError } from "./fault.ts"
import type { Conventions } from "./genAi.ts"
import type { ModelSeries, Series } from "./series.ts"
import { describeAttempt, describeCall, nanos } from "./spans.ts"

/**
 * What a call is known by when it begins. `request` is that of a call for a message, as the caller made it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Start {
  readonly callId: string
  readonly operation: Operation
  readonly stream: boolean
  readonly model: string
  readonly context: CallContext
  readonly request?: Request | undefined
}

/** What is left to be done with a call that has ended. */
export interface Ended {
  readonly record: CallRecord
  /** Its label. */
  readonly model: string
  readonly request: Request | undefined
  readonly message: (() => Message | undefined) | undefined
  readonly now: number
}

/** What a recorder stands on. */
export interface Surroundings {
  readonly book: PriceBook["Service"]
  readonly clock: Clock.Clock
  readonly services: Context.Context<never>
  readonly series: Series
  readonly version: Conventions
  readonly publish: (happening: Happening, at: number) => void
  readonly ended: (ended: Ended, recorder: Recorder) => Effect.Effect<void>
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

const isMessage = (value: unknown): value is Message =>
  typeof value === "object" && value !== null && "type" in value && value.type === "message" && "id" in value

export class Recorder {
  readonly callId: string
  readonly span: Tracer.Span
  /** Whether anybody can see what spans say. */
  private readonly isTraced: boolean
  private readonly start: Start
  private readonly to: Surroundings
  private readonly began: number
  private series: ModelSeries
  private readonly waits: Array<Wait> = []
  /** A wait before the next attempt that has begun. */
  private waiting: { readonly for: "retry" | "circuit"; readonly at: number } | undefined
  private last: Attempt.Attempt | undefined
  private failure: Failure | undefined
  private usage = Usage.zero
  private costNanoUsd: number | undefined = 0
  private apiMillis = 0
  private sent = 0
  private retries = 0
  private moves = 0
  private firstTokenMillis: number | undefined
  private message: (() => Message | undefined) | undefined
  private stopped: { readonly status: Status; readonly failure: Failure | undefined } | undefined

  constructor(start: Start, span: Tracer.Span, isTraced: boolean, to: Surroundings) {
    this.callId = start.callId
    this.start = start
    this.span = span
    this.isTraced = isTraced
    this.to = to
    this.began = this.now
    this.series = to.series.of(start.model)
    to.series.active.modifyUnsafe(1, to.services)
    const { callId, context: { priority, requestType, tenant, user }, model, operation, stream } = start
    this.to.publish(
      { _tag: "CallStarted", callId, operation, stream, model, user, tenant, requestType, priority },
      this.began
    )
  }

  /** The rate-limit group of the model that it asks; undefined before its first attempt. */
  get group(): string | undefined {
    return this.last?.facts.group
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
      Effect.acquireRelease(this.startAttempt(attempt), (span, exit) => this.attemptEnded(attempt, span, exit)),
      (span) => Effect.withParentSpan(run, span, noStack)
    )
  }

  private startAttempt(attempt: Attempt.Attempt): Effect.Effect<Tracer.Span> {
    const { callId, model, number } = attempt
    const options = this.isTraced
      ? { attributes: { "claude.call_id": callId, "claude.attempt": number, "gen_ai.request.model": model } }
      : undefined
    return Effect.map(Effect.makeSpan("claude.attempt", options), (span) => {
      const { now } = this
      this.endWait(now)
      if ((attempt.moves ?? 0) > 0) this.moved(attempt, now)
      this.series = this.to.series.of(model)
      this.last = attempt
      this.to.publish({ _tag: "AttemptStarted", callId, attempt: number }, now)
      return span
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
    span: Tracer.Span,
    exit: Exit.Exit<unknown, unknown>
  ): Effect.Effect<void> {
    const { now } = this
    const { callId, key, number, outcome, sentAt = now, waits } = attempt
    const what = outcomes[outcome._tag]
    const cost = Attempt.costOf(this.to.book, attempt, now)
    if (outcome._tag !== "NotSent") this.addSent(attempt, cost, now - sentAt)
    this.series.attempts[what]!.updateUnsafe(1, this.to.services)
    if (waits !== undefined) { for (const wait of waits) this.addWait(wait, now) }
    this.failure = outcome._tag === "Failed"
      ? ofError(outcome.error)
      : Exit.isFailure(exit)
      ? ofCause(exit.cause)
      : undefined
    if (Exit.isSuccess(exit) && isMessage(exit.value)) {
      const { value } = exit
      this.message = () => value
    }
    if (this.isTraced) describeAttempt(span, attempt, what, cost, this.failure, now)
    this.to.publish({
      _tag: "AttemptEnded",
      callId,
      attempt: number,
      outcome: what,
      error: this.failure?.error,
      keyLabel: key?.label,
      requestId: requestIdOf(outcome),
      millis: now - sentAt,
      usage: cost?.usage ?? Usage.zero,
      costNanoUsd: cost?.cost?.nanoUsd
    }, now)
    // The exit of a scope does not say how its stream ended.
    const how = outcome._tag === "Failed" && Exit.isSuccess(exit) ? Exit.fail(outcome.error) : exit
    span.end(this.to.clock.currentTimeNanosUnsafe(), how)
    return Effect.void
  }

  private addSent({ endpoint }: Attempt.Attempt, cost: Attempt.AttemptCost | undefined, millis: number): void {
    this.sent++
    this.apiMillis += millis
    if (cost === undefined || endpoint !== "messages") return
    this.usage = this.usage === Usage.zero ? cost.usage : Usage.sum(this.usage, cost.usage)
    this.series.add(cost, this.to.services)
    const nanoUsd = cost.cost?.nanoUsd
    this.costNanoUsd = this.costNanoUsd === undefined || nanoUsd === undefined ? undefined : this.costNanoUsd + nanoUsd
  }

  private addWait(wait: Wait, now: number): void {
    this.waits.push(wait)
    const { callId, context: { priority } } = this.start
    this.to.series.wait(wait.for, priority).updateUnsafe(wait.millis / 1_000, this.to.services)
    this.to.publish({ _tag: "Waited", callId, attempt: this.last?.number ?? 1, ...wait }, now)
  }

  /** Of a wait that did not end before the call did, so much as there was of it. */
  private endWait(now: number): void {
    const { waiting } = this
    if (waiting === undefined) return
    this.waiting = undefined
    this.addWait({ for: waiting.for, millis: now - waiting.at }, now)
  }

  /** An attempt has failed, or was refused by an open circuit, and will be followed by another after a wait. */
  retrying(error: ApiError | CircuitOpenError, waitMillis: number): void {
    const { now } = this
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
    if (this.isTraced) this.span.event(name, nanos(now), attributes)
  }

  /** There is no further attempt, although one might have helped. */
  gaveUp(error: ApiError, reason: GiveUp): void {
    const { now } = this
    this.series.giveUps[reason]!.updateUnsafe(1, this.to.services)
    this.event("claude.give_up", now, { "error.type": error._tag, "claude.reason": reason })
    const attempt = this.last?.number ?? 1
    this.to.publish({ _tag: "GaveUp", callId: this.callId, attempt, error: error._tag, reason }, now)
  }

  /** The first content of a stream has arrived. */
  contentArrived(now: number): void {
    const millis = this.firstTokenMillis = now - this.began
    this.series.firstToken.updateUnsafe(millis / 1_000, this.to.services)
    const attempt = this.last?.number ?? 1
    this.to.publish({ _tag: "FirstContent", callId: this.callId, attempt, millis }, now)
  }

  /** What a stream has added up to whenever it is asked. */
  streaming(message: () => Message | undefined): void {
    this.message = message
  }

  /** How a stream ended, which the exit of its scope does not say. */
  streamEnded(status: Status, error: unknown): void {
    this.stopped = { status, failure: status === "error" ? ofError(error) : undefined }
  }

  end(exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> {
    const { now } = this
    const { services, version } = this.to
    this.endWait(now)
    const { failure, status } = this.stopped ??
      { status: statusOf(exit), failure: Exit.isFailure(exit) ? ofCause(exit.cause) : undefined }
    const record = this.recordOf(status, failure, now)
    this.to.series.active.modifyUnsafe(-1, services)
    this.to.series.overhead.updateUnsafe(record.overheadMillis / 1_000, services)
    this.series.ended(record, services)
    const request = this.last?.endpoint === "messages" ? this.last.request : this.start.request
    if (this.isTraced) describeCall(this.span, version, record, { last: this.last, message: this.message?.(), request })
    this.to.publish({ _tag: "CallEnded", record }, now)
    const ended = this.to.ended({ record, model: this.series.model, request, message: this.message, now }, this)
    const how = this.stopped?.failure === undefined || Exit.isFailure(exit) ? exit : Exit.fail(failure?.cause)
    this.span.end(this.to.clock.currentTimeNanosUnsafe(), how)
    return ended
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
      httpStatus: isApiError(cause) ? cause.status : undefined,
      stopReason: outcome?._tag === "Completed" ? outcome.stopReason : undefined,
      latencyMillis,
      firstTokenMillis: this.firstTokenMillis,
      overheadMillis: Math.max(0, latencyMillis - this.apiMillis - waitedMillis),
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

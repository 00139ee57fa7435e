/** Reads a streamed answer: its events as they arrive, what they used so far, and whether the answer is complete. */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type * as Pull from "effect/Pull"
import * as Stream from "effect/Stream"
import type { MessageAttempt, ModelRefusal, Outcome } from "../../Attempt.ts"
import type { ApiError } from "../../ClaudeError.ts"
import * as Estimate from "../../Estimate.ts"
import { fallbackModel } from "../../internal/fallbackModel.ts"
import { refusalOf } from "../../internal/modelRefusal.ts"
import { type Event, isContent } from "../../MessageStream.ts"
import type * as Model from "../../Model.ts"
import { cacheTtl } from "../../PriceBook.ts"
import * as Usage from "../../Usage.ts"
import * as Chunks from "./chunks.ts"
import { isPageType } from "./errorBody.ts"
import * as EventStream from "./eventStream.ts"
import * as Exchange from "./exchange.ts"
import * as Failures from "./failures.ts"
import { HiddenOutput } from "./hiddenOutput.ts"
import * as Misread from "./misread.ts"

/** The most bytes of a stream that are decoded at once, before and after its first content. */
const firstStep = 1024
const maxStep = 16 * 1024

/** How long the end of a body may follow its `message_stop`, before its connection is given up. */
const endMillis = 250

/** Characters of output that may wait to be counted. */
const maxUncounted = 64 * 1024

/** The text that an event adds to the output that can be seen. */
const textOf = (event: Event): string => {
  if (event.type === "content_block_start") {
    return event.content_block.type === "text" ? String(event.content_block.text ?? "") : ""
  }
  if (event.type !== "content_block_delta") return ""
  switch (event.delta.type) {
    case "text_delta":
      return event.delta.text
    case "input_json_delta":
      return event.delta.partial_json
    default:
      return ""
  }
}

const stringOf = (value: unknown): string | undefined => typeof value === "string" ? value : undefined

const isEmptyText = (event: Event): boolean =>
  event.type === "content_block_delta" && event.delta.type === "text_delta" && event.delta.text === ""

type MessageDelta = Extract<Event, { readonly type: "message_delta" }>

/** Whether the totals of an answer leave one of its inferences out. What came over the wire may be anything. */
const isBesideTotals = (iteration: unknown): boolean =>
  Predicate.hasProperty(iteration, "type") && iteration.type !== "message" && iteration.type !== "fallback_message"

/** The part of a streamed answer that has arrived. */
class Received implements Exchange.Used {
  private readonly clock: Clock.Clock
  private readonly tokenizer: Model.Tokenizer
  private readonly maxOutputTokens: number
  private readonly hidden: HiddenOutput
  private readonly askedTtl: () => "5m" | "1h" | undefined
  private totals: Usage.Usage = Usage.zero
  private iterations: ReadonlyArray<Usage.Iteration> | undefined
  private reported: Usage.Usage = Usage.zero
  private counted = 0
  private text = ""
  model: string | undefined
  stopReason: string | undefined
  refusal: ModelRefusal | undefined
  /** The input that was reported first. */
  private inputTokens: number | null | undefined
  private hasStopped = false
  /** The answer said how much output there was in the end. */
  private hasTotal = false
  /** What was used was not reported in full, so some of it is an estimate. */
  isEstimated = true
  /** The content has begun. */
  hasContent = false
  /** Some of the content was not empty. */
  private hasOutput = false
  /** The body was read to its end. */
  ended = false
  bytes = 0

  constructor(attempt: MessageAttempt, clock: Clock.Clock) {
    const { estimate, facts, request } = attempt
    this.clock = clock
    this.tokenizer = facts.tokenizer
    this.maxOutputTokens = estimate.maxOutputTokens
    this.hidden = new HiddenOutput(attempt)
    this.askedTtl = () => cacheTtl(request)
  }

  take(events: ReadonlyArray<Event>): ReadonlyArray<Event> {
    for (const event of events) {
      if (event.type !== "content_block_delta" || event.delta.type !== "text_delta") {
        this.hidden.take(event, Exchange.elapsed(this.clock))
      }
      switch (event.type) {
        case "message_start":
          this.report(event.message.usage ?? {})
          this.inputTokens = event.message.usage?.input_tokens
          this.model = stringOf(event.message.model)
          break
        case "content_block_start":
        case "content_block_delta":
          if (event.type === "content_block_start") this.model = fallbackModel(event.content_block) ?? this.model
          this.hasContent ||= isContent(event)
          this.hasOutput ||= isContent(event) && !isEmptyText(event)
          this.text += textOf(event)
          break
        case "message_delta":
          this.end(event.delta, event.usage)
          break
      }
    }
    if (this.text.length > maxUncounted) this.count()
    return events
  }

  /** What is reported later overwrites totals. Inferences that the totals leave out stay where they are not repeated. */
  private report(usage: Usage.Reported): void {
    const { iterations } = usage
    if (Array.isArray(iterations) && iterations.length > 0) this.iterations = iterations
    else if (this.iterations !== undefined) this.iterations = this.iterations.filter(isBesideTotals)
    this.totals = Usage.merge(this.totals, { ...usage, iterations: undefined }, this.askedTtl)
    this.reported = this.iterations === undefined
      ? this.totals
      : Usage.merge(this.totals, { iterations: this.iterations }, this.askedTtl)
  }

  private end(delta: MessageDelta["delta"], usage: MessageDelta["usage"] | null | undefined): void {
    this.report(usage ?? {})
    this.inputTokens = usage?.input_tokens ?? this.inputTokens
    // There may be several, and what one says the next need not repeat.
    this.hasStopped ||= (delta.stop_reason ?? undefined) !== undefined
    this.stopReason = stringOf(delta.stop_reason) ?? this.stopReason
    this.refusal = refusalOf(delta, !this.hasOutput) ?? this.refusal
    // No content comes of no output.
    this.hasTotal ||= this.hasStopped && Usage.isWhole({ input_tokens: 0, output_tokens: usage?.output_tokens }) &&
      (this.reported.outputTokens > 0 || !this.hasOutput)
    this.isEstimated = !this.hasTotal || !Usage.isWhole({ input_tokens: this.inputTokens, output_tokens: 0 })
  }

  private count(): number {
    this.counted += Estimate.textTokens(this.text, this.tokenizer)
    this.text = ""
    return this.counted
  }

  /** The model produced output that was not shown, and no total covers it. */
  get hasHiddenOutput(): boolean {
    return !this.hasTotal && this.hidden.tokens(Exchange.elapsed(this.clock)) > 0
  }

  /** As reported; before the final total, output is counted from what arrived, and estimated where it cannot be seen. */
  get usage(): Usage.Usage {
    if (this.hasTotal) return this.reported
    const produced = this.count() + this.hidden.tokens(Exchange.elapsed(this.clock))
    const outputTokens = Math.min(produced, this.maxOutputTokens)
    return outputTokens > this.reported.outputTokens ? { ...this.reported, outputTokens } : this.reported
  }

  /** Nothing is produced for this reader from here on. */
  close(): void {
    this.hidden.close(Exchange.elapsed(this.clock))
  }
}

/** The outcome while the stream is open. Its getters count when somebody looks. */
const aborted = (exchange: Exchange.Exchange, received: Received): Outcome => ({
  _tag: "Aborted",
  get usage() {
    return Failures.harmless(exchange, received.usage)
  },
  get limits() {
    return exchange.limits
  },
  get model() {
    return Failures.named(exchange, received.model)
  },
  get requestId() {
    return exchange.requestId
  },
  get hasHiddenOutput() {
    return received.hasHiddenOutput
  }
})

type Events = Arr.NonEmptyReadonlyArray<Event>

/**
 * Pulls events out of the body, until `message_stop` is among them. A body that is one JSON value is read as the message or the error that it
 * is; `type` is what its head calls it.
 */
const pull = (
  exchange: Exchange.Exchange,
  received: Received,
  reader: ReadableStreamDefaultReader<Uint8Array>,
  type: string,
  pings: boolean
): Pull.Pull<Events, ApiError> => {
  const decoder = EventStream.decoder(exchange.bounds.maxBytes, pings)
  /** Bytes that were read and not decoded yet: the first content does not wait for all that came with it. */
  let unread: Uint8Array | undefined
  /** The body has begun. */
  let isBegun = false
  /** Set where the body is one JSON value: its bytes so far. */
  let json: Array<Uint8Array> | undefined
  /** What ended the body. */
  let failure: Effect.Effect<never, ApiError> | undefined

  /** Reads what follows the last event, so that the connection can serve the next call. */
  const end = Chunks.read(exchange, reader, "yes").pipe(
    Effect.timeoutOption(endMillis),
    Effect.option,
    Effect.andThen((last) => {
      received.ended = last._tag === "Some" && last.value._tag === "Some" && last.value.value.done
      return Cause.done()
    })
  )

  const taken = (fed: ReadonlyArray<Event>): Pull.Pull<Events, ApiError> => {
    const events = received.take(fed)
    if (decoder.whole()) Exchange.completed(exchange, received)
    return Arr.isReadonlyArrayNonEmpty(events) ? Effect.succeed(events) : next
  }

  const decoded = (bytes: Uint8Array): Pull.Pull<Events, ApiError> => {
    const step = received.hasContent ? maxStep : firstStep
    unread = bytes.byteLength > step ? bytes.subarray(step) : undefined
    return taken(decoder.feed(unread === undefined ? bytes : bytes.subarray(0, step)))
  }

  /** The body has ended, well or not: what came before may be the whole answer. */
  const ended = (how: Effect.Effect<never, ApiError>): Pull.Pull<Events, ApiError> => {
    failure = how
    if (json !== undefined) {
      const body = Misread.textOf(json)
      json = undefined
      return Effect.flatMap(
        Exchange.decoded(exchange, Misread.whole(body), body, "application/json", Exchange.isMessage),
        (message) => taken(decoder.feed(Misread.asEvents(message)))
      )
    }
    return taken(decoder.end())
  }

  const chunk = (bytes: Uint8Array): Pull.Pull<Events, ApiError> => {
    if (!isBegun) {
      const kind = Misread.kindOf(bytes)
      if (kind === "page") return Effect.fail(Failures.page(exchange))
      if (kind === "json") json = []
    }
    isBegun = true
    if (json === undefined) return decoded(bytes)
    json.push(bytes)
    return next
  }

  const next: Pull.Pull<Events, ApiError> = Effect.suspend(() => {
    const broken = decoder.broken()
    if (broken !== undefined) {
      return Effect.fail(
        broken._tag === "Refused"
          ? Failures.refused(exchange, broken.body)
          : Failures.malformed(exchange, "unknown", broken.detail)
      )
    }
    if (decoder.whole()) return end
    if (unread !== undefined) return decoded(unread)
    if (failure !== undefined) return failure
    return Effect.matchEffect(Chunks.inTime(exchange, reader, "unknown", received.hasContent), {
      onFailure: (error) => ended(Effect.fail(error)),
      onSuccess: (read) => {
        if (read.done) return ended(Effect.suspend(() => Effect.fail(cut())))
        received.bytes += read.value?.byteLength ?? NaN
        if (!(received.bytes <= exchange.bounds.maxBytes)) return Effect.fail(Failures.malformed(exchange))
        return chunk(read.value)
      }
    })
  })

  /** A body without any event is no answer, unless it is called one. */
  const cut = (): ApiError =>
    isPageType(type) && !decoder.begun()
      ? Failures.page(exchange)
      : decoder.begun() || type.startsWith("text/event-stream")
      ? Failures.truncated(exchange, "unknown")
      : Failures.malformed(exchange)

  return next
}

/** Sends the request of an attempt and reads its answer, which ends with `message_stop` or fails. */
export const stream = (
  attempt: MessageAttempt,
  bounds: Exchange.Bounds & { readonly pings: boolean },
  make: Exchange.Make
): Stream.Stream<Event, ApiError> =>
  Stream.unwrap(Effect.gen(function*() {
    const received = new Received(attempt, yield* Clock.Clock)
    const exchange = yield* Effect.acquireRelease(
      Exchange.open(attempt, attempt.request, bounds),
      (exchange) =>
        Effect.sync(() => {
          received.close()
          Exchange.close(exchange, received.ended)
        })
    )
    attempt.sentAt = exchange.began
    attempt.outcome = aborted(exchange, received)
    const recorded = <A, E extends ApiError | Cause.Done>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
      Effect.onError(effect, (cause) => Effect.sync(() => Exchange.failed(exchange, received, cause)))
    const response = yield* recorded(Chunks.head(exchange, make))
    const type = (response.headers.get("content-type") ?? "").toLowerCase()
    if (response.body === null) return yield* recorded(Effect.fail(Failures.malformed(exchange)))
    return Stream.fromPull(
      Effect.succeed(recorded(pull(exchange, received, response.body.getReader(), type, bounds.pings)))
    )
  }))

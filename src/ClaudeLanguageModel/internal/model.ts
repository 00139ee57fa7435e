/** A `LanguageModel` over `ClaudeService`. */
import type * as AiError from "effect/ai/AiError"
import * as LanguageModel from "effect/ai/LanguageModel"
import type * as Response from "effect/ai/Response"
import * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { CallContext } from "../../CallContext.ts"
import { ClaudeService, type StreamReport } from "../../ClaudeService.ts"
import { toCodec } from "../../internal/answerSchema.ts"
import * as MessageStream from "../../MessageStream.ts"
import * as Model from "../../Model.ts"
import * as Answer from "./answer.ts"
import * as Errors from "./errors.ts"
import type { Options } from "./options.ts"
import { prepare, type Prepared, withBetas } from "./request.ts"
import { Reader } from "./streaming.ts"
import * as Telemetry from "./telemetry.ts"

/** What an object cannot be read from: a refusal, and an answer that was cut. */
const unreadable = new Set(["refusal", "max_tokens", "model_context_window_exceeded"])

/** Parts of events as they arrive. A failure comes after the parts before it. */
const partsOf = (
  events: Stream.Stream<MessageStream.Event, AiError.AiError>,
  reader: Reader
): Stream.Stream<Response.StreamPartEncoded, AiError.AiError> =>
  Stream.transformPull(events, (pull) =>
    Effect.sync(() => {
      let failure: AiError.AiErrorReason | undefined
      const next: typeof pull extends Effect.Effect<infer _A, infer E, infer R>
        ? Effect.Effect<Arr.NonEmptyReadonlyArray<Response.StreamPartEncoded>, E, R>
        : never = Effect.suspend(() =>
          failure !== undefined ?
            Effect.fail(Errors.fromReason("streamText")(failure)) :
            Effect.flatMap(pull, (events) => {
              for (const event of events) {
                failure = reader.read(event)
                if (failure !== undefined) break
              }
              const parts = reader.take()
              return Arr.isArrayNonEmpty(parts) ? Effect.succeed(parts) : next
            })
        )
      return next
    }))

export const make = Effect.fnUntraced(function*(
  options: Options
): Effect.fn.Return<LanguageModel.LanguageModel, never, ClaudeService> {
  const claude = yield* ClaudeService
  const { lookup } = yield* Model.Catalogue

  const prepared = (provider: LanguageModel.ProviderOptions, method: string) =>
    prepare(provider, options, lookup).pipe(
      Effect.tap((prepared) => Effect.sync(() => Telemetry.describeRequest(prepared))),
      Effect.mapError(Errors.fromReason(method))
    )

  const whole = Effect.fnUntraced(function*(provider: LanguageModel.ProviderOptions) {
    const isObject = provider.responseFormat.type === "json"
    const method = isObject ? "generateObject" : "generateText"
    const ready = yield* prepared(provider, method)
    const report = yield* claude.createWithReport(ready.request).pipe(
      Effect.updateService(CallContext, (context) => withBetas(context, ready.request)),
      Effect.mapError(Errors.toAiError(method))
    )
    const { attempts, billedBefore, message } = report
    Telemetry.describeReport(provider.span, report)
    if (isObject && unreadable.has(String(message.stop_reason))) {
      yield* Effect.mapError(
        MessageStream.completeText(message, attempts, report.costNanoUsd, billedBefore),
        Errors.toAiError(method)
      )
    }
    const now = yield* Clock.currentTimeMillis
    const parts = yield* Effect.mapError(
      Effect.fromResult(Answer.parts(ready, report, new Date(now).toISOString())),
      Errors.fromReason(method)
    )
    const finish = parts.at(-1)
    if (finish?.type === "finish") Telemetry.describeAnswer(provider.span, message, finish)
    return parts
  })

  const streamed = (
    ready: Prepared,
    clock: Clock.Clock
  ): Stream.Stream<Response.StreamPartEncoded, AiError.AiError> => {
    const { span } = ready.provider
    const reader = new Reader(ready, () => clock.currentTimeMillisUnsafe())
    let report: StreamReport | undefined
    const events = claude.streamWithReport(ready.request, (ended) =>
      Effect.sync(() => {
        report = ended
        Telemetry.describeReport(span, ended)
      })).pipe(
        Stream.updateService(CallContext, (context) => withBetas(context, ready.request)),
        Stream.mapError(Errors.toAiError("streamText"))
      )
    // The last part comes when the call has settled, and knows what it took.
    return Stream.concat(
      partsOf(events, reader),
      Stream.sync(() => {
        const finish = reader.finish(report)
        const { message } = reader
        if (message !== undefined) Telemetry.describeAnswer(span, message, finish)
        return finish
      })
    )
  }

  return yield* LanguageModel.make({
    codecTransformer: toCodec,
    supportsSystemMessagesInHistory: Effect.succeed(true),
    generateText: whole,
    streamText: (provider) =>
      Stream.unwrap(
        Effect.flatMap(prepared(provider, "streamText"), (ready) =>
          Clock.clockWith((clock) => Effect.succeed(streamed(ready, clock))))
      )
  })
})

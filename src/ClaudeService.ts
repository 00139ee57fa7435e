/**
 * The tag that programs depend on, and the order of the policies around each call.
 *
 * **Example** (A program and its layer)
 *
 * ```ts
 * import { ClaudeService } from "effect-claude"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const claude = yield* ClaudeService.ClaudeService
 *   return yield* claude.text({
 *     model: "claude-sonnet-5-5",
 *     max_tokens: 256,
 *     messages: [{ role: "user", content: "Say hello in French." }]
 *   })
 * })
 *
 * export const main = program.pipe(Effect.provide(ClaudeService.layer()))
 * ```
 *
 * @since 0.1.0
 */
import type { Message, MessageTokensCount } from "@anthropic-ai/sdk/resources/messages"
import type { ModelInfo } from "@anthropic-ai/sdk/resources/models"
import * as Clock from "effect/Clock"
import type * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Attempt from "./Attempt.ts"
import * as Budget from "./Budget.ts"
import { CallContext } from "./CallContext.ts"
import * as CircuitBreaker from "./CircuitBreaker.ts"
import * as ClaudeApi from "./ClaudeApi.ts"
import * as ClaudeConfig from "./ClaudeConfig.ts"
import type { ApiError, CallError, IncompleteAnswerError, Refusal, StreamError } from "./ClaudeError.ts"
import * as Deprecation from "./ClaudeService/internal/deprecation.ts"
import {
  type Checked,
  layer as partsLayer,
  noteBuild,
  type Parts,
  type PartsError,
  type PartsNeed,
  type PartsServices,
  Policies
} from "./ClaudeService/internal/parts.ts"
import * as Streaming from "./ClaudeService/internal/streaming.ts"
import * as CostLedger from "./CostLedger.ts"
import * as CostOptimizer from "./CostOptimizer.ts"
import * as Estimate from "./Estimate.ts"
import * as KeyPool from "./KeyPool.ts"
import type * as KeyStore from "./KeyStore.ts"
import * as MessageStream from "./MessageStream.ts"
import * as Model from "./Model.ts"
import * as PriceBook from "./PriceBook.ts"
import * as RateLimiter from "./RateLimiter.ts"
import type { CountTokensRequest, Request } from "./Request.ts"
import * as RetryPolicy from "./RetryPolicy.ts"
import * as Usage from "./Usage.ts"

export {
  type Checked,
  type Keys,
  type Parts,
  type PartsError,
  type PartsNeed,
  type PartsServices,
  Policies
} from "./ClaudeService/internal/parts.ts"

/**
 * What a call took.
 *
 * - `attempts`: requests sent; `waits` are those before the second and later ones.
 * - `latency`: from the start of the call, waits included; for a stream, to its end.
 * - `model`: the one that served it, as the answer names it.
 * - `costNanoUsd`: what its last attempt cost, in integer nano-dollars; undefined where its model has no price. Attempts before it that
 *   failed are in the ledger.
 * - `changes`: what the optimizer did to the request; `advice`: what the caller might do.
 *
 * @category models
 * @since 0.1.0
 */
export interface Report {
  readonly callId: string
  readonly requestId: string | undefined
  readonly attempts: number
  readonly waits: ReadonlyArray<Duration.Duration>
  readonly latency: Duration.Duration
  readonly keyLabel: string | undefined
  readonly model: string
  readonly usage: Usage.Usage
  readonly costNanoUsd: number | undefined
  readonly changes: ReadonlyArray<Attempt.Change>
  readonly advice: ReadonlyArray<Attempt.Change>
}

/**
 * A message and what it took to get it.
 *
 * @category models
 * @since 0.1.0
 */
export interface CallReport extends Report {
  readonly message: Message
}

/**
 * What a stream took, and how it ended: whole, broken or refused (`failed`), or given up by its reader.
 *
 * @category models
 * @since 0.1.0
 */
export interface StreamReport extends Report {
  readonly outcome: "completed" | "failed" | "aborted"
}

/**
 * Calls Claude under every policy of its layer.
 *
 * Requests and messages are the SDK's own types. What the caller says about its calls is in `CallContext`.
 *
 * @category services
 * @since 0.1.0
 */
export class ClaudeService extends Context.Service<ClaudeService, {
  /** The whole answer. */
  readonly create: (request: Request) => Effect.Effect<Message, CallError>
  /** The whole answer and what it took to get it. */
  readonly createWithReport: (request: Request) => Effect.Effect<CallReport, CallError>
  /** The joined text of the answer; fails with `IncompleteAnswerError` where it has none or was cut off. */
  readonly text: (request: Request) => Effect.Effect<string, CallError | IncompleteAnswerError>
  /**
   * The answer as it is produced. Failures before the first content are retried transparently; later ones end the stream with
   * `StreamInterruptedError`. The request lives as long as the stream is read.
   */
  readonly stream: (request: Request) => Stream.Stream<MessageStream.Event, StreamError>
  /** The same. `onEnd` runs once with what it took, when the stream ends or breaks, or its reader stops. */
  readonly streamWithReport: <R = never>(
    request: Request,
    onEnd: (report: StreamReport) => Effect.Effect<void, never, R>
  ) => Stream.Stream<MessageStream.Event, StreamError, R>
  /** Input tokens as the API counts them; free of charge. */
  readonly countTokens: (params: CountTokensRequest) => Effect.Effect<MessageTokensCount, CallError>
  /** The models that the key may use. */
  readonly models: Effect.Effect<ReadonlyArray<ModelInfo>, CallError>
  /** One model; an alias gives the model it stands for. */
  readonly model: (id: string) => Effect.Effect<ModelInfo, CallError>
}>()("effect-claude/ClaudeService") {}

/** A call for a message: what all of its attempts share, and what the caller might do better. */
interface MessageCall {
  readonly base: Omit<Attempt.MessageAttempt, "number">
  readonly advice: ReadonlyArray<Attempt.Change>
  readonly began: number
}

/**
 * Builds the service from its parts. This is the order of the policies.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.gen(function*() {
  const api = yield* ClaudeApi.ClaudeApi
  const retries = yield* RetryPolicy.RetryPolicy
  const book = yield* PriceBook.PriceBook
  const breaker = yield* CircuitBreaker.CircuitBreaker
  const kinds = new Attempt.CallKinds()
  const { begin, beginMessage } = yield* beginnings(kinds)
  const perAttempt = Attempt.all(
    { admit: (attempt) => Effect.as(breaker.check(attempt), Attempt.nothing) },
    yield* KeyPool.KeyPool,
    yield* Budget.Budget,
    yield* RateLimiter.RateLimiter,
    ...yield* Policies,
    breaker,
    yield* CostLedger.CostLedger,
    Attempt.learning(kinds)
  )

  const reportOf = (
    { advice, began }: MessageCall,
    attempt: Attempt.MessageAttempt,
    { waitedMillis }: RetryPolicy.Progress,
    now: number
  ): Report => {
    const cost = Attempt.costOf(book, attempt, now)
    const { key, number, outcome } = attempt
    return {
      callId: attempt.callId,
      requestId: requestIdOf(outcome),
      attempts: outcome._tag === "NotSent" ? number - 1 : number,
      waits: waitedMillis.map((millis) => Duration.millis(millis)),
      latency: Duration.millis(now - began),
      keyLabel: key?.label,
      model: cost?.model ?? attempt.model,
      usage: outcome._tag === "NotSent" ? Usage.zero : outcome.usage,
      costNanoUsd: cost?.cost?.nanoUsd,
      changes: attempt.optimized?.changes ?? [],
      advice
    }
  }

  const createWithReport = (request: Request): Effect.Effect<CallReport, CallError> =>
    inSpan(
      Effect.flatMap(beginMessage(request, false), (call) =>
        retries.retry((progress) => {
          const attempt: Attempt.MessageAttempt = { ...call.base, number: progress.number }
          return Effect.flatMap(
            inAttemptSpan(Attempt.guard(perAttempt, attempt, api.send(attempt)), attempt),
            (message) =>
              Effect.clockWith((clock) =>
                Effect.succeed({ ...reportOf(call, attempt, progress, clock.currentTimeMillisUnsafe()), message })
              )
          )
        })),
      "ClaudeService.create",
      request.model
    )

  const create = (request: Request) => Effect.map(createWithReport(request), (report) => report.message)

  /** A call that costs nothing. */
  const ask = <A>(
    endpoint: "countTokens" | "models",
    name: string,
    model: string,
    send: (attempt: Attempt.Attempt) => Effect.Effect<A, ApiError>
  ): Effect.Effect<A, CallError> =>
    inSpan(
      Effect.flatMap(CallContext, (context) => {
        const base = { ...begin(model, context), endpoint }
        return retries.retry(({ number }) => {
          const attempt: Attempt.Attempt = { ...base, number }
          return inAttemptSpan(Attempt.guard(perAttempt, attempt, send(attempt)), attempt)
        })
      }),
      name,
      model
    )

  /** Opens a stream up to its first content, under the policies of an attempt; a failure gives all of it back. */
  const open = (
    attempt: Attempt.MessageAttempt,
    callScope: Scope.Scope
  ): Effect.Effect<Streaming.Opened, ApiError | Refusal> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(
        Scope.fork(callScope),
        (scope) =>
          Stream.toPull(Attempt.guardStream(perAttempt, attempt, api.stream(attempt))).pipe(
            Effect.flatMap((rest) =>
              Effect.map(restore(Streaming.untilContent(rest)), (first) => ({ attempt, first, rest }))
            ),
            Effect.tap(() => Effect.map(Clock.currentTimeMillis, (now) => Attempt.contentArrived(attempt, now))),
            Effect.withSpanScoped("ClaudeService.attempt", spanOfAttempt(attempt)),
            Scope.provide(scope),
            Effect.onExit((exit) => Exit.isSuccess(exit) ? Effect.void : Scope.close(scope, exit))
          )
      )
    )

  const streamWithReport = <R = never>(
    request: Request,
    onEnd?: (report: StreamReport) => Effect.Effect<void, never, R>
  ): Stream.Stream<MessageStream.Event, StreamError, R> =>
    Stream.unwrap(
      Effect.gen(function*() {
        const scope = yield* Effect.scope
        const call = yield* beginMessage(request, true)
        let last: readonly [Attempt.MessageAttempt, RetryPolicy.Progress] | undefined
        if (onEnd !== undefined) {
          // Added before the attempts' own scopes, so that it runs when they have settled.
          yield* Effect.addFinalizer(() =>
            Effect.flatMap(Clock.currentTimeMillis, (now) =>
              last === undefined
                ? Effect.void
                : onEnd({ ...reportOf(call, ...last, now), outcome: endOf(last[0].outcome) }))
          )
        }
        const opened = yield* retries.retry((progress) => {
          const attempt: Attempt.MessageAttempt = { ...call.base, number: progress.number }
          last = [attempt, progress]
          return open(attempt, scope)
        })
        return Streaming.afterContent(book, opened)
      }).pipe(Effect.withSpanScoped("ClaudeService.stream", spanOf(request.model)))
    )

  return ClaudeService.of({
    create,
    createWithReport,
    text: (request) => Effect.flatMap(create(request), MessageStream.completeText),
    stream: (request) => streamWithReport(request),
    streamWithReport,
    countTokens: (params) =>
      ask("countTokens", "ClaudeService.countTokens", params.model, (attempt) => api.countTokens(attempt, params)),
    models: ask("models", "ClaudeService.models", "", api.models),
    model: (id) => ask("models", "ClaudeService.model", id, (attempt) => api.model(attempt, id))
  })
})

/** How calls begin: what all attempts of one share. */
const beginnings = Effect.fnUntraced(function*(kinds: Attempt.CallKinds) {
  const optimizer = yield* CostOptimizer.CostOptimizer
  const catalogue = yield* Model.Catalogue
  const run = (yield* Random.nextIntBetween(0, 36 ** 10)).toString(36).padStart(10, "0")
  const warned = new Set<string>()
  let calls = 0

  const begin = (model: string, context: CallContext): Omit<Attempt.Common, "number"> => ({
    callId: `call-${run}-${(++calls).toString(36)}`,
    model,
    facts: catalogue.lookup(model),
    context,
    key: undefined,
    outcome: Attempt.Outcome.NotSent()
  })

  const beginMessage = Effect.fnUntraced(function*(asked: Request, stream: boolean) {
    const context = yield* CallContext
    const began = yield* Clock.currentTimeMillis
    const lengths = (model: string) => kinds.of(model, context.requestType).lengths
    const { advice, changes, request } = yield* optimizer.optimize(asked, { stream, lengths })
    if (changes.length > 0) {
      yield* Effect.annotateCurrentSpan({
        "claude.asked_model": asked.model,
        "claude.optimizer.rules": changes.map(({ rule }) => rule)
      })
    }
    const common = begin(request.model, context)
    const { facts } = common
    if ((facts.deprecatedOn ?? facts.retiresOn) !== undefined && !warned.has(facts.id)) {
      yield* Deprecation.warn(facts, warned)
    }
    const base: MessageCall["base"] = {
      ...common,
      endpoint: "messages",
      request,
      estimate: Estimate.make(request, facts, context.estimate),
      kind: kinds.of(request.model, context.requestType),
      isFast: Model.isFast(facts, request.speed),
      optimized: changes.length === 0 ? undefined : { askedModel: asked.model, changes }
    }
    return { base, advice, began }
  })

  return { begin, beginMessage }
})

const requestIdOf = (outcome: Attempt.Outcome): string | undefined =>
  outcome._tag === "NotSent" ? undefined : outcome._tag === "Failed" ? outcome.error.requestId : outcome.requestId

const endOf = (outcome: Attempt.Outcome): StreamReport["outcome"] =>
  outcome._tag === "Completed" ? "completed" : outcome._tag === "Aborted" ? "aborted" : "failed"

const spanOf = (model: string) => ({ attributes: { "gen_ai.request.model": model }, captureStackTrace: false })

const spanOfAttempt = (attempt: Attempt.Attempt) => ({
  attributes: { "claude.call_id": attempt.callId, "claude.attempt": attempt.number },
  captureStackTrace: false
})

// `withSpan` takes a stack trace for each call when its effect comes last, whatever its options say.
const inSpan = <A, E, R>(effect: Effect.Effect<A, E, R>, name: string, model: string): Effect.Effect<A, E, R> =>
  Effect.withSpan(effect, name, spanOf(model))

const inAttemptSpan = <A, E, R>(effect: Effect.Effect<A, E, R>, attempt: Attempt.Attempt): Effect.Effect<A, E, R> =>
  Effect.withSpan(effect, "ClaudeService.attempt", spanOfAttempt(attempt))

/**
 * The service over parts that you provide one by one; a part that is missing is a compile error. It is built anew over the parts of each
 * place, also inside a region that has a service already.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerNoDeps: Layer.Layer<ClaudeService, never, PartsServices> = Layer.fresh(
  Layer.effect(ClaudeService, make)
)

/**
 * The service and its parts. Each part is its options, or a layer of its service: nothing can be given twice, or be lost by the order of
 * layers. Build it once and share it: each call of `layer` has its own limits, circuits and budgets.
 *
 * **Example** (One part by its options, another by a layer)
 *
 * ```ts
 * import { ClaudeService, RateLimiter } from "effect-claude"
 * import { Redacted } from "effect"
 *
 * export const claude = ClaudeService.layer({
 *   keys: Redacted.make("sk-ant-..."),
 *   limiter: RateLimiter.layerOff,
 *   budget: { budgets: [{ name: "all", limit: 100, window: { calendar: "month" } }] }
 * })
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <P extends Parts = {}>(
  parts?: P & Checked<P>
): Layer.Layer<ClaudeService, PartsError<P>, PartsNeed<P>> => Layer.provide(counted, layerOf<P>(parts))

/**
 * `layer` with its parts beside the service: to read the ledger, follow a circuit, or change limits while calls run.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerWithParts = <P extends Parts = {}>(
  parts?: P & Checked<P>
): Layer.Layer<ClaudeService | PartsServices, PartsError<P>, PartsNeed<P>> =>
  Layer.provideMerge(counted, layerOf<P>(parts))

const counted = Layer.fresh(Layer.effect(ClaudeService, Effect.andThen(noteBuild, make)))

const layerOf = <P extends Parts>(parts: Parts = {}) =>
  partsLayer(parts) as Layer.Layer<PartsServices, PartsError<P>, PartsNeed<P>> // what `Parts` are made of says so

/**
 * `layer` with the options that the environment gives, as `ClaudeConfig.config` names them.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig: Layer.Layer<ClaudeService, Config.ConfigError | KeyStore.KeyStoreError> = Layer.unwrap(
  Effect.map(ClaudeConfig.config, (options) => layer(options))
)

/**
 * The whole answer.
 *
 * @category accessors
 * @since 0.1.0
 */
export const create = (request: Request): Effect.Effect<Message, CallError, ClaudeService> =>
  Effect.flatMap(ClaudeService, (claude) => claude.create(request))

/**
 * The whole answer and what it took to get it.
 *
 * @category accessors
 * @since 0.1.0
 */
export const createWithReport = (request: Request): Effect.Effect<CallReport, CallError, ClaudeService> =>
  Effect.flatMap(ClaudeService, (claude) => claude.createWithReport(request))

/**
 * The joined text of the answer; fails with `IncompleteAnswerError` where it has none or was cut off.
 *
 * @category accessors
 * @since 0.1.0
 */
export const text = (request: Request): Effect.Effect<string, CallError | IncompleteAnswerError, ClaudeService> =>
  Effect.flatMap(ClaudeService, (claude) => claude.text(request))

/**
 * The answer as it is produced.
 *
 * @category accessors
 * @since 0.1.0
 */
export const stream = (request: Request): Stream.Stream<MessageStream.Event, StreamError, ClaudeService> =>
  Stream.unwrap(Effect.map(ClaudeService, (claude) => claude.stream(request)))

/**
 * The answer as it is produced; `onEnd` runs once with what it took.
 *
 * @category accessors
 * @since 0.1.0
 */
export const streamWithReport = <R = never>(
  request: Request,
  onEnd: (report: StreamReport) => Effect.Effect<void, never, R>
): Stream.Stream<MessageStream.Event, StreamError, ClaudeService | R> =>
  Stream.unwrap(Effect.map(ClaudeService, (claude) => claude.streamWithReport(request, onEnd)))

/**
 * Input tokens as the API counts them.
 *
 * @category accessors
 * @since 0.1.0
 */
export const countTokens = (
  params: CountTokensRequest
): Effect.Effect<MessageTokensCount, CallError, ClaudeService> =>
  Effect.flatMap(ClaudeService, (claude) => claude.countTokens(params))

/**
 * The models that the key may use.
 *
 * @category accessors
 * @since 0.1.0
 */
export const models: Effect.Effect<ReadonlyArray<ModelInfo>, CallError, ClaudeService> = Effect.flatMap(
  ClaudeService,
  (claude) => claude.models
)

/**
 * One model; an alias gives the model it stands for.
 *
 * @category accessors
 * @since 0.1.0
 */
export const model = (id: string): Effect.Effect<ModelInfo, CallError, ClaudeService> =>
  Effect.flatMap(ClaudeService, (claude) => claude.model(id))

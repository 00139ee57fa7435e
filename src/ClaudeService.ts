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
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import * as Attempt from "./Attempt.ts"
import * as Budget from "./Budget.ts"
import { CallContext } from "./CallContext.ts"
import * as CircuitBreaker from "./CircuitBreaker.ts"
import * as ClaudeApi from "./ClaudeApi.ts"
import * as ClaudeConfig from "./ClaudeConfig.ts"
import type { ApiError, CallError, IncompleteAnswerError, InputRejectedError, StreamError } from "./ClaudeError.ts"
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
import { previousOf } from "./ClaudeService/internal/previous.ts"
import { type CallReport, type MessageCall, reportOf, type StreamReport } from "./ClaudeService/internal/reports.ts"
import { ClaudeService } from "./ClaudeService/internal/service.ts"
import * as Streaming from "./ClaudeService/internal/streaming.ts"
import * as CostLedger from "./CostLedger.ts"
import * as CostOptimizer from "./CostOptimizer.ts"
import * as Estimate from "./Estimate.ts"
import * as InputSanitizer from "./InputSanitizer.ts"
import * as KeyPool from "./KeyPool.ts"
import type * as KeyStore from "./KeyStore.ts"
import * as MessageStream from "./MessageStream.ts"
import * as Model from "./Model.ts"
import * as PriceBook from "./PriceBook.ts"
import * as RateLimiter from "./RateLimiter.ts"
import type { CountTokensRequest, Request } from "./Request.ts"
import * as RetryPolicy from "./RetryPolicy.ts"

export {
  type Checked,
  type Keys,
  type Parts,
  type PartsError,
  type PartsNeed,
  type PartsServices,
  Policies
} from "./ClaudeService/internal/parts.ts"
export type { CallReport, Report, StreamReport } from "./ClaudeService/internal/reports.ts"
export { ClaudeService } from "./ClaudeService/internal/service.ts"

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
  const { lookup } = yield* Model.Catalogue
  const kinds = new Attempt.CallKinds(lookup)
  const { begin, beginMessage, sanitize } = yield* beginnings(kinds)
  const pool = yield* KeyPool.KeyPool
  const perAttempt = Attempt.all(
    { admit: (attempt) => Effect.as(breaker.check(attempt), Attempt.nothing) },
    pool,
    yield* Budget.Budget,
    yield* RateLimiter.RateLimiter,
    ...yield* Policies,
    breaker,
    yield* CostLedger.CostLedger,
    Attempt.learning(kinds)
  )

  /** Runs the attempts of a call, each under its policies and in a span of its own. */
  const run = <T extends Attempt.Attempt, A>(
    base: Omit<T, "number">,
    send: (attempt: T, progress: RetryPolicy.Progress) => Effect.Effect<A, ApiError>
  ): Effect.Effect<A, CallError> => {
    let last: T | undefined
    return retries.retry((progress) => {
      const { moves, number } = progress
      const attempt = last = { ...base, number, moves, previous: last && previousOf(last) } as T // `base` has the rest
      const sent = Attempt.guard(perAttempt, attempt, Effect.suspend(() => send(attempt, progress)))
      // `withSpan` takes a stack trace for each call when its effect comes last, whatever its options say.
      return Effect.withSpan(sent, "ClaudeService.attempt", spanOfAttempt(attempt))
    }, (error) => pool.mayMove(last, error))
  }

  const create = (request: Request): Effect.Effect<Message, CallError> =>
    Effect.withSpan(
      Effect.flatMap(beginMessage(request, false), ({ base }) => run(base, api.send)),
      "ClaudeService.create",
      spanOf(request.model)
    )

  const createWithReport = (request: Request): Effect.Effect<CallReport, CallError> =>
    Effect.withSpan(
      Effect.flatMap(beginMessage(request, false), (call) => {
        let last: readonly [Attempt.MessageAttempt, RetryPolicy.Progress]
        const sent = run(call.base, (attempt: Attempt.MessageAttempt, progress) => {
          last = [attempt, progress]
          return api.send(attempt)
        })
        return Effect.zipWith(sent, Clock.currentTimeMillis, (message, now) => ({
          ...reportOf(book, call, ...last, now),
          message
        }))
      }),
      "ClaudeService.create",
      spanOf(request.model)
    )

  /** A call that costs nothing. */
  const ask = <A>(
    name: "countTokens" | "models" | "model",
    model: string,
    begun: Effect.Effect<(attempt: Attempt.Attempt) => Effect.Effect<A, ApiError>, InputRejectedError>
  ): Effect.Effect<A, CallError> =>
    Effect.withSpan(
      Effect.flatMap(Effect.zip(begun, CallContext), ([send, context]) =>
        run<Attempt.Attempt, A>({ ...begin(model, context, lookup(model)), endpoint: endpointOf(name) }, send)),
      `ClaudeService.${name}`,
      spanOf(model)
    )

  const streamWithReport = Streaming.make({
    book,
    perAttempt,
    api,
    retries,
    mayMove: pool.mayMove,
    begin: (request: Request) => beginMessage(request, true),
    span: spanOf,
    spanOfAttempt
  })

  return ClaudeService.of({
    create,
    createWithReport,
    text: (request) => Effect.flatMap(createWithReport(request), completeTextOf),
    stream: (request) => streamWithReport(request),
    streamWithReport,
    countTokens: (params) =>
      ask(
        "countTokens",
        params.model,
        Effect.map(sanitize(params), (sanitized) => (attempt) => api.countTokens(attempt, sanitized))
      ),
    models: ask("models", "", Effect.succeed(api.models)),
    model: (id) => ask("model", id, Effect.succeed((attempt) => api.model(attempt, id)))
  })
})

const endpointOf = (name: "countTokens" | "models" | "model") => name === "countTokens" ? name : "models"

const completeTextOf = ({ attempts, message }: CallReport) => MessageStream.completeText(message, attempts)

/** How calls begin: what all attempts of one share. */
const beginnings = Effect.fnUntraced(function*(kinds: Attempt.CallKinds) {
  const sanitizer = yield* InputSanitizer.InputSanitizer
  const optimizer = yield* CostOptimizer.CostOptimizer
  const run = (yield* Random.nextIntBetween(0, 36 ** 10)).toString(36).padStart(10, "0")
  const warned = new Set<string>()
  let calls = 0

  const begin = (model: string, context: CallContext, facts: Model.Model): Omit<Attempt.Common, "number"> => ({
    callId: `call-${run}-${(++calls).toString(36)}`,
    model,
    facts,
    context,
    key: undefined,
    outcome: Attempt.Outcome.NotSent()
  })

  const optimized = Effect.fnUntraced(function*(asked: Request, stream: boolean, { requestType }: CallContext) {
    const lengths = (model: string) => kinds.of(model, requestType).lengths
    const result = yield* optimizer.optimize(asked, { stream, lengths })
    if (result.changes.length > 0) {
      yield* Effect.annotateCurrentSpan({
        "claude.asked_model": asked.model,
        "claude.optimizer.rules": result.changes.map(({ rule }) => rule)
      })
    }
    return result
  })

  const beginMessage = Effect.fnUntraced(function*(given: Request, stream: boolean) {
    const context = yield* CallContext
    const began = yield* Clock.currentTimeMillis
    const asked = sanitizer === InputSanitizer.off ? given : yield* sanitizer.sanitize(given)
    const { advice, changes, request } = optimizer === CostOptimizer.off
      ? { request: asked, changes: [], advice: [] }
      : yield* optimized(asked, stream, context)
    const kind = kinds.of(request.model, context.requestType)
    const { facts } = kind
    if ((facts.deprecatedOn ?? facts.retiresOn) !== undefined && !warned.has(facts.id)) {
      yield* Deprecation.warn(facts, warned)
    }
    const base: MessageCall["base"] = {
      ...begin(request.model, context, facts),
      endpoint: "messages",
      request,
      estimate: Estimate.make(request, facts, context.estimate),
      kind,
      isFast: request.speed === "fast" && Model.isFast(facts, request.speed),
      optimized: changes.length === 0 ? undefined : { askedModel: asked.model, changes }
    }
    return { base, advice, began }
  })

  return { begin, beginMessage, sanitize: sanitizer.sanitize }
})

const spanOf = (model: string) => ({ attributes: { "gen_ai.request.model": model }, captureStackTrace: false })

const spanOfAttempt = ({ callId, number }: Attempt.Attempt) => ({
  attributes: { "claude.call_id": callId, "claude.attempt": number },
  captureStackTrace: false
})

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

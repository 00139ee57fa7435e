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
import type * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Attempt from "./Attempt.ts"
import * as Budget from "./Budget.ts"
import * as CircuitBreaker from "./CircuitBreaker.ts"
import * as ClaudeApi from "./ClaudeApi.ts"
import * as ClaudeConfig from "./ClaudeConfig.ts"
import type { CallError, IncompleteAnswerError, StreamError } from "./ClaudeError.ts"
import * as Calling from "./ClaudeService/internal/calling.ts"
import * as Hedging from "./ClaudeService/internal/hedging.ts"
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
import type { CallReport, StreamReport } from "./ClaudeService/internal/reports.ts"
import { ClaudeService } from "./ClaudeService/internal/service.ts"
import * as Streaming from "./ClaudeService/internal/streaming.ts"
import * as CostLedger from "./CostLedger.ts"
import * as Fallback from "./Fallback.ts"
import * as Hedge from "./Hedge.ts"
import * as KeyPool from "./KeyPool.ts"
import type * as KeyStore from "./KeyStore.ts"
import * as MessageStream from "./MessageStream.ts"
import * as Model from "./Model.ts"
import * as Monitor from "./Monitor.ts"
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

/** A policy that refuses, and takes nothing. */
const checking = <E>(check: (attempt: Attempt.Attempt) => Effect.Effect<void, E>): Attempt.Policy<E> => ({
  admit: (attempt) => Effect.as(check(attempt), Attempt.nothing)
})

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
  const budget = yield* Budget.Budget
  const { lookup } = yield* Model.Catalogue
  const kinds = new Attempt.CallKinds(lookup)
  const pool = yield* KeyPool.KeyPool
  const hedge = yield* Hedge.Hedge
  const perAttempt = yield* Calling.untilClosed(Attempt.all(
    ...(hedge.isOn ? [hedge] : []),
    checking(breaker.check),
    pool,
    checking(budget.check),
    yield* RateLimiter.RateLimiter,
    ...yield* Policies,
    budget,
    breaker,
    yield* CostLedger.CostLedger,
    Attempt.learning(kinds)
  ))

  const parts = {
    api,
    book,
    changed: breaker.changed,
    fallback: yield* Fallback.Fallback,
    mayMove: pool.mayMove,
    monitor: yield* Monitor.Monitor,
    perAttempt,
    retries
  }
  const { ask, begin, create, createWithReport, sanitize, start } = yield* Calling.make({ ...parts, kinds })
  const hedged = Hedging.make({ breaker, budget, hedge })
  const streamWithReport = Streaming.make({ ...parts, start, begin, hedged })

  return ClaudeService.of({
    create,
    createWithReport,
    text: (request) => Effect.flatMap(createWithReport(request), completeTextOf),
    stream: (request) => streamWithReport(request),
    streamWithReport,
    countTokens: (params) =>
      ask(
        "count_tokens",
        params.model,
        Effect.map(sanitize(params), (sanitized) => (attempt) => api.countTokens(attempt, sanitized))
      ),
    models: ask("list_models", "", Effect.succeed(api.models)),
    model: (id) => ask("get_model", id, Effect.succeed((attempt) => api.model(attempt, id)))
  })
})

const completeTextOf = ({ attempts, billedBefore, costNanoUsd, message }: CallReport) =>
  MessageStream.completeText(message, attempts, costNanoUsd, billedBefore)

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

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
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Pull from "effect/Pull"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Attempt from "./Attempt.ts"
import * as Budget from "./Budget.ts"
import { CallContext } from "./CallContext.ts"
import * as CircuitBreaker from "./CircuitBreaker.ts"
import * as ClaudeApi from "./ClaudeApi.ts"
import * as ClaudeConfig from "./ClaudeConfig.ts"
import {
  type ApiError,
  type CallError,
  DeadlineExceededError,
  isApiError,
  type Refusal,
  type StreamError,
  StreamInterruptedError
} from "./ClaudeError.ts"
import * as Deprecation from "./ClaudeService/internal/deprecation.ts"
import * as CostLedger from "./CostLedger.ts"
import * as CostOptimizer from "./CostOptimizer.ts"
import * as Estimate from "./Estimate.ts"
import { CallKinds } from "./internal/callKinds.ts"
import * as KeyPool from "./KeyPool.ts"
import * as KeyStore from "./KeyStore.ts"
import * as MessageStream from "./MessageStream.ts"
import * as Model from "./Model.ts"
import * as PriceBook from "./PriceBook.ts"
import * as RateLimiter from "./RateLimiter.ts"
import { type CountTokensRequest, type Request } from "./Request.ts"
import * as RetryPolicy from "./RetryPolicy.ts"
import * as Usage from "./Usage.ts"

/**
 * A message and what it took to get it.
 *
 * - `attempts`: requests sent; `waits` are those before the second and later ones.
 * - `latency`: from the start of the call, waits included.
 * - `model`: the one that served it, as the answer names it.
 * - `costNanoUsd`: what this answer costs, in integer nano-dollars; undefined where its model has no price. Attempts before it that failed
 *   are in the ledger.
 * - `changes`: what the optimizer did to the request; `advice`: what the caller might do.
 *
 * @category models
 * @since 0.1.0
 */
export interface CallReport {
  readonly message: Message
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
  /** The joined text of the answer. */
  readonly text: (request: Request) => Effect.Effect<string, CallError>
  /**
   * The answer as it is produced. Failures before the first content are retried unseen; later ones end the stream with
   * `StreamInterruptedError`. The request lives as long as the stream is read.
   */
  readonly stream: (request: Request) => Stream.Stream<MessageStream.Event, StreamError>
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
}

/** The most events that are held back while a stream has not shown any content. */
const maxHeld = 256

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
  const optimizer = yield* CostOptimizer.CostOptimizer
  const breaker = yield* CircuitBreaker.CircuitBreaker
  const catalogue = yield* Model.Catalogue
  const kinds = new CallKinds()
  const warned = new Set<string>()
  const perAttempt = Attempt.all(
    { admit: (attempt) => Effect.as(breaker.check(attempt), Attempt.nothing) },
    yield* KeyPool.KeyPool,
    yield* Budget.Budget,
    yield* RateLimiter.RateLimiter,
    breaker,
    yield* CostLedger.CostLedger,
    Attempt.learning(kinds)
  )

  const run = (yield* Random.nextIntBetween(0, 36 ** 10)).toString(36).padStart(10, "0")
  let calls = 0

  const common = (model: string, context: CallContext): Omit<Attempt.Common, "number"> => ({
    callId: `call-${run}-${(++calls).toString(36)}`,
    model,
    facts: catalogue.lookup(model),
    context,
    key: undefined,
    outcome: Attempt.Outcome.NotSent()
  })

  const beginMessage = Effect.fnUntraced(function*(asked: Request, stream: boolean) {
    const context = yield* CallContext
    const lengths = (model: string) => kinds.of(model, context.requestType).lengths
    const { advice, changes, request } = yield* optimizer.optimize(asked, { stream, lengths })
    if (changes.length > 0) {
      yield* Effect.annotateCurrentSpan({
        "claude.asked_model": asked.model,
        "claude.optimizer.rules": changes.map(({ rule }) => rule)
      })
    }
    const shared = common(request.model, context)
    const { facts } = shared
    if ((facts.deprecatedOn ?? facts.retiresOn) !== undefined && !warned.has(facts.id)) {
      yield* Deprecation.warn(facts, warned)
    }
    const base: MessageCall["base"] = {
      ...shared,
      endpoint: "messages",
      request,
      estimate: Estimate.make(request, facts),
      kind: kinds.of(request.model, context.requestType),
      isFast: Model.isFast(facts, request.speed),
      optimized: changes.length === 0 ? undefined : { askedModel: asked.model, changes }
    }
    return { base, advice }
  })

  const costOf = (attempt: Attempt.Attempt, now: number): number | undefined =>
    Attempt.costOf(book, attempt, now)?.cost?.nanoUsd

  const createWithReport = (request: Request): Effect.Effect<CallReport, CallError> =>
    inSpan(
      Effect.gen(function*() {
        const began = yield* Clock.currentTimeMillis
        const call = yield* beginMessage(request, false)
        return yield* retries.retry(({ number, waitedMillis }) => {
          const attempt: Attempt.MessageAttempt = { ...call.base, number }
          return Effect.flatMap(
            inAttemptSpan(Attempt.guard(perAttempt, attempt, api.send(attempt)), attempt),
            (message) =>
              Effect.map(Clock.currentTimeMillis, (now): CallReport => ({
                ...reportOf(attempt, message, waitedMillis, now - began),
                costNanoUsd: costOf(attempt, now),
                changes: attempt.optimized?.changes ?? [],
                advice: call.advice
              }))
          )
        })
      }),
      "ClaudeService.create",
      request.model
    )

  const create = (request: Request) => Effect.map(createWithReport(request), (report) => report.message)

  /** A call that costs nothing. */
  const ask = <A>(
    name: string,
    endpoint: "countTokens" | "models",
    model: string,
    send: (attempt: Attempt.Attempt) => Effect.Effect<A, ApiError>
  ): Effect.Effect<A, CallError> =>
    inSpan(
      Effect.flatMap(CallContext, (context) => {
        const base = { ...common(model, context), endpoint }
        return retries.retry(({ number }) => {
          const attempt: Attempt.Attempt = { ...base, number }
          return inAttemptSpan(Attempt.guard(perAttempt, attempt, send(attempt)), attempt)
        })
      }),
      name,
      model
    )

  /** Opens a stream up to its first content, under the policies of an attempt; a failure gives all of it back. */
  const open = (call: MessageCall, number: number, callScope: Scope.Scope) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*() {
        const attempt: Attempt.MessageAttempt = { ...call.base, number }
        const scope = yield* Scope.fork(callScope)
        const guarded = Attempt.guardStream(perAttempt, attempt, api.stream(attempt))
        return yield* Stream.toPull(guarded).pipe(
          Effect.flatMap((pull) => Effect.map(restore(untilContent(pull)), (held) => ({ attempt, held, pull }))),
          Effect.tap(() => Effect.map(Clock.currentTimeMillis, (now) => Attempt.contentArrived(attempt, now))),
          Effect.withSpanScoped("ClaudeService.attempt", spanOfAttempt(attempt)),
          Scope.provide(scope),
          Effect.onExit((exit) => Exit.isSuccess(exit) ? Effect.void : Scope.close(scope, exit))
        )
      })
    )

  return ClaudeService.of({
    create,
    createWithReport,
    text: (request) => Effect.map(create(request), MessageStream.textOf),
    stream: (request) =>
      Stream.unwrap(
        Effect.gen(function*() {
          const scope = yield* Effect.scope
          const call = yield* beginMessage(request, true)
          const opened = yield* retries.retry(({ number }) => open(call, number, scope))
          return afterContent(opened, costOf)
        }).pipe(Effect.withSpanScoped("ClaudeService.stream", spanOf(request.model)))
      ),
    countTokens: (params) =>
      ask("ClaudeService.countTokens", "countTokens", params.model, (attempt) => api.countTokens(attempt, params)),
    models: ask("ClaudeService.models", "models", "", api.models),
    model: (id) => ask("ClaudeService.model", "models", id, (attempt) => api.model(attempt, id))
  })
})

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

const reportOf = (
  attempt: Attempt.Attempt,
  message: Message,
  waitedMillis: ReadonlyArray<number>,
  latencyMillis: number
): Omit<CallReport, "costNanoUsd" | "changes" | "advice"> => ({
  message,
  callId: attempt.callId,
  requestId: attempt.outcome._tag === "Completed" ? attempt.outcome.requestId : undefined,
  attempts: attempt.number,
  waits: waitedMillis.map((millis) => Duration.millis(millis)),
  latency: Duration.millis(latencyMillis),
  keyLabel: attempt.key?.label,
  model: message.model,
  usage: attempt.outcome._tag === "Completed" ? attempt.outcome.usage : Usage.fromReported(message.usage)
})

type Events = Arr.NonEmptyReadonlyArray<MessageStream.Event>
type EventPull = Pull.Pull<Events, ApiError | Refusal>

/** Pulls until there is something to show, or the message ended without any content. */
const untilContent = (
  pull: EventPull
): Effect.Effect<ReadonlyArray<MessageStream.Event>, ApiError | Refusal> =>
  Effect.suspend(() => {
    let held: ReadonlyArray<MessageStream.Event> = []
    const more: Effect.Effect<ReadonlyArray<MessageStream.Event>, ApiError | Refusal> = Pull.matchEffect(
      pull,
      {
        onSuccess: (events) => {
          held = held.length === 0 ? events : [...held, ...events]
          return events.some(shows) || held.length >= maxHeld ? Effect.succeed(held) : more
        },
        onDone: () => Effect.succeed(held),
        onFailure: Effect.failCause
      }
    )
    return more
  })

const shows = (event: MessageStream.Event): boolean => MessageStream.isContent(event) || event.type === "message_delta"

/** Gives what was held back and then the rest; from here on a failure carries what had been given. */
const afterContent = (
  { attempt, held, pull }: {
    readonly attempt: Attempt.Attempt
    readonly held: ReadonlyArray<MessageStream.Event>
    readonly pull: EventPull
  },
  costOf: (attempt: Attempt.Attempt, now: number) => number | undefined
): Stream.Stream<MessageStream.Event, StreamError> => {
  const accumulator = MessageStream.accumulate()
  const given = (events: Events): Events => {
    for (const event of events) accumulator.add(event)
    return events
  }
  const rest = Effect.catch(
    Effect.map(pull, given),
    (error): Effect.Effect<never, StreamError | Cause.Done> => {
      const partial = accumulator.message()
      if (Cause.isDone(error) || !isApiError(error) || partial === undefined) return Effect.fail(error)
      const cause = error._tag === "ConnectionError" && error.limit === "deadline"
        ? new DeadlineExceededError({ lastError: error, attempts: attempt.number })
        : error
      const usage = attempt.outcome._tag === "NotSent" ? Usage.zero : attempt.outcome.usage
      return Effect.flatMap(Clock.currentTimeMillis, (now) =>
        Effect.fail(
          new StreamInterruptedError({
            partial,
            usage,
            cause,
            costNanoUsd: costOf(attempt, now),
            attempts: attempt.number
          })
        ))
    }
  )
  let first = Arr.isReadonlyArrayNonEmpty(held) ? held : undefined
  return Stream.fromPull(Effect.succeed(Effect.suspend(() => {
    if (first === undefined) return rest
    const events = first
    first = undefined
    return Effect.succeed(given(events))
  })))
}

/**
 * The service over parts that the user provides. It is built anew over the parts of each place, also inside a region that
 * has a service already.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerNoDeps: Layer.Layer<ClaudeService, never, ClaudeApi.ClaudeApi | KeyPool.KeyPool | Policies> = Layer
  .fresh(Layer.effect(ClaudeService, make))

/**
 * What `layerPolicies` gives.
 *
 * @category models
 * @since 0.1.0
 */
export type Policies =
  | RetryPolicy.RetryPolicy
  | RateLimiter.RateLimiter
  | CircuitBreaker.CircuitBreaker
  | PriceBook.PriceBook
  | Budget.Budget
  | CostLedger.CostLedger
  | CostOptimizer.CostOptimizer

/**
 * Every policy but the keys, at its default or as `options` say: without `budget` nothing is bounded, without `optimizer` nothing is changed, and
 * the ledger is in memory.
 *
 * **Example** (One of them in another way)
 *
 * ```ts
 * import { ClaudeService, RateLimiter } from "effect-claude"
 * import { Layer } from "effect"
 *
 * export const unlimited = Layer.merge(ClaudeService.layerPolicies(), RateLimiter.layerOff)
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerPolicies = (
  options: Omit<ClaudeConfig.Options, "api"> = {}
): Layer.Layer<Policies, never, ClaudeApi.ClaudeApi> =>
  Layer.mergeAll(
    RetryPolicy.layer(options.retry),
    RateLimiter.layer(options.limiter),
    CircuitBreaker.layer(options.breaker),
    options.budget === undefined ? Budget.layerOff : Budget.layer(options.budget),
    CostLedger.layer(options.ledger),
    options.optimizer === undefined ? CostOptimizer.layerOff : CostOptimizer.layer(options.optimizer)
  ).pipe(Layer.provideMerge(PriceBook.layer(options.prices)))

/**
 * The service under `layerPolicies`, over an API and keys that the user provides.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerDefault = (
  options: Omit<ClaudeConfig.Options, "api"> = {}
): Layer.Layer<ClaudeService, never, ClaudeApi.ClaudeApi | KeyPool.KeyPool> =>
  layerNoDeps.pipe(Layer.provide(layerPolicies(options)))

/**
 * The service with every policy at its default and the keys of `ANTHROPIC_API_KEY`. Build it once and share it: each
 * call of `layer` makes its own limiter, circuits and retry budget.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: ClaudeConfig.Options = {}
): Layer.Layer<ClaudeService, Config.ConfigError | KeyStore.KeyStoreError> =>
  layerDefault(options).pipe(Layer.provide([
    ClaudeApi.layer(options.api),
    KeyPool.layer().pipe(Layer.provide(KeyStore.layerEnv))
  ]))

/**
 * `layer` with the options that the environment gives, as `ClaudeConfig.config` names them.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig: Layer.Layer<ClaudeService, Config.ConfigError | KeyStore.KeyStoreError> = Layer.unwrap(
  Effect.map(ClaudeConfig.config, layer)
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
 * The joined text of the answer.
 *
 * @category accessors
 * @since 0.1.0
 */
export const text = (request: Request): Effect.Effect<string, CallError, ClaudeService> =>
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

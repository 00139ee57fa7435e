/**
 * A scripted Claude for unit tests: it says what the test wrote down, records what it was asked, and needs no network.
 *
 * `layer` replaces `ClaudeService`: what is scripted reaches the program at once, errors included. `layerApi` replaces the
 * port below all policies, so that retries, keys and limits do their work on what is scripted.
 *
 * Each call (below policies: each attempt) takes the next answer. A call that finds none left is a defect that says which
 * call it was and what was asked. Listing models and counting tokens need no script: models are those of the catalogue,
 * tokens are counted as `testing/Simulator` counts them, and so is the usage of every answer.
 *
 * **Example** (A program that falls back when Claude is overloaded)
 *
 * ```ts
 * import { ClaudeError, ClaudeService } from "effect-claude"
 * import { Effect } from "effect"
 * import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
 *
 * const greet = (name: string) =>
 *   ClaudeService.text({
 *     model: "claude-sonnet-5-5",
 *     max_tokens: 100,
 *     messages: [{ role: "user", content: `Greet ${name}.` }]
 *   }).pipe(Effect.catchTag("ServerError", () => Effect.succeed(`Hello, ${name}.`)))
 *
 * const test = Effect.gen(function*() {
 *   const greetings = [yield* greet("Ada"), yield* greet("Grace")]
 *   const asked = yield* ClaudeTest.requests
 *   return [...greetings, asked[1]?.messages[0]?.content]
 * }).pipe(Effect.provide(ClaudeTest.layer("Good day, Ada!", new ClaudeError.ServerError({ overloaded: true }))))
 *
 * await Effect.runPromise(test) // => ["Good day, Ada!", "Hello, Grace.", "Greet Grace."]
 * ```
 *
 * @since 0.1.0
 */
import type { ContentBlock } from "@anthropic-ai/sdk/resources/messages"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { type Attempt, CallKind, type Key, type MessageAttempt, Outcome } from "../Attempt.ts"
import * as Budget from "../Budget.ts"
import { CallContext } from "../CallContext.ts"
import * as CircuitBreaker from "../CircuitBreaker.ts"
import { ClaudeApi } from "../ClaudeApi.ts"
import { type ApiError, BadRequestError, type CallError, ConnectionError, isApiError } from "../ClaudeError.ts"
import * as ClaudeService from "../ClaudeService.ts"
import * as CostLedger from "../CostLedger.ts"
import * as CostOptimizer from "../CostOptimizer.ts"
import * as Estimate from "../Estimate.ts"
import { refusalOfMessage } from "../internal/modelRefusal.ts"
import * as KeyPool from "../KeyPool.ts"
import * as KeyStore from "../KeyStore.ts"
import * as Model from "../Model.ts"
import * as PriceBook from "../PriceBook.ts"
import * as RateLimiter from "../RateLimiter.ts"
import type { CountTokensRequest, Request } from "../Request.ts"
import * as RetryPolicy from "../RetryPolicy.ts"
import * as Usage from "../Usage.ts"
import * as Scripted from "./internal/scriptedReply.ts"

export type { Block, Reply } from "./internal/scriptedReply.ts"

/**
 * What Claude answers to one call.
 *
 * - A text, a block, or a `Reply` is a message, for whole answers and for streams.
 * - An effect is run for its answer: an error fails with itself, `Effect.delay` makes an answer late.
 * - A function computes the answer from the request.
 *
 * @category models
 * @since 0.1.0
 */
export type Answer<E = CallError> =
  | string
  | Scripted.Block
  | Scripted.Reply
  | Effect.Effect<string | Scripted.Block | Scripted.Reply, E>
  | ((request: Request, context: CallContext) => Answer<E>)

/**
 * An answer that is given again and again; made by {@link forever}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Forever<out A = Answer> {
  readonly forever: A
}

/**
 * A call as it arrived: below policies, one attempt of it. `attempt` is what policies see; its `outcome` says what became
 * of it.
 *
 * @category models
 * @since 0.1.0
 */
export type Call =
  & { readonly context: CallContext; readonly attempt: Attempt }
  & (
    | { readonly method: "create" | "stream"; readonly request: Request }
    | { readonly method: "countTokens"; readonly request: CountTokensRequest }
    | { readonly method: "model"; readonly request: string }
    | { readonly method: "models"; readonly request: undefined }
  )

/**
 * What a test can ask about its scripted Claude.
 *
 * @category services
 * @since 0.1.0
 */
export class ClaudeTest extends Context.Service<ClaudeTest, {
  /** Every call in the order of arrival. */
  readonly calls: Effect.Effect<ReadonlyArray<Call>>
  /** How many answers of the script nobody has asked for yet; one that is given for ever does not count. */
  readonly unused: Effect.Effect<number>
}>()("effect-claude/testing/ClaudeTest") {}

/**
 * Text, in the pieces in which a stream brings it.
 *
 * **Example** (Two pieces)
 *
 * ```ts
 * import { ClaudeService, MessageStream } from "effect-claude"
 * import { Effect, Stream } from "effect"
 * import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
 *
 * const pieces = ClaudeService.stream(ClaudeTest.hello).pipe(MessageStream.text, Stream.runCollect)
 *
 * await Effect.runPromise(Effect.provide(pieces, ClaudeTest.layer(ClaudeTest.text("Good ", "day!")))) // => ["Good ", "day!"]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const text = (...pieces: ReadonlyArray<string>): Scripted.Block => ({
  block: { type: "text", text: pieces.join(""), citations: null },
  pieces
})

/**
 * Thinking, in the pieces in which a stream brings it, with a signature.
 *
 * @category constructors
 * @since 0.1.0
 */
export const thinking = (...pieces: ReadonlyArray<string>): Scripted.Block => ({
  block: { type: "thinking", thinking: pieces.join(""), signature: "signature_test" },
  pieces
})

/**
 * A call of a tool. `id` is made up, different for each call, when left out; `pieces` are those of its JSON in a stream,
 * by default all of it at once.
 *
 * @category constructors
 * @since 0.1.0
 */
export const toolUse = (name: string, input: unknown, options: {
  readonly id?: string | undefined
  readonly pieces?: ReadonlyArray<string> | undefined
} = {}): Scripted.Block => ({
  block: { type: "tool_use", id: options.id ?? "", caller: { type: "direct" }, name, input: input ?? {} },
  pieces: options.pieces ?? [JSON.stringify(input ?? {})]
})

/**
 * Any other block of the SDK; a stream brings it complete.
 *
 * @category constructors
 * @since 0.1.0
 */
export const block = (block: ContentBlock): Scripted.Block => ({ block, pieces: [] })

/**
 * The same answer for this call and all that follow.
 *
 * @category constructors
 * @since 0.1.0
 */
export const forever = <A extends Answer>(answer: A): Forever<A> => ({ forever: answer })

/**
 * A request, for tests to which it does not matter.
 *
 * @category constants
 * @since 0.1.0
 */
export const hello: Request = {
  model: "claude-sonnet-5-5",
  max_tokens: 100,
  messages: [{ role: "user", content: "Hello!" }]
}

/**
 * A key that opens nothing, for the pool above `layerApi`.
 *
 * @category constants
 * @since 0.1.0
 */
export const key: Key = { label: "test", group: "test", secret: Redacted.make("sk-ant-test") }

/** An error knows which attempt it ended, unless the script says that it was a later one. */
const counted = <E>(error: E, { number }: Attempt): E => {
  if (!isApiError(error) || error.attempts >= number) return error
  // Whichever of the five it is, it is made again from its own fields.
  const Same = error.constructor as new(fields: object) => typeof error
  return new Same({ ...error, attempts: number })
}

/** Ends with the deadline of the caller, as every wait in the port does. */
const inTime = <A, E>(effect: Effect.Effect<A, E>, { context }: Attempt): Effect.Effect<A, E | ConnectionError> => {
  const { deadline } = context
  if (deadline === undefined) return effect
  return Effect.flatMap(Clock.currentTimeMillis, (now) =>
    Effect.timeoutOrElse(effect, {
      duration: Math.max(0, deadline - now),
      orElse: () => Effect.fail(new ConnectionError({ reason: "timeout", limit: "deadline", billed: "unknown" }))
    }))
}

const pause = (millis: number, attempt: Attempt): Effect.Effect<void, ConnectionError> =>
  millis === 0 ? Effect.void : inTime(Effect.sleep(millis), attempt)

const completed = (usage: Usage.Usage, rendered?: Scripted.Rendered): Outcome => {
  const refusal = rendered === undefined ? undefined : refusalOfMessage(rendered.message)
  return Outcome.Completed({
    usage,
    limits: undefined,
    model: rendered?.message.model,
    requestId: rendered?.requestId,
    stopReason: rendered?.message.stop_reason ?? undefined,
    ...(refusal === undefined ? undefined : { refusal })
  })
}

/** Writes down a failure; what is no answer of the API is the refusal of a policy, and then nothing was sent. */
const failed = (attempt: Attempt, error: unknown) =>
  Effect.sync(() => {
    const usage = attempt.outcome._tag === "NotSent" ? Usage.zero : attempt.outcome.usage
    attempt.outcome = isApiError(error) ? Outcome.Failed({ usage, error, limits: undefined }) : Outcome.NotSent()
  })

/** The port over a script, and what it records. `E` is what the script can fail with. */
const make = <E>(script: ReadonlyArray<Answer<E> | Forever<Answer<E>>>) => {
  const calls: Array<Call> = []
  let position = 0

  const answerTo = (method: string, request: Request, { context, number }: Attempt) => {
    const next = script[position]
    if (next === undefined) {
      const last = JSON.stringify(request.messages.at(-1)?.content)?.slice(0, 200)
      return Effect.die(
        new Error(
          `ClaudeTest has no answer for call ${calls.length} (${method}, attempt ${number}, model ${request.model}, ` +
            `last message ${last}): the script has ${script.length}. Add one, or end it with ClaudeTest.forever.`
        )
      )
    }
    const repeats = Predicate.hasProperty(next, "forever")
    if (!repeats) position++
    let answer = repeats ? next.forever : next
    while (typeof answer === "function") answer = answer(request, context)
    return Effect.isEffect(answer) ? answer : Effect.succeed(answer)
  }

  const begin = (method: "create" | "stream", attempt: MessageAttempt) =>
    Clock.clockWith((clock) => {
      const { context, request } = attempt
      const number = calls.push({ method, request, context, attempt })
      attempt.sentAt = clock.currentTimeMillisUnsafe()
      attempt.outcome = Outcome.Aborted({ usage: Usage.zero })
      return Effect.map(
        inTime(answerTo(method, request, attempt), attempt),
        (answer) => Scripted.render(answer, request, number)
      )
    })

  /** What needs no script. */
  const free = <A, E>(call: Call, answer: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.suspend(() => {
      calls.push(call)
      return answer.pipe(
        Effect.tap(() => Effect.sync(() => (call.attempt.outcome = completed(Usage.zero)))),
        Effect.tapError((error) => failed(call.attempt, error))
      )
    })

  const port = {
    baseUrl: "http://claude.test",
    send: (attempt: MessageAttempt) =>
      begin("create", attempt).pipe(
        Effect.tap(({ steps }) => pause(steps.reduce((sum, { millis }) => sum + millis, 0), attempt)),
        Effect.flatMap((rendered) => {
          const { error, message } = rendered
          if (error !== undefined) return Effect.fail(error)
          attempt.outcome = completed(Usage.fromReported(message.usage), rendered)
          return Effect.succeed(message)
        }),
        Effect.mapError((error) => counted(error, attempt)),
        Effect.tapError((error) => failed(attempt, error))
      ),
    stream: (attempt: MessageAttempt) =>
      Stream.unwrap(Effect.map(begin("stream", attempt), (rendered) => {
        const usage = Usage.fromReported(rendered.message.usage)
        return Stream.fromIterable(rendered.steps).pipe(
          Stream.mapEffect(({ event, millis, outputTokens }) =>
            Effect.map(pause(millis, attempt), () => {
              attempt.outcome = event.type === "message_stop"
                ? completed(usage, rendered)
                : Outcome.Aborted({ usage: { ...usage, outputTokens } })
              return event
            })
          ),
          Stream.concat(rendered.error === undefined ? Stream.empty : Stream.fail(rendered.error))
        )
      })).pipe(
        Stream.mapError((error) => counted(error, attempt)),
        Stream.tapError((error) => failed(attempt, error))
      ),
    countTokens: (attempt: Attempt, params: CountTokensRequest) =>
      free(
        { method: "countTokens", request: params, context: attempt.context, attempt },
        Effect.sync(() => ({ input_tokens: Scripted.inputTokens(params) }))
      ),
    models: (attempt: Attempt) =>
      free({ method: "models", request: undefined, context: attempt.context, attempt }, Effect.sync(Scripted.models)),
    model: (attempt: Attempt, id: string) =>
      free(
        { method: "model", request: id, context: attempt.context, attempt },
        Effect.suspend(() => {
          const model = Scripted.models().find((model) => model.id === Model.find(id)?.id)
          return model === undefined
            ? Effect.fail(new BadRequestError({ status: 404, errorType: "not_found_error", detail: `model: ${id}` }))
            : Effect.succeed(model)
        })
      )
  }
  const recorded = ClaudeTest.of({
    calls: Effect.sync(() => [...calls]),
    unused: Effect.sync(() => script.slice(position).filter((next) => !Predicate.hasProperty(next, "forever")).length)
  })
  return { port, recorded }
}

/**
 * What an attempt is made from; whatever is left out has a plain default.
 *
 * - `request`: default {@link hello}. `model` and `maxTokens` change it.
 * - `facts`: those of the model; default what `Model.lookup` knows.
 * - `context`: merged into the one of a call of which nothing was said.
 * - `kind`: what such calls used before. Default: nothing is known of them.
 * - `key`: default {@link key}; `null` for an attempt that has none yet.
 *
 * @category options
 * @since 0.1.0
 */
export interface AttemptOptions {
  readonly callId?: string | undefined
  readonly number?: number | undefined
  readonly model?: string | undefined
  readonly facts?: Model.Model | undefined
  readonly maxTokens?: number | undefined
  readonly request?: Request | undefined
  readonly context?: Partial<CallContext> | undefined
  readonly estimate?: Partial<Estimate.Estimate> | undefined
  readonly kind?: CallKind | undefined
  readonly key?: Key | null | undefined
  readonly optimized?: MessageAttempt["optimized"]
  readonly outcome?: Outcome | undefined
}

/**
 * An attempt to get a message, for tests of policies.
 *
 * **Example** (A policy admits and settles)
 *
 * ```ts
 * import { Attempt } from "effect-claude"
 * import { Effect, Ref } from "effect"
 * import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
 *
 * const test = Effect.gen(function*() {
 *   const running = yield* Ref.make(0)
 *   const counting: Attempt.Policy = {
 *     admit: () => Effect.as(Ref.update(running, (n) => n + 1), Ref.update(running, (n) => n - 1))
 *   }
 *   const during = yield* Attempt.guard(counting, ClaudeTest.attempt(), Ref.get(running))
 *   return [during, yield* Ref.get(running)]
 * })
 *
 * await Effect.runPromise(test) // => [1, 0]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const attempt = (options: AttemptOptions = {}): MessageAttempt => {
  const given = options.request ?? hello
  const request = {
    ...given,
    model: options.model ?? given.model,
    max_tokens: options.maxTokens ?? given.max_tokens
  }
  const facts = options.facts ?? Model.lookup(request.model)
  return {
    callId: options.callId ?? "call-1",
    number: options.number ?? 1,
    endpoint: "messages",
    model: request.model,
    facts,
    request,
    context: { ...Context.get(Context.empty(), CallContext), ...options.context },
    estimate: { ...Estimate.make(request, facts), ...options.estimate },
    kind: options.kind ?? new CallKind(),
    isFast: Model.isFast(facts, request.speed),
    optimized: options.optimized,
    key: options.key === null ? undefined : options.key ?? key,
    outcome: options.outcome ?? Outcome.NotSent()
  }
}

/**
 * A scripted `ClaudeService` without any policy: every error of the script reaches the program at once. Only the deadline
 * of the caller is kept.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  ...script: ReadonlyArray<Answer | Forever>
): Layer.Layer<ClaudeService.ClaudeService | ClaudeTest> =>
  Layer.unwrap(Effect.sync(() => {
    const { port, recorded } = make(script)
    // Layers of its own: those of the modules would be shared with whatever service is around.
    const claude = Layer.effect(ClaudeService.ClaudeService, ClaudeService.make).pipe(Layer.provide([
      // A refusal in the script comes from where none can; `make` gives it on, as it does those of policies.
      Layer.succeed(ClaudeApi, port as ClaudeApi["Service"]),
      RetryPolicy.layerOff,
      RateLimiter.layerOff,
      CircuitBreaker.layerOff,
      PriceBook.layer(),
      Budget.layerOff,
      CostLedger.layerOff,
      CostOptimizer.layerOff,
      Layer.effect(KeyPool.KeyPool, KeyPool.make).pipe(Layer.provide(KeyStore.layerKeys([key])), Layer.orDie)
    ]))
    return Layer.merge(claude, Layer.succeed(ClaudeTest, recorded))
  }))

/**
 * A scripted port, for tests of policies and of programs under them. It writes the outcome of each attempt as the real
 * one does, and an answer is used up by each attempt.
 *
 * **Example** (A retry)
 *
 * ```ts
 * import { ClaudeError, ClaudeService } from "effect-claude"
 * import { Effect } from "effect"
 * import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
 *
 * const claude = ClaudeService.layer({
 *   api: ClaudeTest.layerApi(new ClaudeError.ServerError({ overloaded: true }), "At last."),
 *   keys: [ClaudeTest.key],
 *   retry: { throttledBase: "1 millis" }
 * })
 *
 * const report = ClaudeService.createWithReport(ClaudeTest.hello).pipe(Effect.provide(claude))
 *
 * await Effect.runPromise(Effect.map(report, ({ attempts }) => attempts)) // => 2
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerApi = (
  ...script: ReadonlyArray<Answer<ApiError> | Forever<Answer<ApiError>>>
): Layer.Layer<ClaudeApi | ClaudeTest> =>
  Layer.effectContext(Effect.sync(() => {
    const { port, recorded } = make(script)
    return Context.make(ClaudeApi, port).pipe(Context.add(ClaudeTest, recorded))
  }))

/**
 * Every call in the order of arrival.
 *
 * @category accessors
 * @since 0.1.0
 */
export const calls: Effect.Effect<ReadonlyArray<Call>, never, ClaudeTest> = Effect.flatMap(
  ClaudeTest,
  (self) => self.calls
)

/**
 * The requests for messages, whole or streamed, in the order of arrival.
 *
 * @category accessors
 * @since 0.1.0
 */
export const requests: Effect.Effect<ReadonlyArray<Request>, never, ClaudeTest> = Effect.map(
  calls,
  (calls) => calls.flatMap((call) => call.method === "create" || call.method === "stream" ? [call.request] : [])
)

/**
 * How many answers of the script nobody has asked for; one that is given for ever does not count.
 *
 * @category accessors
 * @since 0.1.0
 */
export const unused: Effect.Effect<number, never, ClaudeTest> = Effect.flatMap(ClaudeTest, (self) => self.unused)

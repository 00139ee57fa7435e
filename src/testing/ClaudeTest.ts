/**
 * A scripted Claude for unit tests: it gives the answers of a script, records the requests, and needs no network.
 *
 * `layer` replaces `ClaudeService`: scripted answers and errors reach the program immediately. `layerApi` replaces the port
 * below all policies, so that retries, keys and limits act on the scripted answers.
 *
 * Each call (with `layerApi`: each attempt) takes the next answer. A call after the last answer is a defect that names the
 * call and its request. Listing models and counting tokens need no script: models come from the catalogue, and tokens, also
 * in the usage of every answer, are counted as `testing/Simulator` counts them.
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
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { CallKind, type Key, type MessageAttempt, Outcome } from "../Attempt.ts"
import * as Budget from "../Budget.ts"
import { CallContext } from "../CallContext.ts"
import * as CircuitBreaker from "../CircuitBreaker.ts"
import { ClaudeApi } from "../ClaudeApi.ts"
import type { ApiError } from "../ClaudeError.ts"
import * as ClaudeService from "../ClaudeService.ts"
import * as CostLedger from "../CostLedger.ts"
import * as CostOptimizer from "../CostOptimizer.ts"
import * as Estimate from "../Estimate.ts"
import * as Fallback from "../Fallback.ts"
import * as Hedge from "../Hedge.ts"
import * as InputSanitizer from "../InputSanitizer.ts"
import * as KeyPool from "../KeyPool.ts"
import * as KeyStore from "../KeyStore.ts"
import * as Model from "../Model.ts"
import * as Monitor from "../Monitor.ts"
import * as PriceBook from "../PriceBook.ts"
import * as RateLimiter from "../RateLimiter.ts"
import type { Request } from "../Request.ts"
import * as RetryPolicy from "../RetryPolicy.ts"
import { type Answer, type Call, type Forever, make } from "./internal/scriptedApi.ts"
import type * as Scripted from "./internal/scriptedReply.ts"

export type { Answer, Call, Forever } from "./internal/scriptedApi.ts"
export type { Block, Reply } from "./internal/scriptedReply.ts"

/**
 * What a test can ask about its scripted Claude.
 *
 * @category services
 * @since 0.1.0
 */
export class ClaudeTest extends Context.Service<ClaudeTest, {
  /** Every call in the order of arrival. */
  readonly calls: Effect.Effect<ReadonlyArray<Call>>
  /** How many answers of the script are left; one that repeats forever does not count. */
  readonly unused: Effect.Effect<number>
}>()("effect-claude/testing/ClaudeTest") {}

/**
 * Text, in the pieces in which a stream delivers it.
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
 * Thinking, in the pieces in which a stream delivers it, with a signature.
 *
 * @category constructors
 * @since 0.1.0
 */
export const thinking = (...pieces: ReadonlyArray<string>): Scripted.Block => ({
  block: { type: "thinking", thinking: pieces.join(""), signature: "signature_test" },
  pieces
})

/**
 * A call of a tool. The default `id` is generated and different for each call; `pieces` are those of its JSON in a stream,
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
 * Any other block of the SDK; a stream delivers it complete.
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
 * A request, for tests that do not depend on its content.
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
 * A key that is not valid anywhere, for the pool above `layerApi`.
 *
 * @category constants
 * @since 0.1.0
 */
export const key: Key = { label: "test", group: "test", secret: Redacted.make("sk-ant-test") }

/**
 * The fields of an attempt that matter to a test; the others have plain defaults.
 *
 * - `callId`, `number`: of the call, and of the attempt within it. Default the first attempt of a call.
 * - `request`: what is asked. Default {@link hello}.
 * - `model`, `maxTokens`: replace those of the request. Default those of the request.
 * - `facts`: about the model. Default: what `Model.lookup` knows.
 * - `estimate`: merged into the estimate of the request. Default nothing.
 * - `context`: merged into the default `CallContext`.
 * - `kind`: what such calls used before. Default: nothing is known about them.
 * - `key`: its key, or `null` for an attempt that has none yet. Default {@link key}.
 * - `optimized`: what an optimizer changed. Default nothing.
 * - `outcome`: what became of it. Default `NotSent`.
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
 * A scripted `ClaudeService` without any policy: every error of the script reaches the program immediately. Only the
 * deadline of the caller applies.
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
      Fallback.layerOff,
      Hedge.layerOff,
      PriceBook.layer(),
      Budget.layerOff,
      CostLedger.layerOff,
      CostOptimizer.layerOff,
      InputSanitizer.layerOff,
      Monitor.layerOff,
      KeyPool.layerOff.pipe(Layer.provide(KeyStore.layerKeys([key])), Layer.orDie)
    ]))
    return Layer.merge(claude, Layer.succeed(ClaudeTest, recorded))
  }))

/**
 * A scripted port, for tests of policies and of programs under them. It writes the outcome of each attempt as the real
 * one does, and each attempt takes one answer.
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
 * How many answers of the script are left; one that repeats forever does not count.
 *
 * @category accessors
 * @since 0.1.0
 */
export const unused: Effect.Effect<number, never, ClaudeTest> = Effect.flatMap(ClaudeTest, (self) => self.unused)

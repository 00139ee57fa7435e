/**
 * A conversation: its history goes along with each request, and is one that the API accepts, whatever happened to the turns before.
 *
 * - A turn becomes part of the history with its answer; one that failed or was refused leaves it as it was. What a stream had shown when it was interrupted
 *   stays.
 * - With tools each turn is a loop of `ToolLoop`. Interrupted anywhere, each call has a result: its own, or one that says that it was interrupted.
 * - Turns wait for each other. `turns` is data: {@link Turns} writes and reads it.
 *
 * **Example** (Two turns)
 *
 * ```ts
 * import { Conversation } from "effect-claude"
 * import { Effect } from "effect"
 * import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
 *
 * const program = Effect.gen(function*() {
 *   const chat = yield* Conversation.make({ model: "claude-sonnet-5-5", max_tokens: 512 })
 *   const river = yield* chat.text("Name a river in France.")
 *   const source = yield* chat.text("Where does it rise?")
 *   return [river, source, (yield* chat.turns).length]
 * })
 *
 * const claude = ClaudeTest.layer("The Loire.", "In the Ardèche.")
 *
 * await Effect.runPromise(Effect.provide(program, claude)) // => ["The Loire.", "In the Ardèche.", 4]
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import type { CallError, IncompleteAnswerError, StreamError } from "./ClaudeError.ts"
import { ClaudeService } from "./ClaudeService.ts"
import * as CostOptimizer from "./CostOptimizer.ts"
import { valid } from "./internal/turns.ts"
import * as MessageStream from "./MessageStream.ts"
import * as PriceBook from "./PriceBook.ts"
import type { Block, Request, Turn } from "./Request.ts"
import * as ToolLoop from "./ToolLoop.ts"

const anyBlock = Schema.StructWithRest(Schema.Struct({ type: Schema.String }), [
  Schema.Record(Schema.String, Schema.Json)
])

/**
 * A history, to save and to restore: `Schema.fromJsonString(Conversation.Turns)` is a codec for a column of text. It checks the shape of turns; blocks
 * are those of the API, of any type.
 *
 * **Example** (Another process goes on)
 *
 * ```ts
 * import { Conversation } from "effect-claude"
 * import { Effect, Schema } from "effect"
 *
 * const Saved = Schema.fromJsonString(Conversation.Turns)
 *
 * export const save = (chat: Conversation.Conversation) => Effect.flatMap(chat.turns, Schema.encodeEffect(Saved))
 *
 * export const restore = (saved: string) =>
 *   Effect.flatMap(Schema.decodeEffect(Saved)(saved), (messages) =>
 *     Conversation.make({ model: "claude-sonnet-5-5", max_tokens: 512, messages }))
 * ```
 *
 * @category schemas
 * @since 0.1.0
 */
export const Turns = Schema.Array(Schema.Struct({
  role: Schema.Literals(["user", "assistant", "system"]),
  content: Schema.Union([Schema.String, Schema.Array(anyBlock)])
})) as unknown as Schema.Codec<ReadonlyArray<Turn>> // blocks are passed through as the SDK's own type

/**
 * What a user says: a text, or blocks.
 *
 * @category models
 * @since 0.1.0
 */
export type Content = string | ReadonlyArray<Block>

/**
 * What each request of a conversation asks for; `messages` are what was said before.
 *
 * @category models
 * @since 0.1.0
 */
export type Settings = Omit<Request, "messages"> & Partial<Pick<Request, "messages">>

/**
 * - `tools`, `maxSteps`, `maxUsd`, `concurrency`, `record`, `onEnd`: as those of `ToolLoop`, for each turn.
 * - `trim`: cuts the oldest turns before a request, as `CostOptimizer.trimHistory` does, out of the history too. Default: the history grows.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<out Tools extends ReadonlyArray<ToolLoop.AnyTool>, out R>
  extends Partial<ToolLoop.Options<Tools, R>>
{
  readonly trim?: CostOptimizer.TrimHistoryOptions | undefined
}

/**
 * A conversation. `E` and `R` are those of the handlers of its tools.
 *
 * @category models
 * @since 0.1.0
 */
export interface Conversation<out E = never, out R = never> {
  /**
   * Says something and gives the answer. Without content it goes on from where the history ends: with results of tools, or a turn that was paused.
   * Results of tools that you ran yourself are content.
   */
  readonly send: (
    content?: Content
  ) => Effect.Effect<ToolLoop.Report, CallError | ToolLoop.ToolLoopLimitError | E, R>
  /** The text of the answer; fails where it is not complete. An answer that was cut is part of the history all the same. */
  readonly text: (
    content?: Content
  ) => Effect.Effect<string, CallError | ToolLoop.ToolLoopLimitError | IncompleteAnswerError | E, R>
  /** The same as `send`, as it arrives. */
  readonly stream: (
    content?: Content
  ) => Stream.Stream<MessageStream.Event, StreamError | ToolLoop.ToolLoopLimitError | E, R>
  /** The history as it is now. */
  readonly turns: Effect.Effect<ReadonlyArray<Turn>>
  /** Each state of the history from now on, the present one first; within a turn too. */
  readonly changes: Stream.Stream<ReadonlyArray<Turn>>
}

/**
 * Begins a conversation, or goes on with one. Turns that were interrupted are made whole.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: <const Tools extends ReadonlyArray<ToolLoop.AnyTool> = readonly [], R = never>(
  settings: Settings,
  options?: Options<Tools, R>
) => Effect.Effect<
  Conversation<ToolLoop.ErrorOf<Tools[number]>, ToolLoop.NeedOf<Tools[number]> | R>,
  never,
  ClaudeService
> = Effect.fnUntraced(function*<E, R>(
  settings: Settings,
  { record, trim, ...options }: Options<ReadonlyArray<ToolLoop.Tool<E, R>>, R> = {}
): Effect.fn.Return<Conversation<E, R>, never, ClaudeService> {
  const claude = yield* ClaudeService
  const history = yield* SubscriptionRef.make(valid(settings.messages ?? []))
  const turn = yield* Semaphore.make(1)
  const trimmed = trim === undefined ? undefined : yield* trimming(trim)

  const loop: ToolLoop.Options<ReadonlyArray<ToolLoop.Tool<E, R>>, R> = {
    tools: [],
    ...options,
    record: (turns) => Effect.andThen(SubscriptionRef.set(history, turns), record?.(turns) ?? Effect.void)
  }

  const asked = (content: Content | undefined) =>
    Effect.flatMap(SubscriptionRef.get(history), (turns) => {
      const messages = content === undefined ? turns : valid([...turns, { role: "user", content }])
      const request: Request = { ...settings, messages }
      return trimmed === undefined ? Effect.succeed(request) : trimmed(request)
    })

  const send = (content?: Content) =>
    asked(content).pipe(
      Effect.flatMap((request) => ToolLoop.run(request, loop)),
      turn.withPermit,
      Effect.provideService(ClaudeService, claude)
    )

  return identity<Conversation<E, R>>({
    send,
    text: (content) =>
      Effect.flatMap(send(content), ({ costNanoUsd, message }) => MessageStream.completeText(message, 1, costNanoUsd)),
    stream: (content) =>
      Semaphore.takeScoped(turn, 1).pipe(
        Effect.andThen(asked(content)),
        Effect.map((request) => ToolLoop.stream(request, loop)),
        Stream.unwrap,
        Stream.provideService(ClaudeService, claude)
      ),
    turns: SubscriptionRef.get(history),
    changes: SubscriptionRef.changes(history)
  })
}) as never // its types are written out above

/** Cuts a request as the optimizer's rule does. The price of what is saved is nobody's concern here. */
const trimming = (options: CostOptimizer.TrimHistoryOptions) =>
  Effect.map(
    Effect.provide(CostOptimizer.make({ rules: [CostOptimizer.trimHistory(options)] }), PriceBook.layer()),
    ({ optimize }) => (request: Request) => Effect.map(optimize(request), (optimized) => optimized.request)
  )

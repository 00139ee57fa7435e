/**
 * A loop over calls of tools: as long as an answer asks for tools that have a handler, they run, and their results go back.
 *
 * - Calls of one answer run in parallel, up to `concurrency`. Input is decoded by the tool's schema; what does not fit, a failure that the tool declares,
 *   and a call of an unknown tool go back to the model. Any other failure of a handler ends the loop, with its own type.
 * - `maxSteps` and `maxUsd` bound it. An answer that the API paused (`pause_turn`) goes on in another step.
 * - Its history is valid at each instant, and `record` sees each of its states: interrupted anywhere, it can be sent again and go on, and no call runs twice.
 * - Each step is a call of `ClaudeService` with all its policies.
 *
 * **Example** (A tool)
 *
 * ```ts
 * import { ToolLoop } from "effect-claude"
 * import { Effect, Schema } from "effect"
 * import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
 *
 * const weather = ToolLoop.tool("weather", {
 *   description: "The weather of a city, now.",
 *   input: Schema.Struct({ city: Schema.String }),
 *   handler: ({ city }) => Effect.succeed(`18 degrees and sunny in ${city}`)
 * })
 *
 * const answer = ToolLoop.run({
 *   model: "claude-sonnet-5-5",
 *   max_tokens: 512,
 *   messages: [{ role: "user", content: "How is the weather in Paris?" }]
 * }, { tools: [weather], maxSteps: 5 })
 *
 * const claude = ClaudeTest.layer(ClaudeTest.toolUse("weather", { city: "Paris" }), "Sunny.")
 *
 * const program = Effect.map(answer, ({ calls, steps }) => [steps.length, calls.map(({ name }) => name)])
 *
 * await Effect.runPromise(Effect.provide(program, claude)) // => [2, ["weather"]]
 * ```
 *
 * @since 0.1.0
 */
import type { Message } from "@anthropic-ai/sdk/resources/messages"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Billed, CallError, StreamError } from "./ClaudeError.ts"
import { ClaudeService } from "./ClaudeService.ts"
import * as MessageStream from "./MessageStream.ts"
import type { Request, Turn } from "./Request.ts"
import { Loop, type Summary } from "./ToolLoop/internal/loop.ts"
import { type AnyTool, type Content, make as makeTool, type Tool, type ToolOptions } from "./ToolLoop/internal/tool.ts"

export type { Call, Summary } from "./ToolLoop/internal/loop.ts"
export type { AnyTool, Content, Definition, Result, Tool, ToolOptions } from "./ToolLoop/internal/tool.ts"

/**
 * The loop has to go on, and may not: after `maxSteps` requests, or since they cost `maxUsd`. The tools that its last answer asks for did not run.
 *
 * - `answer`: the last answer. Neither `message` nor `toJSON` shows it.
 * - `costNanoUsd`: what the loop cost, in integer nano-dollars; undefined where a step has no price.
 *
 * @category errors
 * @since 0.1.0
 */
export class ToolLoopLimitError
  extends Schema.TaggedError<ToolLoopLimitError>("effect-claude/ToolLoopLimitError")("ToolLoopLimitError", {
    limit: Schema.Literals(["steps", "dollars"]),
    steps: Schema.Int,
    costNanoUsd: Schema.optional(Schema.Int),
    // The message is the SDK's own type and came as JSON; it is passed through without decoding.
    answer: Schema.Unknown as unknown as Schema.Codec<Message>
  })
{
  readonly isRetryable: boolean = false
  readonly retryAfter: Duration.Duration | undefined = undefined
  readonly billed: Billed = "yes"
  override toJSON(): object {
    const { answer: _, ...shown } = { ...this }
    return shown
  }
  override get message(): string {
    const limit = this.limit === "steps" ? "maxSteps" : "maxUsd"
    return `The loop of tools did not come to its end within ${limit}, after ${this.steps} steps. Raise ${limit}, or send its history to go on.`
  }
}

/**
 * What a loop took, and the answer that ended it, whatever its stop reason: `MessageStream.completeText` is its text, or says why there is none.
 * With `stop_reason: "tool_use"` it asks for a tool of the request that has no handler here.
 *
 * @category models
 * @since 0.1.0
 */
export interface Report extends Summary {
  readonly message: Message
}

/**
 * - `tools`: those with a handler. Tools of the request itself are sent too: the API runs its own, and the loop ends where the model calls another.
 * - `maxSteps`: the most requests. Default 10.
 * - `maxUsd`: US dollars; no step begins once those before it cost as much. A budget bounds exactly. Default no bound.
 * - `concurrency`: how many calls of one answer run at a time. Default 5.
 * - `record`: sees the whole history whenever it has changed, one after another, uninterruptibly. Each is valid as it is: a call that runs has a
 *   result that says that it was interrupted, until it has its own.
 * - `onEnd`: runs once with what the loop took, however it ended.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<out Tools extends ReadonlyArray<AnyTool> = ReadonlyArray<AnyTool>, out R = unknown> {
  readonly tools: Tools
  readonly maxSteps?: number | undefined
  readonly maxUsd?: number | undefined
  readonly concurrency?: number | undefined
  readonly record?: ((turns: ReadonlyArray<Turn>) => Effect.Effect<void, never, R>) | undefined
  readonly onEnd?: ((summary: Summary) => Effect.Effect<void, never, R>) | undefined
}

/**
 * What handlers of these tools fail with.
 *
 * @category utility types
 * @since 0.1.0
 */
export type ErrorOf<T> = T extends Tool<infer E, unknown> ? E : never

/**
 * What handlers of these tools need.
 *
 * @category utility types
 * @since 0.1.0
 */
export type NeedOf<T> = T extends Tool<unknown, infer R> ? R : never

/**
 * A tool and its handler. What the handler takes and gives has the types of the schemas; what it needs, and the errors that it does not declare
 * as `failure`, are those of the loop.
 *
 * **Example** (A failure that goes back to the model, and one that does not)
 *
 * ```ts
 * import { ToolLoop } from "effect-claude"
 * import { Data, Effect, Schema } from "effect"
 *
 * class DatabaseDown extends Data.TaggedError("DatabaseDown")<{}> {}
 *
 * class NoSuchOrder extends Schema.TaggedError<NoSuchOrder>("NoSuchOrder")("NoSuchOrder", { id: Schema.Int }) {}
 *
 * // Tool<DatabaseDown>
 * export const order = ToolLoop.tool("order", {
 *   input: Schema.Struct({ id: Schema.Int }),
 *   success: Schema.Struct({ total: Schema.Finite, placedAt: Schema.DateFromString }),
 *   failure: NoSuchOrder,
 *   handler: Effect.fnUntraced(function*({ id }) {
 *     if (id === 0) return yield* new DatabaseDown()
 *     if (id > 100) return yield* new NoSuchOrder({ id })
 *     return { total: 12.5, placedAt: new Date(0) }
 *   })
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const tool: <
  Input extends Schema.Constraint,
  E,
  R,
  Success extends Schema.Constraint = Schema.Codec<Content>,
  Failure extends Schema.Constraint = Schema.Never
>(
  name: string,
  options: ToolOptions<Input, Success, Failure, E, R>
) => Tool<
  Exclude<E, Failure["Type"]>,
  R | Input["DecodingServices"] | Success["EncodingServices"] | Failure["EncodingServices"]
> = makeTool as never // the types of the options, which it does not look at

type Failure<Tools extends ReadonlyArray<AnyTool>> = ToolLoopLimitError | ErrorOf<Tools[number]>

type Need<Tools extends ReadonlyArray<AnyTool>, R> = ClaudeService | NeedOf<Tools[number]> | R

const loopOf = (request: Request, options: Options): Loop =>
  new Loop(request, {
    tools: options.tools,
    maxSteps: options.maxSteps ?? 10,
    maxUsd: options.maxUsd,
    concurrency: options.concurrency ?? 5,
    record: options.record ?? (() => Effect.void)
  })

/** Whether another step follows; a limit is an error. */
const proceed = (loop: Loop): Effect.Effect<boolean, unknown, unknown> =>
  Effect.flatMap(loop.proceed, (next) => {
    if (typeof next === "boolean") return Effect.succeed(next)
    const { costNanoUsd, steps } = loop.summary()
    return Effect.fail(new ToolLoopLimitError({ limit: next, steps: steps.length, costNanoUsd, answer: loop.last! }))
  })

/**
 * Runs the loop, and gives the answer that ended it with what all of it took.
 *
 * @category accessors
 * @since 0.1.0
 */
export const run: {
  <const Tools extends ReadonlyArray<AnyTool>, R = never>(
    options: Options<Tools, R>
  ): (request: Request) => Effect.Effect<Report, CallError | Failure<Tools>, Need<Tools, R>>
  <const Tools extends ReadonlyArray<AnyTool>, R = never>(
    request: Request,
    options: Options<Tools, R>
  ): Effect.Effect<Report, CallError | Failure<Tools>, Need<Tools, R>>
} = dual(2, (request: Request, options: Options) =>
  Effect.suspend(() => {
    const loop = loopOf(request, options)
    const step = (claude: ClaudeService["Service"]) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(restore(claude.createWithReport(loop.request())), (report) => {
          const { message, ...took } = report
          loop.report(took)
          return Effect.as(loop.answer(message, true), message)
        })
      )
    const steps = Effect.gen(function*() {
      const claude = yield* ClaudeService
      let message = yield* step(claude)
      while (yield* proceed(loop)) message = yield* step(claude)
      return { ...loop.summary(), message }
    })
    return Effect.withSpan(
      Effect.onExit(steps, () => options.onEnd?.(loop.summary()) ?? Effect.void),
      "ToolLoop.run"
    )
  }))

/**
 * The events of all steps as they arrive, one message after another. Tools run between the messages. A reader that stops early ends the loop; what
 * had arrived of an answer is part of the history.
 *
 * @category accessors
 * @since 0.1.0
 */
export const stream: {
  <const Tools extends ReadonlyArray<AnyTool>, R = never>(
    options: Options<Tools, R>
  ): (request: Request) => Stream.Stream<MessageStream.Event, StreamError | Failure<Tools>, Need<Tools, R>>
  <const Tools extends ReadonlyArray<AnyTool>, R = never>(
    request: Request,
    options: Options<Tools, R>
  ): Stream.Stream<MessageStream.Event, StreamError | Failure<Tools>, Need<Tools, R>>
} = dual(2, (request: Request, options: Options) =>
  Stream.suspend(() => {
    const loop = loopOf(request, options)
    return Stream.onExit(streamed(loop), () => options.onEnd?.(loop.summary()) ?? Effect.void)
  }))

/** One step, and those after it. */
const streamed = (loop: Loop): Stream.Stream<MessageStream.Event, unknown, unknown> =>
  Stream.suspend(() => {
    const accumulator = MessageStream.accumulate()
    let isWhole = false
    const events = Stream.unwrap(Effect.map(ClaudeService, (claude) =>
      claude.streamWithReport(loop.request(), ({ outcome: _outcome, ...took }) =>
        Effect.sync(() =>
          loop.report(took)
        ))))
    return events.pipe(
      Stream.mapArray((events) => {
        for (const event of events) {
          accumulator.add(event)
        }
        isWhole ||= events.some(({ type }) =>
          type === "message_stop"
        )
        return events
      }),
      Stream.onExit((exit) =>
        Effect.suspend(() => {
          const message = accumulator.message()
          return message === undefined ? Effect.void : loop.answer(message, isWhole && Exit.isSuccess(exit))
        })
      ),
      Stream.concat(Stream.unwrap(Effect.map(proceed(loop), (goesOn) => goesOn ? streamed(loop) : Stream.empty)))
    )
  })

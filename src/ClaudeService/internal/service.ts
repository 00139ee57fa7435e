/** The tag that programs depend on, and the reports that it gives. */
import type { Message, MessageTokensCount } from "@anthropic-ai/sdk/resources/messages"
import type { ModelInfo } from "@anthropic-ai/sdk/resources/models"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type * as Attempt from "../../Attempt.ts"
import type { CallError, IncompleteAnswerError, StreamError } from "../../ClaudeError.ts"
import type * as MessageStream from "../../MessageStream.ts"
import type { CountTokensRequest, Request } from "../../Request.ts"
import type * as Usage from "../../Usage.ts"

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

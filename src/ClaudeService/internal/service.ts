/** The tag that programs depend on. */
import type { Message, MessageTokensCount } from "@anthropic-ai/sdk/resources/messages"
import type { ModelInfo } from "@anthropic-ai/sdk/resources/models"
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type { CallError, IncompleteAnswerError, StreamError } from "../../ClaudeError.ts"
import type * as MessageStream from "../../MessageStream.ts"
import type { CountTokensRequest, Request } from "../../Request.ts"
import type { CallReport, StreamReport } from "./reports.ts"

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
  /** The same. `onEnd` runs once with what it took, when the stream ends or breaks, or its reader stops; a request that the sanitizer rejects has no report. */
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

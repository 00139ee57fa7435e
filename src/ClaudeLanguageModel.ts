/**
 * Claude as the `LanguageModel` of `effect/ai`: a program written for `effect/ai` runs on Claude, and each of its calls is a call of
 * `ClaudeService`, with its limits, circuits, budgets, retries and ledger.
 *
 * - What parts of a prompt say to Claude alone stands under the key `anthropic` of their options: `cacheControl` on any of them; `citations`,
 *   `documentTitle`, `documentContext` and `fileId` on files. What an answer says beside its parts stands there in their metadata.
 * - Errors are `AiError`, by the table of `docs/language-model.md`. {@link original} gives the error of `ClaudeError` back.
 * - A call has been retried below before it fails: a plan needs no more attempts at the same model. A stream that was cut is not retryable.
 *
 * **Example** (A program of `effect/ai`)
 *
 * ```ts
 * import { ClaudeService } from "effect-claude"
 * import * as ClaudeLanguageModel from "effect-claude/ClaudeLanguageModel"
 * import { Effect, Layer } from "effect"
 * import { LanguageModel } from "effect/ai"
 *
 * const program = Effect.map(LanguageModel.generateText({ prompt: "Say hello in French." }), ({ text }) => text)
 *
 * const claude = ClaudeLanguageModel.layer({ model: "claude-sonnet-5-5", maxTokens: 256 })
 *
 * export const main = program.pipe(Effect.provide(Layer.provide(claude, ClaudeService.layer())))
 * ```
 *
 * @since 0.1.0
 */
import * as AiError from "effect/ai/AiError"
import type * as LanguageModel from "effect/ai/LanguageModel"
import { LanguageModel as LanguageModelTag } from "effect/ai/LanguageModel"
import * as AiModel from "effect/ai/Model"
import type * as Prompt from "effect/ai/Prompt"
import * as Tokenizer from "effect/ai/Tokenizer"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import type * as Schema from "effect/Schema"
import type { CallFailure } from "./ClaudeLanguageModel/internal/errors.ts"
import { failureOf } from "./ClaudeLanguageModel/internal/errors.ts"
import type { CacheControl } from "./ClaudeLanguageModel/internal/metadata.ts"
import { make as makeModel } from "./ClaudeLanguageModel/internal/model.ts"
import { CallOptions, type Options, type RequestOptions } from "./ClaudeLanguageModel/internal/options.ts"
import { make as makeTokenizer } from "./ClaudeLanguageModel/internal/tokenizer.ts"
import type { ClaudeService } from "./ClaudeService.ts"

export type { CallFailure } from "./ClaudeLanguageModel/internal/errors.ts"
export type { CacheControl } from "./ClaudeLanguageModel/internal/metadata.ts"
export {
  type ApiFields,
  CallOptions,
  type ModelOptions,
  type Options,
  type RequestOptions
} from "./ClaudeLanguageModel/internal/options.ts"

/** What any part or message of a prompt may say. */
type Marked = { readonly cacheControl?: CacheControl | null }

/** Signed thinking, and blocks that come back to Claude as they were. */
type Reasoning =
  | { readonly type: "thinking"; readonly signature: string }
  | { readonly type: "redacted_thinking"; readonly redactedData: string }
  | { readonly type: "block"; readonly block: Schema.Json }

type Called = { readonly caller?: Schema.Json; readonly block?: Schema.Json }

// An optional key is at odds with an index signature where `exactOptionalPropertyTypes` is off. The declarations of a package are compiled with the options
// of its user, so each key says that this is meant: a comment of that form stays in them.
/* oxlint-disable typescript/ban-ts-comment */
declare module "effect/ai/Prompt" {
  interface SystemMessageOptions extends ProviderOptions {
    /** @ts-ignore without exactOptionalPropertyTypes */
    readonly anthropic?: Marked | null
  }
  interface UserMessageOptions extends ProviderOptions {
    /** @ts-ignore without exactOptionalPropertyTypes */
    readonly anthropic?: Marked | null
  }
  interface AssistantMessageOptions extends ProviderOptions {
    /** @ts-ignore without exactOptionalPropertyTypes */
    readonly anthropic?: Marked | null
  }
  interface ToolMessageOptions extends ProviderOptions {
    /** @ts-ignore without exactOptionalPropertyTypes */
    readonly anthropic?: Marked | null
  }
  interface TextPartOptions extends ProviderOptions {
    /** @ts-ignore without exactOptionalPropertyTypes */
    readonly anthropic?: Marked & { readonly citations?: ReadonlyArray<Schema.Json> } | null
  }
  interface ReasoningPartOptions extends ProviderOptions {
    /** @ts-ignore without exactOptionalPropertyTypes */
    readonly anthropic?: Marked & Partial<Reasoning> | null
  }
  interface FilePartOptions extends ProviderOptions {
    /** @ts-ignore without exactOptionalPropertyTypes */
    readonly anthropic?:
      | Marked & {
        readonly citations?: { readonly enabled?: boolean } | null
        readonly documentTitle?: string | null
        readonly documentContext?: string | null
        readonly fileId?: string | null
      }
      | null
  }
  interface ToolCallPartOptions extends ProviderOptions {
    /** @ts-ignore without exactOptionalPropertyTypes */
    readonly anthropic?: Marked & Called | null
  }
  interface ToolResultPartOptions extends ProviderOptions {
    /** @ts-ignore without exactOptionalPropertyTypes */
    readonly anthropic?: Marked & Called | null
  }
}

declare module "effect/ai/Response" {
  interface TextPartMetadata extends ProviderMetadata {
    /** @ts-ignore without exactOptionalPropertyTypes */
    readonly anthropic?: { readonly citations?: ReadonlyArray<Schema.Json> } | null
  }
  interface TextEndPartMetadata extends ProviderMetadata {
    /** @ts-ignore without exactOptionalPropertyTypes */
    readonly anthropic?: { readonly citations?: ReadonlyArray<Schema.Json> } | null
  }
  interface ReasoningPartMetadata extends ProviderMetadata {
    /** @ts-ignore without exactOptionalPropertyTypes */
    readonly anthropic?: Reasoning | null
  }
  interface ReasoningStartPartMetadata extends ProviderMetadata {
    /** @ts-ignore without exactOptionalPropertyTypes */
    readonly anthropic?: Reasoning | null
  }
  interface ReasoningEndPartMetadata extends ProviderMetadata {
    /** @ts-ignore without exactOptionalPropertyTypes */
    readonly anthropic?: Reasoning | null
  }
  interface ToolCallPartMetadata extends ProviderMetadata {
    /** @ts-ignore without exactOptionalPropertyTypes */
    readonly anthropic?: Called | null
  }
  interface ToolResultPartMetadata extends ProviderMetadata {
    /** @ts-ignore without exactOptionalPropertyTypes */
    readonly anthropic?: Called | null
  }
  interface DocumentSourcePartMetadata extends ProviderMetadata {
    /** @ts-ignore without exactOptionalPropertyTypes */
    readonly anthropic?:
      | {
        readonly source?: "document"
        readonly type?: string
        readonly citedText?: string
        readonly startCharIndex?: number
        readonly endCharIndex?: number
        readonly startPageNumber?: number
        readonly endPageNumber?: number
        readonly startBlockIndex?: number
        readonly endBlockIndex?: number
      }
      | null
  }
  interface UrlSourcePartMetadata extends ProviderMetadata {
    /** @ts-ignore without exactOptionalPropertyTypes */
    readonly anthropic?:
      | {
        readonly source?: "url" | "web"
        readonly citedText?: string
        readonly encryptedIndex?: string
        readonly pageAge?: string | null
      }
      | null
  }
  interface FinishPartMetadata extends ProviderMetadata {
    /** @ts-ignore without exactOptionalPropertyTypes */
    readonly anthropic?:
      | {
        readonly usage?: Schema.Json
        readonly stopReason?: string | null
        readonly stopSequence?: string | null
        readonly stopDetails?: Schema.Json
        readonly container?: Schema.Json
        readonly timeToFirstChunkMillis?: number
        readonly callId?: string
        readonly requestId?: string
        readonly attempts?: number
        readonly latencyMillis?: number
        readonly model?: string
        readonly costNanoUsd?: number
      }
      | null
  }
}

/**
 * A language model over `ClaudeService`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: (options: Options) => Effect.Effect<LanguageModel.LanguageModel, never, ClaudeService> = makeModel

/**
 * A language model over `ClaudeService`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<LanguageModel.LanguageModel, never, ClaudeService> =>
  Layer.effect(LanguageModelTag, makeModel(options))

/**
 * A model of `effect/ai`, for `Effect.provide` and the steps of an `ExecutionPlan`.
 *
 * **Example** (A cheaper model first)
 *
 * ```ts
 * import * as ClaudeLanguageModel from "effect-claude/ClaudeLanguageModel"
 * import { ExecutionPlan } from "effect"
 *
 * export const plan = ExecutionPlan.make(
 *   { provide: ClaudeLanguageModel.model("claude-haiku-5-5", { maxTokens: 1_024 }) },
 *   { provide: ClaudeLanguageModel.model("claude-sonnet-5-5", { maxTokens: 1_024 }) }
 * )
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const model = (
  model: string,
  options: RequestOptions
): AiModel.Model<"anthropic", LanguageModel.LanguageModel, ClaudeService> =>
  AiModel.make("anthropic", model, layer({ ...options, model }))

/**
 * Changes what the calls of a region ask for: on top of what their language model was made with, and of regions around this one. For a stream, use
 * `Stream.updateService` with {@link CallOptions}.
 *
 * **Example** (More thought for one call)
 *
 * ```ts
 * import * as ClaudeLanguageModel from "effect-claude/ClaudeLanguageModel"
 * import { LanguageModel } from "effect/ai"
 *
 * export const careful = LanguageModel.generateText({ prompt: "How many primes are there below 100?" }).pipe(
 *   ClaudeLanguageModel.withOptions({ maxTokens: 8_192, output_config: { effort: "high" } })
 * )
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const withOptions: {
  (options: Partial<Options>): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, options: Partial<Options>): Effect.Effect<A, E, R>
} = dual(
  2,
  <A, E, R>(self: Effect.Effect<A, E, R>, options: Partial<Options>): Effect.Effect<A, E, R> =>
    Effect.updateService(self, CallOptions, (around) => ({ ...around, ...options }))
)

/**
 * The error of `ClaudeError` that became an `AiError`, so that it can be caught by its tag; every other error as it is. After a wire, an
 * error whose reason has no metadata (`NetworkError`, `InvalidUserInputError`) stays an `AiError`.
 *
 * **Example** (A budget without room)
 *
 * ```ts
 * import { ClaudeError } from "effect-claude"
 * import * as ClaudeLanguageModel from "effect-claude/ClaudeLanguageModel"
 * import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
 * import { Effect, Layer } from "effect"
 * import { LanguageModel } from "effect/ai"
 *
 * const answer = LanguageModel.generateText({ prompt: "Say hello." }).pipe(
 *   Effect.map(({ text }) => text),
 *   Effect.mapError(ClaudeLanguageModel.original),
 *   Effect.catchTags({ ServerError: ({ overloaded }) => Effect.succeed(overloaded ? "Later." : "Never.") })
 * )
 * const claude = ClaudeLanguageModel.layer({ model: "claude-sonnet-5-5", maxTokens: 64 }).pipe(
 *   Layer.provide(ClaudeTest.layer(Effect.fail(new ClaudeError.ServerError({ overloaded: true }))))
 * )
 *
 * await Effect.runPromise(Effect.provide(answer, claude)) // => "Later."
 * ```
 *
 * @category getters
 * @since 0.1.0
 */
export const original = <E>(error: E): E | CallFailure => AiError.isAiError(error) ? failureOf(error) ?? error : error

/**
 * A `Tokenizer` that asks the API, which counts tokens free of charge and shows none: an array of tokens has the right length, and the positions as
 * its values. A count includes what the API adds to each request.
 *
 * `truncate` keeps the system messages and the longest end of the prompt that fits and begins with a turn of the user or a later system message, so
 * that no result loses its call. It is the empty prompt where not even the last such turn fits.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerTokenizer = (options: {
  readonly model: string
}): Layer.Layer<Tokenizer.Tokenizer, never, ClaudeService> =>
  Layer.effect(Tokenizer.Tokenizer, makeTokenizer(options.model))

/**
 * How many tokens the model counts for a prompt.
 *
 * @category accessors
 * @since 0.1.0
 */
export const countTokens = (
  prompt: Prompt.RawInput
): Effect.Effect<number, AiError.AiError, Tokenizer.Tokenizer> =>
  Effect.flatMap(Tokenizer.Tokenizer, (tokenizer) => Effect.map(tokenizer.tokenize(prompt), ({ length }) => length))

/** What a language model is made with, and what one call may change. */
import * as Context from "effect/Context"
import type { Request } from "../../Request.ts"

/**
 * What a language model says of its requests.
 *
 * - `maxTokens`: the most output tokens of an answer, thinking included.
 * - `disableParallelToolCalls`: at most one tool call in an answer. Default `false`.
 * - `strictTools`: the API holds the input of each tool to its schema; a tool's own `Tool.Strict` comes first. Default `false`: the
 *   toolkit checks the input.
 *
 * @category options
 * @since 0.1.0
 */
export interface ModelOptions {
  readonly maxTokens: number
  readonly disableParallelToolCalls?: boolean | undefined
  readonly strictTools?: boolean | undefined
}

/**
 * The fields of the API's request that neither the prompt nor the tools give, as the API calls them: `thinking`, `output_config`, `stop_sequences`,
 * `cache_control`, `metadata`, `service_tier`, `speed`, `inference_geo`, `container` and the like.
 *
 * @category models
 * @since 0.1.0
 */
export type ApiFields = Partial<
  Omit<Request, "model" | "max_tokens" | "messages" | "system" | "tools" | "tool_choice">
>

/**
 * What each request of a language model asks for beside its prompt and its tools.
 *
 * @category models
 * @since 0.1.0
 */
export type RequestOptions = ModelOptions & ApiFields

/**
 * A model, and what each request to it asks for.
 *
 * @category models
 * @since 0.1.0
 */
export type Options = RequestOptions & { readonly model: string }

/**
 * What the calls of a region ask for in place of what their language model was made with. Default: nothing.
 *
 * @category references
 * @since 0.1.0
 */
export const CallOptions = Context.Reference<Partial<Options>>("effect-claude/ClaudeLanguageModel/CallOptions", {
  defaultValue: () => ({})
})

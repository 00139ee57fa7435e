/**
 * A request for a message: the SDK's own type, except that every array in it may be readonly.
 *
 * **Example** (A request that is a constant)
 *
 * ```ts
 * import type { Request } from "effect-claude"
 *
 * export const question = {
 *   model: "claude-haiku-5-5",
 *   max_tokens: 256,
 *   stop_sequences: ["END"],
 *   messages: [{ role: "user", content: "Why is the sky blue?" }]
 * } as const satisfies Request.Request
 * ```
 *
 * @since 0.1.0
 */
import type { MessageCountTokensParams, MessageCreateParamsNonStreaming } from "@anthropic-ai/sdk/resources/messages"

/**
 * `A` with every array in it readonly, however deep.
 *
 * @category models
 * @since 0.1.0
 */
export type ReadonlyArrays<A> = A extends string | number | boolean | null | undefined ? A
  : A extends ReadonlyArray<infer Item> ? ReadonlyArray<ReadonlyArrays<Item>>
  : A extends object ? { [Key in keyof A]: ReadonlyArrays<A[Key]> }
  : A

/**
 * A request for a message. The method that takes it decides whether the answer is streamed.
 *
 * @category models
 * @since 0.1.0
 */
export type Request = ReadonlyArrays<Omit<MessageCreateParamsNonStreaming, "stream">>

/**
 * One turn of the conversation in a request.
 *
 * @category models
 * @since 0.1.0
 */
export type Turn = Request["messages"][number]

/**
 * One content block of a turn.
 *
 * @category models
 * @since 0.1.0
 */
export type Block = Exclude<Turn["content"], string>[number]

/**
 * A request to count the input tokens of a prompt.
 *
 * @category models
 * @since 0.1.0
 */
export type CountTokensRequest = ReadonlyArrays<MessageCountTokensParams>

/**
 * The same request in the SDK's type, for code that calls the SDK itself.
 *
 * @category conversions
 * @since 0.1.0
 */
export const toParams = (request: Request): Omit<MessageCreateParamsNonStreaming, "stream"> =>
  request as MessageCreateParamsNonStreaming // the SDK reads its arrays and changes none

/**
 * The same request in the SDK's type.
 *
 * @category conversions
 * @since 0.1.0
 */
export const toCountTokensParams = (request: CountTokensRequest): MessageCountTokensParams =>
  request as MessageCountTokensParams // as above

/** Tokens of a prompt as the API counts them. */
import type * as AiError from "effect/ai/AiError"
import * as AiErrors from "effect/ai/AiError"
import * as Prompt from "effect/ai/Prompt"
import * as Tokenizer from "effect/ai/Tokenizer"
import * as Effect from "effect/Effect"
import { ClaudeService } from "../../ClaudeService.ts"
import type { CountTokensRequest } from "../../Request.ts"
import * as Errors from "./errors.ts"
import * as Names from "./names.ts"
import { CallOptions } from "./options.ts"
import { convert } from "./prompt.ts"

const names = Names.make([])

const isStart = ({ role }: Prompt.Message): boolean => role === "user" || role === "system"

export const make = Effect.fnUntraced(function*(
  model: string
): Effect.fn.Return<Tokenizer.Tokenizer["Service"], never, ClaudeService> {
  const claude = yield* ClaudeService

  const count = Effect.fnUntraced(function*(prompt: Prompt.Prompt, method: string) {
    const { problem, system, turns } = convert(prompt, names)
    if (problem !== undefined) {
      return yield* Errors.fromReason(method)(new AiErrors.InvalidUserInputError({ description: problem }))
    }
    const options = yield* CallOptions
    const request = {
      model: options.model ?? model,
      messages: turns,
      ...(system.length === 0 ? undefined : { system })
    }
    const counted = yield* Effect.mapError(
      claude.countTokens(request as unknown as CountTokensRequest), // blocks are made by type
      Errors.toAiError(method)
    )
    return counted.input_tokens
  })

  /** The longest end of a prompt that fits, found by halving: a count is a request. */
  const truncate = Effect.fnUntraced(function*(
    prompt: Prompt.Prompt,
    most: number
  ): Effect.fn.Return<Prompt.Prompt, AiError.AiError> {
    const messages = prompt.content
    const firstTurn = messages.findIndex(({ role }) => role !== "system")
    if (firstTurn < 0) return prompt
    const system = messages.slice(0, firstTurn)
    const starts = messages.flatMap((message, index) => index >= firstTurn && isStart(message) ? [index] : [])
    const from = (start: number) => Prompt.fromMessages([...system, ...messages.slice(start)])
    let low = 0
    let high = starts.length
    while (low < high) {
      const middle = Math.floor((low + high) / 2)
      const fits = (yield* count(from(starts[middle]!), "truncate")) <= most
      if (fits) high = middle
      else low = middle + 1
    }
    const start = starts[low]
    return start === undefined ? Prompt.empty : from(start)
  })

  return Tokenizer.Tokenizer.of({
    tokenize: (input) =>
      Effect.map(count(Prompt.make(input), "tokenize"), (tokens) => Array.from({ length: tokens }, (_, i) => i)),
    truncate: (input, tokens) => truncate(Prompt.make(input), tokens)
  })
})

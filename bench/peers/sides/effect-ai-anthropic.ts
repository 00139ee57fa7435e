/** The provider of `effect/ai` for Effect 3, over `fetch`. */
import { LanguageModel } from "@effect/ai"
import { AnthropicClient, AnthropicLanguageModel } from "@effect/ai-anthropic"
import { FetchHttpClient } from "@effect/platform"
import { Effect, Layer, ManagedRuntime, Redacted, Stream } from "effect"
import { apiKey, question, request, type Side } from "../side.ts"

export const make = async (apiUrl: string): Promise<Side> => {
  const client = AnthropicClient.layer({ apiKey: Redacted.make(apiKey), apiUrl }).pipe(
    Layer.provide(FetchHttpClient.layer)
  )
  const model = AnthropicLanguageModel.layer({ model: request.model, config: { max_tokens: request.max_tokens } })
  const runtime = ManagedRuntime.make(Layer.provide(model, client))
  const prompt = [
    { role: "system" as const, content: request.system },
    { role: "user" as const, content: [{ type: "text" as const, text: question }] }
  ]
  return {
    call: () => runtime.runPromise(Effect.asVoid(LanguageModel.generateText({ prompt }))),
    stream: () =>
      runtime.runPromise(
        Stream.runFold(
          LanguageModel.streamText({ prompt }),
          0,
          (pieces, part) => part.type === "text-delta" ? pieces + 1 : pieces
        )
      )
  }
}

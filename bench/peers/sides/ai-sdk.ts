/** The AI SDK of Vercel with its provider. */
import { createAnthropic } from "@ai-sdk/anthropic"
import { generateText, streamText } from "ai"
import { apiKey, question, request, type Side } from "../side.ts"

export const make = async (url: string): Promise<Side> => {
  const asked = {
    model: createAnthropic({ apiKey, baseURL: `${url}/v1` })(request.model),
    maxOutputTokens: request.max_tokens,
    system: request.system,
    prompt: question
  }
  return {
    call: async () => {
      await generateText(asked)
    },
    stream: async () => {
      let pieces = 0
      for await (const _ of streamText(asked).textStream) pieces++
      return pieces
    }
  }
}

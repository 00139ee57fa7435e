/** LangChain's chat model. */
import { ChatAnthropic } from "@langchain/anthropic"
import { apiKey, question, request, type Side } from "../side.ts"

export const make = async (anthropicApiUrl: string): Promise<Side> => {
  const model = new ChatAnthropic({ apiKey, anthropicApiUrl, model: request.model, maxTokens: request.max_tokens })
  const asked: Array<[string, string]> = [["system", request.system], ["human", question]]
  return {
    call: async () => {
      await model.invoke(asked)
    },
    stream: async () => {
      let pieces = 0
      for await (const chunk of await model.stream(asked)) if (chunk.text !== "") pieces++
      return pieces
    }
  }
}

/** The SDK as it comes. */
import Anthropic, { type ClientOptions } from "@anthropic-ai/sdk"
import { apiKey, request, type Side } from "../side.ts"

/** What a program does with a client; `around` is what stands around each request. */
export const using = (
  options: ClientOptions,
  around: <A>(send: () => Promise<A>) => Promise<A> = (send) => send()
): Side => {
  const client = new Anthropic({ apiKey, ...options })
  return {
    call: async () => {
      await around(() => client.messages.create(request))
    },
    stream: async () => {
      let pieces = 0
      for await (const event of await around(() => client.messages.create({ ...request, stream: true }))) {
        if (event.type === "content_block_delta") pieces++
      }
      return pieces
    }
  }
}

export const make = async (baseURL: string): Promise<Side> => using({ baseURL })

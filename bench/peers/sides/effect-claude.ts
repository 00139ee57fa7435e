/** `ClaudeService` with its default policies. */
import { Effect, ManagedRuntime, Redacted, Stream } from "../../../node_modules/effect/dist/index.js"
import * as ClaudeService from "../../../src/ClaudeService.ts"
import { apiKey, request, type Side } from "../side.ts"

export const make = async (baseUrl: string): Promise<Side> => {
  const runtime = ManagedRuntime.make(ClaudeService.layer({ api: { baseUrl }, keys: Redacted.make(apiKey) }))
  return {
    call: () => runtime.runPromise(Effect.asVoid(ClaudeService.create(request))),
    stream: () =>
      runtime.runPromise(
        Stream.runFold(
          ClaudeService.stream(request),
          () => 0,
          (pieces, event) => event.type === "content_block_delta" ? pieces + 1 : pieces
        )
      )
  }
}

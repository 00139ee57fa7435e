/** How a streamed answer is read: its head, then one piece after the other. */
import * as Effect from "effect/Effect"
import type { ApiError, Billed } from "../../ClaudeError.ts"
import * as Exchange from "./exchange.ts"
import * as Failures from "./failures.ts"

/** Sends the request and gives its response as soon as the head is there. */
export const head = (self: Exchange.Exchange, make: Exchange.Make): Effect.Effect<Response, ApiError> =>
  Effect.callback((resume) => Exchange.begin(self, make, resume, (response) => resume(Effect.succeed(response))))

/** One read of the body, without a time limit for silence. */
export const read = (
  self: Exchange.Exchange,
  reader: ReadableStreamDefaultReader<Uint8Array>,
  billed: Billed
): Effect.Effect<ReadableStreamReadResult<Uint8Array>, ApiError> =>
  Effect.callback((resume) => {
    self.expire = resume
    reader.read().then(
      (chunk) =>
        // A `fetch` of the user's may give anything.
        resume(
          chunk.done || ArrayBuffer.isView(chunk.value) ? Effect.succeed(chunk) : Effect.fail(Failures.malformed(self))
        ),
      (cause) => resume(Effect.failSync(() => Failures.truncated(self, billed, cause)))
    )
  })

/** One read of the body, within the time limits: those for silence, for the call, and until the first content. */
export const inTime = (
  self: Exchange.Exchange,
  reader: ReadableStreamDefaultReader<Uint8Array>,
  billed: Billed,
  hasContent: boolean
): Effect.Effect<ReadableStreamReadResult<Uint8Array>, ApiError> =>
  Effect.suspend(() => {
    const now = Exchange.elapsed(self.clock)
    Exchange.setLimit(self, "idle", now + self.bounds.idle, hasContent)
    return now >= self.until ? Failures.expired(self) : read(self, reader, billed)
  })

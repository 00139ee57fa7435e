/** Server-sent events. */
import type * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Stream from "effect/Stream"

/** So often something is sent, so that a proxy does not close the connection. */
const keepAlive = "15 seconds"

/** The most readers at a time, of all streams of a server together. */
export const maxReaders = 64

/** Events as JSON. A reader that is slow holds back its own stream, nothing else; what it loses the source decides. */
export const respond = <A>(
  events: Stream.Stream<A>,
  idOf: (event: A) => number,
  stopping: Effect.Effect<void>
): HttpServerResponse.HttpServerResponse => {
  const texts = Stream.map(events, (event) => `id: ${idOf(event)}\ndata: ${JSON.stringify(event)}\n\n`)
  const comments = Stream.map(Stream.tick(keepAlive), () => ":\n\n")
  const body = Stream.interruptWhen(Stream.merge(texts, comments, { haltStrategy: "left" }), stopping)
  return HttpServerResponse.stream(Stream.encodeText(body), { contentType: "text/event-stream" })
}

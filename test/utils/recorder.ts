/** A server on loopback that answers as a test says and writes down what it was asked. */
import { Effect, type Scope } from "effect"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import { createServer as createSecureServer } from "node:https"
import type { AddressInfo } from "node:net"

export interface Asked {
  readonly method: string
  readonly path: string
  readonly headers: IncomingMessage["headers"]
  readonly body: unknown
}

export interface Recorder {
  readonly url: string
  readonly asked: Array<Asked>
}

/** An answer in JSON; a function writes one by itself. */
export type Reply = { readonly status: number; readonly body?: unknown } | ((response: ServerResponse) => void)

const textOf = async (request: IncomingMessage): Promise<string> => {
  let text = ""
  for await (const chunk of request) text += chunk
  return text
}

export const start = (
  answer: (asked: Asked) => Reply,
  tls?: { readonly key: string; readonly cert: string }
): Effect.Effect<Recorder, never, Scope.Scope> =>
  Effect.gen(function*() {
    const asked: Array<Asked> = []
    const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
      const text = await textOf(request)
      const one = {
        method: request.method ?? "",
        path: request.url ?? "",
        headers: request.headers,
        body: text === "" ? undefined : JSON.parse(text)
      }
      asked.push(one)
      const reply = answer(one)
      if (typeof reply === "function") return reply(response)
      response.writeHead(reply.status, { "content-type": "application/json" })
      response.end(reply.body === undefined ? "" : JSON.stringify(reply.body))
    }
    const server = tls === undefined
      ? createServer((request, response) => void handle(request, response))
      : createSecureServer(tls, (request, response) => void handle(request, response))
    yield* Effect.acquireRelease(
      Effect.promise(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))),
      () =>
        Effect.promise(() =>
          new Promise<void>((resolve) => {
            server.close(() => resolve())
            server.closeAllConnections()
          })
        )
    )
    const { port } = server.address() as AddressInfo
    return { url: `${tls === undefined ? "http" : "https"}://127.0.0.1:${port}`, asked }
  })

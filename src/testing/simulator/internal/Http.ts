/**
 * Answers through an HTTP server on `node:http`, which Effect starts and stops.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Http from "node:http"
import type { AddressInfo } from "node:net"
import * as Timers from "node:timers"
import type { Core } from "./Core.ts"
import { drive } from "./Drive.ts"
import type { Step, Steps } from "./Step.ts"

/** How many characters of a stream are gathered before they are written, as long as nothing waits. */
const gather = 16_384

/** Ends the open answers of a server. */
type Live = Set<() => void>

const sendWhole = (response: Http.ServerResponse, status: number, headers: Record<string, string>, body: string) => {
  response.writeHead(status, { ...headers, "content-length": Buffer.byteLength(body) })
  response.end(body)
}

/** Answers a request: at once where the first step is the whole answer, as for most calls, else step by step. */
const answer = (
  core: Core,
  live: Live,
  request: Http.IncomingMessage,
  response: Http.ServerResponse,
  body: Buffer | undefined
) => {
  const isText = core.isText(request.headers["content-type"])
  const steps = core.accept({
    method: request.method ?? "GET",
    path: request.url ?? "/",
    origin: `http://${request.headers.host ?? "127.0.0.1"}`,
    header: (name) => {
      const value = request.headers[name]
      return typeof value === "string" ? value : value?.[0]
    },
    body: isText ? body?.toString() ?? "" : "",
    bytes: isText ? undefined : body,
    tooLarge: body === undefined
  })
  const first = steps.next()
  if (first._tag !== "Head" || first.body === undefined) return follow(core, live, request, response, first, steps)
  const { body: whole, headers, status } = first
  // requests that arrived together are answered together: a write that wakes a sleeping reader costs twice as much as one to a busy reader
  Timers.setImmediate(() => {
    // an answer that cannot be sent ends like a server that crashed, for this request only
    if (Result.isFailure(Result.try(() => sendWhole(response, status, headers, whole)))) request.socket.destroy()
  })
}

/** Sends an answer of several steps, of which the first was taken. */
const follow = (
  core: Core,
  live: Live,
  request: Http.IncomingMessage,
  response: Http.ServerResponse,
  first: Step,
  rest: Steps
) => {
  let held: Array<string | Uint8Array> = []
  let size = 0
  const write = (): boolean => {
    if (held.length === 0) return true
    const out = held.length === 1
      ? held[0]!
      : held.every((part) => typeof part === "string")
      ? held.join("")
      : Buffer.concat(held.map((part) => Buffer.from(part)))
    held = []
    size = 0
    return response.write(out)
  }
  let next: Step | undefined = first
  const steps: Steps = {
    next: () => {
      const step = next ?? rest.next()
      next = undefined
      return step
    },
    abort: rest.abort
  }
  const driver = drive(steps, core.wait, {
    head: (status, headers, whole) => {
      if (whole === undefined) {
        response.writeHead(status, headers)
        return true
      }
      sendWhole(response, status, headers, whole)
      return false
    },
    data: (data) => {
      held.push(data)
      size += data.length
      return size < gather || write()
    },
    flush: () => {
      if (!response.headersSent) return true
      response.flushHeaders()
      return write()
    },
    end: () => {
      write()
      response.end()
    },
    reset: () => {
      const reset = () => request.socket.resetAndDestroy()
      if (!response.headersSent) return reset()
      response.flushHeaders()
      // the reset waits until the kernel has what was written, or the reader would never get it
      if (held.length === 0) request.socket.write("", reset)
      else {
        const last = held.map((part) => Buffer.from(part))
        held = []
        response.write(Buffer.concat(last), reset)
      }
    },
    refuse: () => request.socket.destroy()
  })
  const resume = () => {
    // an answer that cannot be sent ends like a server that crashed, for this request only
    if (Result.isSuccess(Result.try(driver.resume))) return
    driver.abort()
    request.socket.destroy()
  }
  live.add(driver.abort)
  response.on("drain", resume)
  response.on("close", () => {
    live.delete(driver.abort)
    driver.abort()
  })
  resume()
}

const read = (core: Core, live: Live) => (request: Http.IncomingMessage, response: Http.ServerResponse) => {
  const bodyLimit = core.bodyLimit(request.url ?? "/")
  if (Number(request.headers["content-length"] ?? 0) > bodyLimit) {
    response.shouldKeepAlive = false
    request.resume()
    return answer(core, live, request, response, undefined)
  }
  const chunks: Array<Buffer> = []
  let size = 0
  request.on("data", (chunk: Buffer) => {
    size += chunk.length
    if (size <= bodyLimit) chunks.push(chunk)
  })
  request.on("end", () =>
    answer(
      core,
      live,
      request,
      response,
      size > bodyLimit ? undefined : chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)
    ))
}

/** Listens on a port of 127.0.0.1 (0: any free one) until the scope closes, and gives the port. */
export const listen = (core: Core, port: number): Effect.Effect<number, never, Scope.Scope> => {
  const live: Live = new Set()
  return Effect.map(
    Effect.acquireRelease(
      Effect.callback<Http.Server>((resume) => {
        const server = Http.createServer({ requestTimeout: 0 }, read(core, live))
        server.once("error", (error) => resume(Effect.die(error)))
        server.listen(port, "127.0.0.1", () => resume(Effect.succeed(server)))
      }),
      (server) =>
        Effect.callback<void>((resume) => {
          for (const abort of live) abort()
          server.close(() => resume(Effect.void))
          server.closeAllConnections()
        })
    ),
    // a server that listens on a TCP port has such an address
    (server) => (server.address() as AddressInfo).port
  )
}

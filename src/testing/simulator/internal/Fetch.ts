/**
 * Answers through a `fetch`.
 */
import type { Core } from "./Core.ts"
import { drive } from "./Drive.ts"
import type { Incoming } from "./Route.ts"

const encoder = new TextEncoder()
const bodiless = new Set([101, 204, 205, 304])

const failure = (message: string, code: string, detail: string): TypeError =>
  new TypeError(message, { cause: Object.assign(new Error(detail), { code }) })

const exceeds = (body: string, limit: number): boolean =>
  body.length > limit || (body.length * 3 > limit && encoder.encode(body).length > limit)

const answer = (
  core: Core,
  incoming: Incoming,
  signal: AbortSignal | null | undefined
): Promise<Response> =>
  new Promise((resolve, reject) => {
    let controller: ReadableStreamDefaultController<Uint8Array> | undefined
    const fail = (reason: unknown) => controller === undefined ? reject(reason) : controller.error(reason)
    const leave = () => {
      stop()
      driver.abort()
    }
    const abort = () => {
      leave()
      fail(signal?.reason)
    }
    const shutdown = () => {
      leave()
      fail(failure(controller === undefined ? "fetch failed" : "terminated", "ECONNRESET", "the simulator is gone"))
    }
    const stop = () => {
      core.active.delete(shutdown)
      signal?.removeEventListener("abort", abort)
    }
    const driver = drive(core.accept(incoming), core.wait, {
      head: (status, headers, body) => {
        if (body !== undefined) {
          stop()
          resolve(new Response(bodiless.has(status) ? null : body, { status, headers }))
          return false
        }
        const stream = new ReadableStream<Uint8Array>({
          start: (self) => {
            controller = self
          },
          pull: () => driver.resume(),
          cancel: leave
        }, { highWaterMark: 0 })
        resolve(new Response(stream, { status, headers }))
        return false
      },
      data: (data) => {
        controller?.enqueue(typeof data === "string" ? encoder.encode(data) : data)
        return false
      },
      flush: () => true,
      end: () => {
        stop()
        controller?.close()
      },
      reset: () => {
        stop()
        fail(failure(controller === undefined ? "fetch failed" : "terminated", "ECONNRESET", "read ECONNRESET"))
      },
      refuse: () => {
        stop()
        fail(failure("fetch failed", "ECONNREFUSED", "connect ECONNREFUSED"))
      }
    })
    core.active.add(shutdown)
    signal?.addEventListener("abort", abort)
    driver.resume()
  })

const call = (core: Core, input: string | URL | Request, init: RequestInit | undefined): Promise<Response> => {
  const signal = init?.signal ?? (input instanceof Request ? input.signal : undefined)
  const send = (url: string, method: string, headers: Headers, body: string, bytes?: Uint8Array) => {
    if (signal?.aborted === true) return Promise.reject(signal.reason)
    if (!core.isOpen()) return Promise.reject(failure("fetch failed", "ECONNREFUSED", "the simulator is gone"))
    if (!URL.canParse(url)) return Promise.reject(new TypeError(`Failed to parse URL from ${url}`))
    const { origin, pathname, search } = new URL(url)
    const limit = core.bodyLimit(pathname)
    const tooLarge = bytes === undefined ? exceeds(body, limit) : bytes.length > limit
    const header = (name: string) => headers.get(name) ?? undefined
    const path = pathname + search
    return answer(core, { method, path, origin, header, body: tooLarge ? "" : body, bytes, tooLarge }, signal)
  }
  if (
    !(input instanceof Request) && (init?.body === undefined || init.body === null || typeof init.body === "string")
  ) {
    return send(String(input), init?.method ?? "GET", new Headers(init?.headers), init?.body ?? "")
  }
  const request = new Request(input, init)
  const { headers, method, url } = request
  return core.isText(headers.get("content-type") ?? undefined)
    ? request.text().then((body) => send(url, method, headers, body))
    : request.arrayBuffer().then((body) => send(url, method, headers, "", new Uint8Array(body)))
}

/** A `fetch` that the core answers, for any host. Errors of a call reject, and never throw. */
export const make = (core: Core): typeof globalThis.fetch => (input, init) =>
  new Promise((resolve) => resolve(call(core, input, init)))

/**
 * How requests are sent: by the `fetch` of the user, or without one, on Node, by `undici` without the parts of the standard that the SDK
 * does not need, which take more than half of the processor time of a call: a connection pool that ends with its scope,
 * without time limits besides those of the port. It does not follow redirects and asks for no compression, but reads what is compressed all the
 * same. Elsewhere it is the global `fetch`.
 */
import type * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Undici from "undici"
import { type Decompressor, decompressor } from "./decompressed.ts"
import * as Proxy from "./proxy.ts"

type Chunk = ReadableStreamReadResult<Uint8Array>

/** A request as it goes over the wire, but for its body. */
export interface Envelope {
  readonly url: string
  readonly method: string
  readonly headers: Readonly<Record<string, string>>
}

/** A request as it goes over the wire. */
export interface Wire extends Envelope {
  readonly body: string | undefined
}

/** Whoever waits for an answer, and how the request learns that nobody does any more. An `AbortController` costs more than many a policy. */
export interface Waiting {
  readonly isOver: boolean
  whenOver: (() => void) | undefined
}

/** Sends a request, and gives its answer as soon as the head is there. */
export type Transport = (wire: Wire, waiting: Waiting) => Promise<Response>

/** Bytes that wait for their reader before the socket is paused. */
const highWaterMark = 64 * 1024

/** The most that is read of an answer that is taken as a text: those of errors. */
const maxText = 1024 * 1024

type Fields = Readonly<Record<string, string | Array<string> | undefined>>

/**
 * The headers of an answer as they came, by names in lower case: what the SDK and the port read of `Headers`, without their copies and checks, which take
 * as long as the rest of a response.
 */
const headersOf = (fields: Fields): Pick<Headers, "get" | "has"> & { readonly entries: () => Iterable<unknown> } => ({
  get: (name) => {
    const value = fields[name] ?? fields[name.toLowerCase()]
    return typeof value === "string" ? value : Array.isArray(value) ? value.join(", ") : null
  },
  has: (name) => Object.hasOwn(fields, name.toLowerCase()),
  entries: () => Object.entries(fields).values()
})

/**
 * A request of `undici`, and the part of its `Response` that the SDK and the port read. It is its own body, and the reader of it:
 * read at the pace of whoever reads, with pieces that wait given as one.
 */
class Reply implements Undici.Dispatcher.DispatchHandler {
  status = 0
  ok = false
  headers: Headers | undefined
  readonly url: string
  readonly body = this
  private readonly waiting: Waiting
  private readonly arrived: (reply: Reply) => void
  private readonly failed: (error: Error) => void
  private controller: Undici.Dispatcher.DispatchController | undefined
  private pieces: Array<Uint8Array> = []
  private size = 0
  private end: "open" | "done" | Error = "open"
  /** Where the answer is compressed. */
  private compressed: Decompressor | undefined
  /** Tells whoever reads that there is something to read. */
  private wake: (() => void) | undefined

  constructor(
    url: string,
    waiting: Waiting,
    arrived: (reply: Reply) => void,
    failed: (error: Error) => void
  ) {
    this.url = url
    this.waiting = waiting
    this.arrived = arrived
    this.failed = failed
    const abort = () => this.abort()
    waiting.whenOver = abort
  }

  private abort(): void {
    this.controller?.abort(aborted)
    this.compressed?.destroy()
    this.failed(aborted)
  }

  onRequestStart(controller: Undici.Dispatcher.DispatchController): void {
    this.controller = controller
    if (this.waiting.isOver) controller.abort(aborted)
  }

  onResponseStart(controller: Undici.Dispatcher.DispatchController, status: number, fields: Fields): void {
    if (status < 200) return
    const encoding = fields["content-encoding"]
    if (encoding !== undefined) this.decompress(controller, encoding)
    this.status = status
    this.ok = status < 300
    this.headers = this.ok
      ? headersOf(fields) as unknown as Headers // nothing else of an answer's is read
      : new Headers(Object.entries(fields) as Array<[string, string]>) // joins lists with commas; of HTTP/2 there is a symbol too
    this.arrived(this)
  }

  private decompress(controller: Undici.Dispatcher.DispatchController, encoding: string | Array<string>): void {
    this.compressed = decompressor(encoding, controller, {
      data: (piece) => this.compressed && this.onResponseData(this.compressed, piece),
      end: () => {
        this.compressed = undefined
        this.onResponseEnd()
      },
      failed: (error) => {
        controller.abort(error)
        this.onResponseError(controller, error)
      }
    })
  }

  onResponseData(controller: Pick<Undici.Dispatcher.DispatchController, "pause">, piece: Uint8Array): void {
    const { compressed } = this
    if (compressed !== undefined && controller !== compressed) return compressed.data(piece)
    this.pieces.push(piece)
    this.size += piece.byteLength
    if (this.size >= highWaterMark) controller.pause()
    this.wake?.()
  }

  onResponseEnd(): void {
    if (this.compressed !== undefined) return this.compressed.end()
    this.waiting.whenOver = undefined
    this.end = "done"
    this.wake?.()
  }

  onResponseError(_: Undici.Dispatcher.DispatchController, error: Error): void {
    this.waiting.whenOver = undefined
    this.end = error
    this.compressed?.destroy()
    this.failed(error)
    this.wake?.()
  }

  read(): Promise<Chunk> {
    const [first] = this.pieces
    if (first !== undefined) {
      const value = this.pieces.length === 1 ? first : joined(this.pieces, this.size)
      const paused = this.size >= highWaterMark
      this.pieces = []
      this.size = 0
      // Pieces may arrive before this returns.
      if (paused && this.end === "open") (this.compressed ?? this.controller)?.resume()
      return Promise.resolve({ done: false, value })
    }
    if (this.end === "done") return Promise.resolve({ done: true, value: undefined })
    if (this.end !== "open") return Promise.reject(this.end)
    // What comes with the first piece is read with it: this goes on once the socket has given all that it has.
    return new Promise<void>((resolve) => {
      this.wake = resolve
    }).then(() => this.read())
  }

  getReader(): this {
    return this
  }
}

/** A body as a text, of which no more than `maxText` is read. */
export const textOf = (
  reader: { readonly read: () => Promise<Chunk>; readonly cancel?: () => unknown }
): Promise<string> => {
  const utf8 = new TextDecoder()
  const more = (text: string): Promise<string> =>
    reader.read().then((chunk) => {
      if (!chunk.done && text.length <= maxText) return more(text + utf8.decode(chunk.value, { stream: true }))
      if (!chunk.done) reader.cancel?.()
      return text + utf8.decode()
    })
  return more("")
}

const joined = (pieces: ReadonlyArray<Uint8Array>, size: number): Uint8Array => {
  const all = new Uint8Array(size)
  let at = 0
  for (const piece of pieces) {
    all.set(piece, at)
    at += piece.byteLength
  }
  return all
}

/** One for all: an error made on the spot keeps its call stack, and with it the body, alive. */
const aborted: Error = new DOMException("The request was aborted.", "AbortError")

const over = (agent: Undici.Dispatcher) => {
  // Nearly all calls go to one place.
  let last = { url: "", origin: "", path: "" }
  const placeOf = (url: string): typeof last => {
    const { origin, pathname, search } = new URL(url)
    return last = { url, origin, path: pathname + search }
  }
  return ({ body, headers, method, url }: Wire, waiting: Waiting): Promise<Reply> =>
    new Promise((resolve, reject) => {
      if (waiting.isOver) return reject(aborted)
      const { origin, path } = last.url === url ? last : placeOf(url)
      agent.dispatch({
        origin,
        path,
        method: method as Undici.Dispatcher.HttpMethod, // the SDK's own methods
        headers,
        body: body ?? null
      }, new Reply(url, waiting, resolve, reject))
    })
}

/** The request of a `fetch`, which ends with the exchange. A redirect would take headers and prompts to another origin. */
export const ofFetch =
  (fetch: typeof globalThis.fetch | undefined): Transport => ({ body, headers, method, url }, waiting) => {
    const controller = new AbortController()
    const abort = () => controller.abort(aborted)
    waiting.whenOver = abort
    if (waiting.isOver) return Promise.reject(aborted)
    const init: RequestInit = {
      method,
      headers: new Headers(headers),
      redirect: "manual",
      signal: controller.signal,
      ...(body === undefined ? undefined : { body })
    }
    // Inside a promise, where what a `fetch` throws is a rejection too.
    return Promise.resolve().then(() => (fetch ?? globalThis.fetch)(url, init)).then((response) => {
      const { body } = response
      if (body === null || (typeof body.getReader === "function" && !body.locked)) return response
      throw new TypeError("fetch gave a body that is no ReadableStream, or one that somebody reads")
    })
  }

/** The global `fetch`, whichever it is at the time. */
export const ofGlobal: Transport = ofFetch(undefined)

/** What `engines` of the package asks for, and `undici` cannot do without. */
const oldestNode = [22, 19] as const

/** The version of Node, such as `24.1.0`; undefined in runtimes that imitate it, which name themselves in `navigator`. */
const nodeVersion = (): string | undefined => {
  // These globals differ between runtimes, and this package compiles without the types of any.
  const { navigator, process } = globalThis as {
    readonly navigator?: { readonly userAgent?: string }
    readonly process?: { readonly versions?: { readonly node?: string } }
  }
  return navigator === undefined || navigator.userAgent?.startsWith("Node.js/") === true
    ? process?.versions?.node
    : undefined
}

const isTooOld = (version: string): boolean => {
  const [major = 0, minor = 0] = version.split(".").map(Number)
  return major < oldestNode[0] || (major === oldestNode[0] && minor < oldestNode[1])
}

/**
 * Loads a module that bundlers must not see: a bundle with a `fetch` of the user's has no use for `undici`, and inside a
 * bundle of ES modules it cannot run.
 */
const load = (name: string): Promise<typeof Undici> => import(/* @vite-ignore */ /* webpackIgnore: true */ name)

/** A pool whose connections are closed with the scope. */
const pool = ({ agent }: Proxy.Connections) => (undici: typeof Undici): Effect.Effect<Transport, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(Effect.sync(() => agent(undici)), (agent) => Effect.promise(() => agent.destroy())),
    // What is left out of `Response` is read by nobody.
    (agent) => over(agent) as unknown as Transport
  )

/** An error that prints as one line: where it was made says nothing. */
const tooOld = (version: string): Error => {
  const error = new Error(`effect-claude needs Node ${oldestNode.join(".")} or newer; this is v${version}.`)
  error.stack = error.message
  return error
}

const notLoaded = "undici could not be loaded, so the global fetch is used, whose own time limits end an answer that " +
  "sends nothing for 5 minutes. Install undici beside the bundle, or give ClaudeApi a fetch."

/** The transport of this runtime. A version of Node that is too old is a defect. */
export const make = (
  options: Proxy.Options = {}
): Effect.Effect<Transport, Config.ConfigError, Scope.Scope> =>
  Effect.flatMap(Proxy.connections(options), (connections) => {
    const version = nodeVersion()
    if (version === undefined) return Effect.succeed(ofGlobal)
    if (isTooOld(version)) return Effect.die(tooOld(version))
    return Effect.matchEffect(Effect.tryPromise(() => load("undici")), {
      onFailure: () => Effect.as(Effect.logWarning(notLoaded), ofGlobal),
      onSuccess: pool(connections)
    })
  })

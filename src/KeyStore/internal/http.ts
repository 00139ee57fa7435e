/** Requests of secret managers over HTTP: bounded, without redirects, and with the certificates of a cluster where that is needed. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Http from "node:http"
import * as Https from "node:https"
import { KeyStoreError } from "./source.ts"

/**
 * - `ca`: certificates in PEM that are trusted in place of the system's.
 * - `idleMillis`: the longest silence of the server.
 */
export interface Request {
  readonly method: "GET" | "POST"
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: unknown
  readonly ca?: string | undefined
  readonly idleMillis: number
}

export interface Answer {
  readonly status: number
  /** The body, where it is JSON. */
  readonly body: unknown
}

/** The most that is read of an answer. A secret of Kubernetes is at most 1 MiB, encoded 1.4. */
const maxBytes = 4 * 1024 * 1024

const parseJson = Schema.decodeUnknownOption(Schema.fromJsonString(Schema.Unknown))

const isLoopback = (hostname: string): boolean => /^(localhost|127(\.\d+){3}|\[::1\])$/.test(hostname)

/** The URL of a server, to which a token is sent. */
export const serverUrl = (
  store: string,
  text: string,
  isHttpAllowed: boolean
): Effect.Effect<string, KeyStoreError> =>
  Effect.suspend(() => {
    const url = URL.parse(text)
    const invalid = (reason: string, remedy?: string) =>
      Effect.fail(new KeyStoreError({ store, kind: "invalid", reason, remedy }))
    if (url === null || !/^https?:$/.test(url.protocol)) return invalid("the address is not an HTTP URL")
    if (url.username !== "" || url.password !== "") return invalid("the address has a user or a password in it")
    if (url.protocol === "http:" && !isHttpAllowed && !isLoopback(url.hostname)) {
      return invalid(
        `${url.host} is not reached by HTTPS`,
        "Use HTTPS, or allow HTTP by option in a network that encrypts."
      )
    }
    return Effect.succeed(url.href.replace(/\/+$/, ""))
  })

const failed = (store: string, host: string) => (error: unknown): KeyStoreError => {
  const code = Predicate.hasProperty(error, "code") && Predicate.isString(error.code) ? error.code : "an error"
  return new KeyStoreError({
    store,
    kind: "unreachable",
    reason: `${host} cannot be reached (${/^[A-Z][A-Z0-9_]+$/.test(code) ? code : "an error"})`,
    remedy: /CERT|SIGNED|SIGNATURE/.test(code) ? "Give the certificate of its authority by option." : undefined
  })
}

/** Sends a request; the response is being received when it is answered with. It ends with the scope. */
const begin = (store: string, request: Request) => {
  const url = new URL(request.url)
  const toError = failed(store, url.host)
  const text = request.body === undefined ? undefined : JSON.stringify(request.body)
  const open = Effect.callback<readonly [Http.ClientRequest, Http.IncomingMessage], KeyStoreError>((resume) => {
    const module = url.protocol === "https:" ? Https : Http
    const sent = module.request(url, {
      method: request.method,
      headers: {
        accept: "application/json",
        ...(text === undefined ? undefined : { "content-type": "application/json" }),
        ...request.headers
      },
      agent: false,
      timeout: request.idleMillis,
      ...(request.ca === undefined ? undefined : { ca: request.ca })
    })
    sent.on("response", (response) => resume(Effect.succeed([sent, response])))
    sent.on("error", (error) => resume(Effect.fail(toError(error))))
    sent.on("timeout", () => sent.destroy(Object.assign(new Error("no answer in time"), { code: "ETIMEDOUT" })))
    sent.end(text)
    return Effect.sync(() => sent.destroy())
  })
  return Effect.map(
    Effect.acquireRelease(open, ([sent]) => Effect.sync(() => sent.destroy()), { interruptible: true }),
    ([, response]) => ({ response, toError })
  )
}

/** Pieces of a body as they arrive. */
const chunks = (response: Http.IncomingMessage, toError: (error: unknown) => KeyStoreError) =>
  Stream.fromAsyncIterable<Uint8Array, KeyStoreError>(response, toError)

/** One request and its whole answer, whatever its status. */
export const ask = (store: string, request: Request): Effect.Effect<Answer, KeyStoreError> =>
  Effect.gen(function*() {
    const { response, toError } = yield* begin(store, request)
    const tooLong = new KeyStoreError({ store, kind: "invalid", reason: "the answer is longer than 4 MiB" })
    let bytes = 0
    const text = yield* chunks(response, toError).pipe(
      Stream.tap((chunk) => (bytes += chunk.length) > maxBytes ? Effect.fail(tooLong) : Effect.void),
      Stream.decodeText,
      Stream.mkString
    )
    return { status: response.statusCode ?? 0, body: Option.getOrUndefined(parseJson(text)) }
  }).pipe(Effect.scoped)

/** One request whose answer goes on: its status, and its lines as they arrive. Lines are not kept. */
export const lines = (store: string, request: Request) =>
  Effect.map(begin(store, request), ({ response, toError }) => ({
    status: response.statusCode ?? 0,
    lines: chunks(response, toError).pipe(
      Stream.filter((chunk) => chunk.includes(10)),
      Stream.map(() => undefined)
    )
  }))

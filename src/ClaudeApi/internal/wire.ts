/**
 * Requests as they go over the wire. The SDK makes the first of each shape; those after it differ from that in their bodies alone, which are the JSON of
 * what was asked. What the SDK does for a request takes longer than all policies together.
 */
import Anthropic from "@anthropic-ai/sdk"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import type * as Tracer from "effect/Tracer"
import { environmentHeaders, joinHeaders } from "../../internal/headers.ts"
import type { CountTokensRequest, Request } from "../../Request.ts"
import type { Exchange } from "./exchange.ts"
import * as Sendable from "./sendable.ts"
import type { Envelope, Wire } from "./transport.ts"

/** What the SDK's methods take besides the request. */
export interface SdkOptions {
  readonly fetchOptions: object
  readonly headers: Record<string, string | null>
}

/** One of the SDK's methods, called. */
export type Ask = (sdk: Anthropic, options: SdkOptions) => { readonly asResponse: () => Promise<unknown> }

/** Where the SDK hands over what it made. */
const made = Symbol("effect-claude/ClaudeApi/made")

/** The `fetch` of the SDK: it sends nothing, so nothing of the SDK outlives the request that it made. */
const handOver = (
  input: unknown,
  init: RequestInit & { readonly [made]?: (wire: Wire) => void } = {}
): Promise<Response> => {
  const { body, headers, method } = init
  init[made]?.({
    url: String(input),
    method: method ?? "GET",
    headers: Object.fromEntries(headers as Headers), // the SDK hands over what it built
    body: typeof body === "string" ? body : undefined
  })
  return Promise.resolve(new Response())
}

const ask = (client: Client, call: Ask, headers: SdkOptions["headers"]): Promise<Wire> =>
  new Promise((resolve, reject) => {
    call(client.sdk, { headers, fetchOptions: { [made]: resolve } }).asResponse().catch(reject)
  })

/** Headers that would replace the key of the attempt. */
const keyHeaders = new Set(["authorization", "x-api-key", "proxy-authorization"])

const withoutKeys = (headers: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => !keyHeaders.has(name.toLowerCase())))

/** A client of the SDK for one key. */
interface Client {
  readonly sdk: Anthropic
  /** What all its requests carry besides the key. */
  readonly headers: Readonly<Record<string, string>>
  /** What the SDK made, by the shape of the request; undefined where it changed more than the headers. */
  readonly envelopes: Map<string, Envelope | undefined>
}

/** The most clients that are kept; the oldest makes room. */
const maxClients = 256

/** The most shapes that a client keeps; requests of others are made by the SDK each time. */
const maxShapes = 256

const hasMark = (value: unknown): boolean => Predicate.isObject(value) && Object.getOwnPropertySymbols(value).length > 0

const isMadeByHelper = (block: unknown): boolean =>
  hasMark(block) || (Predicate.hasProperty(block, "tool") && Predicate.hasProperty(block.tool, "definition"))

/** A span as a header of W3C Trace Context. */
const traceparentOf = ({ sampled, spanId, traceId }: Tracer.AnySpan): string =>
  `00-${traceId.padStart(32, "0")}-${spanId.padStart(16, "0")}-${sampled ? "01" : "00"}`

const isVendors = (baseUrl: string, vendors: string): boolean =>
  URL.canParse(baseUrl) && new URL(baseUrl).origin === new URL(vendors).origin

export interface Options {
  readonly baseUrl: string
  /** The vendor's, where the headers of the environment may go. */
  readonly vendorsUrl: string
  readonly headers: Readonly<Record<string, string>>
  readonly traceparent: boolean
  /** The time limit that the SDK tells the API, in milliseconds. */
  readonly timeout: number
}

/** What is asked: the route, the parameters where it has a body of JSON, and the method of the SDK. */
export interface Asked {
  readonly route: string
  readonly params?: Request | CountTokensRequest | undefined
  readonly ask: Ask
}

/**
 * What tells requests apart that the SDK makes in another way: where they go, and the fields that have a value. Undefined where a helper of the SDK made a
 * part of it: helpers mark what they make, which the SDK tells the API in a header.
 */
const shapeOf = (route: string, params: Partial<Request>): string | undefined => {
  const { messages, tools } = params
  if (Array.isArray(tools) && tools.some(hasMark)) return undefined
  if (
    Array.isArray(messages) &&
    messages.some((message) =>
      hasMark(message) || (Array.isArray(message?.content) && message.content.some(isMadeByHelper))
    )
  ) return undefined
  let shape = route
  for (const [name, value] of Object.entries(params)) if (value !== undefined) shape += ` ${JSON.stringify(name)}`
  return shape
}

/** Makes the requests of a port. Throws, or rejects, where one cannot be made. */
export const maker = ({ baseUrl, headers, timeout, traceparent, vendorsUrl }: Options) => {
  const clients = new Map<string, Client>()

  const newClient = (apiKey: string): Client => {
    const found = environmentHeaders()
    const all = withoutKeys(joinHeaders(isVendors(baseUrl, vendorsUrl) ? found : {}, headers))
    Sendable.checkHeaders(all)
    const sdk = new Anthropic({
      apiKey,
      baseURL: baseUrl,
      maxRetries: 0,
      timeout,
      openTelemetry: false,
      logLevel: "off",
      // The SDK adds what it finds in the environment, unless it finds the same name here.
      defaultHeaders: { ...Object.fromEntries(Object.keys(found).map((name) => [name, null])), ...all },
      fetch: handOver
    })
    const oldest = clients.size < maxClients ? undefined : clients.keys().next().value
    if (oldest !== undefined) clients.delete(oldest)
    const client = { sdk, headers: all, envelopes: new Map() }
    clients.set(apiKey, client)
    return client
  }

  const withSpan = (wire: Wire, span: Tracer.AnySpan | undefined): Wire =>
    traceparent && span !== undefined
      ? { ...wire, headers: { ...wire.headers, traceparent: traceparentOf(span) } }
      : wire

  return (exchange: Exchange, { ask: call, params, route }: Asked): Wire | Promise<Wire> => {
    const { attempt: { context, key }, span } = exchange
    if (params !== undefined) Sendable.checkHistory(params)
    const apiKey = key === undefined ? "" : Redacted.value(key.secret)
    const client = clients.get(apiKey) ?? newClient(apiKey)
    const hasOwn = key?.headers !== undefined || Object.keys(context.headers).length > 0
    const own = hasOwn ? withoutKeys(joinHeaders(client.headers, context.headers, key?.headers ?? {})) : client.headers
    if (hasOwn) Sendable.checkHeaders(own)
    exchange.carried = own
    const shape = hasOwn || params === undefined ? undefined : shapeOf(route, params)
    const envelope = shape === undefined ? undefined : client.envelopes.get(shape)
    if (envelope !== undefined && params !== undefined) {
      return withSpan({ ...envelope, body: Sendable.wellFormed(JSON.stringify(params)) }, span)
    }
    const asked = ask(client, call, {
      ...(hasOwn ? own : undefined),
      ...(key === undefined ? undefined : { authorization: `Bearer ${apiKey}`, "x-api-key": null })
    })
    return asked.then((wire) => {
      if (shape !== undefined && !client.envelopes.has(shape) && client.envelopes.size < maxShapes) {
        const { body, ...envelope } = wire
        client.envelopes.set(shape, body === JSON.stringify(params) ? envelope : undefined)
      }
      return withSpan({ ...wire, body: wire.body && Sendable.wellFormed(wire.body) }, span)
    })
  }
}

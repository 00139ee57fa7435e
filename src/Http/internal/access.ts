/** Who may read what, and the headers of every answer. */
import * as Effect from "effect/Effect"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Redacted from "effect/Redacted"

/** The answer to a request that may not be answered. */
export type Refusal = "token" | "host"

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text)

/** Compares in a time that depends only on what was given. */
export const isSame = (given: string, secret: string): boolean => {
  const a = bytesOf(given)
  const b = bytesOf(secret)
  let difference = a.length ^ b.length
  for (let i = 0; i < a.length; i++) difference |= a[i]! ^ (b[i % b.length] ?? 0)
  return difference === 0
}

/** The host of a `Host` header, without its port. */
const hostOf = (header: string): string => header.replace(/:\d+$/, "").replace(/^\[|\]$/g, "").toLowerCase()

/**
 * Whether a page of another origin cannot have made its own name stand for this server: its address is a number, or a name that is no public one.
 */
const isSafeHost = (host: string, hosts: ReadonlyArray<string>): boolean =>
  /^(?:\d{1,3}(?:\.\d{1,3}){3}|[\da-f:.]*:[\da-f:.]*)$/.test(host) || host === "localhost" ||
  host.endsWith(".localhost") ||
  hosts.some((name) => name.toLowerCase() === host)

/** What a request lacks; undefined where it may be answered. */
export const refusalOf = (
  { headers }: Pick<HttpServerRequest.HttpServerRequest, "headers">,
  token: Redacted.Redacted<string> | undefined,
  hosts: ReadonlyArray<string>,
  isOpen: boolean
): Refusal | undefined => {
  if (token === undefined) return isSafeHost(hostOf(headers["host"] ?? ""), hosts) ? undefined : "host"
  const [, given] = /^Bearer +(\S+)$/i.exec(headers["authorization"] ?? "") ?? []
  return isOpen || (given !== undefined && isSame(given, Redacted.value(token))) ? undefined : "token"
}

const headers = {
  "cache-control": "no-store",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff"
}

export const secured = <E, R>(
  response: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>
): Effect.Effect<HttpServerResponse.HttpServerResponse, E, R> =>
  Effect.map(response, HttpServerResponse.setHeaders(headers))

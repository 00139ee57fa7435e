/** Maps every way in which a request can fail to one of the five errors of the API. */
import { AnthropicError } from "@anthropic-ai/sdk/core/error"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type { Key, Limits } from "../../Attempt.ts"
import {
  type ApiError,
  AuthError,
  BadRequestError,
  type Billed,
  ConnectionError,
  RateLimitError,
  ServerError
} from "../../ClaudeError.ts"
import type { Request } from "../../Request.ts"
import { awsTypeOf, codeIn, codeNameIn, isPage, part, saidIn, text, typeOf } from "./errorBody.ts"
import { whole } from "./misread.ts"
import { redact, token } from "./redact.ts"
import * as ResponseHeaders from "./responseHeaders.ts"
import { Unsendable } from "./sendable.ts"

/** The request that failed. */
export interface Sent {
  readonly attempts: number
  readonly request: Partial<Request> | undefined
  /** The key and the values of headers, which an answer may repeat. */
  readonly secrets: ReadonlyArray<string>
  readonly key: Key | undefined
  readonly requestId: string | undefined
  /** The rate limits that the headers of the response report. */
  readonly limits: Limits | undefined
  readonly now: number
  /** Where it went. */
  readonly baseUrl: string
}

interface Reply {
  readonly status: number | undefined
  readonly headers: Headers | undefined
  /** The decoded body, where it was JSON. */
  readonly body: unknown
  readonly billed: Billed
}

/** The only messages that are matched: these cases differ in nothing else. */
const spendLimitMessage = /^You have reached your specified (workspace )?API usage limits/
const creditMessage = /^Your credit balance is too low/

type Kind =
  | "authentication"
  | "permission"
  | "billing"
  | "badRequest"
  | "rateLimit"
  | "spend"
  | "acceleration"
  | "connection"
  | "overloaded"
  | "server"

/** Codes that override the status. */
const kindOfCode: Readonly<Record<string, Kind>> = {
  enforced_spend_limit_reached: "spend",
  contract_spend_limit_reached: "spend",
  ramp_limit_exceeded: "acceleration",
  organization_on_hold: "permission",
  linked_organization_billing_unavailable: "billing",
  linked_organization_spend_limit_reached: "billing",
  user_profile_billing_not_authorized: "permission",
  user_profile_not_billable: "permission",
  compaction_unavailable: "overloaded"
}

const kindOfType: Readonly<Record<string, Kind>> = {
  authentication_error: "authentication",
  permission_error: "permission",
  billing_error: "billing",
  not_found_error: "badRequest",
  request_too_large: "badRequest",
  conflict_error: "badRequest",
  rate_limit_error: "rateLimit",
  overloaded_error: "overloaded",
  timeout_error: "server",
  api_error: "server"
}

/** What services of other clouds call their errors, whatever their status. */
const kindsOfServices: ReadonlyArray<readonly [name: RegExp, kind: Kind]> = [
  [/throttl|toomanyrequests|limit_?exceeded|quota_?exceeded|slowdown|resource_?exhausted/i, "rateLimit"],
  [/unavailable|notready|overloaded/i, "overloaded"],
  [/timeout|deadline_exceeded|^internal|modelerror|modelstreamerror/i, "server"],
  [/accessdenied|permission_?denied/i, "permission"],
  [
    /unrecognizedclient|signature|authenticationtoken|expiredtoken|requestexpired|clienttoken|unauthenticated/i,
    "authentication"
  ]
]

const kindOfService = (name: string | undefined): Kind | undefined =>
  name === undefined ? undefined : kindsOfServices.find(([pattern]) => pattern.test(name))?.[1]

const kindOfStatus = (status: number): Kind => {
  if (status === 401) return "authentication"
  if (status === 402) return "billing"
  if (status === 403) return "permission"
  if (status === 408) return "connection"
  if (status === 429) return "rateLimit"
  if (status === 529) return "overloaded"
  return status >= 500 ? "server" : "badRequest"
}

const kindOf = (
  status: number | undefined,
  type: string | undefined,
  code: string | undefined,
  message: string | undefined,
  service: string | undefined
): Kind => {
  const byCode = code === undefined || !Object.hasOwn(kindOfCode, code) ? undefined : kindOfCode[code]
  if (byCode !== undefined) return byCode
  if (type === undefined || type === "invalid_request_error") {
    if (message !== undefined && spendLimitMessage.test(message)) return "spend"
    if (message !== undefined && creditMessage.test(message)) return "billing"
  }
  const byType = type === undefined || !Object.hasOwn(kindOfType, type) ? undefined : kindOfType[type]
  const byName = byType ?? kindOfService(service)
  if (byName !== undefined) return byName
  if (status !== undefined) return kindOfStatus(status)
  return type === "invalid_request_error" ? "badRequest" : "server"
}

/** Which bucket is empty, or clearly the emptiest. The wording of the message is not stable enough to parse. */
const emptiest = (limits: Limits | undefined): RateLimitError["limit"] => {
  if (limits === undefined) return "unknown"
  const shares = (["requests", "inputTokens", "outputTokens"] as const).flatMap((dimension) => {
    const limit = limits[dimension]
    return limit === undefined || limit.limit <= 0 ? [] : [{ dimension, share: limit.remaining / limit.limit }]
  }).sort((a, b) => a.share - b.share)
  const [first, second] = shares
  if (first === undefined || first.share > 0.1 || (second !== undefined && second.share === first.share)) {
    return "unknown"
  }
  return first.dimension
}

/** What says something about limits, size or time, whoever wrote it. */
const meantByAnybody: ReadonlySet<number> = new Set([408, 413, 429, 431])

/** Whether an error comes from somebody before the API, so that it says nothing about key and request. */
const isForeign = (status: number | undefined, body: unknown, page: boolean, isChallenge: boolean): boolean => {
  if (status === undefined || isChallenge) return isChallenge
  return status >= 400 && status < 500 && !meantByAnybody.has(status) &&
    (page || status === 407 || (status === 403 && !Predicate.isObject(body)))
}

/** What is told of an error: its text, and who answered where that was hardly the API. */
const detailOf = (
  said: string | undefined,
  isForeign: boolean,
  isNotFound: boolean,
  sent: Sent
): string | undefined => {
  const text = said === undefined ? undefined : redact(said, sent.request, sent.secrets)
  if (isForeign) return `${sent.baseUrl} answered ${text === undefined ? "with a page or nothing" : `"${text}"`}`
  return isNotFound ? `${text ?? "nothing is there"} (is the base URL ${sent.baseUrl} right?)` : text
}

const fromReply = (reply: Reply, sent: Sent): ApiError => {
  const { headers, status } = reply
  const body: unknown = Array.isArray(reply.body) ? reply.body[0] : reply.body
  const awsType = awsTypeOf(body, headers)
  const type = typeOf(body)
  const errorType = type ?? awsType
  const errorCode = text(part(part(part(body, "error"), "details"), "error_code"))
  const isPageBody = isPage(body, headers)
  const said = isPageBody ? undefined : saidIn(body)
  const foreign = isForeign(status, body, isPageBody, headers?.has("cf-mitigated") === true)
  const fields = {
    status,
    errorType: token(errorType, sent.secrets),
    errorCode: token(errorCode, sent.secrets),
    requestId: sent.requestId ?? token(part(body, "request_id"), sent.secrets),
    // The API has a type for what is not found.
    detail: detailOf(said, foreign || isPageBody, status === 404 && errorType === undefined, sent),
    retryAfter: headers === undefined ? undefined : ResponseHeaders.retryAfter(headers, sent.now),
    shouldRetry: headers === undefined ? undefined : ResponseHeaders.shouldRetry(headers),
    billed: reply.billed,
    attempts: sent.attempts
  }
  if (foreign) return new ConnectionError({ ...fields, reason: "malformed" })
  const key = { keyLabel: sent.key?.label, keyGroup: sent.key?.group }
  // Some servers say 400 or 200 of everything, and what it was in the body.
  const meant = status === undefined || status === 400 ? codeIn(body) ?? status : status
  const kind = kindOf(meant, errorType, errorCode, said, awsType ?? codeNameIn(body))
  switch (kind) {
    case "authentication":
    case "permission":
    case "billing":
      return new AuthError({ ...fields, ...key, kind })
    case "badRequest":
      return new BadRequestError(fields)
    case "spend":
    case "acceleration":
      return new RateLimitError({ ...fields, ...key, limit: kind })
    case "rateLimit":
      return new RateLimitError({
        ...fields,
        ...key,
        limit: emptiest(sent.limits)
      })
    case "connection":
      return new ConnectionError({ ...fields, reason: "timeout", billed: "unknown" })
    case "overloaded":
    case "server":
      return new ServerError({ ...fields, overloaded: kind === "overloaded" })
  }
}

/** An error that came as an event of a stream, or as the body of a 200. */
export const fromBody = (body: unknown, headers: Headers, billed: Billed, sent: Sent): ApiError =>
  fromReply({ status: undefined, headers, body, billed }, sent)

type Reason = ConnectionError["reason"]

const reasonOfCode = (code: string): Reason | undefined => {
  if (/^(ENOTFOUND|EAI_|EDNS)/.test(code)) return "dns"
  if (/^(ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|EHOSTDOWN|ENETDOWN|EADDRNOTAVAIL)/.test(code)) return "refused"
  if (/TIMEDOUT|TIMEOUT/.test(code)) return "timeout"
  if (/^(ECONNRESET|EPIPE|ECONNABORTED|UND_ERR_SOCKET|ERR_STREAM_PREMATURE_CLOSE)/.test(code)) return "reset"
  if (/CERT|TLS|SSL|SELF_SIGNED|UNABLE_TO_|^EPROTO/.test(code)) return "tls"
  return undefined
}

/** Without a connection nothing was billed. */
const notConnected: ReadonlySet<Reason> = new Set(["dns", "refused", "tls"])

/** Messages of failures that have no code of their own: a handshake that broke off, and a proxy that opens no tunnel. */
const unconnectedMessage = /before secure TLS connection was established|HTTP Tunneling/

/** Whether one of the causes says that there was no connection yet. */
const isUnconnected = (error: unknown, depth = 0): boolean => {
  if (depth > 5 || !Predicate.isObject(error)) return false
  const [code, syscall, message] = [part(error, "code"), part(error, "syscall"), part(error, "message")]
  const errors = part(error, "errors")
  return code === "UND_ERR_CONNECT_TIMEOUT" || syscall === "connect" || syscall === "getaddrinfo" ||
    (typeof message === "string" && unconnectedMessage.test(message)) ||
    isUnconnected(part(error, "cause"), depth + 1) ||
    (Array.isArray(errors) && errors.some((error) => isUnconnected(error, depth + 1)))
}

/** The code of the system, found among the causes (and the errors of an `AggregateError`). */
const codeOf = (error: unknown, depth = 0): string | undefined => {
  if (depth > 5 || !Predicate.isObject(error)) return undefined
  return text(part(error, "code")) ?? codeOf(part(error, "cause"), depth + 1) ??
    codeOf((part(error, "errors") as ReadonlyArray<unknown> | undefined)?.[0], depth + 1) // `AggregateError.errors`
}

/** What a proxy answered that opened no tunnel, or wanted another password. */
const proxyStatusOf = (error: unknown, depth = 0): string | undefined => {
  if (depth > 5 || !Predicate.isObject(error)) return undefined
  const said = /^Proxy (?:response|Authentication Required) \((\d{3})\)/.exec(String(part(error, "message")))
  return said?.[1] ?? proxyStatusOf(part(error, "cause"), depth + 1)
}

/** A failure of the connection by its code; `fallback` where it has none. */
export const fromConnection = (
  error: unknown,
  fallback: { readonly reason: Reason; readonly billed: Billed },
  sent: Sent
): ConnectionError => {
  const code = token(codeOf(error), sent.secrets)
  const proxyStatus = proxyStatusOf(error)
  const reason = proxyStatus === undefined
    ? (code === undefined ? undefined : reasonOfCode(code)) ?? fallback.reason
    : "refused"
  return new ConnectionError({
    reason,
    code,
    detail: proxyStatus === undefined ? undefined : `the proxy answered ${proxyStatus}`,
    requestId: sent.requestId,
    billed: notConnected.has(reason) || isUnconnected(error) ? "no" : fallback.billed,
    attempts: sent.attempts
  })
}

/** What a proxy answers when the API, which it reached, gave no answer in time or none that it understood. */
const waitedInVain: ReadonlySet<number> = new Set([504, 520, 524, 598, 599])

/** What the system or a `fetch` calls a wait that was too long. */
const isTimeout = (error: unknown, depth = 0): boolean =>
  depth <= 5 && Predicate.isObject(error) &&
  (/^(Abort|Timeout)Error$/.test(String(part(error, "name"))) || /timed? ?out/i.test(String(part(error, "message"))) ||
    isTimeout(part(error, "cause"), depth + 1))

/** What a `fetch` rejected a request with. */
export const fromFetch = (error: unknown, sent: Sent): ApiError =>
  fromConnection(error, { reason: isTimeout(error) ? "timeout" : "unknown", billed: "unknown" }, sent)

/** An answer that is none of the statuses 2xx, with what was read of its body. */
export const fromResponse = (status: number, headers: Headers, said: string, sent: Sent): ApiError => {
  if (status < 400) {
    return new ConnectionError({
      reason: "malformed",
      status,
      detail: `${sent.baseUrl} redirects, and nothing is sent elsewhere`,
      requestId: sent.requestId,
      // The API redirects nobody.
      billed: "no",
      attempts: sent.attempts
    })
  }
  const value = Option.getOrUndefined(whole(said)) ?? undefined
  const body = value ?? (said === "" ? undefined : said)
  // A body that is not the API's comes from a proxy that did not reach it, unless it says that it waited for the API in vain.
  const isDoubtful = waitedInVain.has(status) && !Predicate.isObject(value)
  return fromReply({ status, headers, body, billed: isDoubtful ? "unknown" : "no" }, sent)
}

/** A request that could not be made, by the SDK or by what checks it. */
export const unmade = (error: unknown, sent: Sent): ApiError => {
  if (error instanceof AnthropicError) {
    return new BadRequestError({ detail: redact(error.message, sent.request, sent.secrets), attempts: sent.attempts })
  }
  const detail = error instanceof Unsendable ? error.message : "the request cannot be encoded as JSON over HTTP"
  return new BadRequestError({ detail, attempts: sent.attempts })
}

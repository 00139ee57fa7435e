/**
 * Finds the endpoint that answers a request: routes, keys and the checks before every answer.
 */
import * as Result from "effect/Result"
import type * as Model from "../../../Model.ts"
import type * as Compose from "./Compose.ts"
import type * as Files from "./Files.ts"
import * as Keys from "./Keys.ts"
import type * as Messages from "./Messages.ts"
import type { Replay } from "./Replay.ts"
import type { Resource } from "./Resource.ts"
import * as Step from "./Step.ts"
import type * as Threads from "./Threads.ts"
import * as Validate from "./Validate.ts"
import * as Wire from "./Wire.ts"

/** A request, over `fetch` or HTTP. `header` takes lower-case names, `path` includes the query. */
export interface Incoming {
  readonly method: string
  readonly path: string
  /** Scheme, host and port that the request was sent to. */
  readonly origin: string
  readonly header: (name: string) => string | undefined
  readonly body: string
  /** The body as it came, where it is not text. */
  readonly bytes: Uint8Array | undefined
  /** The body was longer than the limit and was not read. */
  readonly tooLarge: boolean
}

interface Parts {
  readonly keys: ReturnType<typeof Keys.make>
  readonly messages: ReturnType<typeof Messages.make>
  readonly threads: ReturnType<typeof Threads.make>
  readonly files: ReturnType<typeof Files.make>
  readonly replay: Replay
  /** What is below `/v1`, by the part of the path that names it. */
  readonly resources: Readonly<Record<string, Resource>>
  /** Models that exist beside those of the catalogue. */
  readonly extra: ReadonlySet<string>
  readonly catalogue: Model.Catalogue
  /** The instant that decides which models are retired. */
  readonly today: () => number
  readonly now: () => number
}

/** Answers a request whose body was parsed, where it has one. */
export type Respond = (
  incoming: Incoming,
  parsed: Result.Result<unknown, unknown> | undefined,
  served: Compose.Served,
  id: string
) => Step.Step | Iterable<Step.Step>

const json = { "content-type": "application/json" }

/** Why a body that says that it is compressed is not read. */
const encoded = (header: Incoming["header"]): Wire.Refusal | undefined => {
  const encoding = header("content-encoding") ?? "identity"
  return encoding.trim() === "" || encoding.split(",").every((each) => each.trim().toLowerCase() === "identity")
    ? undefined
    : Wire.refuse(400, `The Content-Encoding "${encoding}" is not supported.`, "request_body_encoding_unsupported")
}

/** Whether some text has half a character. JSON has those as escapes alone. */
const hasHalves = (text: string, parsed: unknown): boolean =>
  /\\u[dD]/.test(text) && /\\ud[89a-f]/.test(JSON.stringify(parsed).replaceAll("\\\\", ""))

/** The resource of a path, its entry, and what to do with it. */
const placeOf = (path: string, resources: Parts["resources"]) => {
  for (const [name, resource] of Object.entries(resources)) {
    if (!path.startsWith(name)) continue
    const rest = path.slice(name.length)
    if (rest !== "" && !rest.startsWith("/")) continue
    const parts = rest.split("/").slice(1)
    if (parts.length > 2 || parts.includes("")) continue
    const [id, sub] = parts.map((part) => Result.getOrElse(Result.try(() => decodeURIComponent(part)), () => part))
    return { resource, id, sub }
  }
  return undefined
}

/** Checks a request for an answer or a count, which is done where it may belong to a thread. */
export const check = (
  { catalogue, extra, files, today }: Pick<Parts, "catalogue" | "extra" | "files" | "today">,
  body: unknown,
  key: Keys.Key,
  options: {
    readonly version: string | undefined
    readonly betas: string
    readonly counting: boolean
    readonly marked: boolean
  }
): Validate.Checked | Wire.Refusal => {
  const checked = Validate.check(body, { ...options, extra, catalogue, now: today() })
  if ("status" in checked) return checked
  return Keys.forbids(key, checked.body.model) ?? files.missing(checked.body, key) ?? checked
}

export const make = (parts: Parts): Respond => {
  const { keys, messages, now, replay, resources, threads } = parts

  const answer = (
    { body: text, header, path }: Incoming,
    parsed: Result.Result<unknown, unknown> | undefined,
    key: Keys.Key,
    served: Compose.Served,
    id: string,
    headers: Record<string, string>
  ): Step.Step | Iterable<Step.Step> => {
    const refused = (refusal: Wire.Refusal) => Step.refused(refusal, id, headers)
    if (parsed === undefined || Result.isFailure(parsed)) {
      return refused(Wire.refuse(400, "The request body is not valid JSON."))
    }
    if (hasHalves(text, parsed.success)) {
      return refused(Wire.refuse(400, "The request body is not valid JSON: a surrogate stands alone in a text."))
    }
    const betas = header("anthropic-beta") ?? ""
    const counting = path.includes("/count_tokens")
    const thread = counting ? undefined : threads.open(parsed.success, key.workspace, betas)
    if (thread !== undefined) {
      if ("status" in thread) return refused(thread)
      served.release = thread.release
    }
    const checked = check(parts, thread?.body ?? parsed.success, key, {
      version: header("anthropic-version"),
      betas,
      counting,
      marked: text.includes("cache_control")
    })
    if ("status" in checked) return refused(checked)
    return counting
      ? messages.countTokens(checked, key, served, id, headers)
      : messages.answer(checked, key, served, id, headers, thread)
  }

  return (incoming, parsed, served, id) => {
    const anonymous = { "request-id": id }
    const { header, method, origin } = incoming
    const [path = "", query = ""] = incoming.path.split("?", 2)
    const isAnswered = method === "POST" && (path === "/v1/messages" || path === "/v1/messages/count_tokens")
    const place = isAnswered ? undefined : placeOf(path, resources)
    const isKnown = isAnswered || place !== undefined || replay.knows(path)
    if (!isKnown) return Step.refused(Wire.refuse(404, "Not found"), id, anonymous)
    if (incoming.tooLarge) {
      return Step.refused(Wire.refuse(413, "Request exceeds the maximum allowed number of bytes."), id, anonymous)
    }
    const key = keys.authenticate(header, now())
    if ("status" in key) return Step.refused(key, id, anonymous)
    const headers = { "request-id": id, ...Keys.headers(key) }
    const suspended = Keys.suspended(key)
    if (suspended !== undefined) return Step.refused(suspended, id, headers)
    const unread = encoded(header)
    if (unread !== undefined) return Step.refused(unread, id, headers)
    const recorded = replay.answer(method, path, parsed, headers)
    if (recorded !== undefined) return recorded
    if (isAnswered) return answer(incoming, parsed, key, served, id, headers)
    if (place === undefined) return Step.refused(Wire.refuse(404, "Not found"), id, headers)
    const body = parsed === undefined || Result.isFailure(parsed) ? undefined : parsed.success
    const bytes = incoming.bytes ?? new TextEncoder().encode(incoming.body)
    const reply = place.resource({
      ...place,
      method,
      query: new URLSearchParams(query),
      key,
      header,
      origin,
      body,
      bytes
    })
    if (reply === undefined) return Step.refused(Wire.refuse(404, "Not found"), id, headers)
    if ("status" in reply) return Step.refused(reply, id, headers)
    return reply.contentType === undefined
      ? Step.head(200, { ...json, ...headers }, JSON.stringify(reply.body))
      : Step.head(200, { "content-type": reply.contentType, ...headers }, String(reply.body))
  }
}

/**
 * Recorded traffic with the API, which a simulator answers with again: a HAR file, as browsers, proxies and debuggers save it, or JSON lines.
 *
 * A line is `{"request": {"method", "path", "body"}, "response": {"status", "headers", "body"}}`. `method` is `POST` unless it says otherwise, `path` can be a
 * URL, `headers` can be an object or a list of `name` and `value`, and a body is JSON, or a text such as the events of a stream. Lines
 * that are entries of a HAR are read too, and so is a list of them. Requests that got no answer are left out.
 *
 * Nothing that could hold a secret is kept: no header of a request, no header of an answer but those of its type, its id and of rate limits,
 * no query, and no text that looks like a key of the API.
 *
 * **Example** (An answer of yesterday)
 *
 * ```ts
 * import Anthropic from "@anthropic-ai/sdk"
 * import { Effect } from "effect"
 * import * as Recording from "effect-claude/testing/Recording"
 * import * as Simulator from "effect-claude/testing/Simulator"
 *
 * const line = JSON.stringify({
 *   request: { path: "/v1/messages/count_tokens", body: { model: "claude-opus-5-5", messages: [{ role: "user", content: "Hello" }] } },
 *   response: { status: 200, headers: { "content-type": "application/json" }, body: { input_tokens: 42 } }
 * })
 *
 * const program = Effect.gen(function*() {
 *   const recording = yield* Recording.parse(line)
 *   const { fetch } = yield* Simulator.make({ recording })
 *   const { messages } = new Anthropic({ apiKey: Simulator.apiKey, fetch })
 *   return yield* Effect.promise(() =>
 *     messages.countTokens({ model: "claude-opus-5-5", messages: [{ role: "user", content: "Hello" }] })
 *   )
 * })
 *
 * await Effect.runPromise(Effect.scoped(program)) // => { input_tokens: 42 }
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"

/**
 * The recording cannot be read: `detail` says what is wrong, and `entry` where it is, from 1: a line, or an entry of a HAR.
 *
 * @category errors
 * @since 0.1.0
 */
export class RecordingError
  extends Schema.TaggedError<RecordingError>("effect-claude/RecordingError")("RecordingError", {
    detail: Schema.String,
    entry: Schema.optional(Schema.Int)
  })
{
  override get message(): string {
    const where = this.entry === undefined ? "" : `entry ${this.entry}: `
    return `The recording cannot be read: ${where}${this.detail}.`
  }
}

/**
 * A request and its answer, without secrets.
 *
 * - `path`: without origin and query.
 * - `body`: of the request: JSON where it was, else the text; undefined where there was none.
 * - `headers`: of the answer, with lower-case names.
 * - `answer`: the body of the answer, as it was decoded.
 *
 * @category models
 * @since 0.1.0
 */
export interface Exchange {
  readonly method: string
  readonly path: string
  readonly body: unknown
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly answer: string
}

type Fields = Readonly<Record<string, unknown>>

/** Answers that HTTP lets have no body. */
const bodiless: ReadonlySet<number> = new Set([204, 205, 304])

const kept = /^(content-type|request-id|retry-after(-ms)?|x-should-retry|anthropic-(ratelimit|priority|fast)-[a-z-]+)$/

const withoutKeys = (text: string): string => text.replaceAll(/\bsk-ant-[\w-]{8,}/g, "sk-ant-removed")

const parsed = (text: string): unknown => Result.getOrElse(Result.try(() => JSON.parse(text) as unknown), () => text)

const isField = (value: unknown): value is Fields => Predicate.isObject(value) && !Array.isArray(value)

const textOf = (body: unknown): string =>
  body === undefined ? "" : typeof body === "string" ? body : JSON.stringify(body)

/** The body of a request, also where it escapes what would be found in it. */
const askedOf = (text: string): unknown => {
  const body = parsed(text)
  return text === "" ? undefined : typeof body === "string" ? withoutKeys(body) : parsed(withoutKeys(textOf(body)))
}

/** The body of a request or an answer: our `body`, or the `postData` and `content` of a HAR. */
const bodyOf = (message: Fields): unknown => {
  if ("body" in message) return message["body"]
  const data = message["postData"] ?? message["content"]
  if (!isField(data) || typeof data["text"] !== "string") return undefined
  return data["encoding"] === "base64"
    ? new TextDecoder().decode(Uint8Array.from(atob(data["text"]), (byte) => byte.charCodeAt(0)))
    : data["text"]
}

const headersOf = (headers: unknown): Record<string, string> => {
  const all: ReadonlyArray<readonly [unknown, unknown]> = Array.isArray(headers)
    ? headers.filter(isField).map(({ name, value }) => [name, value])
    : isField(headers)
    ? Object.entries(headers)
    : []
  return Object.fromEntries(
    all.map(([name, value]) => [String(name).toLowerCase(), withoutKeys(String(value))] as const)
      .filter(([name, value]) => kept.test(name) && /^[\t\x20-\x7e\x80-\xff]*$/.test(value))
  )
}

/** One entry; undefined for one of another kind of address, such as the page that a browser showed. */
const exchangeOf = (entry: unknown): Exchange | string | undefined => {
  if (!isField(entry) || !isField(entry["request"]) || !isField(entry["response"])) return "no request and response"
  const { request, response } = entry as { readonly request: Fields; readonly response: Fields } // both were checked
  const address = request["path"] ?? request["url"]
  if (typeof address !== "string" || !URL.canParse(address, "http://localhost")) return "no path or URL"
  const path = new URL(address, "http://localhost").pathname
  if (!path.includes("/v1/")) return undefined
  const { status } = response
  // The browser gave up, or something in it refused.
  if (status === 0) return undefined
  if (typeof status !== "number" || !Number.isInteger(status) || status < 200 || status > 599) return "no status"
  if (isStrange(request["postData"]) || isStrange(response["content"])) return "a body in an unknown encoding"
  if (isMissing(response["content"])) return "the body of the answer was not saved"
  const asked = textOf(bodyOf(request))
  const headers = headersOf(response["headers"])
  const answer = bodiless.has(status) ? "" : withoutKeys(textOf(bodyOf(response)))
  return {
    method: typeof request["method"] === "string" ? request["method"].toUpperCase() : "POST",
    path: withoutKeys(path.slice(path.indexOf("/v1/"))),
    body: askedOf(asked),
    status,
    headers: { "content-type": isEvents(answer) ? "text/event-stream" : "application/json", ...headers },
    answer
  }
}

/** Whether the content of a HAR had a body that was left out, as browsers do when they need room. */
const isMissing = (content: unknown): boolean =>
  isField(content) && typeof content["size"] === "number" && content["size"] > 0 && content["text"] === undefined

/** Whether it is written in a way that is not known. */
const isStrange = (content: unknown): boolean =>
  isField(content) && (content["encoding"] ?? "base64") !== "base64" && content["encoding"] !== ""

const isEvents = (answer: string): boolean => /^(event|data|:)/.test(answer)

const entriesOf = (saved: string): ReadonlyArray<unknown> => {
  const text = saved.replace(/^\ufeff/, "")
  const whole = parsed(text)
  const log = isField(whole) ? whole["log"] : undefined
  if (isField(log) && Array.isArray(log["entries"])) return log["entries"]
  if (Array.isArray(whole)) return whole
  if (isField(whole)) return [whole]
  return text.split("\n").filter((line) => line.trim() !== "").map(parsed)
}

/**
 * Reads a recording. Entries whose path has no `/v1/` are left out.
 *
 * @category constructors
 * @since 0.1.0
 */
export const parse = (text: string): Effect.Effect<ReadonlyArray<Exchange>, RecordingError> =>
  Effect.suspend(() => {
    const exchanges: Array<Exchange> = []
    for (const [index, entry] of entriesOf(text).entries()) {
      const exchange = Result.getOrElse(Result.try(() => exchangeOf(entry)), () => "a body that cannot be decoded")
      if (typeof exchange === "string") return Effect.fail(new RecordingError({ detail: exchange, entry: index + 1 }))
      if (exchange !== undefined) exchanges.push(exchange)
    }
    return exchanges.length === 0
      ? Effect.fail(new RecordingError({ detail: "no request to the API" }))
      : Effect.succeed(exchanges)
  })

/**
 * Writes exchanges as JSON lines, which `parse` reads: a HAR becomes a file without secrets, small enough to be kept with the tests.
 *
 * @category conversions
 * @since 0.1.0
 */
export const toJsonLines = (exchanges: ReadonlyArray<Exchange>): string =>
  exchanges.map(({ answer, body, headers, method, path, status }) =>
    `${JSON.stringify({ request: { method, path, body }, response: { status, headers, body: answer } })}\n`
  ).join("")

/** Reads the bodies of errors: those of the API, and those of the servers before it, whose shapes differ. */
import * as Predicate from "effect/Predicate"

/** A text that says something. */
export const text = (value: unknown): string | undefined =>
  typeof value === "string" && value !== "" ? value : undefined

/** A field of unknown JSON. */
export const part = (value: unknown, key: string): unknown =>
  Predicate.isObject(value) ? (value as Record<string, unknown>)[key] : undefined // read-only look at unknown JSON

/** Where gateways and other servers keep the text of an error, the most telling first. */
const textFields = [
  "message",
  "Message",
  "errorMessage",
  "error_description",
  "detail",
  "msg",
  "error",
  "errors",
  "fault",
  "faultstring",
  "description",
  "reason",
  "title"
]

/** The text of an error, wherever it stands in a body. */
export const saidIn = (body: unknown, depth = 0): string | undefined => {
  if (typeof body === "string") return text(body.slice(0, maxSaid).replace(/[\s\p{Cc}]+/gu, " ").trim())
  if (depth > 4 || typeof body !== "object" || body === null) return undefined
  const parts: ReadonlyArray<unknown> = Array.isArray(body)
    ? body.slice(0, 4)
    : textFields.flatMap((field) => Object.hasOwn(body, field) ? [part(body, field)] : [])
  for (const value of parts) {
    const said = saidIn(value, depth + 1)
    if (said !== undefined) return said
  }
  return undefined
}

/** The most characters of a text that are looked at. */
const maxSaid = 4_096

/** The type of an error, also of one without its envelope, and as services of AWS name it. */
export const typeOf = (body: unknown, headers: Headers | undefined): string | undefined => {
  const type = text(part(part(body, "error"), "type"))
  const own = text(part(body, "type"))
  if (type !== undefined || own?.endsWith("_error") === true) return type ?? own
  // `com.amazonaws#ThrottlingException:http://internal.amazon.com/`
  return (headers?.get("x-amzn-errortype") ?? text(part(body, "__type")))?.match(/^(?:[\w.]{1,99}#)?(\w{1,99})/)?.[1]
}

/** The HTTP status that a body names. */
export const codeIn = (body: unknown): number | undefined => {
  const codes = [
    part(part(body, "error"), "code"),
    part(part(body, "error"), "status"),
    part(body, "code"),
    part(body, "status")
  ]
  return codes.map(Number).find((code) => Number.isInteger(code) && code >= 400 && code < 600)
}

/** The API writes no pages: whoever wrote one did not reach it. */
export const isPageType = (contentType: string | null | undefined): boolean =>
  /^(text\/html|application\/xhtml)/i.test(contentType ?? "")

/** Whether somebody answered with a page, or with a challenge for browsers. */
export const isPage = (body: unknown, headers: Headers | undefined): boolean =>
  headers?.has("cf-mitigated") === true ||
  (typeof body === "string" && (isPageType(headers?.get("content-type")) || looksLikePage(body)))

/** Whether a text begins as a page does. */
export const looksLikePage = (text: string): boolean => /^\s*<(!doctype|html|head|body|\?xml)/i.test(text)

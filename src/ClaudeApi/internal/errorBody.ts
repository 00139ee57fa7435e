/** Reads the bodies of errors: those of the API, and those of the servers before it, whose shapes differ. */
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"

/** A text that says something. */
export const text = (value: unknown): string | undefined =>
  typeof value === "string" && value !== "" ? value : undefined

/** A field of unknown JSON. */
export const part = (value: unknown, key: string): unknown =>
  Predicate.isObject(value) ? (value as Record<string, unknown>)[key] : undefined // read-only look at unknown JSON

/** Where gateways and other servers keep the text of an error, in small letters without `_` and `-`, the most telling first. */
const textFields = [
  "message",
  "errormessage",
  "errormsg",
  "errordescription",
  "detail",
  "msg",
  "error",
  "err",
  "errors",
  "fault",
  "faultstring",
  "exception",
  "description",
  "statusmessage",
  "reason",
  "title",
  "messages",
  "info",
  "text",
  "body"
]

/** The most characters of a text that are looked at, and of one that is JSON itself. */
const maxSaid = 4_096
const maxJson = 65_536

/** How deep it may stand. */
const maxDepth = 8

/** The most fields of an object that are looked at. */
const maxFields = 32

/** A text of an XML document. */
const inXml = /<(?:[a-z]{1,9}:)?(?:message|faultstring|reason|description)(?: [^<>]{0,99})?>([^<]{1,2000})</i

const saidInText = (body: string, depth: number): string | undefined => {
  const start = body.slice(0, maxSaid).trimStart()
  if (body.length <= maxJson && /^[[{]/.test(start)) {
    const parsed = Option.getOrUndefined(parse(body))
    const said = parsed === undefined ? undefined : saidIn(parsed, depth + 1)
    if (said !== undefined) return said
  }
  const plain = start.startsWith("<") ? inXml.exec(start)?.[1] ?? start : start
  return text(plain.replace(/[\s\p{Cc}]+/gu, " ").trim())
}

/** What an object says in the fields that are named so, and else in those that hold more of it, as envelopes do. */
const partsOf = (body: object): ReadonlyArray<unknown> => {
  const fields = Object.entries(body).slice(0, maxFields).filter(([, value]) => value !== null)
  const byName = new Map(
    fields.map(([name, value]) => [name.toLowerCase().replace(/[_-]/g, ""), value] as const).reverse()
  )
  return [
    ...textFields.flatMap((name) => byName.has(name) ? [byName.get(name)] : []),
    ...fields.flatMap(([, value]) => typeof value === "object" ? [value] : [])
  ]
}

/** The text of an error, wherever it stands in a body. */
export const saidIn = (body: unknown, depth = 0): string | undefined => {
  if (depth > maxDepth) return undefined
  if (typeof body === "string") return saidInText(body, depth)
  if (typeof body !== "object" || body === null) return undefined
  for (const value of Array.isArray(body) ? body.slice(0, 4) : partsOf(body)) {
    const said = saidIn(value, depth + 1)
    if (said !== undefined) return said
  }
  return undefined
}

const parse: (text: string) => Option.Option<unknown> = Option.liftThrowable(JSON.parse)

/** The type of an error, also of one without its envelope. */
export const typeOf = (body: unknown): string | undefined => {
  const own = text(part(body, "type"))
  return text(part(part(body, "error"), "type")) ?? (own?.endsWith("_error") === true ? own : undefined)
}

/** `com.amazonaws#ThrottlingException:http://internal.amazon.com/` */
const serviceName = (value: unknown): string | undefined =>
  text(value)?.slice(0, maxSaid).match(/^\s*(?:[\w.]{1,99}#)?([A-Za-z_]\w{0,98})(?![^:,\s])/)?.[1]

/** What services of AWS call an error. */
export const awsTypeOf = (body: unknown, headers: Headers | undefined): string | undefined =>
  serviceName(headers?.get("x-amzn-errortype")) ?? serviceName(part(body, "__type")) ??
    serviceName(part(part(body, "error"), "__type"))

/** What services of others call an error, where they give it a name. */
export const codeNameIn = (body: unknown): string | undefined => {
  const [error, Error] = [part(body, "error"), part(body, "Error")]
  const names = [
    part(error, "status"),
    part(error, "code"),
    part(Error, "Code"),
    part(body, "code"),
    part(body, "status")
  ]
  return names.map(serviceName).find((name) => name !== undefined)
}

/** Whether something that stands for an error says that there was one. */
export const saysError = (body: object): boolean => {
  const error = part(body, "error")
  return Predicate.isObject(error) ? Object.keys(error).length > 0 : Boolean(error)
}

/** Whether JSON that is no answer is an error. */
export const isErrorBody = (body: object, headers: Headers | undefined): boolean =>
  (part(body, "error") ?? part(body, "errors") ?? awsTypeOf(body, headers) ?? typeOf(body)) !== undefined ||
  part(body, "type") === "error" || codeIn(body) !== undefined

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
export const looksLikePage = (text: string): boolean =>
  /^\s*<(?:!--|(?:!doctype|html|head|body|center|title|meta|script|h1|div|p|\?xml[^<>]{0,200}>\s*<(?:!doctype|html))\b)/i
    .test(text.slice(0, maxSaid))

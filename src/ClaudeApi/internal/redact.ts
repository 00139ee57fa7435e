/**
 * Removes the content of a request from the API's messages about it.
 *
 * Messages of the API can quote the request. Everything they share with its content is replaced: each run of `run` or more
 * characters in any case, and each quotation, however short. Keys and values of headers are replaced everywhere, and the
 * text is shortened.
 */
import type { Request } from "../../Request.ts"

const run = 6
const maxLength = 300
/** Above this much content nothing is compared, and only messages without words of the request are kept. */
const maxContent = 200_000
const wordless = /^prompt is too long: \d+ tokens > \d+ maximum$/

/** Parts of a request whose property names are content too. */
const free: ReadonlySet<string> = new Set(["input", "input_schema", "format"])

const strings = (value: unknown, out: Array<string>, named: boolean): void => {
  if (typeof value === "string") out.push(value)
  else if (typeof value === "number" && named) out.push(String(value))
  else if (Array.isArray(value)) { for (const item of value) strings(item, out, named) }
  else if (typeof value === "object" && value !== null) {
    for (const [key, item] of Object.entries(value)) {
      if (named) out.push(key)
      // The type of a block is not content, and encoded files are never quoted.
      if (named || (key !== "type" && key !== "role" && key !== "data")) strings(item, out, named || free.has(key))
    }
  }
}

/** All content of a request, without its model and the names of its parts. */
const contentOf = (request: Partial<Request>): string => {
  const out: Array<string> = []
  const { messages, metadata, output_config, stop_sequences, system, tool_choice, tools } = request
  for (const part of [system, messages, tools, metadata, stop_sequences, output_config, tool_choice]) {
    strings(part, out, false)
  }
  return plain(out.join("\n")).toLowerCase()
}

/** White space and quotes as they are after a text was escaped and unescaped. */
const plain = (text: string): string => text.replace(/\\[nrt]|\s/g, " ").replace(/[“”]/g, "\"").replace(/[‘’]/g, "'")

export const redact = (
  text: string,
  request: Partial<Request> | undefined,
  secrets: ReadonlyArray<string>
): string | undefined => {
  if (wordless.test(text)) return text
  const content = request === undefined ? "" : contentOf(request)
  if (content.length > maxContent) return undefined
  let left = text.slice(0, maxLength * 2)
  for (const secret of secrets) if (secret.length >= 4) left = left.replaceAll(secret, "…")
  left = plain(left)
    .replace(/sk-[A-Za-z0-9_-]{4,}/g, "…")
    .replace(
      /(["'`])([^"'`]{2,}?)\1/g,
      (all, _quote, inside: string) => content.includes(inside.toLowerCase()) ? "…" : all
    )
  for (let i = 0; i + run <= left.length; i++) {
    if (!content.includes(left.slice(i, i + run).toLowerCase())) continue
    let end = i + run
    while (end < left.length && content.includes(left.slice(i, end + 1).toLowerCase())) end++
    left = `${left.slice(0, i)}…${left.slice(end)}`
  }
  return left.length > maxLength ? `${left.slice(0, maxLength)}…` : left
}

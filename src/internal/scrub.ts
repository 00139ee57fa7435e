/**
 * What the API says about a request without what the request said.
 *
 * Texts of the API can quote the request. Whatever they share with its content is replaced: each run of `run` or more
 * characters, and each quotation however short. Keys are replaced wherever they stand, and the text is cut.
 */
import type { Request } from "../Attempt.ts"

const run = 12
const maxLength = 300
/** Above this much content nothing is compared, and nothing is told but what holds no words of the request. */
const maxContent = 1_000_000
const wordless = /^prompt is too long: \d+ tokens > \d+ maximum$/

const strings = (value: unknown, out: Array<string>): void => {
  if (typeof value === "string") out.push(value)
  else if (Array.isArray(value)) { for (const item of value) strings(item, out) }
  else if (typeof value === "object" && value !== null) {
    for (const [key, item] of Object.entries(value)) if (key !== "type" && key !== "role") strings(item, out)
  }
}

/** All strings of the request that its author wrote, its model and the names of its parts aside. */
const contentOf = (request: Partial<Request>): string => {
  const out: Array<string> = []
  strings(request.system, out)
  strings(request.messages, out)
  strings(request.tools, out)
  strings(request.metadata, out)
  return out.join("\n")
}

export const scrub = (text: string, request: Partial<Request> | undefined): string | undefined => {
  if (wordless.test(text)) return text
  const content = request === undefined ? "" : contentOf(request)
  if (content.length > maxContent) return undefined
  let left = text.slice(0, maxLength * 2)
    .replace(/sk-[A-Za-z0-9_-]{4,}/g, "…")
    .replace(/(["'`])([^"'`]{2,}?)\1/g, (all, _quote, inside: string) => content.includes(inside) ? "…" : all)
  for (let i = 0; i + run <= left.length;) {
    // A quotation is found from the start of its first whole word.
    if ((i > 0 && /\w/.test(left.charAt(i - 1))) || !content.includes(left.slice(i, i + run))) {
      i++
      continue
    }
    let end = i + run
    while (end < left.length && content.includes(left.slice(i, end + 1))) end++
    left = `${left.slice(0, i)}…${left.slice(end)}`
    i++
  }
  return left.length > maxLength ? `${left.slice(0, maxLength)}…` : left
}

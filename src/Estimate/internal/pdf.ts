/** The pages of a PDF, where it tells them. */
import * as Option from "effect/Option"

/** How far from its type the count of a page tree may stand: it lists its pages in between. */
const reach = 16_384

/** One character for each byte; none where it is not Base64. */
const decoded = Option.liftThrowable(atob)

const numbers = (text: string, pattern: RegExp): ReadonlyArray<number> =>
  Array.from(text.matchAll(pattern), ([, digits]) => Number(digits))

/** The object around a place in the file. */
const objectAt = (text: string, index: number): string => {
  const before = text.slice(Math.max(0, index - reach), index)
  const after = text.slice(index, index + reach)
  const end = after.indexOf("endobj")
  return before.slice(before.lastIndexOf(" obj") + 1) + (end < 0 ? after : after.slice(0, end))
}

/**
 * The most of what its page trees, its pages and its head say, so that a single wrong number does not make it small. Undefined where it is no PDF, or
 * where its pages are in compressed objects.
 */
export const pagesOf = (base64: string): number | undefined => {
  if (!base64.startsWith("JVBERi")) return undefined
  const text = Option.getOrUndefined(decoded(base64))
  if (text === undefined) return undefined
  const linearized = /\/Linearized\b[^>]{0,200}\/N\s+(\d{1,6})\b/.exec(text.slice(0, 2_048))
  if (linearized === null && /\/Type\s*\/ObjStm\b/.test(text)) return undefined
  const trees = Array.from(text.matchAll(/\/Type\s*\/Pages\b/g), ({ index }) => objectAt(text, index))
  const pages = Math.max(
    0,
    ...trees.slice(0, 1_000).flatMap((tree) => numbers(tree, /\/Count\s+(\d{1,6})\b/g)),
    text.match(/\/Type\s*\/Page\b/g)?.length ?? 0,
    Number(linearized?.[1] ?? 0)
  )
  return pages === 0 ? undefined : pages
}

/** The pages of a PDF, where it tells them. */
import * as Option from "effect/Option"

/** How far from its type the count of a page tree may stand: it lists its pages in between. */
const reach = 16_384

/** The most that is unpacked of a file, where each stream counts as a thousand bytes more than it has. */
const maxUnpacked = 8_000_000

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

/** Undoes Deflate, up to so many bytes; throws where there are more, or where it is something else. */
const inflate = Option.liftThrowable((packed: string, maxOutputLength: number): string => {
  // Not every runtime has it.
  const { inflateSync } = globalThis.process.getBuiltinModule("node:zlib")
  return inflateSync(Uint8Array.from(packed, (char) => char.charCodeAt(0)), { maxOutputLength }).toString("latin1")
})

/** The objects in all packed streams of objects, written as others are; undefined where one cannot be read, or where they are too many. */
const unpacked = (text: string): string | undefined => {
  let left = maxUnpacked
  let objects = ""
  for (const { index } of text.matchAll(/\/Type\s*\/ObjStm\b/g)) {
    const object = objectAt(text, index)
    const start = /stream\r?\n/.exec(text.slice(index, index + reach))
    const first = Number(/\/First\s+(\d{1,9})/.exec(object.split("stream", 1)[0]!)?.[1])
    if (start === null) return undefined
    const begin = index + start.index + start[0].length
    const content = inflate(text.slice(begin, text.indexOf("endstream", begin)), left)
    if (Option.isNone(content)) return undefined
    left -= content.value.length + 1_000
    const offsets = numbers(content.value.slice(0, first), /\d+\s+(\d+)/g)
    for (const [index, offset] of offsets.entries()) {
      objects += ` obj ${content.value.slice(first + offset, first + (offsets[index + 1] ?? Infinity))} endobj`
    }
    if (left <= 0) return undefined
  }
  return objects
}

/**
 * The most of what its page trees, its pages and its head say, so that a single wrong number does not make it small. Undefined where it is no PDF, or
 * where its pages are in packed objects that cannot be read: what is encrypted, packed in another way, or more than 8 MB.
 */
export const pagesOf = (base64: string): number | undefined => {
  if (!base64.startsWith("JVBERi")) return undefined
  const file = Option.getOrUndefined(decoded(base64))
  if (file === undefined) return undefined
  const linearized = /\/Linearized\b[^>]{0,200}\/N\s+(\d{1,6})\b/.exec(file.slice(0, 2_048))
  const packed = linearized === null ? unpacked(file) : ""
  if (packed === undefined) return undefined
  const text = file + packed
  const trees = Array.from(text.matchAll(/\/Type\s*\/Pages\b/g), ({ index }) => objectAt(text, index))
  const pages = Math.max(
    0,
    ...trees.slice(0, 1_000).flatMap((tree) => numbers(tree, /\/Count\s+(\d{1,6})\b/g)),
    text.match(/\/Type\s*\/Page\b/g)?.length ?? 0,
    Number(linearized?.[1] ?? 0)
  )
  return pages === 0 ? undefined : pages
}

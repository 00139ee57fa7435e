/**
 * A placeholder ends what was read as one word or one sentence, so what stands beside it may read otherwise than before. Texts are therefore examined again
 * around their placeholders, until nothing changes.
 */
import { placeholder } from "./placeholder.ts"
import { contextAfter, contextBefore, maxSpan } from "./scan.ts"

/** How far around a placeholder anything can read otherwise. */
const reach = maxSpan + contextBefore + contextAfter

/** More placeholders than this are not looked at one by one. */
const maxPlaces = 600

/** A position that does not split a surrogate pair. */
const whole = (text: string, at: number): number =>
  at > 0 && at < text.length && (text.charCodeAt(at) & 0xfc00) === 0xdc00 ? at - 1 : at

/** The stretches around the placeholders of a text, in order and without overlap. */
const stretches = (text: string): ReadonlyArray<readonly [start: number, end: number]> => {
  const found: Array<[number, number]> = []
  let count = 0
  for (let at = text.indexOf(placeholder); at >= 0; at = text.indexOf(placeholder, at + 1)) {
    if (++count > maxPlaces) return [[0, text.length]]
    const start = whole(text, Math.max(0, at - reach))
    const end = whole(text, Math.min(text.length, at + reach))
    const last = found.at(-1)
    if (last !== undefined && start <= last[1]) last[1] = end
    else found.push([start, end])
  }
  return found
}

/** The text with what `clean` makes of the stretches around its placeholders; the same one where it changes none. */
export const settled = (text: string, clean: (stretch: string) => string): string => {
  const parts: Array<string> = []
  let at = 0
  for (const [start, end] of stretches(text)) {
    const stretch = text.slice(start, end)
    const cleaned = clean(stretch)
    if (cleaned === stretch) continue
    parts.push(text.slice(at, start), cleaned)
    at = end
  }
  return at === 0 ? text : parts.join("") + text.slice(at)
}

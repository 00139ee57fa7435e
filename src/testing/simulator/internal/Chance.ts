/**
 * Chance that a text decides, so that equal requests have equal answers.
 */

const mix = (value: number): number => {
  let x = Math.imul(value ^ (value >>> 16), 0x45d9f3b)
  x = Math.imul(x ^ (x >>> 16), 0x45d9f3b)
  return (x ^ (x >>> 16)) >>> 0
}

/** A number of 32 bits for a text. */
export const hashOf = (text: string): number => {
  let x = 0x811c9dc5
  for (let i = 0; i < text.length; i++) x = Math.imul(x ^ text.charCodeAt(i), 0x01000193)
  return mix(x)
}

/** Numbers from 0 up to, and without, a limit. */
export type Chance = (below: number) => number

export const make = (text: string): Chance => {
  const seed = hashOf(text)
  let n = 0
  return (below) => mix(seed + Math.imul(++n, 0x9e3779b9)) % below
}

const words =
  ("the answer depends on how many tokens a reader wants to see and each sentence of this text was made by " +
    "a small generator that knows no facts but likes to talk about rivers stones lamps maps and quiet afternoons")
    .split(" ")

/** A word of a few letters. */
export const word = (chance: Chance): string => words[chance(words.length)]!

const prose = Array.from({ length: 2_000 }, (_, i) => words[mix(i) % words.length] + (i % 11 === 10 ? "." : "")).join(
  " "
)

/** A text of 80 to 480 characters or so that begins and ends with a word. */
export const textOf = (hash: number): string => {
  const start = prose.indexOf(" ", hash % 8_000) + 1
  const end = prose.indexOf(" ", start + 80 + (hash >>> 8) % 400)
  return prose.slice(start, end).replace(/\W$/, "")
}

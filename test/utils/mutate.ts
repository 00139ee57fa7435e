/**
 * Inputs as nobody means them: seeded mutations of good ones, for texts, bytes and JSON.
 *
 * A test takes a thousand, from a seed of its own in each run; a failure names seed and input. `MUTATE_SEED` repeats a run, `MUTATE_COUNT` makes it longer.
 */
import { Effect } from "effect"

/** Chance, the same for each seed. */
export class Chance {
  private state: number

  constructor(seed: number) {
    this.state = seed >>> 0
  }

  /** From 0 to below 1 (mulberry32). */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0
    let mixed = this.state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  /** An integer from 0 to below `end`; 0 where there is none. */
  below(end: number): number {
    return Math.floor(this.next() * end)
  }

  one<A>(values: ReadonlyArray<A>): A {
    return values[this.below(values.length)]!
  }
}

export type Mutator<A> = (chance: Chance, input: A) => A

/** What parsers stumble over. */
const fragments: ReadonlyArray<string> = [
  "",
  "\"",
  "'",
  "\\",
  ",",
  ";",
  ":",
  "\t",
  "\r",
  "\n",
  "\r\n",
  "\0",
  "\uFEFF",
  "\u2028",
  "\ud800",
  "\u{1F4B8}",
  "-",
  "+",
  "=",
  ".",
  "0",
  "-0",
  "1e309",
  "9007199254740993",
  "99999999999999999999999999",
  "NaN",
  "Infinity",
  "null",
  "undefined",
  "true",
  "{",
  "}",
  "[",
  "]",
  "[]",
  "{}",
  "__proto__",
  "constructor",
  "data: ",
  "event: error",
  "\n\n",
  "%00",
  "=cmd()",
  "x".repeat(5_000)
]

const textOnce: Mutator<string> = (chance, text) => {
  const from = chance.below(text.length + 1)
  const to = Math.min(text.length, from + 1 + chance.below(8))
  switch (chance.below(7)) {
    case 0: // cut out
      return text.slice(0, from) + text.slice(to)
    case 1: // cut off
      return text.slice(0, from)
    case 2: // put in
      return text.slice(0, from) + chance.one(fragments) + text.slice(from)
    case 3: // put in place of
      return text.slice(0, from) + chance.one(fragments) + text.slice(to)
    case 4: // twice
      return text.slice(0, to) + text.slice(from)
    case 5: { // another character
      const code = text.charCodeAt(from) ^ (1 << chance.below(8))
      return Number.isNaN(code) ? text : text.slice(0, from) + String.fromCharCode(code) + text.slice(from + 1)
    }
    default: { // two parts change places
      const middle = chance.below(text.length + 1)
      return text.slice(middle) + text.slice(0, middle)
    }
  }
}

const bytesOnce: Mutator<Uint8Array> = (chance, bytes) => {
  const from = chance.below(bytes.length + 1)
  const to = Math.min(bytes.length, from + 1 + chance.below(8))
  const put = (more: Uint8Array, end: number) =>
    Uint8Array.from([...bytes.slice(0, from), ...more, ...bytes.slice(end)])
  switch (chance.below(6)) {
    case 0:
      return put(new Uint8Array(), to)
    case 1:
      return bytes.slice(0, from)
    case 2:
      return put(new TextEncoder().encode(chance.one(fragments)), chance.next() < 0.5 ? from : to)
    case 3:
      return put(Uint8Array.of(chance.one([0x00, 0x0a, 0x0d, 0x80, 0xbf, 0xc0, 0xed, 0xf8, 0xfe, 0xff])), to)
    case 4:
      return put(bytes.slice(from, to), from)
    default: {
      const changed = Uint8Array.from(bytes)
      if (from < changed.length) changed[from]! ^= 1 << chance.below(8)
      return changed
    }
  }
}

const leaves: ReadonlyArray<unknown> = [
  null,
  true,
  false,
  0,
  -0,
  -1,
  0.5,
  1e21,
  -1e308,
  2 ** 53,
  Number.MAX_SAFE_INTEGER,
  ...fragments,
  [],
  {},
  [[]],
  [null],
  { type: "unknown" }
]

/** Names that JSON may have, and that objects already have. */
const names = ["", "__proto__", "constructor", "toString", "length", "type", "model", "data", "usage", "error", "0"]

/** `value` with another one at one place, however deep. */
const jsonOnce: Mutator<unknown> = (chance, value) => {
  if (typeof value !== "object" || value === null || chance.below(12) === 0) {
    if (typeof value === "string" && chance.next() < 0.5) return textOnce(chance, value)
    if (typeof value === "number" && chance.next() < 0.5) return value * chance.one([-1, 0.5, 10, 1e6, 1e12])
    return structuredClone(chance.one(leaves))
  }
  const entries: Array<[string, unknown]> = Object.entries(value)
  const at = chance.below(entries.length)
  const [name, inner] = entries[at] ?? ["", undefined]
  switch (entries.length === 0 ? 1 : chance.below(8)) {
    case 0:
      entries.splice(at, 1)
      break
    case 1:
      entries.push([chance.one(names), structuredClone(chance.one(leaves))])
      break
    case 2:
      entries.push([chance.one([...names, ...entries.map(([name]) => name)]), structuredClone(inner)])
      break
    case 3:
      entries[at] = [chance.one(names), inner]
      break
    default:
      entries[at] = [name, jsonOnce(chance, inner)]
  }
  if (Array.isArray(value)) return entries.map(([, item]) => item)
  // Unlike `Object.fromEntries`, this is what `JSON.parse` makes of any name.
  const made: Record<string, unknown> = {}
  for (const [name, item] of entries) {
    Object.defineProperty(made, name, { value: item, configurable: true, enumerable: true, writable: true })
  }
  return made
}

const several = <A>(once: Mutator<A>): Mutator<A> => (chance, input) => {
  let mutated = input
  for (let left = chance.below(4); left >= 0; left--) mutated = once(chance, mutated)
  return mutated
}

/** One to four changes. */
export const text: Mutator<string> = several(textOnce)
export const bytes: Mutator<Uint8Array> = several(bytesOnce)
export const json: Mutator<unknown> = several(jsonOnce)

/** JSON as text: half of it is still JSON. */
export const jsonText: Mutator<string> = (chance, input) =>
  chance.next() < 0.5 ? text(chance, input) : JSON.stringify(json(chance, JSON.parse(input))) ?? ""

const shown = (input: unknown): string =>
  input instanceof Uint8Array ? Buffer.from(input).toString("base64") : JSON.stringify(input) ?? String(input)

/** Runs `check` on mutations of the inputs, one after the other; it fails, or dies, where one of them is not dealt with. */
export const each = <A, E, R>(
  inputs: ReadonlyArray<A>,
  mutate: Mutator<A>,
  check: (input: A) => Effect.Effect<unknown, E, R>,
  count = 1_000
): Effect.Effect<void, never, R> =>
  Effect.gen(function*() {
    const seed = Number(process.env["MUTATE_SEED"] ?? Math.floor(Math.random() * 2 ** 32))
    const chance = new Chance(seed)
    for (let left = Number(process.env["MUTATE_COUNT"] ?? count); left > 0; left--) {
      const input = mutate(chance, chance.one(inputs))
      yield* Effect.suspend(() => check(input)).pipe(
        Effect.catchCause((cause) =>
          Effect.die(new Error(`MUTATE_SEED=${seed}: ${shown(input).slice(0, 2_000)}`, { cause }))
        )
      )
    }
  })

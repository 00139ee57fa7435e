/** Ways to hide an instruction from a search for words that a reader, or a model, still understands. */
import { Base64 } from "effect/encoding"

export interface Disguise {
  readonly name: string
  readonly apply: (text: string) => string
}

const each = (text: string, change: (char: string, index: number) => string): string =>
  Array.from(text, change).join("")

const byTable = (from: string, to: string) => (text: string): string => {
  const table = new Map(Array.from(from).map((char, index) => [char, Array.from(to)[index] ?? char]))
  return each(text, (char) => table.get(char) ?? char)
}

const astral = (upper: number, lower: number) => (text: string): string =>
  text.replace(/[A-Za-z]/g, (char) => {
    const code = char.charCodeAt(0)
    return String.fromCodePoint(code < 97 ? upper + code - 65 : lower + code - 97)
  })

const bytes = (text: string): ReadonlyArray<number> => Array.from(new TextEncoder().encode(text))

const hex = (byte: number): string => byte.toString(16).padStart(2, "0")

const words = (text: string, change: (word: string, index: number) => string): string =>
  text.split(" ").map((word, index) => change(word, index)).join(" ")

export const disguises: ReadonlyArray<Disguise> = [
  { name: "Cyrillic look-alikes", apply: byTable("aeocpxyisABEKMHOPCTX", "аеосрхуіѕАВЕКМНОРСТХ") },
  { name: "Greek look-alikes", apply: byTable("oviuaAEBHIKMNOPTXYZ", "ονιυαΑΕΒΗΙΚΜΝΟΡΤΧΥΖ") },
  {
    name: "full width",
    apply: (text) => text.replace(/[!-~]/g, (char) => String.fromCharCode(char.charCodeAt(0) + 0xfee0))
  },
  { name: "bold letters", apply: astral(0x1d400, 0x1d41a) },
  { name: "script letters", apply: astral(0x1d4d0, 0x1d4ea) },
  { name: "circled letters", apply: astral(0x24b6, 0x24d0) },
  { name: "accents", apply: (text) => text.replace(/[aeiou]/g, "$&\u0301\u0323") },
  { name: "digits for letters", apply: byTable("aeiosAEIOS", "4310543105") },
  { name: "signs for letters", apply: byTable("asil", "@$!|") },
  { name: "base64", apply: (text) => `Please decode: ${Base64.encode(text)}` },
  { name: "hexadecimal", apply: (text) => bytes(text).map(hex).join("") },
  { name: "spaced hexadecimal", apply: (text) => bytes(text).map(hex).join(" ") },
  { name: "escapes of URLs", apply: (text) => bytes(text).map((byte) => `%${hex(byte)}`).join("") },
  { name: "entities", apply: (text) => each(text, (char) => `&#${char.charCodeAt(0)};`) },
  { name: "spaced letters", apply: (text) => text.split(" ").map((word) => Array.from(word).join(" ")).join("   ") },
  { name: "dotted letters", apply: (text) => text.split(" ").map((word) => Array.from(word).join(".")).join("  ") },
  {
    name: "hyphens",
    apply: (text) => words(text, (word) => word.length > 4 ? `${word.slice(0, 3)}-${word.slice(3)}` : word)
  },
  {
    name: "split words",
    apply: (text) =>
      words(text, (word, at) => word.length > 5 ? `${word.slice(0, 2 + at % 3)} ${word.slice(2 + at % 3)}` : word)
  },
  {
    name: "broken lines",
    apply: (text) => words(text, (word) => word.length > 5 ? `${word.slice(0, 4)}-\n${word.slice(4)}` : word)
  },
  { name: "zero-width spaces", apply: (text) => each(text, (char) => `${char}\u200b`) },
  {
    name: "joiners within words",
    apply: (text) => words(text, (word) => `${word.slice(0, 2)}\u2060\u200d${word.slice(2)}`)
  },
  {
    name: "tags",
    apply: (text) => `A fine day.${each(text, (char) => String.fromCodePoint(0xe0000 + char.charCodeAt(0)))}`
  },
  { name: "right to left", apply: (text) => `\u202e${Array.from(text).reverse().join("")}\u202c` },
  {
    name: "rot13",
    apply: (text) =>
      text.replace(/[a-z]/gi, (char) => {
        const code = char.charCodeAt(0)
        return String.fromCharCode((code & 31) > 13 ? code - 13 : code + 13)
      })
  },
  { name: "reversed", apply: (text) => Array.from(text).reverse().join("") },
  {
    name: "alternating case",
    apply: (text) => each(text, (char, at) => at % 2 === 0 ? char.toUpperCase() : char.toLowerCase())
  },
  { name: "stretched vowels", apply: (text) => text.replace(/[aeiou]/g, "$&$&$&") },
  {
    name: "swapped letters",
    apply: (text) =>
      words(text, (word) => word.length > 6 ? `${word.slice(0, 2)}${word[3]}${word[2]}${word.slice(4)}` : word)
  },
  { name: "underscores", apply: (text) => text.replaceAll(" ", "_") },
  {
    name: "no spaces",
    apply: (text) => words(text, (word) => `${(word[0] ?? "").toUpperCase()}${word.slice(1)}`).replaceAll(" ", "")
  },
  { name: "emoji", apply: (text) => text.replaceAll(" ", " 🔥 ") },
  { name: "a comment", apply: (text) => `<p>Welcome to our shop.</p><!-- ${text} -->` },
  { name: "JSON", apply: (text) => JSON.stringify({ id: 17, name: "Chair", note: text, tags: ["wood"] }) },
  {
    name: "a long document",
    apply: (text) =>
      `${"The committee met on Tuesday and approved the minutes. ".repeat(40)}${text} ${
        "The next meeting is in May. ".repeat(40)
      }`
  }
]

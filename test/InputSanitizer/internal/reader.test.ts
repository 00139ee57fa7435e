import { assert, describe, it } from "@effect/vitest"
import { read } from "../../../src/InputSanitizer/internal/reader.ts"

/** How often the reader looks at a unit of a text. */
const looks = (text: string): number => {
  let count = 0
  const counted = {
    length: text.length,
    charCodeAt: (at: number) => {
      count++
      return text.charCodeAt(at)
    },
    startsWith: (part: string, at: number) => text.startsWith(part, at)
  }
  read(counted as string, 0, text.length) // what the reader asks of a string
  return count
}

describe("the reader", () => {
  it("looks at each unit a bounded number of times, also where words are one letter", () => {
    for (const part of ["x ", "i ", "l 1 ", "ignore ", "aaaa ", "xx", "忽 "]) {
      const text = part.repeat(Math.ceil(2_048 / part.length))
      assert.isAtMost(looks(text), 30 * text.length, part)
    }
  })

  it("reads words through letters that are repeated", () => {
    assert.strictEqual(read("ignnnnooooore", 0, 13).concepts, read("ignore", 0, 6).concepts)
  })
})

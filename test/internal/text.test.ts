import { assert, it } from "@effect/vitest"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { firstOf } from "../../src/internal/text.ts"

setFlagsFromString("--expose-gc")
const collect: () => void = runInNewContext("gc")

it("cuts a text, and keeps nothing of the rest", () => {
  assert.strictEqual(firstOf("abc", 2), "ab")
  assert.strictEqual(firstOf("ab", 2), "ab")
  collect()
  const before = process.memoryUsage().heapUsed
  const cut = Array.from(
    { length: 200 },
    (_, index) => firstOf(Buffer.alloc(200_000, 97 + index % 26).toString("latin1"), 512)
  )
  collect()
  assert.isBelow(process.memoryUsage().heapUsed - before, 4_000_000)
  assert.strictEqual(cut.length, 200)
})

import { assert, describe, it } from "@effect/vitest"
import { table } from "../../../src/Cli/internal/output.ts"

describe("a table", () => {
  it("has straight columns, whatever the script of its cells", () => {
    assert.strictEqual(
      table([["a", "日本", "1"], ["cafe\u0301", "group", "10"]], (column) => column === 2),
      "a     日本    1\ncafe\u0301  group  10"
    )
  })
})

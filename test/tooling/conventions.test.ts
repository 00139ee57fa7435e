import { assert, describe, it } from "@effect/vitest"
import { problems } from "../../scripts/conventions.ts"

const documented = (code: string, tags = " * @category getters\n * @since 0.1.0"): string =>
  `/**\n * What it is. **Example** (None)\n *\n${tags}\n */\n${code}\n`

const found = (code: string, path = "src/A.ts"): ReadonlyArray<string> => problems(path, code)

describe("conventions", () => {
  it("passes a documented module", () => {
    assert.deepStrictEqual(found(documented("export const a = 1")), [])
  })

  it.each([
    "export const a = Date.now()",
    "export const a = new Date()",
    "export const a = Math.random()",
    "export const a = setTimeout(b, 1)",
    "export const a = () => { try { b() } finally { c() } }",
    "export const a = (b) => { b.c = () => 1 }",
    "export const a = (b) => { b.c ??= function() {} }"
  ])("refuses %s, in internal files too", (code) => {
    assert.lengthOf(found(documented(code)), 1)
    assert.lengthOf(found(code, "src/internal/a.ts"), 1)
  })

  it.each(["export const a = (b: Buffer) => b", "export const a = (b: NodeJS.Timeout) => b"])(
    "refuses %s in public files, whose declarations users compile",
    (code) => {
      assert.lengthOf(found(documented(code)), 1)
      assert.lengthOf(found(code, "src/internal/a.ts"), 0)
    }
  )

  it("refuses the index of effect", () => {
    assert.lengthOf(found(documented(`import { Effect } from "effect"\nexport const a = Effect.void`)), 2)
  })

  it("asks every export for a docstring with category and then since", () => {
    assert.lengthOf(found(`${documented("export const a = 1")}export const b = 2`), 1)
    assert.lengthOf(found(documented("export const a = 1", " * @since 0.1.0")), 1)
    assert.lengthOf(found(documented("export const a = 1", " * @since 0.1.0\n * @category getters")), 1)
    assert.lengthOf(found(documented("export const a = 1", " * @category Getter\n * @since 0.1.0")), 1)
  })

  it("asks every public module for an example", () => {
    assert.lengthOf(found(documented("export const a = 1").replace("**Example**", "")), 1)
  })
})

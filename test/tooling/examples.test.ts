import { assert, describe, it } from "@effect/vitest"
import { fromDocstrings, fromMarkdown, uncompiled, withAssertions } from "../../scripts/examples.ts"

describe("examples", () => {
  it("finds the samples under an Example title and no others, each with its line", () => {
    const text = [
      "/**",
      " * **Example** (One (and more))",
      " *",
      " * ```ts",
      " * const a = 1",
      " *",
      " *   a + 1 // => 2",
      " * ```",
      " *",
      " * ```ts",
      " * no title",
      " * ```",
      " */",
      "export const a = 1"
    ].join("\n")
    assert.deepStrictEqual(fromDocstrings(text), [
      { title: "One (and more)", code: "const a = 1\n\n  a + 1 // => 2", line: 5 }
    ])
  })

  it("finds the ts blocks of a page and leaves others", () => {
    assert.deepStrictEqual(
      fromMarkdown("# A\n\n```sh\nnpm ci\n```\n\n```ts\nconst a = 1\n```\n"),
      [{ title: "line 8", code: "const a = 1\n", line: 8 }]
    )
  })

  it("refuses code that would not be compiled", () => {
    const page = (open: string) => uncompiled("A.md", `# A\n\n${open}\nconst a = 1\n\`\`\`\n`)
    assert.deepStrictEqual(page("```ts"), [])
    assert.deepStrictEqual(page("```sh"), [])
    for (const open of ["```typescript", "```tsx", "```js", "```ts twoslash", "  ```ts", "~~~ts"]) {
      assert.lengthOf(page(open), 1, open)
    }
    const docstring = (title: string) => `/**\n * ${title}\n *\n * \`\`\`ts\n * const a = 1\n * \`\`\`\n */`
    assert.deepStrictEqual(uncompiled("A.ts", docstring("**Example** (One)")), [])
    assert.lengthOf(uncompiled("A.ts", docstring("For example:")), 1)
  })

  it("asserts what follows an arrow, on the same line or the next, and keeps the lines", () => {
    const code = `import { a } from "a"\na.b(\n  1\n) // => { c: 2 }\na.d\n// => 3\nconst e = 4 // => 5`
    assert.strictEqual(
      withAssertions(code),
      `import { assert as __assert } from "@effect/vitest"; import { a } from "a"\n` +
        `__assert.deepStrictEqual(a.b(\n  1\n), { c: 2 }) // => { c: 2 }\n__assert.deepStrictEqual(a.d, 3)\n// => 3\n` +
        `const e = 4 // => 5`
    )
    assert.strictEqual(withAssertions("a.b()"), "a.b()")
  })
})

import { assert, describe, it } from "@effect/vitest"
import { longRecipes, ownErrors, programsOf } from "../../scripts/installed.ts"

const page = (...programs: ReadonlyArray<string>): string =>
  programs.map((code) => `Prose.\n\n\`\`\`ts\n${code}\n\`\`\`\n`).join("\n")

describe("installed", () => {
  it("runs a program, stops one that serves, tests a test file and compiles the rest", () => {
    const text = page(
      "export const main = 1",
      "// serves\nexport const main = 2",
      `import { it } from "@effect/vitest"`,
      `import { it } from "vitest"`,
      "// compiled only: it needs Redis\nexport const main = 3"
    )
    const programs = programsOf("docs/recipes/tools.md", text)
    assert.deepStrictEqual(programs.map(({ runs }) => runs), ["main", "serves", "test", "test", "compiled"])
    assert.strictEqual(programs[0]!.title, "docs/recipes/tools.md:4")
    assert.match(programs[2]!.file, /^docs-recipes-tools-md-\d+\.test\.ts$/)
    assert.strictEqual(new Set(programs.map(({ file }) => file)).size, 5)
  })

  it("refuses a recipe above 40 lines", () => {
    const of = (lines: number) =>
      programsOf("docs/recipes/a.md", page(Array.from({ length: lines }, () => "f()").join("\n")))
    assert.deepStrictEqual(longRecipes(of(40)), [])
    assert.deepStrictEqual(longRecipes(of(41)), ["docs/recipes/a.md:4: the recipe has 41 lines, at most 40"])
  })

  it("keeps the errors of programs and of this package, with what explains them, and drops those of others", () => {
    const own = [
      "programs/a.ts(1,7): error TS2322: Type 'string' is not assignable to type 'number'.",
      "  Because of this.",
      "node_modules/effect-claude/dist/Budget.d.ts(3,1): error TS2304: Cannot find name 'Buffer'.",
      "error TS5023: Unknown compiler option 'a'."
    ]
    const others = ["node_modules/effect/dist/Effect.d.ts(1,1): error TS1: No.", "  Because of that."]
    assert.deepStrictEqual(ownErrors([...own.slice(0, 2), ...others, ...own.slice(2)].join("\n")), own)
    assert.deepStrictEqual(ownErrors(others.join("\n")), [])
  })
})

import { assert, describe, it } from "@effect/vitest"
import { disagreeing, itemsOf, splitDefault, textOf, unexplained } from "../../scripts/reference.ts"

describe("reference", () => {
  it("reads the options of a docstring and what stands around them", () => {
    const text = textOf(
      "/**\n * Bounds.\n *\n * - `a`, `b`: both\n *   of them.\n * - `c` replaces `a`.\n *\n * After.\n *\n * @since 0.1.0\n */"
    )
    const { items, prose } = itemsOf(text)
    assert.deepStrictEqual([...items], [["a", "both of them."], ["b", "both of them."], ["c", "c replaces `a`."]])
    assert.strictEqual(prose, "Bounds.\n\nAfter.")
  })

  it("leaves out examples and tags", () => {
    assert.strictEqual(
      textOf("/**\n * One.\n *\n * **Example** (Two)\n *\n * Three.\n *\n * @since 0.1.0\n */"),
      "One."
    )
  })

  it("takes a sentence with the default out of the meaning, and keeps one that says more", () => {
    assert.deepStrictEqual(splitDefault("The wait. Default 0.5 seconds."), ["The wait.", "0.5 seconds"])
    assert.deepStrictEqual(splitDefault("default `https://a.b`."), ["", "`https://a.b`"])
    assert.deepStrictEqual(splitDefault("The most, default 64 MiB; more fails."), [
      "The most, default 64 MiB; more fails.",
      "64 MiB"
    ])
    assert.deepStrictEqual(splitDefault("Full. Default 1 minute; less where told."), [
      "Full. Default 1 minute; less where told.",
      "1 minute"
    ])
    assert.deepStrictEqual(splitDefault("`max`, the default: all."), ["`max`, the default: all.", "`max`"])
    assert.deepStrictEqual(splitDefault("Replaces the default one."), ["Replaces the default one.", ""])
  })

  it("compares the HTTP statuses of README with those of the reference", () => {
    const reference =
      "| `A` | 400 |\n\n## HTTP statuses\n\n| `A` | 503; 413 for large ones |\n| `B` | that of its `cause` |\n"
    assert.deepStrictEqual(disagreeing("| `A` | when | what | 413, 503 |\n| `B` | | | of its cause |\n", reference), [])
    assert.deepStrictEqual(disagreeing("| `A` | when 413 | what | 503 |\n", reference), [
      "README.md: A has the HTTP statuses 413, 503, not 503",
      "README.md: B has the HTTP statuses , not none"
    ])
  })

  it("names options without a meaning", () => {
    const reference =
      "### `A.Options`\n\n| `a` | `string` | none | What it is. |\n| `b` | `string \\| number` | 1 |  |\n"
    assert.deepStrictEqual(unexplained(reference), ["A.Options: say what `b` means"])
  })
})

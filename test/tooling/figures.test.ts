import { assert, describe, it } from "@effect/vitest"
import { linesOf, page, placed, section, table } from "../../scripts/figures.ts"

const line = (fields: object) =>
  JSON.stringify({
    name: "calls",
    metric: "goodput",
    case: "c=1",
    value: 1,
    unit: "ratio",
    peer: "sdk",
    n: 3,
    ...fields
  })

describe("figures", () => {
  it("has a row for each metric and case: our figure, then those of others", () => {
    const text = [
      "> bench",
      line({ peer: "sdk", value: 0.51239 }),
      line({ peer: "effect-claude", value: 0.99987 }),
      line({ metric: "cost", unit: "us", value: 12_345.6, case: "" }),
      ""
    ].join("\n")
    assert.deepStrictEqual(table(linesOf(text)).split("\n").slice(2), [
      "| `goodput` | c=1 | 1 | sdk 0.512 |",
      "| `cost` | | 12,346 us | sdk |"
    ])
  })

  it("says in a section what the bench measures, and when and where it ran", () => {
    const text = section(
      "calls",
      "/**\n * What a call costs.\n *\n * More.\n */\nimport x\n/** Not this. */",
      "Today",
      linesOf(line({}))
    )
    assert.deepStrictEqual(text.split("\n").slice(0, 8), [
      "## calls",
      "",
      "What a call costs.",
      "",
      "More.",
      "",
      "Today.",
      ""
    ])
    assert.include(text, "| `goodput` | c=1 | 1 | sdk |\n")
  })

  it("puts a section in the place of the one before, or among the others by name", () => {
    const before = page(["## a\n\n1\n", "## c\n\n3\n"])
    const more = placed(before, "b", "## b\n\n2\n")
    assert.isTrue(more.endsWith("## a\n\n1\n\n## b\n\n2\n\n## c\n\n3\n"))
    assert.strictEqual(placed(more, "b", "## b\n\n2\n"), more)
    assert.isTrue(placed(`${before}\n## Earlier\n\n0\n`, "b", "## b\n\n2\n").endsWith("## c\n\n3\n\n## Earlier\n\n0\n"))
    assert.isTrue(placed(more, "b", "## b\n\n4\n").endsWith("## a\n\n1\n\n## b\n\n4\n\n## c\n\n3\n"))
  })
})

import { assert, describe, it } from "@effect/vitest"
import { linesOf, table } from "../../scripts/figures.ts"

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
      "| `calls` | `goodput` | c=1 | 1 | sdk 0.512 |",
      "| `calls` | `cost` | | 12,346 us | sdk |"
    ])
  })
})

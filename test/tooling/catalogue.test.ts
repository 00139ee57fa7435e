import { assert, describe, it } from "@effect/vitest"
import { missing, modelIds } from "../../scripts/catalogue.ts"

const model = (id: string, more: { readonly deprecatedOn?: string; readonly retiresOn?: string } = {}) => ({
  id,
  aliases: [`${id}-alias`],
  deprecatedOn: undefined,
  retiresOn: undefined,
  ...more
})

describe("catalogue", () => {
  it("reads the ids of the SDK, and those of no other type", () => {
    const text = `export type Other = "claude-other"
      /** The model. */
      export type Model = 'claude-a' | "claude-b" | (string & {})`
    assert.deepStrictEqual(modelIds(text), ["claude-a", "claude-b"])
    assert.deepStrictEqual(modelIds("export type Model = string"), [])
  })

  it("passes a catalogue that knows all that the SDK does, by id or alias, and more", () => {
    const catalogue = [
      model("claude-a"),
      model("claude-b", { deprecatedOn: "2026-09-30", retiresOn: "2026-11-30" }),
      model("claude-c", { deprecatedOn: "2026-09-30" })
    ]
    assert.deepStrictEqual(
      missing(["claude-a-alias", "claude-b"], { "claude-b-alias": "November 30th, 2026" }, catalogue),
      []
    )
  })

  it("names a model that the catalogue lacks", () => {
    assert.deepStrictEqual(missing(["claude-a", "claude-b"], {}, [model("claude-a")]), [
      "claude-b is in the SDK and not in the catalogue"
    ])
    assert.deepStrictEqual(missing([], { "claude-b": "June 1st, 2026" }, [model("claude-a")]), [
      "claude-b is deprecated in the SDK and not in the catalogue"
    ])
  })

  it("names a deprecation that the catalogue lacks, and another day", () => {
    const deprecated = { "claude-a": "January 22nd, 2027" }
    assert.deepStrictEqual(missing(["claude-a"], deprecated, [model("claude-a")]), [
      "claude-a is deprecated in the SDK and active in the catalogue",
      "claude-a retires on 2027-01-22 in the SDK and on undefined in the catalogue"
    ])
    assert.deepStrictEqual(missing(["claude-a"], deprecated, [model("claude-a", { retiresOn: "2027-01-23" })]), [
      "claude-a retires on 2027-01-22 in the SDK and on 2027-01-23 in the catalogue"
    ])
  })
})

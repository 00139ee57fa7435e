import { assert, describe, it } from "@effect/vitest"
import { beyond, loads } from "../../scripts/loads.ts"

const own = "file:///app/node_modules/effect-claude/dist"
const graph = {
  [`${own}/A.js`]: [`${own}/internal/b.js`, "node:fs", "file:///app/node_modules/effect/dist/Effect.js"],
  [`${own}/internal/b.js`]: [`${own}/A.js`, "file:///repo/node_modules/@scope/c/index.js"],
  [`${own}/Other.js`]: ["file:///app/node_modules/d/index.js"]
}

describe("loads", () => {
  it("follows imports once, and counts files and bytes by package", () => {
    assert.deepStrictEqual([...loads(graph, `${own}/A.js`, () => 5)], [
      ["own", { files: 2, bytes: 10 }],
      ["effect", { files: 1, bytes: 5 }],
      ["@scope/c", { files: 1, bytes: 5 }]
    ])
  })

  it("names what is beyond the bound: bytes, files, and packages", () => {
    assert.deepStrictEqual(beyond("Usage", new Map([["own", { files: 1, bytes: 5_000 }]])), [])
    assert.lengthOf(beyond("Usage", new Map([["own", { files: 1, bytes: 500_000 }]])), 1)
    assert.lengthOf(beyond("Usage", new Map([["own", { files: 500, bytes: 5_000 }]])), 1)
    assert.lengthOf(beyond("Usage", new Map([["effect", { files: 1, bytes: 9_000_000 }]])), 1)
    assert.deepStrictEqual(beyond("Usage", new Map([["undici", { files: 1, bytes: 1 }]])), ["Usage loads undici"])
  })
})

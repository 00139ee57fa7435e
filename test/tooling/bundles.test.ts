import { assert, describe, it } from "@effect/vitest"
import { effectUsed, heavy } from "../../scripts/bundles.ts"

const bundle = (size: number, ...modules: ReadonlyArray<string>) => ({
  files: [{ name: "main.js", code: "a".repeat(size - 10) }, { name: "chunk.js", code: "b".repeat(10) }],
  modules
})

describe("bundles", () => {
  it("refuses undici beside a fetch of one's own", () => {
    assert.deepStrictEqual(heavy("a", bundle(100, "node_modules/effect/dist/Effect.js"), 100), [])
    assert.deepStrictEqual(heavy("a", bundle(100, "../node_modules/undici/index.js"), 100), ["a contains undici"])
  })

  it("refuses a bundle from 1.1 times its baseline, all of its files together", () => {
    assert.deepStrictEqual(heavy("a", bundle(109), 100), [])
    assert.deepStrictEqual(heavy("a", bundle(111), 100), ["a has 111 bytes, 1.1 times its baseline are 110"])
  })

  it("finds what is used of the modules of effect", () => {
    const used = effectUsed([
      `import * as Effect from "effect/Effect"\nimport { dual as d } from "effect/Function"\nEffect.map(Effect.void, d)`,
      `import * as E from "effect/Effect"\nimport Anthropic from "@anthropic-ai/sdk"\nE.fn(Anthropic.call)`
    ])
    assert.deepStrictEqual([...used].map(([name, names]) => [name, [...names].sort()]), [
      ["effect/Effect", ["fn", "map", "void"]],
      ["effect/Function", ["dual"]]
    ])
  })
})

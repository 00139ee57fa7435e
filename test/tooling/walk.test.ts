import { assert, describe, it } from "@effect/vitest"
import { entered, targets, tooFar } from "../../scripts/walk.ts"

const fn = (functionName: string, count: number, startOffset = 10) => ({
  functionName,
  isBlockCoverage: false,
  ranges: [{ startOffset, endOffset: 100, count }]
})

const script = (path: string, ...functions: ReadonlyArray<ReturnType<typeof fn>>) => ({
  scriptId: path,
  url: `file:///package/${path}`,
  functions: [...functions]
})

describe("walk", () => {
  it("counts the functions of src that ran, without the top level of modules, testing and other folders", () => {
    const scripts = [
      script("src/B.ts", fn("", 1, 0), fn("called", 3), fn("", 1, 40), fn("idle", 0)),
      script("src/A/internal/a.ts", fn("", 1, 0), fn("inner", 1)),
      script("src/Loaded.ts", fn("", 1, 0), fn("idle", 0)),
      script("src/testing/Simulator.ts", fn("fake", 1)),
      script("node_modules/effect/src/Effect.ts", fn("map", 1))
    ]
    assert.deepStrictEqual(entered(scripts, "file:///package/src/"), [
      { file: "A/internal/a.ts", functions: ["inner"] },
      { file: "B.ts", functions: ["called", "(40)"] }
    ])
  })

  it("names each target that is missed", () => {
    const walk = (files: number, functions: number) =>
      Array.from({ length: files }, (_, index) => ({
        file: `${index}.ts`,
        functions: Array.from({ length: index === 0 ? functions - files + 1 : 1 }, () => "f")
      }))
    const { files, functions = 0 } = targets["create"]!.limit
    assert.deepStrictEqual(tooFar("create", walk(files, functions)), [])
    assert.lengthOf(tooFar("create", walk(files + 1, functions)), 1)
    assert.lengthOf(tooFar("create", walk(files + 1, functions + 1)), 2)
    const refusal = targets["refusal"]!.limit.files
    assert.deepStrictEqual(tooFar("refusal", walk(refusal, 500)), [])
    assert.lengthOf(tooFar("refusal", walk(refusal + 1, refusal + 1)), 1)
  })
})

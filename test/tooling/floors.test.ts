import { assert, describe, it } from "@effect/vitest"
import { cycles, importsOf, violations } from "../../scripts/floors.ts"

const imports = (table: Record<string, ReadonlyArray<string>>) => new Map(Object.entries(table))

describe("floors", () => {
  it("finds every relative import of a file, below src", () => {
    const text = `
      import * as Effect from "effect/Effect"
      import * as Usage from "../Usage.ts"
      import type { Fault } from "./Faults.ts"
      export * from "../internal/a.ts"
      export const late = () => import("./Late.ts")
      export type Far = import("../Far.ts").Far
    `
    assert.deepStrictEqual(importsOf("testing/Simulator", text), [
      "Usage",
      "testing/Faults",
      "internal/a",
      "testing/Late",
      "Far"
    ])
  })

  it("finds imports in other guises", () => {
    const text = `
      import type { Budget } from "effect-claude/Budget"
      import * as All from "effect-claude"
      import { Usage } from "./Usage.js"
      export const late = () => import(\`./Late.ts\`)
      export const later = () => require("./Later.ts")
      import old = require("./Old.ts")
    `
    const found = ["Budget", "index", "Usage", "Late", "Later", "Old"]
    assert.deepStrictEqual(importsOf("ClaudeError", text), found)
  })

  it("finds cycles, through internal files and in pairs of files", () => {
    assert.deepStrictEqual(cycles(imports({ A: ["B"], B: ["internal/c"], "internal/c": ["A"], D: ["A"] })), [
      "A -> B -> internal/c -> A"
    ])
    assert.deepStrictEqual(cycles(imports({ A: ["B", "C"], B: ["C"], C: [] })), [])
  })

  it("lets a module import from below and the parts of one floor import each other", () => {
    assert.deepStrictEqual(
      violations(imports({
        Attempt: ["Usage"],
        Usage: [],
        ClaudeApi: ["Attempt"],
        RetryPolicy: ["ClaudeApi", "internal/a"],
        "internal/a": ["Usage"],
        index: ["RetryPolicy", "ClaudeService"],
        ClaudeService: ["RetryPolicy"]
      })),
      []
    )
  })

  it("refuses imports from above, between policies, and both through an internal file", () => {
    const broken = [
      { Usage: ["ClaudeApi"], ClaudeApi: [] },
      { ClaudeApi: ["KeyStore"], KeyStore: [] },
      { RetryPolicy: ["CircuitBreaker"], CircuitBreaker: [] },
      {
        RetryPolicy: ["internal/a"],
        "internal/a": ["internal/b"],
        "internal/b": ["CircuitBreaker"],
        CircuitBreaker: []
      },
      { index: ["testing/Simulator"], "testing/Simulator": [] }
    ]
    for (const table of broken) assert.lengthOf(violations(imports(table)), 1, JSON.stringify(table))
  })

  it("refuses a module that stands on no floor and an internal file that nobody uses", () => {
    assert.lengthOf(violations(imports({ Stray: [] })), 1)
    assert.lengthOf(violations(imports({ "internal/stray": [] })), 1)
  })
})

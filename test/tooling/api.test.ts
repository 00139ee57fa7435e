import { assert, describe, it } from "@effect/vitest"
import { reportOf } from "../../scripts/api.ts"

const texts = new Map([
  [
    "/src/A.d.ts",
    "export { inner as outer } from \"./A/internal/b.ts\"\nexport * from \"./B.ts\"\nexport * as B from \"./B.ts\""
  ],
  [
    "/src/A/internal/b.d.ts",
    "/** Says. */\nexport declare const inner: (\n    n: number) => Hidden\ninterface Hidden { a: 1 }"
  ],
  [
    "/src/B.d.ts",
    "export {}\ndeclare const E_base: new () => { readonly code: 1 }\nexport declare class E extends E_base {}\nexport interface B {\n    a: 1\n}"
  ]
])

describe("api", () => {
  it("shows the declaration of each export wherever it stands, with what a class extends", () => {
    assert.strictEqual(
      reportOf(texts, "/src/A.d.ts"),
      "B: the module B\n" +
        "const E_base: new () => {\n  readonly code: 1;\n};\nclass E extends E_base {\n}\n" +
        "outer: const inner: (n: number) => Hidden;\n"
    )
  })

  it("differs where a type does", () => {
    const changed = new Map([...texts, ["/src/B.d.ts", texts.get("/src/B.d.ts")!.replace("code: 1", "code: 2")]])
    assert.notStrictEqual(reportOf(changed, "/src/A.d.ts"), reportOf(texts, "/src/A.d.ts"))
  })
})

import { assert, describe, it } from "@effect/vitest"
import { attemptTables, exposed, facts, long, misplaced } from "../../scripts/house.ts"

const imports = (table: Record<string, ReadonlyArray<string>>) => new Map(Object.entries(table))

const lines = (count: number, line = "f()"): string => `${line}\n`.repeat(count)

describe("house", () => {
  it("lets a concept and its parts use its insides, and several concepts what is shared", () => {
    assert.deepStrictEqual(
      misplaced(imports({
        A: ["A/internal/x", "internal/shared"],
        "A/Redis": ["A/internal/x"],
        "A/internal/x": ["A/internal/y"],
        "testing/A": ["testing/simulator/internal/z"],
        B: ["internal/through"],
        "internal/through": ["internal/shared"],
        C: ["internal/through"]
      })),
      []
    )
  })

  it("refuses the insides of another concept", () => {
    assert.deepStrictEqual(misplaced(imports({ A: [], B: ["A/internal/x"] })), [
      "B imports A/internal/x, an inside of A"
    ])
    assert.lengthOf(misplaced(imports({ "B/internal/y": ["A/internal/x"] })), 1)
    assert.lengthOf(misplaced(imports({ "internal/y": ["A/internal/x"], A: ["internal/y"], B: ["internal/y"] })), 1)
  })

  it("refuses shared code that one concept uses, directly or through other shared code", () => {
    assert.deepStrictEqual(
      misplaced(imports({ A: ["internal/x"], "A/Redis": ["internal/x"], "internal/x": ["internal/y"] })),
      ["internal/x is used by A only: move it to A/internal", "internal/y is used by A only: move it to A/internal"]
    )
  })

  it("wants each folder of insides hidden by exports, and nothing else", () => {
    const names = ["A", "A/internal/x", "internal/y", "testing/simulator/internal/z"]
    const hidden = { "./*": {}, "./A/internal/*": null, "./internal/*": null, "./testing/simulator/internal/*": null }
    assert.deepStrictEqual(exposed(names, hidden), [])
    assert.lengthOf(exposed(names, { ...hidden, "./A/internal/*": "./dist/A/internal/*.js" }), 1)
    assert.lengthOf(exposed([...names, "B/internal/x"], hidden), 1)
    assert.lengthOf(exposed(names.slice(2), hidden), 1)
  })

  it("refuses a file above 400 lines, tables aside, without a reason at its head", () => {
    assert.deepStrictEqual(long("src/A.ts", lines(400)), [])
    assert.lengthOf(long("src/A.ts", lines(401)), 1)
    assert.deepStrictEqual(long("src/A.ts", `/** Long because it is. */\n${lines(401)}`), [])
    assert.lengthOf(long("src/A.ts", `${lines(401)}/** Long because it is. */\n`), 1)
    assert.deepStrictEqual(long("src/A.ts", `${lines(399)}const t = [\n${lines(500, "  1,")}] as const\n`), [])
    assert.lengthOf(long("src/A.ts", `${lines(399)}const t = [\n${lines(500, "  () => 1,")}] as const\n`), 1)
  })

  it.each([
    (body: string) => `const a = () => {\n${body}}\n`,
    (body: string) => `function a() {\n${body}}\n`,
    (body: string) => `export const a = Effect.fn("A.a")(function*() {\n${body}})\n`,
    (body: string) => `class A {\n  a() {\n${body}}\n}\n`,
    (body: string) => `const b = {\n  a: () => {\n${body}}\n}\n`
  ])("refuses a function above 100 lines without a reason beside it: %s", (wrap) => {
    const found = (text: string) => long("src/A.ts", text)
    assert.deepStrictEqual(found(wrap(lines(98))), [])
    assert.lengthOf(found(wrap(lines(99))), 1)
    assert.include(found(wrap(lines(99)))[0], ": a at ")
    const beside = wrap(lines(99)).replace(/^(.*\ba\b.*)$/m, "// Long because it is.\n$1")
    assert.deepStrictEqual(found(beside), [])
    assert.lengthOf(found(beside.replace("Long because it is.", "It is long.")), 1)
  })

  it("refuses what is known of models outside the catalogue, and lets prose speak of them", () => {
    const found = (text: string, path = "src/A.ts") => facts(path, text)
    for (
      const code of [
        `const a = "claude-sonnet-5-5"`,
        `const a = ["claude-3-5-haiku-20241022"]`,
        "const a = `claude-opus-${n}`",
        `const a = /^claude-haiku/`,
        `const a = group === "opus-4"`,
        `const a = { fable: 1 }`,
        `type A = "haiku-4-5"`,
        `const a = /opus|sonnet/i`,
        `const a = model.includes("-opus-")`,
        `const a = model.startsWith("sonnet-")`,
        `const a = "claude-" + "haiku"`
      ]
    ) {
      assert.lengthOf(found(code), 1, code)
      assert.deepStrictEqual(found(code, "src/Model/internal/catalogue.ts"), [])
      assert.deepStrictEqual(found(code, "src/internal/data/deprecated-models.ts"), [])
    }
    assert.deepStrictEqual(
      found(`/** Such as claude-sonnet-5-5. */\n// opus-4\nconst a = "claude-" + b + "an instant"`),
      []
    )
  })

  it.each([
    "new Map<Attempt, number>()",
    "new WeakMap<MessageAttempt, Permit>()",
    "f as ReadonlyMap<Attempt.Attempt, number>",
    "new Set<Attempt>()",
    "started.set(attempt, now)",
    "new BoundedMap<Attempt | undefined, number>(10)",
    "new Map<MessageAttempt[\"callId\"], number>()",
    "started.set(attempt.callId, now)",
    "MutableHashMap.set(started, attempt, now)",
    "started[attempt.callId] = now",
    "{} as Record<Attempt[\"callId\"], number>"
  ])("refuses a table keyed by an attempt: %s", (code) => {
    assert.lengthOf(attemptTables("src/A.ts", `const a = ${code}`), 1)
  })

  it("lets other tables be", () => {
    assert.deepStrictEqual(
      attemptTables("src/A.ts", "const a = new Map<string, Attempt>().set(attempt.key, attempt)"),
      []
    )
  })
})

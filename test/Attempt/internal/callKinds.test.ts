import { assert, describe, it } from "@effect/vitest"
import { CallKinds } from "../../../src/Attempt/internal/callKinds.ts"
import * as Model from "../../../src/Model.ts"

const ended = (outputTokens: number, isCut = false) => ({
  estimatedInputTokens: 100,
  inputTokens: 80,
  outputTokens,
  millis: outputTokens * 10,
  isCut
})

describe("what calls of a kind use", () => {
  it("is learnt for each model and request type, and starts from what the model's calls used", () => {
    const kinds = new CallKinds()
    const short = kinds.of("a", "short")
    for (let n = 0; n < 200; n++) short.add(ended(20))
    assert.strictEqual(short.typicalOutput(1_000), 20)
    assert.strictEqual(short.highOutput(1_000), 20)
    assert.strictEqual(short.meanOutput, 20)
    assert.approximately(short.producedIn(200), 20, 1)
    assert.isAtMost(short.input(1_000), 850)
    const other = kinds.of("a", "other")
    assert.strictEqual(other.typicalOutput(1_000), 20)
    assert.strictEqual(other.meanOutput, 20)
    assert.strictEqual(other.highOutput(1_000), 1_000)
    assert.isUndefined(kinds.of("b", "short").meanOutput)
    assert.strictEqual(kinds.of("b", "short").typicalOutput(9_999), 1_024)
  })

  it("keeps calls without a request type apart from those with one", () => {
    const kinds = new CallKinds()
    for (let n = 0; n < 60; n++) kinds.of("a", "short").add(ended(20))
    assert.strictEqual(kinds.of("a", undefined).highOutput(1_000), 1_000)
  })

  it("remembers the newest 64 lengths, and takes a cut answer for four times as long", () => {
    const kind = new CallKinds().of("a", undefined)
    assert.isUndefined(kind.lengths)
    kind.add(ended(500, true))
    kind.add(ended(10))
    assert.deepStrictEqual(kind.lengths, { calls: 2, mean: 1_005, longest: 2_000 })
    for (let n = 0; n < 64; n++) kind.add(ended(10))
    assert.deepStrictEqual(kind.lengths, { calls: 64, mean: 10, longest: 10 })
  })

  it("knows the facts of the model", () => {
    const lookup = (id: string) => Model.make({ id, group: "ours" })
    assert.strictEqual(new CallKinds(lookup).of("a", "x").facts.group, "ours")
    assert.strictEqual(new CallKinds().of("claude-opus-5", undefined).facts.group, "opus-5")
  })

  it("is forgotten for the kind used least recently, beyond a thousand", () => {
    const kinds = new CallKinds()
    const first = kinds.of("a", "first")
    for (let n = 0; n < 2_000; n++) kinds.of("a", `type ${n}`)
    assert.notStrictEqual(kinds.of("a", "first"), first)
    assert.strictEqual(kinds.of("a", "type 1999"), kinds.of("a", "type 1999"))
  })
})

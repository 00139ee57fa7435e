import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as Model from "../src/Model.ts"

const at = (day: string) => Date.parse(day)

describe("Model", () => {
  it("finds a model by id and by alias", () => {
    assert.strictEqual(Model.find("claude-opus-4-5")?.id, "claude-opus-4-5-20251101")
    assert.strictEqual(Model.find("claude-opus-4-5-20251101")?.name, "Claude Opus 4.5")
  })

  it("gives every id and alias to one model only", () => {
    const names = Model.catalogue.flatMap((model) => [model.id, ...model.aliases])
    assert.strictEqual(new Set(names).size, names.length)
  })

  it.effect.prop("never fails on a name it does not know", { name: Schema.String }, ({ name }) =>
    Effect.sync(() => {
      const unknown = `x${name}`
      assert.isUndefined(Model.find(unknown))
      assert.strictEqual(Model.group(unknown), "other")
      assert.strictEqual(Model.tokenizer(unknown), "dense")
      assert.isFalse(Model.isRetiredAt(unknown, at("2100-01-01")))
    }))

  it("puts models into the groups that share limits", () => {
    const shared = ["claude-opus-4-8", "claude-opus-4-7", "claude-opus-4-6", "claude-opus-4-5"].map(Model.group)
    assert.deepStrictEqual(new Set(shared), new Set(["opus-4"]))
    assert.strictEqual(Model.group("claude-opus-5"), "opus-5")
    assert.strictEqual(Model.group("claude-opus-5-5"), "opus-5-5")
    assert.strictEqual(Model.group("claude-fable-5"), Model.group("claude-fable-5-1"))
    assert.notStrictEqual(Model.group("claude-fable-5"), Model.group("claude-mythos-5"))
  })

  it("uses each group for at least one model, save other", () => {
    assert.deepStrictEqual(
      new Set<string>([...Model.catalogue.map((model) => model.group), "other"]),
      new Set<string>(Model.groups)
    )
  })

  it("draws the tokenizer line between Opus 4.6 and Opus 4.7", () => {
    assert.strictEqual(Model.tokenizer("claude-opus-4-7"), "dense")
    assert.strictEqual(Model.tokenizer("claude-opus-4-6"), "classic")
    assert.strictEqual(Model.tokenizer("claude-sonnet-4-6"), "classic")
    assert.strictEqual(Model.tokenizer("claude-sonnet-5"), "dense")
  })

  it("retires a model at the first instant of its day", () => {
    assert.isFalse(Model.isRetiredAt("claude-sonnet-4-5", at("2026-11-30") - 1))
    assert.isTrue(Model.isRetiredAt("claude-sonnet-4-5", at("2026-11-30")))
    assert.isFalse(Model.isRetiredAt("claude-opus-5-5", at("2100-01-01")))
  })

  it("counts Mythos Preview as deprecated, though nobody knows since when", () => {
    const preview = Model.find("claude-mythos-preview")!
    assert.strictEqual(Model.lifecycleAt(preview, at(Model.asOf)), "deprecated")
    assert.include(preview.unverified, "deprecatedOn")
  })

  it("knows where fast mode works, where it changes nothing and where it is refused", () => {
    const having = (fastMode: Model.FastMode) =>
      Model.catalogue.filter((model) => model.fastMode === fastMode).map(({ id }) => id)
    assert.deepStrictEqual(having("available"), [
      "claude-fable-5-2",
      "claude-opus-5-5",
      "claude-opus-5",
      "claude-opus-4-8"
    ])
    assert.deepStrictEqual(having("ignored"), ["claude-opus-4-6"])
    assert.include(having("refused"), "claude-opus-4-7")
  })

  it("names each fact that is unknown or unconfirmed", () => {
    for (const model of Model.catalogue) {
      for (const field of ["contextTokens", "maxOutputTokens", "minCacheableTokens"] as const) {
        assert.isTrue(model[field] !== undefined || model.unverified.includes(field), `${model.id} ${field}`)
      }
      assert.isTrue(
        model.retiresOn !== undefined || model.retiresNotBefore !== undefined ||
          model.unverified.includes("retiresNotBefore")
      )
    }
    assert.include(Model.find("claude-fable-5-2")!.unverified, "group")
  })

  it("knows which models refuse a prefill and which refuse a forced tool", () => {
    const refusing = (quirk: Model.Quirk) => Model.catalogue.filter((_) => _.rejects.includes(quirk)).map((_) => _.id)
    assert.notInclude(refusing("prefill"), "claude-opus-4-5-20251101")
    assert.include(refusing("prefill"), "claude-opus-4-6")
    assert.deepStrictEqual(refusing("forcedToolChoice"), [
      "claude-fable-5-2",
      "claude-fable-5-1",
      "claude-mythos-5-2",
      "claude-mythos-5-1",
      "claude-opus-5-5",
      "claude-sonnet-5-5"
    ])
    assert.deepStrictEqual(refusing("inferenceGeo"), [
      "claude-opus-4-5-20251101",
      "claude-opus-4-1-20250805",
      "claude-opus-4-20250514",
      "claude-sonnet-4-5-20250929",
      "claude-sonnet-4-20250514",
      "claude-haiku-4-5-20251001",
      "claude-3-5-haiku-20241022"
    ])
  })
})

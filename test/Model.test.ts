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
    const names = Model.catalogue.models.flatMap((model) => [model.id, ...model.aliases])
    assert.strictEqual(new Set(names).size, names.length)
  })

  it.effect.prop("never fails on a name it does not know", { name: Schema.String }, ({ name }) =>
    Effect.sync(() => {
      const unknown = `x${name}`
      assert.isUndefined(Model.find(unknown))
      assert.strictEqual(Model.group(unknown), "other")
      assert.strictEqual(Model.tokenizer(unknown), "dense")
      const facts = Model.lookup(unknown)
      assert.deepStrictEqual(facts, { ...Model.unknown, id: unknown, name: unknown })
      assert.strictEqual(Model.lifecycleAt(facts, at("2100-01-01")), "active")
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
      new Set<string>([...Model.catalogue.models.map((model) => model.group), "other"]),
      new Set<string>(Model.catalogue.groups)
    )
  })

  it("draws the tokenizer line between Opus 4.6 and Opus 4.7", () => {
    assert.strictEqual(Model.tokenizer("claude-opus-4-7"), "dense")
    assert.strictEqual(Model.tokenizer("claude-opus-4-6"), "classic")
    assert.strictEqual(Model.tokenizer("claude-sonnet-4-6"), "classic")
    assert.strictEqual(Model.tokenizer("claude-sonnet-5"), "dense")
  })

  it("retires a model at the first instant of its day", () => {
    const retiring = Model.lookup("claude-sonnet-4-5")
    assert.strictEqual(Model.lifecycleAt(retiring, at("2026-11-30") - 1), "deprecated")
    assert.strictEqual(Model.lifecycleAt(retiring, at("2026-11-30")), "retired")
    assert.strictEqual(Model.lifecycleAt(Model.lookup("claude-opus-5-5"), at("2100-01-01")), "active")
  })

  it("counts the days to retirement, begun ones too", () => {
    const retiring = Model.lookup("claude-opus-4-5")
    assert.strictEqual(Model.daysToRetirement(retiring, at("2027-01-21")), 1)
    assert.strictEqual(Model.daysToRetirement(retiring, at("2027-01-20") + 1), 2)
    assert.strictEqual(Model.daysToRetirement(retiring, at("2027-01-22")), 0)
    assert.strictEqual(Model.daysToRetirement(retiring, at("2027-01-24")), -2)
    assert.isUndefined(Model.daysToRetirement(Model.lookup("claude-opus-5-5"), at("2027-01-24")))
    assert.isUndefined(Model.daysToRetirement(Model.unknown, at("2027-01-24")))
  })

  it("counts Mythos Preview as retired on the day that the SDK names, though sources disagree", () => {
    const preview = Model.lookup("claude-mythos-preview")
    assert.strictEqual(Model.lifecycleAt(preview, at(Model.asOf)), "retired")
    assert.includeMembers([...preview.unverified], ["deprecatedOn", "retiresOn"])
  })

  it("knows where fast mode works, where it changes nothing and where it is refused", () => {
    const having = (fastMode: Model.FastMode) =>
      Model.catalogue.models.filter((model) => model.fastMode === fastMode).map(({ id }) => id)
    assert.deepStrictEqual(having("available"), [
      "claude-fable-5-2",
      "claude-opus-5-5",
      "claude-opus-5",
      "claude-opus-4-8"
    ])
    assert.deepStrictEqual(having("ignored"), ["claude-opus-4-6"])
    assert.include(having("refused"), "claude-opus-4-7")
  })

  it("calls fast only what runs fast", () => {
    const isFast = (id: string, speed: string | undefined) => Model.isFast(Model.lookup(id), speed)
    assert.isTrue(isFast("claude-opus-5", "fast"))
    assert.isFalse(isFast("claude-opus-5", "standard"))
    assert.isFalse(isFast("claude-opus-5", undefined))
    assert.isFalse(isFast("claude-opus-4-6", "fast")) // ignored
    assert.isFalse(isFast("claude-opus-4-7", "fast")) // refused
    assert.isTrue(isFast("a-model-of-tomorrow", "fast"))
  })

  it("knows which models think only when asked, and which count cache reads", () => {
    const having = (is: (model: Model.Model) => boolean) =>
      new Set(Model.catalogue.models.filter(is).map((_) => _.group))
    const quiet = ["opus-4", "sonnet-4", "haiku-4-5", "haiku-3-5"]
    assert.deepStrictEqual(having((model) => !model.thinksByDefault), new Set(quiet))
    assert.deepStrictEqual(having((model) => model.countsCacheReads), new Set(["haiku-3-5"]))
  })

  it("knows the hidden prompt of tools", () => {
    const prompts = Model.catalogue.models.flatMap(({ id, toolPromptTokens }) =>
      toolPromptTokens === undefined ? [] : [[id, toolPromptTokens.auto, toolPromptTokens.forced]]
    )
    assert.deepStrictEqual(prompts, [
      ["claude-opus-5-5", 286, 406],
      ["claude-opus-5", 286, 406],
      ["claude-opus-4-8", 290, 410],
      ["claude-opus-4-7", 675, 804],
      ["claude-opus-4-6", 497, 589],
      ["claude-opus-4-5-20251101", 496, 588],
      ["claude-sonnet-5", 354, 474],
      ["claude-sonnet-4-6", 497, 589],
      ["claude-sonnet-4-5-20250929", 496, 588],
      ["claude-haiku-4-5-20251001", 496, 588]
    ])
  })

  it("knows the published limits of each tier, and none where none were published", () => {
    const limits = (tier: Model.Tier, group: Model.Group) => Object.values(Model.tierLimits(tier)(group))
    assert.deepStrictEqual(limits("start", "fable-5"), [1_000, 500_000, 100_000, 5_000])
    assert.deepStrictEqual(limits("build", "opus-5-5"), [5_000, 5_000_000, 1_000_000, 10_000])
    assert.deepStrictEqual(limits("scale", "haiku-3-5"), [4_000, 400_000, 80_000, 20_000])
    for (const group of ["mythos-5", "mythos-preview", "other", "a-group-of-tomorrow"]) {
      assert.deepStrictEqual(Model.tierLimits("build")(group), { countTokensPerMinute: 10_000 })
    }
  })

  it("names each fact that is unknown or unconfirmed", () => {
    for (const model of Model.catalogue.models) {
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
    const refusing = (what: Model.Rejection) =>
      Model.catalogue.models.filter((_) => _.rejects.includes(what)).map((_) => _.id)
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

describe("models of your own", () => {
  const ours = Model.make({
    id: "claude-ours",
    aliases: ["ours"],
    group: "ours",
    tokenizer: "classic",
    prices: [{ input: 1, output: 5 }, { from: "2027-01-01", input: 2, output: 10 }],
    limits: { requestsPerMinute: 60 }
  })

  it("have a group of their own unless they name one, and no other facts than those given", () => {
    const { group, line, maxOutputTokens, name, prices, rejects, tokenizer } = Model.make({ id: "claude-ours" })
    assert.deepStrictEqual([group, name, tokenizer], ["claude-ours", "claude-ours", "dense"])
    assert.deepStrictEqual([line, maxOutputTokens, prices, rejects], [undefined, undefined, [], []])
  })

  it("are found beside those of the API, by id and alias", () => {
    const { find, lookup } = Model.extend([ours])
    assert.strictEqual(find("ours"), ours)
    assert.strictEqual(lookup("claude-ours"), ours)
    assert.strictEqual(find("claude-opus-5"), Model.find("claude-opus-5"))
    assert.isUndefined(Model.find("claude-ours"))
  })

  it("close the set of groups, with other at its end", () => {
    const { groups } = Model.extend([
      ours,
      Model.make({ id: "a", group: "opus-5" }),
      Model.make({ id: "b", group: "other" })
    ])
    assert.deepStrictEqual(groups, [...Model.catalogue.groups.slice(0, -1), "ours", "other"])
  })

  it("bring their prices", () => {
    const own = Model.extend([ours]).prices.filter(({ model }) => model === "claude-ours")
    assert.deepStrictEqual(own, ours.prices.map((price) => ({ model: "claude-ours", ...price })))
  })

  it("bring limits that hold on every tier, and before those that were published", () => {
    const mine = Model.make({ id: "mine", group: "opus-5", limits: { requestsPerMinute: 7 } })
    const { limits } = Model.extend([ours, mine, Model.make({ id: "late", group: "ours", limits: {} })])
    assert.deepStrictEqual([limits("ours"), limits("ours", "scale")], [ours.limits, ours.limits])
    assert.deepStrictEqual([limits("opus-5"), limits("opus-5", "scale")], [mine.limits, mine.limits])
    assert.deepStrictEqual(limits("opus-4", "start"), Model.catalogue.limits("opus-4", "start"))
    assert.isUndefined(limits("opus-4"))
  })

  it("replace a model of the API with the same id", () => {
    const opus = Model.make({ id: "claude-opus-5", group: "ours" })
    const extended = Model.extend([opus])
    assert.strictEqual(extended.find("claude-opus-5"), opus)
    assert.lengthOf(extended.models, Model.catalogue.models.length)
    assert.isEmpty(extended.prices.filter(({ model }) => model === "claude-opus-5"))
  })

  it.effect("are added layer by layer", () =>
    Effect.gen(function*() {
      const { find } = yield* Model.Catalogue
      assert.strictEqual(find("ours"), ours)
      assert.isDefined(find("theirs"))
    }).pipe(
      Effect.provide(Model.layerCatalogue([Model.make({ id: "theirs" })])),
      Effect.provide(Model.layerCatalogue([ours]))
    ))

  it.each([
    ["us.anthropic.claude-sonnet-4-6-v1:0", "bedrock", "claude-sonnet-4-6"],
    ["anthropic.claude-sonnet-4-6", "bedrock", "claude-sonnet-4-6"],
    ["anthropic.claude-opus-4-6-v1", "bedrock", "claude-opus-4-6"],
    ["global.anthropic.claude-haiku-4-5-20251001-v1:0", "bedrock", "claude-haiku-4-5-20251001"],
    ["us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0", "bedrock", "claude-sonnet-4-5-20250929"],
    ["anthropic.claude-sonnet-4-5-20250929-v1:0:200k", "bedrock", "claude-sonnet-4-5-20250929"],
    ["bedrock/eu.anthropic.claude-opus-4-5-20251101-v1:0", "bedrock", "claude-opus-4-5-20251101"],
    [
      "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-6-v1:0",
      "bedrock",
      "claude-sonnet-4-6"
    ],
    ["arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-sonnet-4-6-v1:0", "bedrock", "claude-sonnet-4-6"],
    ["claude-haiku-4-5@20251001", "vertex", "claude-haiku-4-5-20251001"],
    ["claude-opus-4-5@default", "vertex", "claude-opus-4-5-20251101"],
    ["claude-sonnet-4-6@20260217", "vertex", "claude-sonnet-4-6"],
    ["vertex_ai/claude-opus-5-5", "vertex", "claude-opus-5-5"],
    [
      "projects/p/locations/us-east5/publishers/anthropic/models/claude-haiku-4-5@20251001",
      "vertex",
      "claude-haiku-4-5-20251001"
    ],
    ["azure_ai/claude-sonnet-4-5", "foundry", "claude-sonnet-4-5-20250929"],
    ["foundry/claude-opus-5-5", "foundry", "claude-opus-5-5"],
    ["anthropic/claude-sonnet-4.6", "other", "claude-sonnet-4-6"],
    ["Claude-Opus-5.5", "other", "claude-opus-5-5"],
    ["claude-sonnet-4-5-20250929-v1:0", "bedrock", "claude-sonnet-4-5-20250929"],
    ["publishers/anthropic/models/claude-opus-4-6:streamRawPredict", "vertex", "claude-opus-4-6"],
    ["azureml://registries/anthropic/models/claude-sonnet-4-5/versions/1", "foundry", "claude-sonnet-4-5-20250929"],
    ["databricks-claude-opus-4-6", "other", "claude-opus-4-6"],
    ["anthropic--claude-4.5-sonnet", "other", "claude-sonnet-4-5-20250929"],
    ["anthropic:claude-opus-4-6", "other", "claude-opus-4-6"],
    ["claude-4-5-haiku-20251001", "other", "claude-haiku-4-5-20251001"],
    ["anthropic/claude-sonnet-4.5:thinking", "other", "claude-sonnet-4-5-20250929"],
    ["claude-opus-4-6[1m]", "other", "claude-opus-4-6"],
    ["claude-haiku-4-5-latest", "other", "claude-haiku-4-5-20251001"]
  ])("knows %s, which is of %s, as %s", (name, platform, id) => {
    assert.strictEqual(Model.platformOf(name), platform)
    assert.strictEqual(Model.lookup(name).id, id)
    assert.strictEqual(Model.group(name), Model.group(id))
    assert.strictEqual(Model.tokenizer(name), Model.tokenizer(id))
    assert.isUndefined(Model.find(name))
  })

  it("takes no other name for that of a platform", () => {
    for (const { aliases, id } of Model.catalogue.models) {
      for (const name of [id, ...aliases]) assert.isUndefined(Model.platformOf(name), name)
    }
    const names = [
      "",
      "/",
      "@",
      "anthropic.",
      "us.anthropic.claude-of-tomorrow-v1:0",
      "claude-opus-4-6-of-ours",
      "not-claude-opus-4-6",
      "claude-4-6",
      "claude-haiku-4-5@",
      "x".repeat(1e6),
      "a/".repeat(1e5)
    ]
    for (const name of names) {
      if (name === "claude-haiku-4-5@") continue
      assert.isUndefined(Model.platformOf(name))
      assert.strictEqual(Model.lookup(name).id, name)
    }
  })
})

import type { MessageCreateParamsNonStreaming } from "@anthropic-ai/sdk/resources/messages"
import { assert, describe, it } from "@effect/vitest"
import { incompatibility } from "../../src/internal/incompatibility.ts"
import * as Model from "../../src/Model.ts"
import * as Validate from "../../src/testing/simulator/internal/Validate.ts"

const at = Date.parse("2026-11-22")

const ask: MessageCreateParamsNonStreaming = {
  model: "",
  max_tokens: 4_096,
  messages: [{ role: "user", content: "How many stones are in the river?" }]
}

const find = (id: string): Model.Model => {
  const model = Model.find(id)
  return model ?? assert.fail(`${id} is not in the catalogue`)
}

const tools = [{ name: "look", input_schema: { type: "object" as const } }]

const variants: ReadonlyArray<[string, Partial<MessageCreateParamsNonStreaming> & Record<string, unknown>]> = [
  ["nothing special", {}],
  ["any tool", { tools, tool_choice: { type: "any" } }],
  ["a tool by name", { tools, tool_choice: { type: "tool", name: "look" } }],
  ["a free choice of tools", { tools, tool_choice: { type: "auto" } }],
  ["no thinking", { thinking: { type: "disabled" } }],
  ["adaptive thinking", { thinking: { type: "adaptive" } }],
  ["a thinking budget", { thinking: { type: "enabled", budget_tokens: 2_048 } }],
  ["a thinking budget that fills max_tokens", { thinking: { type: "enabled", budget_tokens: 4_096 } }],
  ["a tiny thinking budget", { thinking: { type: "enabled", budget_tokens: 1_000 } }],
  ["thinking between tools", { thinking: { type: "between_tools" }, output_config: { effort: "high" } }],
  ["strenuous thinking between tools", { thinking: { type: "between_tools" }, output_config: { effort: "max" } }],
  ["a prefill", { messages: [...ask.messages, { role: "assistant", content: "About" }] }],
  ["a temperature", { temperature: 0.3 }],
  ["a top_p", { top_p: 0.3 }],
  ["a top_k", { top_k: 3 }],
  ["a null temperature", { temperature: null }],
  ["inference in the US", { inference_geo: "us" }],
  ["inference anywhere", { inference_geo: null }],
  ["fast mode", { speed: "fast" }],
  ["standard speed", { speed: "standard" }],
  ["a long answer", { max_tokens: 64_000 }],
  ["a longer answer", { max_tokens: 64_001 }],
  ["the longest answer", { max_tokens: 128_000 }],
  ["too long an answer", { max_tokens: 128_001 }]
]

describe("incompatibility", () => {
  for (const [name, fields] of variants) {
    it(`says of ${name} what the simulator says, for every model`, () => {
      for (const model of Model.catalogue.models) {
        const request = { ...ask, ...fields, model: model.id }
        const checked = Validate.check(request, {
          version: "2023-06-01",
          betas: "fast-mode-2026-02-01",
          counting: false,
          marked: false,
          extra: new Set(),
          catalogue: Model.catalogue,
          now: at
        })
        const reason = incompatibility(model, request, { at })
        assert.strictEqual(reason !== undefined, "status" in checked, `${model.id}: ${reason ?? "accepts"}`)
      }
    })
  }

  it("says of retired models that they are retired, from the first instant of the day", () => {
    const model = find("claude-sonnet-4-5")
    assert.isUndefined(incompatibility(model, ask, { at: Date.parse("2026-11-30") - 1 }))
    assert.strictEqual(incompatibility(model, ask, { at: Date.parse("2026-11-30") }), "was retired")
  })

  it("counts the prompt and the answer together against the context", () => {
    const model = find("claude-haiku-4-5")
    assert.isUndefined(incompatibility(model, ask, { at, inputTokens: 200_000 - 4_096 }))
    assert.match(incompatibility(model, ask, { at, inputTokens: 200_000 - 4_095 }) ?? "", /context of 200000/)
  })
})

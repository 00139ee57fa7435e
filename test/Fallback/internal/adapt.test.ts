/** What a request becomes for another model. The simulator accepts what comes out wherever it accepted what went in. */
import { assert, describe, it } from "@effect/vitest"
import { adapt } from "../../../src/Fallback/internal/adapt.ts"
import { incompatibility } from "../../../src/internal/incompatibility.ts"
import * as Model from "../../../src/Model.ts"
import type { Request } from "../../../src/Request.ts"
import * as Validate from "../../../src/testing/simulator/internal/Validate.ts"

const at = Date.parse("2026-11-22")

const ask = (fields: object = {}): Request => ({
  model: "",
  max_tokens: 4_096,
  messages: [{ role: "user", content: "How many stones are in the river?" }],
  ...fields
})

const to = (asked: Request, from: string, model: string, betas = "") =>
  adapt(asked, Model.lookup(from), Model.lookup(model), model, betas)

const thought = [
  { role: "user", content: "How deep is the river?" },
  {
    role: "assistant",
    content: [
      { type: "thinking", thinking: "Deep.", signature: "x" },
      { type: "redacted_thinking", data: "y" },
      { type: "text", text: "Very." }
    ]
  },
  { role: "assistant", content: [{ type: "thinking", thinking: "Deeper.", signature: "x" }] },
  { role: "user", content: "And how wide?" }
]

describe("adapt", () => {
  it("changes the model alone where the next one needs no more", () => {
    const asked = ask({ thinking: { type: "adaptive" }, system: "Be brief." })
    assert.deepStrictEqual(to(asked, "claude-opus-5-5", "claude-haiku-5-5"), {
      request: { ...asked, model: "claude-haiku-5-5" },
      changes: []
    })
  })

  it("gives room for the same answer with another tokenizer, and no more than the model has", () => {
    assert.strictEqual(to(ask(), "claude-sonnet-4-6", "claude-haiku-5-5").request.max_tokens, 5_325)
    assert.strictEqual(to(ask(), "claude-haiku-5-5", "claude-sonnet-4-6").request.max_tokens, 4_096)
    assert.deepStrictEqual(to(ask({ max_tokens: 100_000 }), "claude-opus-5-5", "claude-haiku-4-5").changes, [
      "max_tokens 100000 -> 64000"
    ])
  })

  it.each([
    [{ type: "disabled" }, "claude-haiku-5-5", { type: "disabled" }],
    [{ type: "disabled" }, "claude-opus-5-5", undefined],
    [{ type: "enabled", budget_tokens: 2_000, display: "omitted" }, "claude-opus-5-5", {
      type: "adaptive",
      display: "omitted"
    }],
    [{ type: "enabled", budget_tokens: 2_000 }, "claude-fable-5-2", { type: "adaptive" }],
    [{ type: "enabled", budget_tokens: 2_000 }, "claude-sonnet-5", { type: "enabled", budget_tokens: 2_000 }],
    [{ type: "between_tools" }, "claude-sonnet-5-5", { type: "between_tools" }],
    [{ type: "between_tools" }, "claude-haiku-5-5", { type: "disabled" }],
    [{ type: "between_tools" }, "claude-opus-5-5", undefined]
  ])("makes of thinking %o for %s: %o", (thinking, model, expected) => {
    const { changes, request } = to(ask({ thinking }), "claude-sonnet-5", model)
    assert.deepStrictEqual(request.thinking as unknown, expected)
    assert.strictEqual(changes.length > 0, JSON.stringify(thinking) !== JSON.stringify(expected))
  })

  it("leaves out what the model refuses and the answer can do without: sampling, and fast mode", () => {
    const { changes, request } = to(
      ask({ temperature: 0.5, top_p: null, speed: "fast" }),
      "claude-opus-4-6",
      "claude-haiku-5-5"
    )
    assert.notProperty(request, "temperature")
    assert.notProperty(request, "speed")
    assert.deepStrictEqual(changes, ["max_tokens 4096 -> 5325", "speed fast -> standard", "without temperature"])
    assert.property(to(ask({ speed: "fast" }), "claude-opus-5-5", "claude-fable-5-2").request, "speed")
    assert.notProperty(to(ask({ speed: "fast" }), "claude-opus-5-5", "claude-opus-5").request, "speed")
    assert.property(
      to(ask({ speed: "fast" }), "claude-opus-5-5", "claude-opus-5", "fast-mode-2026-02-01").request,
      "speed"
    )
  })

  it("leaves out whole thinking blocks that another line of models made, where the model takes those of its own alone", () => {
    const { changes, request } = to(ask({ messages: thought }), "claude-opus-5-5", "claude-sonnet-5-5")
    assert.deepStrictEqual(request.messages as unknown, [
      thought[0],
      { role: "assistant", content: [{ type: "text", text: "Very." }] },
      thought[3]
    ])
    assert.deepStrictEqual(changes, ["without the thinking blocks of earlier turns"])
    // An older model took blocks of any line.
    assert.lengthOf(to(ask({ messages: thought }), "claude-opus-5", "claude-opus-5-5").request.messages, 3)
    assert.lengthOf(to(ask({ messages: thought }), "claude-opus-5-5", "a-model-of-tomorrow").request.messages, 3)
  })

  it.each([["claude-opus-5-5", "claude-sonnet-5"], ["claude-fable-5-1", "claude-fable-5-2"]])(
    "keeps thinking blocks from %s for %s",
    (from, model) => {
      const asked = ask({ messages: thought })
      assert.strictEqual(to(asked, from, model).request.messages, asked.messages)
    }
  )

  it("makes for every pair of models what the simulator accepts, or what is known to be refused", () => {
    const asks = [
      ask(),
      ask({ thinking: { type: "disabled" } }),
      ask({ thinking: { type: "between_tools" }, output_config: { effort: "max" } }),
      ask({ thinking: { type: "enabled", budget_tokens: 2_000 } }),
      ask({ speed: "fast", temperature: 0.2 }),
      ask({ tools: [{ name: "a", input_schema: { type: "object" } }], tool_choice: { type: "any" } }),
      ask({ inference_geo: "us" }),
      ask({ max_tokens: 128_000 })
    ]
    const models = Model.catalogue.models.filter((model) => Model.lifecycleAt(model, at) !== "retired")
    const accepts = (body: object) =>
      "body" in Validate.check(body, {
        version: "2023-06-01",
        counting: false,
        marked: false,
        extra: new Set(),
        catalogue: Model.catalogue,
        now: at
      })
    let accepted = 0
    for (const asked of asks) {
      for (const from of models) {
        if (!accepts({ ...asked, model: from.id })) continue
        for (const model of models) {
          const { request } = adapt({ ...asked, model: from.id }, from, model, model.id, "")
          const isRefused = incompatibility(model, request, { at, inputTokens: 20 }) !== undefined
          assert.strictEqual(accepts(request), !isRefused, `${from.id} -> ${model.id}: ${JSON.stringify(request)}`)
          if (!isRefused) accepted++
        }
      }
    }
    assert.isAbove(accepted, 1_000)
  })
})

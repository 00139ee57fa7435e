/**
 * The list of models and its single entries, with their lifecycle on the day and what they can do.
 */
import type { ModelCapabilities, ModelInfo } from "@anthropic-ai/sdk/resources/models"
import * as Model from "../../../Model.ts"
import * as Pages from "./Pages.ts"
import type { Asked, Resource } from "./Resource.ts"
import { refuse } from "./Wire.ts"

const instant = (day: string | undefined): string => `${day ?? "1970-01-01"}T00:00:00Z`

const yes = { supported: true }
const no = { supported: false }
const supports = (supported: boolean) => supported ? yes : no

/**
 * What a model can do, as far as the catalogue tells: a model that lets `thinking` stand where it wants is of a generation that has
 * efforts too. The rest is what every model of the catalogue has.
 */
const capabilities = (model: Model.Model): ModelCapabilities => {
  const rejects = (what: Model.Rejection) => model.rejects.includes(what)
  // the generations from 4.6 on refuse a prefill and no longer refuse a region
  const isRecent = rejects("prefill")
  return {
    batch: yes,
    citations: yes,
    code_execution: yes,
    context_management: {
      supported: true,
      clear_thinking_20251015: yes,
      clear_tool_uses_20250919: yes,
      compact_20260112: supports(isRecent)
    },
    effort: {
      supported: isRecent,
      low: supports(isRecent),
      medium: supports(isRecent),
      high: supports(isRecent),
      xhigh: supports(isRecent),
      max: supports(isRecent)
    },
    image_input: yes,
    pdf_input: yes,
    server_tools: { supported: true, code_execution: yes, web_search: yes },
    structured_outputs: yes,
    thinking: {
      supported: true,
      types: {
        adaptive: supports(isRecent),
        between_tools: supports(rejects("highEffortBetweenTools")),
        disabled: supports(!rejects("disabledThinking")),
        enabled: supports(!rejects("thinkingBudget"))
      }
    }
  }
}

const info = (model: Model.Model, now: number): ModelInfo => {
  const lifecycle = Model.lifecycleAt(model, now)
  return {
    id: model.id,
    type: "model",
    display_name: model.name,
    line: model.line ?? null,
    lifecycle,
    created_at: instant(model.releasedOn),
    deprecated_at: lifecycle === "active" || model.deprecatedOn === undefined ? null : instant(model.deprecatedOn),
    retires_at: lifecycle === "active" || model.retiresOn === undefined ? null : instant(model.retiresOn),
    max_input_tokens: model.contextTokens ?? null,
    max_tokens: model.maxOutputTokens ?? null,
    capabilities: capabilities(model)
  }
}

/** Every model, the newest first. `now` is the instant of their lifecycle. */
export const all = (catalogue: Model.Catalogue, now: number): ReadonlyArray<ModelInfo> =>
  catalogue.models.map((model) => info(model, now))
    .sort((a, b) => a.created_at < b.created_at ? 1 : a.created_at > b.created_at ? -1 : 0)

/** `/v1/models` and `/v1/models/{id}`. */
export const make =
  (catalogue: Model.Catalogue, now: () => number): Resource => ({ id, method, query, sub }: Asked) => {
    if (method !== "GET" || sub !== undefined) return undefined
    if (id !== undefined) {
      const model = catalogue.find(id)
      return model === undefined ? refuse(404, `model: ${id}`) : { body: info(model, now()) }
    }
    const wanted = [...query.getAll("lifecycle"), ...query.getAll("lifecycle[]")]
    const shown = wanted.length === 0 ? ["active", "deprecated"] : wanted
    return Pages.of(all(catalogue, now()).filter(({ lifecycle }) => shown.includes(lifecycle)), query)
  }

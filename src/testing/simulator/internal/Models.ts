/**
 * The list of models and its single entries.
 */
import type { ModelInfo } from "@anthropic-ai/sdk/resources/models"
import * as Result from "effect/Result"
import * as Model from "../../../Model.ts"
import type { Refusal } from "./Wire.ts"
import { refuse } from "./Wire.ts"

const instant = (day: string | undefined): string => `${day ?? "1970-01-01"}T00:00:00Z`

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
    capabilities: null
  }
}

/** The body for `/v1/models` and `/v1/models/{id}`. Capabilities are not simulated: they are null. */
export const answer = (
  path: string,
  now: number,
  catalogue: Model.Catalogue = Model.catalogue
): { readonly body: unknown } | Refusal => {
  const url = new URL(path, "http://localhost")
  const coded = url.pathname.slice("/v1/models/".length)
  const id = Result.getOrElse(Result.try(() => decodeURIComponent(coded)), () => coded)
  if (id !== "") {
    const model = catalogue.find(id)
    return model === undefined ? refuse(404, `model: ${id}`) : { body: info(model, now) }
  }
  const query = url.searchParams
  const wanted = [...query.getAll("lifecycle"), ...query.getAll("lifecycle[]")]
  const shown = wanted.length === 0 ? ["active", "deprecated"] : wanted
  const limit = Number(query.get("limit") ?? 20)
  if (!Number.isInteger(limit) || limit < 1 || limit > 1_000) return refuse(400, "limit: must be from 1 to 1000")
  const all = catalogue.models.map((model) => info(model, now)).filter((model) => shown.includes(model.lifecycle))
    .sort((a, b) => a.created_at < b.created_at ? 1 : a.created_at > b.created_at ? -1 : 0)
  const at = (name: string): number => all.findIndex((model) => model.id === query.get(name))
  const lost = ["after_id", "before_id"].find((name) => query.has(name) && at(name) < 0)
  if (lost !== undefined) return refuse(400, `${lost}: there is no such model in the list`)
  const before = query.has("before_id") ? at("before_id") : undefined
  const from = before === undefined ? at("after_id") + 1 : Math.max(0, before - limit)
  const data = all.slice(from, before ?? from + limit)
  return {
    body: {
      data,
      has_more: before === undefined ? from + limit < all.length : from > 0,
      first_id: data[0]?.id ?? null,
      last_id: data.at(-1)?.id ?? null
    }
  }
}

import * as Model from "../Model.ts"
import type { Request } from "../Request.ts"

const isGiven = (value: unknown): boolean => value !== undefined && value !== null

/**
 * Why the API would reject a request if it were for this model, in a few words; `undefined` if no known reason applies. The `model` of
 * the request is ignored.
 *
 * - `at`: milliseconds since 1970; a retired model rejects everything.
 * - `inputTokens`: the prompt as this model counts it. Without it the context window is not checked.
 *
 * Sampling parameters count only for models that reject them under every API version. Thinking blocks made by another model and beta features
 * that a model lacks are not detected.
 *
 * **Example** (A forced tool)
 *
 * ```ts
 * import { CostOptimizer, Model } from "effect-claude"
 *
 * const request = {
 *   model: "claude-opus-5",
 *   max_tokens: 1_024,
 *   tool_choice: { type: "any" as const },
 *   messages: [{ role: "user" as const, content: "How deep is the river?" }]
 * }
 * const at = Date.parse("2026-11-22")
 *
 * CostOptimizer.incompatibility(Model.lookup("claude-opus-5"), request, { at }) // => undefined
 * CostOptimizer.incompatibility(Model.lookup("claude-opus-5-5"), request, { at }) // => "refuses a forced tool_choice"
 * ```
 *
 * @category getters
 * @since 0.1.0
 */
export const incompatibility = (
  model: Model.Model,
  request: Request,
  options: { readonly at: number; readonly inputTokens?: number | undefined }
): string | undefined => {
  const { inference_geo, max_tokens, messages, output_config, speed, thinking, tool_choice } = request
  const { inputTokens = 0 } = options
  const rejects = (what: Model.Rejection): boolean => model.rejects.includes(what)
  const fields: Readonly<Record<string, unknown>> = { ...request }
  const isHighEffort = output_config?.effort === "xhigh" || output_config?.effort === "max"
  const budget = thinking?.type === "enabled" ? thinking.budget_tokens : undefined
  if (Model.lifecycleAt(model, options.at) === "retired") return "was retired"
  if (model.maxOutputTokens !== undefined && max_tokens > model.maxOutputTokens) {
    return `answers with at most ${model.maxOutputTokens} tokens`
  }
  if (model.contextTokens !== undefined && inputTokens + max_tokens > model.contextTokens) {
    return `has a context of ${model.contextTokens} tokens`
  }
  if (budget !== undefined && (budget < 1_024 || budget >= max_tokens)) {
    return "needs a thinking budget of at least 1024 and below max_tokens"
  }
  if ((tool_choice?.type === "any" || tool_choice?.type === "tool") && rejects("forcedToolChoice")) {
    return "refuses a forced tool_choice"
  }
  if (thinking?.type === "disabled" && rejects("disabledThinking")) return "cannot go without thinking"
  if (budget !== undefined && rejects("thinkingBudget")) return "refuses a thinking budget"
  if (thinking?.type === "between_tools" && isHighEffort && rejects("highEffortBetweenTools")) {
    return "thinks between tools up to effort high only"
  }
  if (messages.at(-1)?.role === "assistant" && rejects("prefill")) return "refuses a prefill"
  if (["temperature", "top_p", "top_k"].some((field) => isGiven(fields[field])) && rejects("sampling")) {
    return "refuses sampling parameters"
  }
  if (isGiven(inference_geo) && rejects("inferenceGeo")) return "refuses inference_geo"
  return speed === "fast" && model.fastMode === "refused" ? "has no fast mode" : undefined
}

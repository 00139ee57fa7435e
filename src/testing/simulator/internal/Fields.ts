/**
 * Which fields a request may have, and which need a beta.
 */
import * as Predicate from "effect/Predicate"
import type { Refusal } from "./Wire.ts"
import { refuse } from "./Wire.ts"

export const bad = (message: string): Refusal => refuse(400, message)

export const fields = (names: string): ReadonlySet<string> => new Set(names.split(" "))

/** Whether a field or a block that the API has only in some betas may be used: the header names one of them. */
export const isIn = (betas: string, prefixes: ReadonlyArray<string>): boolean =>
  prefixes.some((prefix) => betas.includes(prefix))

/** The first field of a value that is not among those known, with its place. Fields without a value are none. */
export const extra = (
  value: Readonly<Record<string, unknown>>,
  known: ReadonlySet<string>,
  place: string
): Refusal | undefined => {
  for (const name in value) {
    if (!known.has(name) && value[name] !== undefined) return bad(`${place}${name}: Extra inputs are not permitted`)
  }
  return undefined
}

const known = fields(
  "model max_tokens messages cache_control container diagnostics inference_geo metadata output_config service_tier speed stop_sequences stream system " +
    "temperature thinking tool_choice tools top_k top_p"
)

/** Fields of betas, by the beginnings of the betas that have them. */
const beta: Readonly<Record<string, ReadonlyArray<string>>> = {
  billing_policy: ["user-profiles-billing-"],
  compaction: ["compact-"],
  context_management: ["context-management-", "compact-"],
  fallback_credit_token: ["fallback-credit-"],
  fallbacks: ["server-side-fallback-"],
  mcp_servers: ["mcp-client-"],
  output_format: ["structured-outputs-"],
  thread: ["message-threads-"]
}

/** Fields of betas that a count of tokens may have too. */
const betaOfCounts = fields("billing_policy compaction context_management mcp_servers output_format")

const ofRequest = (body: Readonly<Record<string, unknown>>, counting: boolean, betas: string): Refusal | undefined => {
  for (const name in body) {
    if (known.has(name)) continue
    const prefixes = counting && !betaOfCounts.has(name)
      ? undefined
      : Object.hasOwn(beta, name)
      ? beta[name]
      : undefined
    if (prefixes === undefined || !isIn(betas, prefixes)) return bad(`${name}: Extra inputs are not permitted`)
  }
  return undefined
}

const choice = (value: unknown, options: ReadonlyArray<unknown>, place: string): Refusal | undefined =>
  value === undefined || value === null || options.includes(value)
    ? undefined
    : bad(`${place}: Input should be ${options.map((option) => `'${String(option)}'`).join(" or ")}`)

/** Where a value is neither missing nor of this type. */
export const typed = (value: unknown, type: "boolean" | "string", place: string): Refusal | undefined =>
  value === undefined || value === null || typeof value === type
    ? undefined
    : bad(`${place}: Input should be a valid ${type}`)

/** An object with no other fields than these, where there is one. */
export const object = (value: unknown, known: ReadonlySet<string>, place: string): Refusal | undefined =>
  value === undefined || value === null
    ? undefined
    : Predicate.isObject(value)
    ? extra(value, known, `${place}.`)
    : bad(`${place}: Input should be an object`)

const thinkingFields: Readonly<Record<string, ReadonlySet<string>>> = {
  enabled: fields("type budget_tokens block_binding display"),
  adaptive: fields("type block_binding display"),
  disabled: fields("type"),
  between_tools: fields("type")
}

const thinking = (value: unknown): Refusal | undefined => {
  if (value === undefined) return undefined
  const type = Predicate.isObject(value) ? value["type"] : undefined
  const known = typeof type === "string" && Object.hasOwn(thinkingFields, type) ? thinkingFields[type] : undefined
  if (!Predicate.isObject(value) || known === undefined) {
    return bad("thinking: Input should be of type 'enabled', 'adaptive', 'between_tools' or 'disabled'")
  }
  if (type === "enabled" && !Number.isInteger(value["budget_tokens"])) {
    return bad("thinking.enabled.budget_tokens: Input should be a valid integer")
  }
  return choice(value["display"], ["summarized", "omitted"], "thinking.display") ??
    extra(value, known, `thinking.${type}.`)
}

const formatOf = (format: unknown, place: string): Refusal | undefined => {
  if (format === undefined || format === null) return undefined
  if (!Predicate.isObject(format) || format["type"] !== "json_schema") {
    return bad(`${place}.type: Input should be 'json_schema'`)
  }
  return Predicate.isObject(format["schema"])
    ? extra(format, fields("type schema"), `${place}.`)
    : bad(`${place}.schema: Input should be an object`)
}

const efforts = ["low", "medium", "high", "xhigh", "max"]
const outputFields = fields("effort format")
const outputFieldsOfBeta = fields("effort format task_budget")

const output = (value: unknown, betas: string): Refusal | undefined => {
  const known = isIn(betas, ["task-budgets-"]) ? outputFieldsOfBeta : outputFields
  const wrong = object(value, known, "output_config")
  if (wrong !== undefined || !Predicate.isObject(value)) return wrong
  return choice(value["effort"], efforts, "output_config.effort") ?? formatOf(value["format"], "output_config.format")
}

/** The longest id of a user. */
const maxUserId = 256

const userProblem = (user: unknown): Refusal | undefined =>
  typed(user, "string", "metadata.user_id") ??
    (String(user).length > maxUserId
      ? bad(`metadata.user_id: String should have at most ${maxUserId} characters`)
      : undefined)

const metadataFields = fields("user_id")
const diagnosticsFields = fields("previous_message_id")
const containerFields = fields("id skills")

/** What is wrong with the fields of a request, its messages and tools aside. */
export const problem = (
  body: Readonly<Record<string, unknown>>,
  counting: boolean,
  betas: string
): Refusal | undefined => {
  const { container, metadata, stop_sequences, stream } = body
  const wrong = ofRequest(body, counting, betas)
  if (wrong !== undefined) return wrong
  if (stream !== undefined && typeof stream !== "boolean") return bad("stream: Input should be a valid boolean")
  if (Array.isArray(stop_sequences) && stop_sequences.some((text) => typeof text === "string" && text.trim() === "")) {
    return bad("stop_sequences: each stop sequence must contain non-whitespace")
  }
  const user = Predicate.isObject(metadata) ? userProblem(metadata["user_id"]) : undefined
  if (user !== undefined) return user
  return typed(body["inference_geo"], "string", "inference_geo") ??
    choice(body["service_tier"], ["auto", "standard_only"], "service_tier") ??
    choice(body["speed"], ["standard", "fast"], "speed") ??
    (typeof container === "string" ? undefined : object(container, containerFields, "container")) ??
    object(metadata, metadataFields, "metadata") ??
    object(body["diagnostics"], diagnosticsFields, "diagnostics") ??
    (Predicate.isObject(body["context_management"] ?? {})
      ? undefined
      : bad("context_management: Input should be an object")) ??
    output(body["output_config"], betas) ??
    formatOf(body["output_format"], "output_format") ??
    thinking(body["thinking"])
}

/**
 * The checks of a request before the model sees it.
 */
import * as Predicate from "effect/Predicate"
import * as Model from "../../../Model.ts"
import * as Blocks from "./Blocks.ts"
import { ttlOf } from "./Cache.ts"
import * as Fields from "./Fields.ts"
import * as Thinking from "./Thinking.ts"
import * as Tools from "./Tools.ts"
import type { Block, Body, Refusal, Turn } from "./Wire.ts"
import { refuse } from "./Wire.ts"

const current = "2026-10-21"
const versions = new Set(["2023-06-01", current])
const roles = new Set(["user", "assistant", "system"])

const { bad } = Fields
const isBlock = (value: unknown): value is Block => Predicate.isObject(value) && typeof value["type"] === "string"
const isBlocks = (value: unknown): value is ReadonlyArray<Block> => Array.isArray(value) && value.every(isBlock)
const blocksOf = (turn: Turn | undefined): ReadonlyArray<Block> =>
  turn === undefined || typeof turn.content === "string" ? [] : turn.content

const deepest = 500

const isDeeper = (value: unknown, levels: number): boolean =>
  typeof value === "object" && value !== null &&
  (levels === 0 || Object.values(value).some((inner) => isDeeper(inner, levels - 1)))

const shape = (body: unknown): Refusal | undefined => {
  if (isDeeper(body, deepest)) return bad("The request body is nested too deeply.")
  if (!Predicate.isObject(body)) return bad("The request body is not a JSON object.")
  if (typeof body["model"] !== "string" || body["model"] === "") return bad("model: Field required")
  const messages = body["messages"]
  if (!Array.isArray(messages)) return bad("messages: Field required")
  if (messages.length === 0) return bad("messages: at least one message is required")
  if (messages.length > 100_000) return bad("messages: at most 100000 messages are allowed")
  for (let i = 0; i < messages.length; i++) {
    const turn: unknown = messages[i]
    if (!Predicate.isObject(turn)) return bad(`messages.${i}: Input should be an object`)
    if (!roles.has(String(turn["role"]))) {
      return bad(`messages.${i}.role: Input should be 'user', 'assistant' or 'system'`)
    }
    const content = turn["content"]
    if (typeof content !== "string" && !isBlocks(content)) {
      return bad(`messages.${i}.content: Input should be a string or an array of content blocks`)
    }
    const results = Array.isArray(content) ? content.filter((block) => block.type === "tool_result") : []
    if (results.some(({ content }) => content !== undefined && typeof content !== "string" && !isBlocks(content))) {
      return bad(`messages.${i}: the content of a tool_result should be a string or an array of content blocks`)
    }
    const last = i === messages.length - 1 && turn["role"] === "assistant"
    if (content.length === 0 && !last) return bad(`messages.${i}: must have non-empty content`)
  }
  const { stop_sequences, system, tools } = body
  if (stop_sequences !== undefined && !(Array.isArray(stop_sequences) && stop_sequences.every(Predicate.isString))) {
    return bad("stop_sequences: Input should be an array of strings")
  }
  if (system !== undefined && typeof system !== "string" && !isBlocks(system)) {
    return bad("system: Input should be a string or an array of text blocks")
  }
  if (tools !== undefined && !(Array.isArray(tools) && tools.every(Predicate.isObject))) {
    return bad("tools: Input should be an array of tools")
  }
  return undefined
}

const pairing = (messages: ReadonlyArray<Turn>): Refusal | undefined => {
  const used = new Set<unknown>()
  for (let i = 0; i < messages.length; i++) {
    const blocks = blocksOf(messages[i])
    if (blocks.length === 0 && i > 0 && blocksOf(messages[i - 1]).length === 0) continue
    for (const { id, type } of blocks) {
      if (type !== "tool_use") continue
      if (used.has(id)) return bad(`messages.${i}: \`tool_use\` ids must be unique: ${String(id)}.`)
      used.add(id)
    }
    const before = messages[i - 1]?.role === "assistant"
      ? blocksOf(messages[i - 1]).filter((block) => block.type === "tool_use").map((block) => block["id"])
      : []
    const results = blocks.filter((block) => block.type === "tool_result").map((block) => block["tool_use_id"])
    const stray = results.find((id) => !before.includes(id))
    if (stray !== undefined || (results.length > 0 && messages[i]!.role !== "user")) {
      return bad(
        `messages.${i}: unexpected \`tool_use_id\` in a \`tool_result\` block: ${
          String(stray)
        }. Each one must have a ` +
          "corresponding `tool_use` block in the previous message."
      )
    }
    const twice = results.find((id, at) => results.indexOf(id) !== at)
    if (twice !== undefined) {
      return bad(`messages.${i}: each tool_use must have a single result. Found several for ${String(twice)}.`)
    }
    const unanswered = before.filter((id) => !results.includes(id))
    if (unanswered.length > 0) {
      return bad(
        `messages.${i - 1}: \`tool_use\` ids were found without \`tool_result\` blocks immediately after: ` +
          `${unanswered.join(", ")}.`
      )
    }
  }
  const open = blocksOf(messages.at(-1)).some((block) => block.type === "tool_use")
  return open && messages.at(-1)!.role === "assistant"
    ? bad(
      `messages.${messages.length - 1}: \`tool_use\` ids were found without \`tool_result\` blocks immediately after.`
    )
    : undefined
}

const thinking = (messages: ReadonlyArray<Turn>, model: Model.Model): Refusal | undefined => {
  const problem = Thinking.problem(messages, model)
  return problem === undefined ? undefined : bad(problem)
}

const controlFields = Fields.fields("type ttl")

const isControl = (control: unknown): boolean =>
  control === undefined || control === null ||
  Predicate.isObject(control) && control["type"] === "ephemeral" &&
    (control["ttl"] === undefined || control["ttl"] === "5m" || control["ttl"] === "1h") &&
    Fields.extra(control, controlFields, "") === undefined

/** What an assistant message that is to be continued must not end with. */
const prefill = (last: Turn): Refusal | undefined => {
  if (last.role !== "assistant") return undefined
  const block = blocksOf(last).at(-1)
  const text = typeof last.content === "string" ? last.content : block?.type === "text" ? block["text"] : ""
  return /\s$/.test(String(text))
    ? bad("messages: final assistant content cannot end with trailing whitespace")
    : undefined
}

/** The blocks in a tool result, which may have breakpoints of their own. */
const within = ({ content, type }: Block): ReadonlyArray<Block> =>
  type === "tool_result" && isBlocks(content) ? content : []

const breakpoints = (body: Body): Refusal | undefined => {
  const markable = [
    ...(body.tools ?? []),
    ...(typeof body.system === "string" ? [] : body.system ?? []),
    ...body.messages.flatMap(blocksOf).flatMap((block) => [...within(block), block]),
    body
  ]
  if (!markable.every((part) => isControl(part["cache_control"]))) {
    return bad("cache_control: Input should be of type 'ephemeral' with a ttl of '5m' or '1h'")
  }
  const ttls = markable.map(ttlOf).filter((ttl) => ttl !== undefined)
  if (ttls.length > 4) return bad(`A maximum of 4 blocks with cache_control may be provided. Found ${ttls.length}.`)
  const last = blocksOf(body.messages.at(-1)).at(-1)
  const own = last === undefined ? undefined : ttlOf(last)
  if (ttlOf(body) !== undefined && own !== undefined && own !== ttlOf(body)) {
    return bad("cache_control: the last block has a breakpoint with another ttl.")
  }
  return ttls.lastIndexOf("1h") > ttls.indexOf("5m") && ttls.includes("5m")
    ? bad("cache_control: a ttl of 1h must not come after a ttl of 5m.")
    : undefined
}

const isCited = ({ citations, content }: Block): boolean =>
  Array.isArray(citations) && citations.length > 0 || isBlocks(content) && content.some(isCited)

const contents = (messages: ReadonlyArray<Turn>, version: string): Refusal | undefined => {
  if (version !== current) return undefined
  for (let i = 0; i < messages.length; i++) {
    for (const block of blocksOf(messages[i])) {
      if (messages[i]!.role === "assistant" && block.type === "document") {
        return bad(`messages.${i}: a document block is not allowed in an assistant message.`)
      }
      if (messages[i]!.role === "user" && isCited(block)) {
        return bad(`messages.${i}: a text block with citations is not allowed in a user message.`)
      }
    }
  }
  return undefined
}

const sampling = (body: Body, version: string, model: Model.Model): Refusal | undefined => {
  const given = ["temperature", "top_p", "top_k"].filter((field) => body[field] !== undefined && body[field] !== null)
  if (given.length === 0) return undefined
  if (version === current) return bad(`${given[0]}: Extra inputs are not permitted`)
  const changed = given.find((field) => !(field !== "top_k" && body[field] === 1))
  return changed !== undefined && model.rejects.includes("sampling")
    ? bad(`${changed}: this model does not support sampling parameters.`)
    : undefined
}

/** A turn that the API paused amid its own tools is sent back as it is, to be continued. */
const isPaused = (turn: Turn): boolean => {
  const last = blocksOf(turn).at(-1)?.type
  return last === "server_tool_use" || last?.endsWith("_tool_result") === true
}

const quirks = (body: Body, model: Model.Model, betas: string): Refusal | undefined => {
  const rejects = (what: Model.Rejection) => model.rejects.includes(what)
  const choice = Predicate.isObject(body["tool_choice"]) ? body["tool_choice"]["type"] : undefined
  if ((choice === "any" || choice === "tool") && rejects("forcedToolChoice")) {
    return bad(`tool_choice: type '${choice}' is not supported by this model.`)
  }
  const thinking = Predicate.isObject(body["thinking"]) ? body["thinking"] : {}
  if (thinking["type"] === "disabled" && rejects("disabledThinking")) {
    return bad("thinking: type 'disabled' is not supported by this model.")
  }
  if (thinking["budget_tokens"] !== undefined && rejects("thinkingBudget")) {
    return bad("thinking.budget_tokens: not supported by this model.")
  }
  const effort = Predicate.isObject(body["output_config"]) ? body["output_config"]["effort"] : undefined
  if (
    thinking["type"] === "between_tools" && (effort === "xhigh" || effort === "max") &&
    rejects("highEffortBetweenTools")
  ) {
    return bad("thinking: type 'between_tools' is supported by this model at effort 'high' or below.")
  }
  const { speed } = body
  if (speed === "fast" && rejects("fastModeWithoutBeta") && !Fields.isIn(betas, ["fast-mode-"])) {
    return bad("speed: Extra inputs are not permitted")
  }
  if (speed === "fast" && model.fastMode === "refused") return bad("speed: 'fast' is not supported by this model.")
  if (body.messages.at(-1)!.role === "assistant" && rejects("prefill") && !isPaused(body.messages.at(-1)!)) {
    return bad("This model does not support assistant message prefill. The conversation must end with a user message.")
  }
  if (body["inference_geo"] !== undefined && body["inference_geo"] !== null && rejects("inferenceGeo")) {
    return bad("inference_geo: not supported by this model.")
  }
  return undefined
}

const output = (body: Body, model: Model.Model): Refusal | undefined => {
  const tokens: unknown = body.max_tokens
  if (tokens === undefined) return bad("max_tokens: Field required")
  if (typeof tokens !== "number" || !Number.isInteger(tokens) || tokens < 0) {
    return bad("max_tokens: Input should be an integer greater than or equal to 0")
  }
  const most = model.maxOutputTokens
  if (most !== undefined && tokens > most) {
    return bad(
      `max_tokens: ${tokens} > ${most}, which is the maximum allowed number of output tokens for ${body.model}`
    )
  }
  if (tokens === 0 && body.stream === true) return bad("max_tokens: 0 is not allowed with stream")
  const budget = Predicate.isObject(body["thinking"]) ? body["thinking"]["budget_tokens"] : undefined
  return typeof budget === "number" && (budget < 1_024 || budget >= tokens)
    ? bad("thinking.budget_tokens: must be at least 1024 and less than max_tokens")
    : undefined
}

/** A body that passed `check`. */
export interface Checked {
  readonly body: Body
  readonly model: Model.Model
  /** Whether the body may hold cache breakpoints. */
  readonly marked: boolean
}

/**
 * Checks the body of a request for an answer or for a token count, in the order of the API: version, shape, model, contents.
 * `extra` are model ids that exist beside the catalogue; `now` is the instant at which a model may have been retired.
 */
export const check = (
  body: unknown,
  options: {
    readonly version: string | undefined
    /** The value of the header `anthropic-beta`. Default: none. */
    readonly betas?: string | undefined
    readonly counting: boolean
    readonly marked: boolean
    readonly extra: ReadonlySet<string>
    readonly catalogue: Model.Catalogue
    readonly now: number
  }
): Refusal | Checked => {
  const { betas = "", catalogue, counting, extra, marked, now, version } = options
  if (version === undefined) return bad("anthropic-version: header is required")
  if (!versions.has(version)) return bad(`anthropic-version: "${version}" is not a valid version`)
  const wrong = shape(body)
  if (wrong !== undefined) return wrong
  // `shape` has checked each field that is read by type below
  const checked = body as unknown as Body
  const model = catalogue.lookup(checked.model)
  const isMissing = catalogue.find(checked.model) === undefined && !extra.has(checked.model)
  if (isMissing || Model.lifecycleAt(model, now) === "retired") {
    return refuse(404, `model: ${checked.model}`)
  }
  return Fields.problem(checked, counting, betas) ??
    (counting ? undefined : output(checked, model)) ??
    sampling(checked, version, model) ??
    Blocks.systemProblem(checked.system, betas) ??
    Blocks.problem(checked.messages, betas) ??
    contents(checked.messages, version) ??
    Tools.problem(checked, betas) ??
    pairing(checked.messages) ??
    thinking(checked.messages, model) ??
    (marked ? breakpoints(checked) : undefined) ??
    prefill(checked.messages.at(-1)!) ??
    quirks(checked, model, betas) ??
    { body: checked, model, marked }
}

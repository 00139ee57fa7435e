/**
 * Composes the message that answers a checked request, and what it costs.
 */
import type { Message, Usage } from "@anthropic-ai/sdk/resources/messages"
import * as Model from "../../../Model.ts"
import * as Answer from "./Answer.ts"
import type * as Bill from "./Bill.ts"
import * as Cache from "./Cache.ts"
import type * as Cost from "./Cost.ts"
import * as DefaultAnswer from "./DefaultAnswer.ts"
import * as Diagnoses from "./Diagnoses.ts"
import type * as Keys from "./Keys.ts"
import * as Tokens from "./Tokens.ts"
import type * as Validate from "./Validate.ts"
import * as Wire from "./Wire.ts"

export interface ComposeOptions {
  readonly answer: Answer.Answerer | undefined
  readonly seed: string
  /** How many answers are remembered for `diagnostics`. */
  readonly remembered: number
}

/** What is known about a request while it is answered; `row` is set once work on it began. */
export interface Served {
  row: Omit<Bill.BillRow, "outcome" | "usage" | "nanoUsd" | "tier" | "webSearches"> | undefined
  division: Cache.Division | undefined
  /** Undefined for what is free. */
  manner: Cost.Manner | undefined
  output: number
  /** Takes back the output that was expected and did not come. */
  release: () => void
}

/** Work on a request begins: from here on it is on the bill. */
export const serve = (
  served: Served,
  { label, organization, workspace }: Keys.Key,
  requestId: string,
  at: number,
  model: string,
  endpoint: Bill.BillRow["endpoint"],
  stream: boolean
) => {
  served.row = { requestId, at, key: label, organization, workspace, model, endpoint, stream }
}

/** Where a request is served, as its usage reports it. */
const inferenceGeoOf = (body: Wire.Body, model: Model.Model): string | null => {
  if (model.rejects.includes("inferenceGeo")) return null
  return typeof body["inference_geo"] === "string" ? body["inference_geo"] : "global"
}

/** How often the answer used a tool of the server. */
const usesOf = (plan: Answer.Plan, name: string): number =>
  plan.content.filter((block) => block.type === "server_tool_use" && block.name === name).length

/** What decides the price of an answer beside its tokens. */
const mannerOf = (
  plan: Answer.Plan,
  { inferenceGeo, searches, speed, tier }: Serving
): NonNullable<Served["manner"]> => {
  const isRefusal = plan.stopReason === "refusal" &&
    plan.content.every((block) => block.type === "text" && block.text === "")
  return {
    speed,
    isBatch: tier === "batch",
    inferenceGeo: inferenceGeo ?? "global",
    searches,
    refusedAs: isRefusal ? plan.stopDetails?.category ?? null : undefined
  }
}

/** How an answer is served, as its usage reports it. */
interface Serving {
  readonly inferenceGeo: string | null
  readonly speed: "standard" | "fast"
  readonly tier: "standard" | "batch"
  readonly searches: number
}

/** The message that a plan comes to, with its usage. */
const messageOf = (
  plan: Answer.Plan,
  division: Cache.Division,
  model: string,
  id: string,
  { inferenceGeo, searches, speed, tier }: Serving,
  diagnostics: Message["diagnostics"]
): Message => {
  const fetches = usesOf(plan, "web_fetch")
  const usage: Usage = {
    input_tokens: division.input,
    cache_creation_input_tokens: division.write5m + division.write1h,
    cache_read_input_tokens: division.read,
    cache_creation: {
      ephemeral_5m_input_tokens: division.write5m,
      ephemeral_1h_input_tokens: division.write1h
    },
    output_tokens: plan.outputTokens,
    output_tokens_details: plan.thinkingTokens === 0 ? null : { thinking_tokens: plan.thinkingTokens },
    inference_geo: inferenceGeo,
    server_tool_use: searches + fetches === 0 ? null : { web_search_requests: searches, web_fetch_requests: fetches },
    service_tier: tier,
    speed
  }
  return {
    id,
    type: "message",
    role: "assistant",
    model,
    content: [...plan.content],
    container: null,
    diagnostics,
    stop_reason: plan.stopReason,
    stop_sequence: plan.stopSequence,
    stop_details: plan.stopDetails,
    usage
  }
}

/** A prompt in pieces, and what it comes to. */
export interface Prompt {
  readonly segments: ReadonlyArray<Tokens.Segment>
  readonly tokens: number
}

export const promptOf = ({ body, model }: Validate.Checked): Prompt | Wire.Refusal => {
  const segments = Tokens.segments(body, model.tokenizer)
  const tokens = segments.reduce((sum, segment) => sum + segment.tokens, 0)
  const context = model.contextTokens
  return context !== undefined && tokens + body.max_tokens > context
    ? Wire.refuse(400, `prompt is too long: ${tokens} tokens + ${body.max_tokens} max_tokens > ${context} maximum`)
    : { segments, tokens }
}

export const speedOf = ({ body, model }: Validate.Checked): Serving["speed"] =>
  Model.isFast(model, body.speed) ? "fast" : "standard"

export const make = (options: ComposeOptions, cache: ReturnType<typeof Cache.make>) => {
  const diagnose = Diagnoses.make(options.remembered)

  /** How the prompt divides for the cache of a workspace at an instant. */
  const cached = (checked: Validate.Checked, { segments, tokens }: Prompt, workspace: string, at: number) => {
    if (!checked.marked) return Cache.unused(tokens)
    const { body, model } = checked
    const scope = `${workspace} ${model.id} ${speedOf(checked)}`
    return cache.read(body, segments, scope, model.minCacheableTokens ?? 1_024, at)
  }

  /** The answer to a request that was admitted at `at`. */
  const compose = (
    checked: Validate.Checked,
    key: Keys.Key,
    served: Served,
    id: string,
    at: number,
    tier: Serving["tier"],
    division: Cache.Division,
    tokens: number
  ) => {
    const { body, model } = checked
    // the body was checked; fields that the checks do not know are left to the answerer
    const request = body as unknown as Parameters<Answer.Answerer>[0]
    const answer = options.answer === undefined ? DefaultAnswer.byDefault(options.seed, body) : options.answer(request)
    const name = id.slice(4)
    const plan = Answer.plan(answer, body, model, name)
    const searches = usesOf(plan, "web_search")
    const serving = { inferenceGeo: inferenceGeoOf(body, model), speed: speedOf(checked), tier, searches } as const
    const diagnostics = diagnose(body, key.workspace, `msg_${name}`, tokens)
    serve(served, key, id, at, model.id, "messages", body.stream === true)
    served.division = division
    served.manner = mannerOf(plan, serving)
    return { plan, message: messageOf(plan, division, model.id, `msg_${name}`, serving, diagnostics) }
  }

  return { cached, compose }
}

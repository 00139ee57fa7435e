/**
 * The two endpoints that need a model: messages, and counts of tokens.
 */
import type { Message, Usage } from "@anthropic-ai/sdk/resources/messages"
import * as Model from "../../../Model.ts"
import * as Answer from "./Answer.ts"
import type * as Bill from "./Bill.ts"
import type * as Buckets from "./Buckets.ts"
import * as Cache from "./Cache.ts"
import type * as Cost from "./Cost.ts"
import type * as Keys from "./Keys.ts"
import type * as Spend from "./Spend.ts"
import * as Sse from "./Sse.ts"
import * as Step from "./Step.ts"
import * as Tokens from "./Tokens.ts"
import type * as Validate from "./Validate.ts"
import * as Wire from "./Wire.ts"

const json = "application/json"
const sse = "text/event-stream; charset=utf-8"

export interface MessageOptions {
  readonly answer: Answer.Answerer | undefined
  readonly seed: string
  readonly firstTokenMillis: () => number
  readonly perTokenMillis: () => number
  /** Whether tokens take time. */
  readonly paced: boolean
  readonly now: () => number
}

/** What is known about a request while it is answered; `row` is set once work on it began. */
export interface Served {
  row: Omit<Bill.BillRow, "outcome" | "usage" | "nanoUsd"> | undefined
  division: Cache.Division | undefined
  /** Undefined for what is free. */
  manner: Cost.Manner | undefined
  output: number
  /** Takes back the output that was expected and did not come. */
  release: () => void
}

const serve = (
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

/** Counts the tokens of a prompt. */
const counting = (
  now: () => number,
  buckets: ReturnType<typeof Buckets.make>,
  spend: ReturnType<typeof Spend.make>
) =>
(
  { body, model }: Validate.Checked,
  key: Keys.Key,
  served: Served,
  id: string,
  headers: Record<string, string>
): Step.Step => {
  const at = now()
  const refusal = spend.refuses(key.organization, at) ?? buckets.count(key.organization, at)
  if (refusal !== undefined) return Step.refused(refusal, id, headers)
  serve(served, key, id, at, model.id, "count_tokens", false)
  const tokens = Tokens.ofBody(body, model.tokenizer)
  return Step.head(200, { "content-type": json, ...headers }, JSON.stringify({ input_tokens: tokens }))
}

/** What decides the price of an answer beside its tokens. */
const mannerOf = (
  plan: Answer.Plan,
  inferenceGeo: string | null,
  speed: "standard" | "fast"
): NonNullable<Served["manner"]> => {
  const isRefusal = plan.stopReason === "refusal" &&
    plan.content.every((block) => block.type === "text" && block.text === "")
  return {
    speed,
    inferenceGeo: inferenceGeo ?? "global",
    refusedAs: isRefusal ? plan.stopDetails?.category ?? null : undefined
  }
}

/** The message that a plan comes to, with its usage. */
const messageOf = (
  plan: Answer.Plan,
  division: Cache.Division,
  model: string,
  id: string,
  inferenceGeo: string | null,
  speed: "standard" | "fast"
): Message => {
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
    server_tool_use: null,
    service_tier: "standard",
    speed
  }
  return {
    id: `msg_${id.slice(4)}`,
    type: "message",
    role: "assistant",
    model,
    content: [...plan.content],
    container: null,
    diagnostics: null,
    stop_reason: plan.stopReason,
    stop_sequence: plan.stopSequence,
    stop_details: plan.stopDetails,
    usage
  }
}

export const make = (
  options: MessageOptions,
  buckets: ReturnType<typeof Buckets.make>,
  spend: ReturnType<typeof Spend.make>,
  cache: ReturnType<typeof Cache.make>
) => {
  const { now } = options

  /** The answer to a body that passed every check: a single step where nothing takes time, as for most calls. */
  const answer = (
    { body, marked, model }: Validate.Checked,
    key: Keys.Key,
    served: Served,
    id: string,
    headers: Record<string, string>
  ): Step.Step | Iterable<Step.Step> => {
    const start = now()
    const { tokenizer } = model
    const segments = Tokens.segments(body, tokenizer)
    const prompt = segments.reduce((sum, segment) => sum + segment.tokens, 0)
    const context = model.contextTokens
    if (context !== undefined && prompt + body.max_tokens > context) {
      const why = `prompt is too long: ${prompt} tokens + ${body.max_tokens} max_tokens > ${context} maximum`
      return Step.refused(Wire.refuse(400, why), id, headers)
    }
    const unpaid = spend.refuses(key.organization, start)
    if (unpaid !== undefined) return Step.refused(unpaid, id, headers)
    const named = model.id
    const speed = Model.isFast(model, body.speed) ? "fast" : "standard"
    const scope = `${key.workspace} ${named} ${speed}`
    const cached = marked
      ? cache.read(body, segments, scope, model.minCacheableTokens ?? 1_024, start)
      : Cache.unused(prompt)
    const { division } = cached
    const booked = division.input + division.write5m + division.write1h
    const account = buckets.admit(key.organization, model.group, speed, booked, start)
    if ("status" in account) return Step.refused(account, id, headers)

    // the body was checked; fields that the checks do not know are left to the answerer
    const request = body as unknown as Parameters<Answer.Answerer>[0]
    const plan = Answer.plan(
      options.answer === undefined ? Answer.byDefault(options.seed, body) : options.answer(request),
      body,
      model,
      id.slice(4)
    )
    served.release = account.expect(plan.outputTokens)
    cached.accept()
    serve(served, key, id, start, named, "messages", body.stream === true)
    served.division = division
    const inferenceGeo = inferenceGeoOf(body, model)
    served.manner = mannerOf(plan, inferenceGeo, speed)
    const message = messageOf(plan, division, named, id, inferenceGeo, speed)
    const produce = (total: number) => {
      account.output(total - served.output, now())
      served.output = total
    }
    const whole = (): Step.Step => {
      produce(plan.outputTokens)
      return Step.head(200, { "content-type": json, ...headers, ...account.headers(now()) }, JSON.stringify(message))
    }
    const first = Math.round(options.firstTokenMillis())
    if (body.stream !== true && first <= 0 && !options.paced) {
      cached.commit()
      return whole()
    }
    const steps = function*(): Generator<Step.Step> {
      if (first > 0) yield Step.wait(first)
      cached.commit()
      const stream = body.stream === true
      if (stream) {
        yield Step.head(200, {
          "content-type": sse,
          "cache-control": "no-cache",
          ...headers,
          ...account.headers(now())
        })
        yield Step.data(Sse.messageStart(message))
      }
      let due = 0
      for (const piece of Answer.pieces(plan)) {
        due += (piece.produced - served.output) * options.perTokenMillis()
        const millis = Math.round(due)
        due -= millis
        if (millis > 0) yield Step.wait(millis)
        produce(piece.produced)
        if (stream) { for (const event of Sse.piece(plan, piece)) yield Step.data(event) }
      }
      if (!stream) return yield whole()
      produce(plan.outputTokens)
      yield Step.data(Sse.messageDelta(message))
      yield Step.data(Sse.messageStop, true)
    }
    return steps()
  }

  return { answer, countTokens: counting(now, buckets, spend) }
}

/**
 * The simulated API without a wire: a request goes in, steps come out.
 */
import type { Message, Usage } from "@anthropic-ai/sdk/resources/messages"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Model from "../../Model.ts"
import * as Answer from "./Answer.ts"
import * as Bill from "./Bill.ts"
import * as Buckets from "./Buckets.ts"
import * as Cache from "./Cache.ts"
import * as Faults from "./Faults.ts"
import * as Keys from "./Keys.ts"
import * as Models from "./Models.ts"
import type * as Spend from "./Spend.ts"
import * as SpendLimits from "./Spend.ts"
import * as Sse from "./Sse.ts"
import * as Step from "./Step.ts"
import * as Tokens from "./Tokens.ts"
import * as Validate from "./Validate.ts"
import * as Wire from "./Wire.ts"

/** A request as a face hands it over. `header` takes lower-case names, `path` includes the query. */
export interface Incoming {
  readonly method: string
  readonly path: string
  readonly header: (name: string) => string | undefined
  readonly body: string
  /** The body was longer than the limit and was not read. */
  readonly tooLarge: boolean
}

/**
 * How many requests came, what they were answered, how many are open now, how many were left by their reader before the end, and
 * how many got no answer at all because of a fault.
 *
 * @category models
 * @since 0.1.0
 */
export interface Requests {
  readonly total: number
  readonly open: number
  readonly aborted: number
  readonly unanswered: number
  readonly byStatus: Readonly<Record<number, number>>
}

export interface CoreOptions {
  readonly keys: ReadonlyArray<Keys.Key>
  readonly answer: Answer.Answerer | undefined
  readonly seed: string
  readonly firstTokenMillis: () => number
  readonly perTokenMillis: () => number
  /** Whether tokens take time. */
  readonly paced: boolean
  readonly faults: ReadonlyArray<Faults.Rule>
  readonly chance: () => number
  readonly limits: Buckets.LimitsOf
  readonly ramp: Buckets.Ramp | undefined
  readonly spend: Spend.SpendLimit | undefined
  readonly models: ReadonlyArray<string>
  readonly bodyLimit: number
  readonly billRows: number
  readonly cacheEntries: number
  readonly now: () => number
  readonly wait: Step.Wait
}

export type Core = ReturnType<typeof make>

const json = "application/json"
const sse = "text/event-stream; charset=utf-8"
const catalogueDay = Date.parse(Model.asOf)

export const make = (options: CoreOptions) => {
  const { now, wait } = options
  const began = now()
  const keys = Keys.make(options.keys)
  const buckets = Buckets.make(options.limits, options.ramp)
  const spend = SpendLimits.make(options.spend)
  const cache = Cache.make(options.cacheEntries)
  const bill = Bill.make(options.billRows)
  const faults = Faults.make(options.faults, options.chance)
  const extra = new Set(options.models)
  const counters = { total: 0, open: 0, aborted: 0, unanswered: 0 }
  const byStatus: Record<number, number> = {}

  /** What is known of a request while it is answered; `row` stands from when work on it began. */
  interface Served {
    row: Omit<Bill.BillRow, "outcome" | "usage"> | undefined
    division: Cache.Division | undefined
    output: number
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

  const refused = (refusal: Wire.Refusal, id: string, headers: Record<string, string>): Step.Step =>
    Step.head(
      refusal.status,
      { "content-type": json, ...headers, ...refusal.headers },
      Wire.envelope(refusal, id)
    )

  /** The answer to a body that passed every check: one step where nothing takes time, which is what most calls are. */
  const answer = (
    { body, marked, model }: Validate.Checked,
    key: Keys.Key,
    served: Served,
    id: string,
    headers: Record<string, string>
  ): Step.Step | Iterable<Step.Step> => {
    const start = now()
    const tokenizer = Model.tokenizer(body.model)
    const segments = Tokens.segments(body, tokenizer)
    const prompt = segments.reduce((sum, segment) => sum + segment.tokens, 0)
    const context = model?.contextTokens
    if (context !== undefined && prompt + body.max_tokens > context) {
      const why = `prompt is too long: ${prompt} tokens + ${body.max_tokens} max_tokens > ${context} maximum`
      return refused(Wire.refuse(400, why), id, headers)
    }
    const unpaid = spend.refuses(key.organization, start)
    if (unpaid !== undefined) return refused(unpaid, id, headers)
    const named = model?.id ?? body.model
    const scope = `${key.workspace} ${named} ${body.speed ?? "standard"}`
    const cached = marked
      ? cache.read(body, segments, scope, model?.minCacheableTokens ?? 1_024, start)
      : Cache.unused(prompt)
    const { division } = cached
    const booked = division.input + division.write5m + division.write1h
    const account = buckets.admit(key.organization, model?.group ?? "other", booked, start)
    if ("status" in account) return refused(account, id, headers)

    // the body was checked, and what the checks do not know of is the answerer's to judge
    const request = body as unknown as Parameters<Answer.Answerer>[0]
    const plan = Answer.plan(
      options.answer === undefined ? Answer.byDefault(options.seed, body) : options.answer(request),
      body,
      tokenizer,
      id.slice(4)
    )
    cached.accept()
    serve(served, key, id, start, named, "messages", body.stream === true)
    served.division = division
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
      inference_geo: model?.rejects.includes("inferenceGeo") === true
        ? null
        : typeof body["inference_geo"] === "string"
        ? body["inference_geo"]
        : "global",
      server_tool_use: null,
      service_tier: "standard",
      speed: body.speed === "fast" ? "fast" : "standard"
    }
    const message: Message = {
      id: `msg_${id.slice(4)}`,
      type: "message",
      role: "assistant",
      model: named,
      content: [...plan.content],
      container: null,
      diagnostics: null,
      stop_reason: plan.stopReason,
      stop_sequence: plan.stopSequence,
      stop_details: plan.stopDetails,
      usage
    }
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
      for (const piece of Answer.pieces(plan)) {
        const millis = Math.round((piece.produced - served.output) * options.perTokenMillis())
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

  const countTokens = (
    { body, model }: Validate.Checked,
    key: Keys.Key,
    served: Served,
    id: string,
    headers: Record<string, string>
  ): Step.Step => {
    const at = now()
    const refusal = spend.refuses(key.organization, at) ?? buckets.count(key.organization, model?.group ?? "other", at)
    if (refusal !== undefined) return refused(refusal, id, headers)
    serve(served, key, id, at, model?.id ?? body.model, "count_tokens", false)
    const tokens = Tokens.ofBody(body, Model.tokenizer(body.model))
    return Step.head(200, { "content-type": json, ...headers }, JSON.stringify({ input_tokens: tokens }))
  }

  const respond = (
    incoming: Incoming,
    parsed: Result.Result<unknown, unknown> | undefined,
    served: Served,
    id: string
  ): Step.Step | Iterable<Step.Step> => {
    const anonymous = { "request-id": id }
    const { header, method } = incoming
    const path = incoming.path.split("?", 1)[0]!
    const route = `${method} ${path}`
    const posting = route === "POST /v1/messages" || route === "POST /v1/messages/count_tokens"
    if (!posting && !(method === "GET" && /^\/v1\/models(\/[^/]+)?$/.test(path))) {
      return refused(Wire.refuse(404, "Not found"), id, anonymous)
    }
    if (incoming.tooLarge) {
      return refused(Wire.refuse(413, "Request exceeds the maximum allowed number of bytes."), id, anonymous)
    }
    const key = keys.authenticate(header, now())
    if ("status" in key) return refused(key, id, anonymous)
    const headers = {
      "request-id": id,
      "anthropic-organization-id": key.organization,
      "anthropic-workspace-id": key.workspace
    }
    const today = Math.max(now(), catalogueDay)
    if (!posting) {
      const listed = Models.answer(incoming.path, today)
      return "status" in listed
        ? refused(listed, id, headers)
        : Step.head(200, { "content-type": json, ...headers }, JSON.stringify(listed.body))
    }
    if (parsed === undefined || Result.isFailure(parsed)) {
      return refused(Wire.refuse(400, "The request body is not valid JSON."), id, headers)
    }
    const checked = Validate.check(parsed.success, {
      version: header("anthropic-version"),
      counting: path !== "/v1/messages",
      marked: incoming.body.includes("cache_control"),
      extra,
      now: today
    })
    if ("status" in checked) return refused(checked, id, headers)
    const forbidden = Keys.forbids(key, checked.body.model)
    if (forbidden !== undefined) return refused(forbidden, id, headers)
    return path === "/v1/messages"
      ? answer(checked, key, served, id, headers)
      : countTokens(checked, key, served, id, headers)
  }

  /** Takes a request. Nothing happens to it until `next` is called. */
  const exchange = (incoming: Incoming): Step.Exchange => {
    counters.total++
    counters.open++
    const id = `req_sim${counters.total.toString(36).padStart(18, "0")}`
    const served: Served = { row: undefined, division: undefined, output: 0 }
    let open = true

    const close = (outcome: Bill.BillRow["outcome"]) => {
      if (!open) return
      open = false
      counters.open--
      if (outcome === "aborted") counters.aborted++
      const { division, output, row } = served
      if (row === undefined) return
      const usage = {
        input: division?.input ?? 0,
        output,
        cacheRead: division?.read ?? 0,
        cacheWrite5m: division?.write5m ?? 0,
        cacheWrite1h: division?.write1h ?? 0
      }
      const billed = { ...row, usage, outcome }
      bill.add(billed)
      spend.add(billed)
    }

    const parsed = incoming.body === "" ? undefined : Result.try(() => JSON.parse(incoming.body) as unknown)
    const body = parsed !== undefined && Result.isSuccess(parsed) && Predicate.isObject(parsed.success)
      ? parsed.success
      : {}
    const stream = body["stream"] === true
    const model = typeof body["model"] === "string" ? body["model"] : undefined
    const fault = faults.pick({ method: incoming.method, path: incoming.path, model, stream }, now() - began)
    /** An answerer that throws is an internal error of the API that it plays. */
    const attempt = () =>
      Result.getOrElse(
        Result.try(() => respond(incoming, parsed, served, id)),
        (error) => refused(Wire.refuse(500, `The simulator failed: ${String(error)}`), id, { "request-id": id })
      )
    const answered = (): Iterator<Step.Step> => {
      const steps = attempt()
      return "_tag" in steps ? [steps].values() : steps[Symbol.iterator]()
    }
    let steps: Iterator<Step.Step> | undefined

    const seen = (step: Step.Step): Step.Step => {
      if (step._tag === "Head") {
        byStatus[step.status] = (byStatus[step.status] ?? 0) + 1
        if (step.body !== undefined) close("complete")
      } else if (step._tag === "Data") {
        if (step.last) close("complete")
      } else if (step._tag === "Refuse" || fault?._tag === "ResetBeforeHeaders") {
        counters.unanswered++
        close("failed")
      }
      return step
    }

    return {
      next: () => {
        if (steps === undefined) {
          if (fault === undefined) {
            const answer = attempt()
            if ("_tag" in answer) return seen(answer)
            steps = answer[Symbol.iterator]()
          } else {
            const failed = () => close("failed")
            const usual = { [Symbol.iterator]: answered }
            steps = Faults.apply(fault, usual, stream, id, { "request-id": id }, failed)[Symbol.iterator]()
          }
        }
        const next = steps.next()
        if (next.done !== true) return seen(next.value)
        close("complete")
        return Step.end
      },
      abort: () => close("aborted")
    }
  }

  const active = new Set<() => void>()
  return {
    exchange,
    wait,
    bodyLimit: options.bodyLimit,
    inject: faults.inject,
    script: faults.script,
    clearFaults: faults.clear,
    revoke: keys.revoke,
    setLimits: (limits: Buckets.LimitsOf) => buckets.setLimits(limits, now()),
    bill: bill.read,
    requests: (): Requests => ({ ...counters, byStatus: { ...byStatus } }),
    active
  }
}

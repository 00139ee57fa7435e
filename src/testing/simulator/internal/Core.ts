/**
 * The simulated API without a wire: a request goes in, steps come out.
 */
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Model from "../../../Model.ts"
import * as Bill from "./Bill.ts"
import * as Buckets from "./Buckets.ts"
import * as Cache from "./Cache.ts"
import * as Charge from "./Charge.ts"
import * as Faults from "./Faults.ts"
import * as Keys from "./Keys.ts"
import * as Messages from "./Messages.ts"
import * as Models from "./Models.ts"
import * as Spend from "./Spend.ts"
import * as Step from "./Step.ts"
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

export interface CoreOptions extends Messages.MessageOptions {
  readonly keys: ReadonlyArray<Keys.Key>
  readonly faults: ReadonlyArray<Faults.Rule>
  readonly chance: () => number
  readonly limits: Buckets.LimitsOf
  readonly ramp: Buckets.Ramp | undefined
  readonly spend: Spend.SpendLimit | undefined
  readonly models: ReadonlyArray<string>
  readonly bodyLimit: number
  readonly billRows: number
  readonly cacheEntries: number
  readonly wait: Step.Wait
}

export type Core = ReturnType<typeof make>

const catalogueDay = Date.parse(Model.asOf)

export const make = (options: CoreOptions) => {
  const { now, wait } = options
  const began = now()
  const keys = Keys.make(options.keys)
  const buckets = Buckets.make(options.limits, options.ramp)
  const spend = Spend.make(options.spend)
  const cache = Cache.make(options.cacheEntries)
  const messages = Messages.make(options, buckets, spend, cache)
  const bill = Bill.make(options.billRows)
  const charge = Charge.make()
  const faults = Faults.make(options.faults, options.chance)
  const extra = new Set(options.models)
  const counters = { total: 0, open: 0, aborted: 0, unanswered: 0 }
  const byStatus: Record<number, number> = {}

  const respond = (
    incoming: Incoming,
    parsed: Result.Result<unknown, unknown> | undefined,
    served: Messages.Served,
    id: string
  ): Step.Step | Iterable<Step.Step> => {
    const anonymous = { "request-id": id }
    const { header, method } = incoming
    const path = incoming.path.split("?", 1)[0]!
    const route = `${method} ${path}`
    const posting = route === "POST /v1/messages" || route === "POST /v1/messages/count_tokens"
    if (!posting && !(method === "GET" && /^\/v1\/models(\/[^/]+)?$/.test(path))) {
      return Step.refused(Wire.refuse(404, "Not found"), id, anonymous)
    }
    if (incoming.tooLarge) {
      return Step.refused(Wire.refuse(413, "Request exceeds the maximum allowed number of bytes."), id, anonymous)
    }
    const key = keys.authenticate(header, now())
    if ("status" in key) return Step.refused(key, id, anonymous)
    const headers = {
      "request-id": id,
      "anthropic-organization-id": key.organization,
      "anthropic-workspace-id": key.workspace
    }
    const suspended = Keys.suspended(key)
    if (suspended !== undefined) return Step.refused(suspended, id, headers)
    const today = Math.max(now(), catalogueDay)
    if (!posting) {
      const listed = Models.answer(incoming.path, today)
      return "status" in listed
        ? Step.refused(listed, id, headers)
        : Step.head(200, { "content-type": "application/json", ...headers }, JSON.stringify(listed.body))
    }
    if (parsed === undefined || Result.isFailure(parsed)) {
      return Step.refused(Wire.refuse(400, "The request body is not valid JSON."), id, headers)
    }
    const checked = Validate.check(parsed.success, {
      version: header("anthropic-version"),
      counting: path !== "/v1/messages",
      marked: incoming.body.includes("cache_control"),
      extra,
      now: today
    })
    if ("status" in checked) return Step.refused(checked, id, headers)
    const forbidden = Keys.forbids(key, checked.body.model)
    if (forbidden !== undefined) return Step.refused(forbidden, id, headers)
    return path === "/v1/messages"
      ? messages.answer(checked, key, served, id, headers)
      : messages.countTokens(checked, key, served, id, headers)
  }

  /** Accepts a request. It is answered once `next` is called. */
  const accept = (incoming: Incoming): Step.Steps => {
    counters.total++
    counters.open++
    const id = `req_sim${counters.total.toString(36).padStart(18, "0")}`
    const served: Messages.Served = {
      row: undefined,
      division: undefined,
      manner: undefined,
      output: 0,
      release: () => {}
    }
    let open = true

    const close = (outcome: Bill.BillRow["outcome"]) => {
      if (!open) return
      open = false
      counters.open--
      if (outcome === "aborted") counters.aborted++
      served.release()
      const { division, manner, output, row } = served
      if (row === undefined) return
      const usage = {
        input: division?.input ?? 0,
        output,
        cacheRead: division?.read ?? 0,
        cacheWrite5m: division?.write5m ?? 0,
        cacheWrite1h: division?.write1h ?? 0
      }
      const nanoUsd = manner === undefined ? 0 : charge(row.model, row.at, usage, manner)
      const billed = { ...row, usage, nanoUsd, outcome }
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
        (error) => Step.refused(Wire.refuse(500, `The simulator failed: ${String(error)}`), id, { "request-id": id })
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
        const made = Result.try(steps.next.bind(steps))
        if (Result.isFailure(made)) {
          // an answer that cannot be put on the wire ends like a server that crashed
          close("failed")
          return Step.reset
        }
        const next = made.success
        if (next.done !== true) return seen(next.value)
        close("complete")
        return Step.end
      },
      abort: () => close("aborted")
    }
  }

  const active = new Set<() => void>()
  let open = true
  return {
    accept,
    wait,
    bodyLimit: options.bodyLimit,
    inject: faults.inject,
    script: faults.script,
    clearFaults: faults.clear,
    revoke: keys.revoke,
    setLimits: (limits: Buckets.LimitsOf) => buckets.setLimits(limits, now()),
    bill: bill.read,
    requests: (): Requests => ({ ...counters, byStatus: { ...byStatus } }),
    active,
    isOpen: () => open,
    /** Cuts off every answer of the `fetch` that is open. */
    close: () => {
      open = false
      for (const shutdown of active) shutdown()
    }
  }
}

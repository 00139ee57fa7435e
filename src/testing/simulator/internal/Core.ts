/**
 * The simulated API without a transport: a request goes in, steps come out.
 */
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Model from "../../../Model.ts"
import type { Exchange } from "../../Recording.ts"
import * as Batches from "./Batches.ts"
import * as Bill from "./Bill.ts"
import * as Buckets from "./Buckets.ts"
import * as Cache from "./Cache.ts"
import type * as Compose from "./Compose.ts"
import * as Cost from "./Cost.ts"
import * as Faults from "./Faults.ts"
import * as Files from "./Files.ts"
import * as Keys from "./Keys.ts"
import * as Messages from "./Messages.ts"
import * as Models from "./Models.ts"
import * as Replay from "./Replay.ts"
import * as Reports from "./Reports.ts"
import * as Route from "./Route.ts"
import * as Spend from "./Spend.ts"
import * as Step from "./Step.ts"
import * as Threads from "./Threads.ts"
import * as Wire from "./Wire.ts"

/**
 * Counts of requests: all, those that are open now, those whose reader left before the end, those that got no answer because of a
 * fault, and all by the status of their answer.
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
  readonly catalogue: Model.Catalogue
  readonly bodyLimit: number
  readonly billRows: number
  readonly cacheEntries: number
  readonly recording: ReadonlyArray<Exchange>
  /** How long a batch takes. */
  readonly batchMillis: number
  readonly wait: Step.Wait
}

export type Core = ReturnType<typeof make>

/** What all requests share. */
interface Shared {
  readonly now: () => number
  readonly began: number
  readonly counters: { total: number; open: number; aborted: number; unanswered: number }
  readonly byStatus: Record<number, number>
  readonly faults: ReturnType<typeof Faults.make>
  readonly keys: ReturnType<typeof Keys.make>
  readonly respond: Route.Respond
  /** Puts the work that was done for a request on the bill. */
  readonly record: (served: Compose.Served, outcome: Bill.BillRow["outcome"]) => void
}

const nothing = () => {}

const unserved = (): Compose.Served => ({
  row: undefined,
  division: undefined,
  manner: undefined,
  output: 0,
  release: nothing
})

/** Accepts a request. It is answered once `next` is called. */
const accept = (
  { began, byStatus, counters, faults, keys, now, record, respond }: Shared,
  incoming: Route.Incoming
): Step.Steps => {
  counters.total++
  counters.open++
  const id = `req_sim${counters.total.toString(36).padStart(18, "0")}`
  const served = unserved()
  let open = true

  const close = (outcome: Bill.BillRow["outcome"]) => {
    if (!open) return
    open = false
    counters.open--
    if (outcome === "aborted") counters.aborted++
    served.release()
    record(served, outcome)
  }

  const parsed = incoming.body === "" ? undefined : Result.try(() => JSON.parse(incoming.body) as unknown)
  const body = parsed !== undefined && Result.isSuccess(parsed) && Predicate.isObject(parsed.success)
    ? parsed.success
    : {}
  const stream = body["stream"] === true
  const model = typeof body["model"] === "string" ? body["model"] : undefined
  const key = keys.named(incoming.header)
  const { method, path } = incoming
  const request = { method, path, model, stream, key: key?.label, organization: key?.organization }
  const fault = faults.pick(request, now() - began)
  /** An answerer that throws is an internal error of the simulated API. */
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
          const headers = { "request-id": id, ...(key === undefined ? undefined : Keys.headers(key)) }
          steps = Faults.apply(fault, usual, stream, id, headers, failed)[Symbol.iterator]()
        }
      }
      const made = Result.try(steps.next.bind(steps))
      if (Result.isFailure(made)) {
        // an answer that cannot be sent ends like a server that crashed
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

const catalogueDay = Date.parse(Model.asOf)

/** The endpoints and what they share. */
const endpoints = (
  options: CoreOptions,
  keys: ReturnType<typeof Keys.make>,
  messages: ReturnType<typeof Messages.make>,
  bill: ReturnType<typeof Bill.make>,
  record: Shared["record"]
): Route.Respond => {
  const { batchMillis, catalogue, now } = options
  let made = 0
  const nextId = () => `req_sim0${(++made).toString(36).padStart(17, "0")}`
  const today = () => Math.max(now(), catalogueDay)
  const files = Files.make(now, 10_000, nextId)
  const checks = { catalogue, extra: new Set(options.models), files, today }
  const batches = Batches.make({
    now,
    batchMillis,
    capacity: 100,
    nextId,
    run: (params, key, version) => {
      const marked = JSON.stringify(params).includes("cache_control")
      const checked = Route.check(checks, params, key, { version, betas: "", counting: false, marked })
      if ("status" in checked) return checked
      const served = unserved()
      const answer = messages.answerBatched(checked, key, served, nextId())
      record(served, "complete")
      return answer
    }
  })
  return Route.make({
    ...checks,
    keys,
    messages,
    now,
    threads: Threads.make(options.remembered),
    replay: Replay.make(options.recording),
    resources: {
      "/v1/messages/batches": batches,
      "/v1/models": Models.make(catalogue, today),
      "/v1/files": files.resource,
      "/v1/organizations": Reports.make(bill.read, now)
    }
  })
}

export const make = (options: CoreOptions) => {
  const { now, wait } = options
  const keys = Keys.make(options.keys)
  const buckets = Buckets.make(options.limits, options.ramp)
  const spend = Spend.make(options.spend)
  const cache = Cache.make(options.cacheEntries)
  const messages = Messages.make(options, buckets, spend, cache)
  const bill = Bill.make(options.billRows)
  const costOf = Cost.make(options.catalogue)
  const faults = Faults.make(options.faults, options.chance)
  const record: Shared["record"] = ({ division, manner, output, row }, outcome) => {
    if (row === undefined) return
    const usage = {
      input: division?.input ?? 0,
      output,
      cacheRead: division?.read ?? 0,
      cacheWrite5m: division?.write5m ?? 0,
      cacheWrite1h: division?.write1h ?? 0
    }
    const nanoUsd = manner === undefined ? 0 : costOf(row.model, row.at, usage, manner)
    const tier = manner?.isBatch === true ? "batch" : "standard"
    const billed = { ...row, tier, usage, webSearches: manner?.searches ?? 0, nanoUsd, outcome } as const
    bill.add(billed)
    spend.add(billed)
  }
  const shared: Shared = {
    now,
    began: now(),
    counters: { total: 0, open: 0, aborted: 0, unanswered: 0 },
    byStatus: {},
    faults,
    keys,
    respond: endpoints(options, keys, messages, bill, record),
    record
  }

  const active = new Set<() => void>()
  let open = true
  return {
    accept: (incoming: Route.Incoming) => accept(shared, incoming),
    wait,
    /** The longest body of a path in bytes. The API takes longer batches and files than messages. */
    bodyLimit: (path: string): number =>
      options.bodyLimit * (path.startsWith("/v1/files") ? 16 : path.startsWith("/v1/messages/batches") ? 8 : 1),
    /** Whether a body of this type is read as text. */
    isText: (contentType: string | undefined): boolean => contentType?.startsWith("multipart/") !== true,
    inject: faults.inject,
    script: faults.script,
    clearFaults: faults.clear,
    revoke: keys.revoke,
    addKey: keys.add,
    setLimits: (limits: Buckets.LimitsOf) => buckets.setLimits(limits, now()),
    bill: bill.read,
    requests: (): Requests => ({ ...shared.counters, byStatus: { ...shared.byStatus } }),
    active,
    isOpen: () => open,
    /** Cuts off every answer of the `fetch` that is open. */
    close: () => {
      open = false
      for (const shutdown of active) shutdown()
    }
  }
}

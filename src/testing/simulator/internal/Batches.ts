/**
 * Batches of messages. What a batch does shows when someone asks about it: one that had its time has ended by then.
 */
import type { Message, MessageBatch } from "@anthropic-ai/sdk/resources/messages"
import * as DateTime from "effect/DateTime"
import * as Predicate from "effect/Predicate"
import { BoundedMap } from "../../../internal/boundedMap.ts"
import type * as Keys from "./Keys.ts"
import * as Pages from "./Pages.ts"
import type { Asked, Reply, Resource } from "./Resource.ts"
import * as Wire from "./Wire.ts"

/** A day after its creation, a batch expires. */
export const dayMillis = 86_400_000

interface Item {
  readonly custom_id: string
  readonly params: unknown
}

interface Batch {
  readonly id: string
  readonly key: Keys.Key
  readonly version: string | undefined
  readonly created: number
  readonly items: ReadonlyArray<Item>
  canceled: number | undefined
  ended: { readonly at: number; readonly results: string; readonly counts: MessageBatch["request_counts"] } | undefined
}

export interface BatchOptions {
  readonly now: () => number
  readonly batchMillis: number
  readonly capacity: number
  /** Answers one request of a batch. */
  readonly run: (params: unknown, key: Keys.Key, version: string | undefined) => Message | Wire.Refusal
  readonly nextId: () => string
}

const instant = (millis: number): string => DateTime.formatIso(DateTime.makeUnsafe(millis))

const infoOf = ({ canceled, created, ended, id, items }: Batch, origin: string): MessageBatch => ({
  id,
  type: "message_batch",
  processing_status: ended !== undefined ? "ended" : canceled !== undefined ? "canceling" : "in_progress",
  request_counts: ended?.counts ?? { processing: items.length, succeeded: 0, errored: 0, canceled: 0, expired: 0 },
  created_at: instant(created),
  expires_at: instant(created + dayMillis),
  cancel_initiated_at: canceled === undefined ? null : instant(canceled),
  ended_at: ended === undefined ? null : instant(ended.at),
  archived_at: null,
  results_url: ended === undefined ? null : `${origin}/v1/messages/batches/${id}/results`
})

/** The requests of a new batch. */
const itemsOf = (body: unknown): ReadonlyArray<Item> | Wire.Refusal => {
  const requests = Predicate.isObject(body) ? body["requests"] : undefined
  if (!Array.isArray(requests) || requests.length === 0) return Wire.refuse(400, "requests: at least one is required")
  if (requests.length > 100_000) return Wire.refuse(400, "requests: at most 100000 are allowed")
  const seen = new Set<unknown>()
  for (let i = 0; i < requests.length; i++) {
    const item: unknown = requests[i]
    if (!Predicate.isObject(item)) return Wire.refuse(400, `requests.${i}: Input should be an object`)
    const { custom_id: id, params, ...extra } = item
    if (typeof id !== "string" || !/^[\w-]{1,64}$/.test(id)) {
      return Wire.refuse(400, `requests.${i}.custom_id: should be 1 to 64 letters, digits, '_' or '-'`)
    }
    if (seen.has(id)) return Wire.refuse(400, `requests.${i}.custom_id: "${id}" is not unique`)
    seen.add(id)
    if (!Predicate.isObject(params)) return Wire.refuse(400, `requests.${i}.params: Field required`)
    const [field] = Object.keys(extra)
    if (field !== undefined) return Wire.refuse(400, `requests.${i}.${field}: Extra inputs are not permitted`)
  }
  return requests as ReadonlyArray<Item> // each was checked
}

const forbidden = ({ params }: Item): Wire.Refusal | undefined => {
  const body = params as Readonly<Record<string, unknown>> // `itemsOf` has checked it
  const field = body["stream"] === true
    ? "stream"
    : body["max_tokens"] === 0
    ? "max_tokens"
    : ["speed", "thread"].find((name) => body[name] !== undefined && body[name] !== null)
  return field === undefined ? undefined : Wire.refuse(400, `${field}: not allowed in a batch`)
}

export const make = ({ batchMillis, capacity, nextId, now, run }: BatchOptions): Resource => {
  const batches = new BoundedMap<string, Batch>(capacity)

  const end = (batch: Batch, at: number, resultOf: (item: Item) => { readonly type: string }) => {
    const counts = { processing: 0, succeeded: 0, errored: 0, canceled: 0, expired: 0 }
    const lines = batch.items.map((item) => {
      const result = resultOf(item)
      counts[result.type as keyof typeof counts]++ // the types of results are the names of the counts
      return `${JSON.stringify({ custom_id: item.custom_id, result })}\n`
    })
    batch.ended = { at, counts, results: lines.join("") }
  }

  const answered = (batch: Batch) => (item: Item) => {
    const refusal = forbidden(item)
    const answer = refusal ?? run(item.params, batch.key, batch.version)
    return "status" in answer
      ? { type: "errored", error: JSON.parse(Wire.envelope(answer, nextId())) as unknown }
      : { type: "succeeded", message: answer }
  }

  /** Brings a batch to where it is now. */
  const advance = (batch: Batch): Batch => {
    const expires = batch.created + dayMillis
    const due = Math.min(batch.created + batchMillis, expires)
    if (batch.ended !== undefined) return batch
    if (batch.canceled !== undefined) end(batch, now(), () => ({ type: "canceled" }))
    else if (now() >= due) end(batch, due, due === expires ? () => ({ type: "expired" }) : answered(batch))
    return batch
  }

  const create = ({ body, header, key, origin }: Asked): Reply | Wire.Refusal => {
    const items = itemsOf(body)
    if ("status" in items) return items
    const id = `msgbatch_${nextId().slice(4)}`
    const batch: Batch = {
      id,
      key,
      version: header("anthropic-version"),
      created: now(),
      items,
      canceled: undefined,
      ended: undefined
    }
    batches.set(id, batch)
    return { body: infoOf(batch, origin) }
  }

  const one = (batch: Batch, { method, origin, sub }: Asked): Reply | Wire.Refusal | undefined => {
    if (method === "POST" && sub === "cancel") {
      if (batch.ended !== undefined) return Wire.refuse(400, "The batch has ended and cannot be canceled.")
      batch.canceled ??= now()
      return { body: infoOf(batch, origin) }
    }
    const { ended, id } = advance(batch)
    if (method === "GET" && sub === undefined) return { body: infoOf(batch, origin) }
    if (method === "GET" && sub === "results") {
      return ended === undefined
        ? Wire.refuse(404, `The batch ${id} has no results yet.`)
        : { body: ended.results, contentType: "application/x-jsonl" }
    }
    if (method !== "DELETE" || sub !== undefined) return undefined
    if (ended === undefined) return Wire.refuse(400, "The batch is in progress: cancel it before it is deleted.")
    batches.delete(id)
    return { body: { id, type: "message_batch_deleted" } }
  }

  return (asked) => {
    const { id, key, method, origin, query } = asked
    if (id !== undefined) {
      const batch = batches.peek(id)
      return batch === undefined || batch.key.workspace !== key.workspace
        ? Wire.refuse(404, `There is no batch ${id}.`)
        : one(batch, asked)
    }
    if (method === "POST") return create(asked)
    if (method !== "GET") return undefined
    const own = [...batches.values()].filter((batch) => batch.key.workspace === key.workspace)
    return Pages.of(own.map((batch) => infoOf(advance(batch), origin)).reverse(), query)
  }
}

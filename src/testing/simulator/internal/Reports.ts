/**
 * The reports of the Admin API on usage and cost, from the rows that the bill keeps.
 */
import * as DateTime from "effect/DateTime"
import type * as Bill from "./Bill.ts"
import type { Asked, Reply, Resource } from "./Resource.ts"
import type { Refusal } from "./Wire.ts"
import { refuse } from "./Wire.ts"

const widths = {
  "1m": { millis: 60_000, most: 1_440, usual: 60 },
  "1h": { millis: 3_600_000, most: 168, usual: 24 },
  "1d": { millis: 86_400_000, most: 31, usual: 7 }
}

const groups = {
  model: ({ model }: Bill.BillRow) => model,
  api_key_id: ({ key }: Bill.BillRow) => key,
  workspace_id: ({ workspace }: Bill.BillRow) => workspace,
  service_tier: ({ tier }: Bill.BillRow) => tier
}
type Group = keyof typeof groups

const instant = (millis: number): string => DateTime.formatIso(DateTime.makeUnsafe(millis)).replace(".000Z", "Z")

const listOf = (query: URLSearchParams, name: string): ReadonlyArray<string> => [
  ...query.getAll(name),
  ...query.getAll(`${name}[]`)
]

const sum = (rows: ReadonlyArray<Bill.BillRow>, of: (row: Bill.BillRow) => number): number =>
  rows.reduce((total, row) => total + of(row), 0)

/** The rows by their names in the groups asked for; other groups are null. */
const grouped = (rows: ReadonlyArray<Bill.BillRow>, asked: ReadonlyArray<Group>) => {
  const found = new Map<
    string,
    { readonly names: Readonly<Record<Group, string | null>>; readonly rows: Array<Bill.BillRow> }
  >()
  for (const row of rows) {
    const nameOf = (group: Group) => asked.includes(group) ? groups[group](row) : null
    const names = {
      model: nameOf("model"),
      api_key_id: nameOf("api_key_id"),
      workspace_id: nameOf("workspace_id"),
      service_tier: nameOf("service_tier")
    }
    const id = JSON.stringify(names)
    const group = found.get(id) ?? { names, rows: [] }
    group.rows.push(row)
    found.set(id, group)
  }
  return [...found.values()]
}

const usageOf = (rows: ReadonlyArray<Bill.BillRow>, asked: ReadonlyArray<Group>) =>
  grouped(rows, asked).map(({ names, rows }) => ({
    ...names,
    context_window: null,
    inference_geo: null,
    uncached_input_tokens: sum(rows, ({ usage }) => usage.input),
    cache_creation: {
      ephemeral_5m_input_tokens: sum(rows, ({ usage }) => usage.cacheWrite5m),
      ephemeral_1h_input_tokens: sum(rows, ({ usage }) => usage.cacheWrite1h)
    },
    cache_read_input_tokens: sum(rows, ({ usage }) => usage.cacheRead),
    output_tokens: sum(rows, ({ usage }) => usage.output),
    server_tool_use: { web_search_requests: sum(rows, ({ webSearches }) => webSearches) }
  }))

/** Cents as a decimal number, exact to the nano-dollar. */
const cents = (nanoUsd: number): string => {
  const digits = String(nanoUsd).padStart(8, "0")
  return `${digits.slice(0, -7)}.${digits.slice(-7)}`
}

const costOf = (rows: ReadonlyArray<Bill.BillRow>, asked: ReadonlyArray<Group>) =>
  grouped(rows, asked).map(({ names: { model, service_tier, workspace_id }, rows }) => ({
    model,
    service_tier,
    workspace_id,
    currency: "USD",
    amount: cents(sum(rows, ({ nanoUsd }) => nanoUsd ?? 0)),
    description: model === null ? null : `${model} Usage`,
    cost_type: model === null ? null : "tokens",
    context_window: null,
    inference_geo: null,
    token_type: null
  }))

export const make = (bill: () => Bill.Bill, now: () => number): Resource => {
  const report = ({ key, query }: Asked, isCost: boolean): Reply | Refusal => {
    const width = isCost ? "1d" : query.get("bucket_width") ?? "1d"
    if (!(width in widths)) return refuse(400, "bucket_width: Input should be '1m', '1h' or '1d'")
    const { millis, most, usual } = widths[width as keyof typeof widths]
    const limit = Number(query.get("limit") ?? usual)
    if (!Number.isInteger(limit) || limit < 1 || limit > most) return refuse(400, `limit: must be from 1 to ${most}`)
    const start = Date.parse(query.get("page") ?? query.get("starting_at") ?? "")
    if (Number.isNaN(start)) return refuse(400, "starting_at: Field required, an RFC 3339 time")
    const given = query.get("ending_at")
    const end = given === null ? now() : Date.parse(given)
    if (Number.isNaN(end)) return refuse(400, "ending_at: Input should be an RFC 3339 time")
    const known = isCost ? ["workspace_id", "description"] : Object.keys(groups)
    const by = listOf(query, "group_by")
    const wrong = by.find((group) => !known.includes(group))
    if (wrong !== undefined) return refuse(400, `group_by: '${wrong}' is not a group of this report`)
    const asked = by.map((group) => group === "description" ? "model" : group) as ReadonlyArray<Group> // they were checked
    const models = listOf(query, "models")
    const first = Math.floor(start / millis) * millis
    const all = Math.max(0, Math.ceil((end - first) / millis))
    const rows = bill().rows.filter((row) =>
      row.endpoint === "messages" && row.organization === key.organization &&
      (models.length === 0 || models.includes(row.model))
    )
    const data = Array.from({ length: Math.min(limit, all) }, (_, i) => {
      const from = first + i * millis
      const within = rows.filter(({ at }) => at >= from && at < from + millis)
      const results = isCost ? costOf(within, asked) : usageOf(within, asked)
      return { starting_at: instant(from), ending_at: instant(from + millis), results }
    })
    const has_more = all > limit
    return { body: { data, has_more, next_page: has_more ? instant(first + limit * millis) : null } }
  }

  return (asked) => {
    const { id, key, method, sub } = asked
    if (method !== "GET") return undefined
    const isUsage = id === "usage_report" && sub === "messages"
    if (!isUsage && !(id === "cost_report" && sub === undefined)) return undefined
    if (key.admin !== true) return refuse(403, "This endpoint takes a key of the Admin API.")
    return report(asked, !isUsage)
  }
}

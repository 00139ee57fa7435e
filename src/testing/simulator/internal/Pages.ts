/**
 * Lists in pages, forwards with `after_id` or `page` and backwards with `before_id`.
 */
import type { Reply } from "./Resource.ts"
import type { Refusal } from "./Wire.ts"
import { refuse } from "./Wire.ts"

/** The page of a list that a query asks for: 20 entries by default, 1,000 at most. */
export const of = (all: ReadonlyArray<{ readonly id: string }>, query: URLSearchParams): Reply | Refusal => {
  const limit = Number(query.get("limit") ?? 20)
  if (!Number.isInteger(limit) || limit < 1 || limit > 1_000) return refuse(400, "limit: must be from 1 to 1000")
  const after = query.has("page") ? "page" : "after_id"
  const at = (name: string): number => all.findIndex(({ id }) => id === query.get(name))
  const lost = [after, "before_id"].find((name) => query.has(name) && at(name) < 0)
  if (lost !== undefined) return refuse(400, `${lost}: there is no such entry in the list`)
  const before = query.has("before_id") ? at("before_id") : undefined
  const from = before === undefined ? at(after) + 1 : Math.max(0, before - limit)
  const data = all.slice(from, before ?? from + limit)
  const has_more = before === undefined ? from + limit < all.length : from > 0
  const last_id = data.at(-1)?.id ?? null
  return { body: { data, has_more, first_id: data[0]?.id ?? null, last_id, next_page: has_more ? last_id : null } }
}

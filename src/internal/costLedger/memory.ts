/** Rows in the memory of this process. */
import * as Effect from "effect/Effect"
import type { Field, Group, Where } from "../../CostReport.ts"
import * as Figures from "./figures.ts"
import type { Row } from "./row.ts"

interface Kept {
  readonly id: number
  readonly row: Row
}

const byTime = (one: Kept, other: Kept): number => one.row.at - other.row.at || one.id - other.id

const hasAll = (row: Row, { tags = {}, ...fields }: Where): boolean =>
  Object.entries(fields).every(([name, value]) => value === undefined || row[name as Field] === value) && // its names are those of its type
  Object.entries(tags).every(([name, value]) => row.tags[name] === value)

export const make = (maxRows: number) => {
  const known = new Map<string, Kept>()
  let ids = 0

  const inRange = (range: { readonly from: number; readonly to: number }): ReadonlyArray<Kept> =>
    [...known.values()].filter(({ row: { at } }) => at >= range.from && at < range.to)

  return {
    write: (rows: ReadonlyArray<Row>) =>
      Effect.sync(() => {
        let forgot = 0
        for (const row of rows) {
          const name = `${row.attempt} ${row.callId}`
          if (known.has(name)) continue
          const oldest = known.size < maxRows ? undefined : known.keys().next().value
          if (oldest !== undefined) {
            known.delete(oldest)
            forgot++
          }
          known.set(name, { id: ++ids, row })
        }
        return forgot
      }),

    aggregate: (
      range: { readonly from: number; readonly to: number },
      by: Field | { readonly tag: string } | undefined,
      where: Where
    ) =>
      Effect.sync((): ReadonlyArray<Group> => {
        const groups = new Map<string | null, Figures.Sums>()
        for (const { row } of inRange(range)) {
          if (!hasAll(row, where)) continue
          const key = by === undefined ? null : (typeof by === "string" ? row[by] : row.tags[by.tag]) ?? null
          const sums = groups.get(key) ?? Figures.zero()
          groups.set(key, sums)
          Figures.count(sums, row)
        }
        return [...groups].map(([key, figures]) => ({ key, ...figures }))
      }),

    page: (
      range: { readonly from: number; readonly to: number },
      limit: number,
      after: { readonly at: number; readonly id: number } | undefined
    ) =>
      Effect.sync(() => {
        const rest = [...inRange(range)].sort(byTime).filter(({ id, row }) =>
          after === undefined || row.at > after.at || (row.at === after.at && id > after.id)
        )
        const page = rest.slice(0, limit)
        const last = rest.length > limit ? page.at(-1) : undefined
        return { rows: page.map(({ row }) => row), next: last && { at: last.row.at, id: last.id } }
      }),

    span: Effect.sync(() => {
      let span: { readonly oldest: number; readonly newest: number } | undefined
      for (const { row: { at } } of known.values()) {
        span = { oldest: Math.min(span?.oldest ?? at, at), newest: Math.max(span?.newest ?? at, at) }
      }
      return span
    }),

    trim: ({ before, keep }: { readonly before: number; readonly keep: number }, limit: number) =>
      Effect.sync(() => {
        const all = [...known].sort(([, one], [, other]) => byTime(one, other))
        const excess = Math.max(0, all.length - keep)
        const old = all.filter(([, { row }], index) => index < excess || row.at < before).slice(0, limit)
        for (const [name] of old) known.delete(name)
        return old.length
      })
  }
}

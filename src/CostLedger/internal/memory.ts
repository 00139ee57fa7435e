/** Rows in the memory of this process. */
import * as Effect from "effect/Effect"
import type { Field, Group, Where } from "../../CostReport.ts"
import * as Figures from "./figures.ts"
import type { Row } from "./row.ts"

interface Kept {
  readonly id: number
  readonly row: Row
}

const nameOf = (row: Row): string => `${row.attempt} ${row.callId}`

const byTime = (one: Kept, other: Kept): number => one.row.at - other.row.at || one.id - other.id

/** The index of the first that was not before `at`. */
const firstFrom = (kept: ReadonlyArray<Kept>, at: number): number => {
  let [low, high] = [0, kept.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((kept[middle]?.row.at ?? at) < at) low = middle + 1
    else high = middle
  }
  return low
}

const hasAll = (row: Row, { tags = {}, ...fields }: Where): boolean =>
  Object.entries(fields).every(([name, value]) => value === undefined || row[name as Field] === value) && // its names are those of its type
  Object.entries(tags).every(([name, value]) => row.tags[name] === value)

export const make = (maxRows: number) => {
  const known = new Map<string, Kept>()
  let ids = 0
  /** All of them by time, while nothing changes. */
  let sorted: ReadonlyArray<Kept> | undefined

  const all = (): ReadonlyArray<Kept> => sorted ??= [...known.values()].sort(byTime)

  const inRange = ({ from, to }: { readonly from: number; readonly to: number }): ReadonlyArray<Kept> => {
    const kept = all()
    return kept.slice(firstFrom(kept, from), firstFrom(kept, to))
  }

  return {
    write: (rows: ReadonlyArray<Row>) =>
      Effect.sync(() => {
        let forgot = 0
        sorted = undefined
        for (const row of rows) {
          const name = nameOf(row)
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
        const rest = inRange(range).filter(({ id, row }) =>
          after === undefined || row.at > after.at || (row.at === after.at && id > after.id)
        )
        const page = rest.slice(0, limit)
        const last = rest.length > limit ? page.at(-1) : undefined
        return { rows: page.map(({ row }) => row), next: last && { at: last.row.at, id: last.id } }
      }),

    span: Effect.sync(() => {
      const [oldest, newest] = [all()[0], all().at(-1)]
      return oldest && newest && { oldest: oldest.row.at, newest: newest.row.at }
    }),

    trim: ({ before, keep }: { readonly before: number; readonly keep: number }, limit: number) =>
      Effect.sync(() => {
        const kept = all()
        const old = kept.slice(0, Math.min(limit, Math.max(firstFrom(kept, before), kept.length - keep)))
        for (const { row } of old) known.delete(nameOf(row))
        sorted = undefined
        return old.length
      })
  }
}

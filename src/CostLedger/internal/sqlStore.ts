/** Rows in a table of SQLite or PostgreSQL. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"
import { type SqlError } from "effect/sql/SqlError"
import type { Fragment } from "effect/sql/Statement"
import type { Field, Group, Where } from "../../CostReport.ts"
import * as Sums from "../../internal/figures.ts"
import type { Command, Range, Reply, Row } from "./data.ts"
import * as Columns from "./sqlColumns.ts"

type Asked<Tag extends Command["_tag"]> = Extract<Command, { readonly _tag: Tag }>

interface Table {
  readonly sql: SqlClient.SqlClient
  readonly name: string
  readonly isPg: boolean
  /** The quoted names of table and time. */
  readonly rows: Fragment
  readonly at: Fragment
}

/** Rows that SQLite takes in one statement: powers of two, so that few statements are compiled. */
const chunkRows = [64, 32, 16, 8, 4, 2, 1]

/** The least integer that is not less: databases have no infinite ones. */
const integer = (value: number): number =>
  Math.max(Number.MIN_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, Math.ceil(value)))

const create = ({ at, isPg, name, rows, sql }: Table) =>
  Effect.gen(function*() {
    const id = isPg ? "id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY" : "id INTEGER PRIMARY KEY"
    const types = Columns.columns.map(([name, type]) =>
      `"${name}" ${type}${Columns.required.has(name) ? " NOT NULL" : ""}`
    )
    yield* sql`CREATE TABLE ${rows} (${sql.literal([id, ...types].join(", "))})`
    yield* sql`CREATE UNIQUE INDEX ${sql(`${name}_call`)} ON ${rows} (call_id, attempt)`
    yield* sql`CREATE INDEX ${sql(`${name}_at`)} ON ${rows} (${at}, id)`
    if (!isPg) yield* sql`CREATE INDEX ${sql(`${name}_model`)} ON ${rows} (${sql.literal(Columns.summed)})`
  })

/** Inserts rows, all or none; compiled once. */
const inserter = ({ isPg, rows, sql }: Table): (added: ReadonlyArray<Row>) => Effect.Effect<unknown, SqlError> => {
  const [quoted] = sql`${rows}`.compile()
  const names = Columns.columns.map(([name]) => `"${name}"`).join(", ")
  if (isPg) {
    const types = Columns.columns.map(([name, type]) => `"${name}" ${type}`).join(", ")
    const text =
      `INSERT INTO ${quoted} (${names}) SELECT ${names} FROM jsonb_to_recordset($1::text::jsonb) AS r(${types}) ` +
      "ON CONFLICT DO NOTHING"
    return (added) =>
      sql.unsafe(text, [
        JSON.stringify(added.map((row) => Object.fromEntries(Columns.columns.map(([name, , of]) => [name, of(row)]))))
      ])
  }
  const holes = `(${Columns.columns.map(() => "?").join(", ")})`
  const texts = new Map(chunkRows.map((size) => [
    size,
    `INSERT INTO ${quoted} (${names}) VALUES ${Array.from({ length: size }, () => holes).join(", ")} ` +
    "ON CONFLICT DO NOTHING"
  ]))
  const insertChunks = (added: ReadonlyArray<Row>): Effect.Effect<void, SqlError> => {
    let done = 0
    return Effect.whileLoop({
      while: () => done < added.length,
      body: () => {
        const size = chunkRows.find((size) => size <= added.length - done) ?? 1
        const params: Array<string | number | null> = []
        for (const end = done + size; done < end; done++) {
          for (const value of Columns.values) params.push(value(added[done]!)) // there are so many rows
        }
        return sql.unsafe(texts.get(size) ?? "", params).raw
      },
      step: () => {}
    })
  }
  return (added) => sql.withTransaction(insertChunks(added))
}

/** A write inside somebody's transaction may be undone with it, and then nobody has the rows any more. */
const alone = <A, E>({ sql }: Table, write: Effect.Effect<A, E>): Effect.Effect<A, E | Error> =>
  Effect.flatMap(
    Effect.serviceOption(sql.transactionService),
    (open): Effect.Effect<A, E | Error> =>
      Option.isNone(open) ? write : Effect.fail(new Error("a transaction of its client is open around it"))
  )

const tag = ({ isPg, sql }: Table, name: string): Fragment =>
  isPg
    ? sql`(tags::jsonb ->> ${name})`
    : sql`(SELECT value FROM json_each(tags) WHERE json_each.key = ${name})`

const inRange = ({ at, sql }: Table, range: Range): Fragment =>
  sql`${at} >= ${integer(range.from)} AND ${at} < ${integer(range.to)}`

const conditions = (table: Table, { tags = {}, ...fields }: Where): ReadonlyArray<Fragment> => {
  const { sql } = table
  return [
    ...Object.entries(fields).flatMap(([name, value]) =>
      value === undefined
        ? []
        : [sql`${sql(Columns.fieldColumns[name as Field])} = ${value}`] // its names are those of its type
    ),
    ...Object.entries(tags).map(([name, value]) => sql`${tag(table, name)} = ${value}`)
  ]
}

const select = (
  table: Table,
  { by, range, where }: Omit<Asked<"Aggregate">, "_tag">
): Effect.Effect<ReadonlyArray<Group>, SqlError> => {
  const { rows, sql } = table
  const key = by === undefined
    ? sql`CAST(NULL AS TEXT)`
    : typeof by === "string"
    ? sql`${sql(Columns.fieldColumns[by])}`
    : tag(table, by.tag)
  return sql`SELECT ${key} AS k, ${sql.literal(Columns.figures)} FROM ${rows} WHERE ${
    sql.and([inRange(table, range), ...conditions(table, where)])
  }${sql.literal(by === undefined ? "" : " GROUP BY 1")}`.values.pipe(
    Effect.map((found) =>
      found.map(([key, ...values]): Group => ({
        ...Sums.zero(),
        key: key === null ? null : String(key),
        ...Object.fromEntries(Sums.names.map((name, index) => [name, Number(values[index])]))
      })).filter(({ attempts }) => attempts > 0)
    )
  )
}

/** SQLite groups by sorting, which takes longer than all else: it is asked for one model after the other. */
const byModel = (table: Table, range: Range): Effect.Effect<ReadonlyArray<Group>, SqlError> => {
  const { rows, sql } = table
  const models = sql`WITH RECURSIVE m(model) AS (
    SELECT min(model) FROM ${rows} UNION ALL
    SELECT (SELECT min(model) FROM ${rows} AS t WHERE t.model > m.model) FROM m WHERE m.model IS NOT NULL
  ) SELECT model FROM m WHERE model IS NOT NULL`.values
  return models.pipe(
    Effect.flatMap(Effect.forEach(([found]) => {
      const model = String(found)
      return Effect.map(
        select(table, { range, by: undefined, where: { model } }),
        (groups) => groups.map((group) => ({ ...group, key: model }))
      )
    })),
    Effect.map((groups) => groups.flat())
  )
}

const aggregate = (table: Table, asked: Asked<"Aggregate">): Effect.Effect<Reply, SqlError> => {
  const { by, range, where } = asked
  const isDirect = table.isPg || (by !== undefined && by !== "model") ||
    Object.values(where).some((value) => value !== undefined)
  return Effect.map(isDirect ? select(table, asked) : byModel(table, range), (groups) => {
    if (isDirect || by === "model" || groups.length === 0) return { _tag: "Aggregate", groups }
    const total = Sums.zero()
    for (const group of groups) Sums.add(total, group)
    return { _tag: "Aggregate", groups: [{ key: null, ...total }] }
  })
}

const page = (
  table: Table,
  { after, limit, range }: Asked<"Page">
): Effect.Effect<Reply, SqlError | Schema.SchemaError> => {
  const { at, rows, sql } = table
  const rest = after === undefined ? [] : [sql`(${at}, id) > (${after.at}, ${after.id})`]
  return Effect.flatMap(
    sql<Record<string, unknown>>`SELECT * FROM ${rows} WHERE ${
      sql.and([inRange(table, range), ...rest])
    } ORDER BY ${at}, id LIMIT ${limit + 1}`.withoutTransform,
    (found) => {
      const page = found.slice(0, limit)
      const last = found.length > limit ? page.at(-1) : undefined
      return Effect.map(Effect.forEach(page, Columns.rowOf), (rows): Reply => ({
        _tag: "Page",
        rows,
        next: last && { at: Number(last["at"]), id: Number(last["id"]) }
      }))
    }
  )
}

const span = ({ at, rows, sql }: Table): Effect.Effect<Reply, SqlError> =>
  Effect.map(sql`SELECT (SELECT min(${at}) FROM ${rows}), (SELECT max(${at}) FROM ${rows})`.values, ([found]) => {
    const oldest = found?.[0] ?? null
    return {
      _tag: "Span",
      span: oldest === null ? undefined : { oldest: Number(oldest), newest: Number(found?.[1]) }
    }
  })

const trim = ({ at, rows, sql }: Table, { before, keep, limit }: Asked<"Trim">): Effect.Effect<Reply, SqlError> => {
  const newest = sql`SELECT ${at}, id FROM ${rows} ORDER BY ${at} DESC, id DESC LIMIT 1 OFFSET ${keep - 1}`
  const old = [
    ...(before === -Infinity ? [] : [sql`${at} < ${integer(before)}`]),
    ...(keep === Infinity ? [] : [sql`(${at}, id) < (${newest})`])
  ]
  if (old.length === 0) return Effect.succeed({ _tag: "Trim", removed: 0 })
  return Effect.map(
    sql`DELETE FROM ${rows} WHERE id IN (SELECT id FROM ${rows} WHERE ${
      sql.or(old)
    } ORDER BY ${at}, id LIMIT ${limit}) RETURNING 1`.values,
    (removed) => ({ _tag: "Trim", removed: removed.length })
  )
}

/** The store over a table, which is made where it is missing. */
export const make = Effect.fnUntraced(function*(prefix: string) {
  const sql = yield* SqlClient.SqlClient
  const name = `${prefix}ledger`
  const isPg = sql.onDialectOrElse({ pg: () => true, orElse: () => false })
  const table: Table = { sql, name, isPg, rows: sql`${sql(name)}`, at: sql`${sql("at")}` }
  yield* Migrator.make({})({
    loader: Migrator.fromRecord({ "1_create": create(table) }),
    table: `${prefix}ledger_migrations`
  })
  const insert = inserter(table)
  return (command: Command): Effect.Effect<Reply, unknown> => {
    switch (command._tag) {
      case "Write": {
        const written: Reply = { _tag: "Write", evicted: 0 }
        if (command.rows.length === 0) return Effect.succeed(written)
        return Effect.as(alone(table, insert(command.rows)), written)
      }
      case "Aggregate":
        return aggregate(table, command)
      case "Page":
        return page(table, command)
      case "Span":
        return span(table)
      case "Trim":
        return trim(table, command)
    }
  }
})

/**
 * Ledger rows in a SQL database: a SQLite file, or PostgreSQL for a fleet. Any `SqlClient` of `effect/sql` with one of these dialects will do.
 *
 * The tables are made and brought up to date when the layer is built; several processes may start at once. A row is known by its call and
 * attempt, so that no repetition writes it twice. Tables begin with `prefix`.
 *
 * What waits is not written within a transaction of the same client, which might undo it: `flush`, `report` and `reconcile` fail there while
 * rows wait.
 *
 * **Example** (A file)
 *
 * ```ts
 * import * as CostLedger from "effect-claude/CostLedger"
 * import * as CostLedgerSql from "effect-claude/CostLedger/Sql"
 * import * as Sqlite from "effect-claude/Sqlite"
 * import { Layer } from "effect"
 *
 * export const layer = CostLedger.layerNoDeps().pipe(
 *   Layer.provide(CostLedgerSql.layer()),
 *   Layer.provide(Sqlite.layer({ filename: "costs.db" }))
 * )
 * ```
 *
 * **Example** (A fleet)
 *
 * ```ts
 * import { PgClient } from "@effect/sql-pg"
 * import * as CostLedger from "effect-claude/CostLedger"
 * import * as CostLedgerSql from "effect-claude/CostLedger/Sql"
 * import { Layer, Redacted } from "effect"
 *
 * export const layer = CostLedger.layerNoDeps().pipe(
 *   Layer.provide(CostLedgerSql.layer({ prefix: "my_service_" })),
 *   Layer.provide(PgClient.layer({ url: Redacted.make("postgres://app@localhost:5432/app") }))
 * )
 * ```
 *
 * **Example** (Moving from a file to PostgreSQL; what is there already is left as it is)
 *
 * ```ts
 * import { PgClient } from "@effect/sql-pg"
 * import * as CostLedger from "effect-claude/CostLedger"
 * import * as CostLedgerSql from "effect-claude/CostLedger/Sql"
 * import * as Sqlite from "effect-claude/Sqlite"
 * import { Context, Effect, Layer, Redacted } from "effect"
 *
 * const file = CostLedgerSql.layer().pipe(Layer.provide(Sqlite.layer({ filename: "costs.db" })))
 * const postgres = CostLedgerSql.layer().pipe(
 *   Layer.provide(PgClient.layer({ url: Redacted.make("postgres://app@localhost:5432/app") }))
 * )
 *
 * export const move = Effect.gen(function*() {
 *   const from = Context.get(yield* Layer.build(file), CostLedger.Store)
 *   const to = Context.get(yield* Layer.build(postgres), CostLedger.Store)
 *   let after: CostLedger.Cursor | undefined
 *   do {
 *     const page: CostLedger.Page = yield* from.page({ from: 0, to: Number.MAX_SAFE_INTEGER }, 500, after)
 *     yield* to.write(page.rows)
 *     after = page.next
 *   } while (after !== undefined)
 * }).pipe(Effect.scoped)
 * ```
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"
import { type SqlError } from "effect/sql/SqlError"
import type { Fragment } from "effect/sql/Statement"
import { CostLedgerError, type Range, Row, Store } from "../CostLedger.ts"
import { type Field, type Figures, type Group, type Where } from "../CostReport.ts"
import * as Sums from "./internal/figures.ts"

/**
 * - `prefix`: of the tables. Default `effect_claude_`.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly prefix?: string | undefined
}

const isEmpty = (tags: Row["tags"]): boolean => {
  for (const _ in tags) return false
  return true
}

/**
 * Each column with its type and what a row has for it. Integers are as wide as they get. What is usual is null, which takes no room: no
 * tags, no rules, and that the model that was asked for is the one that served.
 */
const columns: ReadonlyArray<
  readonly [name: string, type: "TEXT" | "BIGINT", of: (row: Row) => string | number | null]
> = [
  ["call_id", "TEXT", (row) => row.callId],
  ["attempt", "BIGINT", (row) => row.attempt],
  ["at", "BIGINT", (row) => row.at],
  ["latency_millis", "BIGINT", (row) => row.latencyMillis],
  ["user_id", "TEXT", (row) => row.user ?? null],
  ["tenant", "TEXT", (row) => row.tenant ?? null],
  ["request_type", "TEXT", (row) => row.requestType ?? null],
  ["tags", "TEXT", (row) => isEmpty(row.tags) ? null : JSON.stringify(row.tags)],
  ["key_label", "TEXT", (row) => row.key ?? null],
  ["asked_model", "TEXT", (row) => row.askedModel === row.model ? null : row.askedModel],
  ["sent_model", "TEXT", (row) => row.sentModel === row.model ? null : row.sentModel],
  ["model", "TEXT", (row) => row.model],
  ["rules", "TEXT", (row) => row.rules.length === 0 ? null : JSON.stringify(row.rules)],
  ["optimizer_saved_nano_usd", "BIGINT", (row) => row.optimizerSavedNanoUsd],
  ["input_tokens", "BIGINT", ({ usage }) => usage.inputTokens],
  ["output_tokens", "BIGINT", ({ usage }) => usage.outputTokens],
  ["cache_read_tokens", "BIGINT", ({ usage }) => usage.cacheReadTokens],
  ["cache_write_5m_tokens", "BIGINT", ({ usage }) => usage.cacheWrite5mTokens],
  ["cache_write_1h_tokens", "BIGINT", ({ usage }) => usage.cacheWrite1hTokens],
  ["thinking_tokens", "BIGINT", ({ usage }) => usage.thinkingTokens],
  ["web_search_requests", "BIGINT", ({ usage }) => usage.webSearchRequests],
  ["service_tier", "TEXT", ({ usage }) => usage.serviceTier ?? null],
  ["speed", "TEXT", ({ usage }) => usage.speed ?? null],
  ["inference_geo", "TEXT", ({ usage }) => usage.inferenceGeo ?? null],
  ["nano_usd", "BIGINT", (row) => row.nanoUsd],
  ["cache_saved_nano_usd", "BIGINT", (row) => row.cacheSavedNanoUsd],
  ["confidence", "TEXT", (row) => row.confidence],
  ["outcome", "TEXT", (row) => row.outcome],
  ["error", "TEXT", (row) => row.error ?? null],
  ["stop_reason", "TEXT", (row) => row.stopReason ?? null],
  ["billed", "TEXT", (row) => row.billed],
  ["request_id", "TEXT", (row) => row.requestId ?? null]
]

const values = columns.map(([, , of]) => of)

const required = new Set(["call_id", "attempt", "at", "model"])

const fieldColumns: Readonly<Record<Field, string>> = {
  model: "model",
  user: "user_id",
  tenant: "tenant",
  requestType: "request_type",
  key: "key_label"
}

/** What is added up for each figure, and of which rows. */
const sums: Readonly<Record<keyof Figures, readonly [what: string, where?: string]>> = {
  attempts: ["1"],
  calls: ["1", "attempt = 1"],
  completed: ["1", "outcome = 'completed'"],
  failed: ["1", "outcome = 'failed'"],
  aborted: ["1", "outcome = 'aborted'"],
  unpriced: ["1", "nano_usd IS NULL"],
  nanoUsd: ["nano_usd"],
  exactNanoUsd: ["nano_usd", "confidence = 'exact'"],
  derivedNanoUsd: ["nano_usd", "confidence = 'derived'"],
  estimatedNanoUsd: ["nano_usd", "confidence = 'estimated'"],
  retriesNanoUsd: ["nano_usd", "attempt <> 1"],
  failedNanoUsd: ["nano_usd", "outcome = 'failed'"],
  abortedNanoUsd: ["nano_usd", "outcome = 'aborted'"],
  cacheSavedNanoUsd: ["cache_saved_nano_usd"],
  optimizerSavedNanoUsd: ["optimizer_saved_nano_usd"],
  inputTokens: ["input_tokens"],
  outputTokens: ["output_tokens"],
  cacheReadTokens: ["cache_read_tokens"],
  cacheWrite5mTokens: ["cache_write_5m_tokens"],
  cacheWrite1hTokens: ["cache_write_1h_tokens"],
  thinkingTokens: ["thinking_tokens"],
  webSearchRequests: ["web_search_requests"]
}

/** As text, since a sum may be larger than what a driver makes a number of. */
const figures = Sums.names.map((name) => {
  const [what, where] = sums[name]
  const sum = what === "1" ? "count(*)" : `sum(${what})`
  return `CAST(coalesce(${sum}${where === undefined ? "" : ` FILTER (WHERE ${where})`}, 0) AS TEXT)`
}).join(", ")

/** Has all that a report by model reads, so that SQLite reads nothing else. */
const summed = [
  "model",
  "\"at\"",
  "attempt",
  "outcome",
  "confidence",
  ...new Set(Sums.names.flatMap((name) => sums[name][0] === "1" ? [] : [sums[name][0]]))
].join(", ")

/** Rows that SQLite takes in one statement: powers of two, so that few statements are compiled. */
const chunkRows = [64, 32, 16, 8, 4, 2, 1]

const fromError = (cause: unknown): CostLedgerError => new CostLedgerError({ reason: "store", cause })

const decodeRow = Schema.decodeUnknownEffect(Schema.Struct({
  ...Row.fields,
  tags: Schema.fromJsonString(Row.fields.tags),
  rules: Schema.fromJsonString(Row.fields.rules)
}))

/** Drivers give wide integers as texts, as `bigint` or as numbers. */
const number = (value: unknown): unknown => value === null ? null : Number(value)

/** The least integer that is not less: databases have no infinite ones. */
const integer = (value: number): number =>
  Math.max(Number.MIN_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, Math.ceil(value)))

const text = (value: unknown): unknown => value ?? undefined

const rowOf = (found: Readonly<Record<string, unknown>>): Effect.Effect<Row, CostLedgerError> =>
  Effect.mapError(
    decodeRow({
      callId: found["call_id"],
      attempt: number(found["attempt"]),
      at: number(found["at"]),
      latencyMillis: number(found["latency_millis"]),
      user: text(found["user_id"]),
      tenant: text(found["tenant"]),
      requestType: text(found["request_type"]),
      tags: found["tags"] ?? "{}",
      key: text(found["key_label"]),
      askedModel: found["asked_model"] ?? found["model"],
      sentModel: found["sent_model"] ?? found["model"],
      model: found["model"],
      rules: found["rules"] ?? "[]",
      optimizerSavedNanoUsd: number(found["optimizer_saved_nano_usd"]),
      usage: {
        inputTokens: number(found["input_tokens"]),
        outputTokens: number(found["output_tokens"]),
        cacheReadTokens: number(found["cache_read_tokens"]),
        cacheWrite5mTokens: number(found["cache_write_5m_tokens"]),
        cacheWrite1hTokens: number(found["cache_write_1h_tokens"]),
        thinkingTokens: number(found["thinking_tokens"]),
        webSearchRequests: number(found["web_search_requests"]),
        ...(found["service_tier"] === null ? undefined : { serviceTier: found["service_tier"] }),
        ...(found["speed"] === null ? undefined : { speed: found["speed"] }),
        ...(found["inference_geo"] === null ? undefined : { inferenceGeo: found["inference_geo"] })
      },
      nanoUsd: number(found["nano_usd"]),
      cacheSavedNanoUsd: number(found["cache_saved_nano_usd"]),
      confidence: found["confidence"],
      outcome: found["outcome"],
      error: text(found["error"]),
      stopReason: text(found["stop_reason"]),
      billed: found["billed"],
      requestId: text(found["request_id"])
    }),
    fromError
  )

/**
 * Builds the store, and its tables where they are missing.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(options: Options = {}) {
  const sql = yield* SqlClient.SqlClient
  const prefix = options.prefix ?? "effect_claude_"
  const name = `${prefix}ledger`
  const table = sql(name)
  const isPg = sql.onDialectOrElse({ pg: () => true, orElse: () => false })
  const at = sql("at")

  const create = Effect.gen(function*() {
    const id = isPg ? "id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY" : "id INTEGER PRIMARY KEY"
    const types = columns.map(([name, type]) => `"${name}" ${type}${required.has(name) ? " NOT NULL" : ""}`)
    yield* sql`CREATE TABLE ${table} (${sql.literal([id, ...types].join(", "))})`
    yield* sql`CREATE UNIQUE INDEX ${sql(`${name}_call`)} ON ${table} (call_id, attempt)`
    yield* sql`CREATE INDEX ${sql(`${name}_at`)} ON ${table} (${at}, id)`
    if (!isPg) yield* sql`CREATE INDEX ${sql(`${name}_model`)} ON ${table} (${sql.literal(summed)})`
  })
  yield* Migrator.make({})({
    loader: Migrator.fromRecord({ "1_create": create }),
    table: `${prefix}ledger_migrations`
  })

  const [quotedTable] = sql`${table}`.compile()
  const names = columns.map(([name]) => `"${name}"`).join(", ")
  const holes = `(${columns.map(() => "?").join(", ")})`
  const insertText = new Map(chunkRows.map((rows) => [
    rows,
    `INSERT INTO ${quotedTable} (${names}) VALUES ${
      Array.from({ length: rows }, () => holes).join(", ")
    } ON CONFLICT DO NOTHING`
  ]))
  const insertJson =
    `INSERT INTO ${quotedTable} (${names}) SELECT ${names} FROM jsonb_to_recordset($1::text::jsonb) AS r(${
      columns.map(([name, type]) => `"${name}" ${type}`).join(", ")
    }) ON CONFLICT DO NOTHING`

  const insertChunks = (rows: ReadonlyArray<Row>): Effect.Effect<void, SqlError> => {
    let done = 0
    return Effect.whileLoop({
      while: () => done < rows.length,
      body: () => {
        const size = chunkRows.find((size) => size <= rows.length - done) ?? 1
        const params: Array<string | number | null> = []
        for (const end = done + size; done < end; done++) {
          for (const value of values) params.push(value(rows[done]!)) // there are so many rows
        }
        return sql.unsafe(insertText.get(size) ?? "", params).raw
      },
      step: () => {}
    })
  }
  const insert = (rows: ReadonlyArray<Row>): Effect.Effect<unknown, SqlError> =>
    isPg
      ? sql.unsafe(insertJson, [
        JSON.stringify(rows.map((row) => Object.fromEntries(columns.map(([name, , of]) => [name, of(row)]))))
      ])
      : sql.withTransaction(insertChunks(rows))

  /** What is written within somebody's transaction may be undone with it, and then nobody has it any more. */
  const alone = (write: Effect.Effect<number, CostLedgerError>): Effect.Effect<number, CostLedgerError> =>
    Effect.flatMap(
      Effect.serviceOption(sql.transactionService),
      (open) =>
        Option.isNone(open) ? write : Effect.fail(fromError(new Error("a transaction of its client is open around it")))
    )

  const tag = (name: string): Fragment =>
    isPg
      ? sql`(tags::jsonb ->> ${name})`
      : sql`(SELECT value FROM json_each(tags) WHERE json_each.key = ${name})`

  const keyOf = (by: Field | { readonly tag: string } | undefined): Fragment =>
    by === undefined ? sql`CAST(NULL AS TEXT)` : typeof by === "string" ? sql`${sql(fieldColumns[by])}` : tag(by.tag)

  const inRange = (range: Range): Fragment => sql`${at} >= ${integer(range.from)} AND ${at} < ${integer(range.to)}`

  const conditions = ({ tags = {}, ...fields }: Where): ReadonlyArray<Fragment> => [
    ...Object.entries(fields).flatMap(([name, value]) =>
      value === undefined ? [] : [sql`${sql(fieldColumns[name as Field])} = ${value}`] // its names are those of its type
    ),
    ...Object.entries(tags).map(([name, value]) => sql`${tag(name)} = ${value}`)
  ]

  const aggregate = (
    range: Range,
    by: Field | { readonly tag: string } | undefined,
    where: Where
  ): Effect.Effect<ReadonlyArray<Group>, CostLedgerError> =>
    sql`SELECT ${keyOf(by)} AS k, ${sql.literal(figures)} FROM ${table} WHERE ${
      sql.and([inRange(range), ...conditions(where)])
    }${sql.literal(by === undefined ? "" : " GROUP BY 1")}`.values.pipe(
      Effect.mapError(fromError),
      Effect.map((found) =>
        found.map(([key, ...values]): Group => ({
          ...Sums.zero(),
          key: key === null ? null : String(key),
          ...Object.fromEntries(Sums.names.map((name, index) => [name, Number(values[index])]))
        })).filter(({ attempts }) => attempts > 0)
      )
    )

  /** SQLite groups by sorting, which takes longer than all else: it is asked for one model after the other. */
  const models: Effect.Effect<ReadonlyArray<string>, CostLedgerError> = sql`WITH RECURSIVE m(model) AS (
    SELECT min(model) FROM ${table} UNION ALL
    SELECT (SELECT min(model) FROM ${table} AS t WHERE t.model > m.model) FROM m WHERE m.model IS NOT NULL
  ) SELECT model FROM m WHERE model IS NOT NULL`.values.pipe(
    Effect.mapError(fromError),
    Effect.map((found) => found.map(([model]) => String(model)))
  )

  return Store.of({
    write: (rows) =>
      rows.length === 0 ? Effect.succeed(0) : alone(Effect.as(Effect.mapError(insert(rows), fromError), 0)),

    aggregate: (range, by, where) => {
      if (isPg || (by !== undefined && by !== "model") || Object.values(where).some((_) => _ !== undefined)) {
        return aggregate(range, by, where)
      }
      return Effect.map(
        Effect.flatMap(
          models,
          Effect.forEach((model) =>
            Effect.map(
              aggregate(range, undefined, { model }),
              (found) => found.map((group) => ({ ...group, key: model }))
            )
          )
        ),
        (found) => {
          const groups = found.flat()
          if (by === "model" || groups.length === 0) return groups
          const total = Sums.zero()
          for (const group of groups) Sums.add(total, group)
          return [{ key: null, ...total }]
        }
      )
    },

    page: (range, limit, after) =>
      sql<Record<string, unknown>>`SELECT * FROM ${table} WHERE ${
        sql.and([inRange(range), ...(after === undefined ? [] : [sql`(${at}, id) > (${after.at}, ${after.id})`])])
      } ORDER BY ${at}, id LIMIT ${limit + 1}`.withoutTransform.pipe(
        Effect.mapError(fromError),
        Effect.flatMap((found) => {
          const page = found.slice(0, limit)
          const last = found.length > limit ? page.at(-1) : undefined
          return Effect.map(Effect.forEach(page, rowOf), (rows) => ({
            rows,
            next: last && { at: Number(last["at"]), id: Number(last["id"]) }
          }))
        })
      ),

    span: sql`SELECT (SELECT min(${at}) FROM ${table}), (SELECT max(${at}) FROM ${table})`.values.pipe(
      Effect.mapError(fromError),
      Effect.map(([found]) => {
        const oldest = found?.[0] ?? null
        return oldest === null ? undefined : { oldest: Number(oldest), newest: Number(found?.[1]) }
      })
    ),

    trim: ({ before, keep }, limit) => {
      const old = [
        ...(before === -Infinity ? [] : [sql`${at} < ${integer(before)}`]),
        ...(keep === Infinity
          ? []
          : [
            sql`(${at}, id) < (SELECT ${at}, id FROM ${table} ORDER BY ${at} DESC, id DESC LIMIT 1 OFFSET ${keep - 1})`
          ])
      ]
      return old.length === 0 ?
        Effect.succeed(0) :
        sql`DELETE FROM ${table} WHERE id IN (SELECT id FROM ${table} WHERE ${
          sql.or(old)
        } ORDER BY ${at}, id LIMIT ${limit}) RETURNING 1`.values.pipe(
          Effect.mapError(fromError),
          Effect.map((gone) => gone.length)
        )
    }
  })
})

/**
 * Keeps rows in the database of the `SqlClient`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options = {}
): Layer.Layer<Store, Migrator.MigrationError | SqlError, SqlClient.SqlClient> => Layer.effect(Store, make(options))

/**
 * `layer` with options from configuration.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<Store, Config.ConfigError | Migrator.MigrationError | SqlError, SqlClient.SqlClient> =>
  Layer.effect(Store, Effect.flatMap(Config.unwrap(options), make))

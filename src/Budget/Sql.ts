/**
 * Budgets in a database, which processes share and which outlive them: Postgres (12 or newer), or a SQLite file (3.38 or newer) for the processes of
 * one machine.
 *
 * - **Atomic**: what comes up in a process while the database is busy is done in one transaction, which locks the accounts that it touches,
 *   always in the same order. A deadlock, a serialization failure or a busy database is tried again a few times, a connection that breaks once.
 *   With Postgres, a process that hangs amid a transaction holds up others for 5 seconds at most.
 * - **Exactly once**: a settlement of which nobody knows whether it was committed is sent again, and counted once.
 * - **Time** is that of the database server; with SQLite, that of the process.
 * - **Tables** are made when the layer is built, also by several processes at once, with a `prefix` in front of their names: accounts, the leases
 *   of calls that run, overrides, and the last batch of each process. Rows whose window is over go after a day.
 * - **A snapshot** has 10,000 accounts at most, those of budgets that are not divided first.
 *
 * No prompt, answer or key is stored: names of budgets, and tenants, users, models, tags and labels of keys where budgets are divided by them.
 *
 * **Example** (One budget for all processes of a fleet)
 *
 * ```ts
 * import { PgClient } from "@effect/sql-pg"
 * import { Config, Layer } from "effect"
 * import * as Budget from "effect-claude/Budget"
 * import * as BudgetSql from "effect-claude/Budget/Sql"
 *
 * export const layer = Budget.layerNoDeps({ budgets: [{ name: "all", limit: 500, window: { calendar: "month" } }] }).pipe(
 *   Layer.provide(BudgetSql.layer()),
 *   Layer.provide(PgClient.layerConfig({ url: Config.Redacted("DATABASE_URL") }))
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { type Batch, type Override, type Share, Store } from "../Budget.ts"
import { Account, holdsOf, limitOf, run } from "./internal/account.ts"

/**
 * - `prefix`: of the names of tables. Default `effect_claude_`.
 * - `schema`: of Postgres, in which the tables are. It must exist. Default: the first of the search path.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly prefix?: string | undefined
  readonly schema?: string | undefined
}

/** The most accounts that are read at once, those that are for all or for none first. */
const maxRead = 10_000

/** The most leases that one statement renews. */
const maxRenewed = 5_000

/** The longest time between two statements of a transaction, which holds locks; then Postgres ends it. */
const maxIdleMillis = 5_000

/** How often rows that count no more are looked for, and how long they are kept. */
const sweepMillis = 3_600_000
const keptMillis = 86_400_000

const Int = Schema.FiniteFromString
const Slots = Schema.fromJsonString(Schema.Array(Schema.Tuple([
  Schema.Int,
  Schema.Int,
  Schema.Int,
  Schema.Int,
  Schema.Int
])))

const AccountRow = Schema.Struct({
  budget: Schema.String,
  account: Schema.String,
  slots: Slots,
  marks: Schema.fromJsonString(Schema.Record(Schema.String, Schema.Int)),
  reap_at: Schema.NullOr(Int),
  own_limit: Schema.NullOr(Int),
  own_until: Schema.NullOr(Int),
  common_limit: Schema.NullOr(Int),
  common_until: Schema.NullOr(Int),
  now: Int
})

const HoldRow = Schema.Struct({
  lease: Schema.String,
  budget: Schema.String,
  account: Schema.String,
  slot: Int,
  nano_usd: Int
})

const decodeAccounts = Schema.decodeUnknownEffect(Schema.Array(AccountRow))
const decodeHolds = Schema.decodeUnknownEffect(Schema.Array(HoldRow))
const decodeReaps = Schema.decodeUnknownEffect(Schema.Array(Schema.Struct({
  budget: Schema.String,
  account: Schema.String,
  reap_at: Int
})))
const decodeStored = Schema.decodeUnknownEffect(Schema.Array(Schema.Struct({
  budget: Schema.String,
  account: Schema.String,
  slots: Slots
})))
const decodeOverrides = Schema.decodeUnknownEffect(Schema.Array(Schema.Struct({
  budget: Schema.String,
  account: Schema.String,
  nano_usd: Int,
  until_at: Schema.NullOr(Int)
})))
const decodeNow = Schema.decodeUnknownEffect(Schema.Tuple([Schema.Struct({ now: Int })]))

/** Accounts went while they were looked for: the step is made again. */
class SweptError extends Schema.TaggedError<SweptError>("effect-claude/Budget/Sql/SweptError")("SweptError", {}) {}

const isOneOf = (...reasons: ReadonlyArray<SqlError["reason"]["_tag"]>) => (error: unknown): boolean =>
  error instanceof Error && "reason" in error && reasons.includes((error as SqlError).reason._tag)

const isTransient = isOneOf("DeadlockError", "SerializationError", "LockTimeoutError")

/** A pool has others. Should the step have been made, the keys of its leases keep it from being made twice. */
const isBroken = isOneOf("ConnectionError")

/** Over a broken connection nothing can be undone either, which `withTransaction` takes for a defect. */
const orBroken = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E | SqlError> =>
  Effect.catchDefect(
    effect,
    (defect) => isBroken(defect) ? Effect.fail(defect as SqlError) : Effect.die(defect) // it is one
  )

const again = Schedule.exponential("5 millis").pipe(Schedule.jittered, Schedule.upTo({ times: 6 }))

const keyOf = (budget: string, account: string): string => JSON.stringify([budget, account])

/** Overrides of a whole budget, and of one account. */
const whole = "*"
const oneOf = (account: string): string => `=${account}`

const slotsOf = (rows: typeof Slots.Type) =>
  rows.map(([start, spent, reserved, overshot, lapsed]) => ({ start, spent, reserved, overshot, lapsed }))

/**
 * Builds the store, and its tables where there are none.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(options: Options = {}) {
  const sql = (yield* SqlClient.SqlClient).withoutTransforms()
  const clock = yield* Clock.Clock
  const isPg = sql.onDialectOrElse({
    pg: () => true,
    sqlite: () => false,
    orElse: () => {
      throw new RangeError("Budget: its tables can be in Postgres or SQLite")
    }
  })
  const name = (table: string): string => `${options.prefix ?? "effect_claude_"}budget_${table}`
  const table = (table: string) => sql(options.schema === undefined ? name(table) : `${options.schema}.${name(table)}`)
  const accounts = table("account")
  const holds = table("hold")
  const overrides = table("override")
  const writers = table("writer")

  yield* Migrator.make({})({
    table: options.schema === undefined ? name("migrations") : `${options.schema}.${name("migrations")}`,
    loader: Effect.succeed([
      [
        1,
        "accounts",
        Effect.succeed(Effect.all([
          sql`CREATE TABLE ${accounts} (
            budget TEXT NOT NULL, account TEXT NOT NULL, slots TEXT NOT NULL, marks TEXT NOT NULL, reap_at BIGINT, forget_at BIGINT,
            PRIMARY KEY (budget, account)
          )`,
          sql`CREATE TABLE ${holds} (
            lease TEXT NOT NULL, budget TEXT NOT NULL, account TEXT NOT NULL, slot BIGINT NOT NULL, nano_usd BIGINT NOT NULL,
            expires_at BIGINT NOT NULL, PRIMARY KEY (lease, budget, account)
          )`,
          sql`CREATE INDEX ${sql(name("hold_expiry"))} ON ${holds} (budget, account, expires_at)`,
          sql`CREATE TABLE ${overrides} (
            budget TEXT NOT NULL, account TEXT NOT NULL, nano_usd BIGINT NOT NULL, until_at BIGINT, PRIMARY KEY (budget, account)
          )`,
          sql`CREATE TABLE ${writers} (owner TEXT NOT NULL PRIMARY KEY, batch BIGINT NOT NULL, seen_at BIGINT NOT NULL)`
        ]))
      ]
    ])
  })

  // Lists go as one JSON parameter, so that each statement has one text whatever their length.
  const rows = (json: string) => isPg ? sql`jsonb_array_elements(${json}::text::jsonb) e` : sql`json_each(${json}) e`
  const cell = (index: number) => sql.literal(isPg ? `(e->>${index})` : `(e.value->>${index})`)
  const int = (index: number) => sql.literal(isPg ? `(e->>${index})::bigint` : `(e.value->>${index})`)
  const now = () =>
    isPg
      ? sql.literal("(extract(epoch from clock_timestamp()) * 1000)::bigint")
      : sql`${clock.currentTimeMillisUnsafe()}`
  const text = (column: string) => sql.literal(`CAST(${column} AS TEXT) AS ${column.slice(column.indexOf(".") + 1)}`)

  /** Accounts that are known to have a row. */
  let known = new Set<string>()

  const ensure = (keys: ReadonlyArray<string>): Effect.Effect<void, SqlError> => {
    const unknown = keys.filter((key) => !known.has(key))
    if (unknown.length === 0) return Effect.void
    return Effect.map(
      sql`INSERT INTO ${accounts} (budget, account, slots, marks) SELECT ${cell(0)}, ${cell(1)}, '[]', '{}'
        FROM ${rows(`[${unknown.join()}]`)} WHERE true ON CONFLICT (budget, account) DO NOTHING`,
      () => {
        if (known.size > maxRead) known = new Set()
        for (const key of unknown) known.add(key)
      }
    )
  }

  // Who hangs amid a transaction must not hold up the others.
  const bounded = sql.literal(
    isPg ? `, (SELECT set_config('idle_in_transaction_session_timeout', '${maxIdleMillis}', true)) AS bounded` : ""
  )

  const lock = (keys: ReadonlyArray<string>) =>
    Effect.flatMap(
      sql`SELECT a.budget, a.account, a.slots, a.marks, ${text("a.reap_at")}, CAST(o.nano_usd AS TEXT) AS own_limit,
        CAST(o.until_at AS TEXT) AS own_until, CAST(w.nano_usd AS TEXT) AS common_limit, CAST(w.until_at AS TEXT) AS common_until,
        CAST(${now()} AS TEXT) AS now ${bounded}
        FROM ${rows(`[${keys.join()}]`)} JOIN ${accounts} a ON a.budget = ${cell(0)} AND a.account = ${cell(1)}
        LEFT JOIN ${overrides} o ON o.budget = a.budget AND o.account = '=' || a.account
        LEFT JOIN ${overrides} w ON w.budget = a.budget AND w.account = '*'
        ORDER BY a.budget, a.account ${sql.literal(isPg ? "FOR UPDATE OF a" : "")}`,
      decodeAccounts
    )

  const returning = sql.literal(
    ["lease", "budget", "account", "CAST(slot AS TEXT) AS slot", "CAST(nano_usd AS TEXT) AS nano_usd"].join()
  )

  const transaction = Effect.fnUntraced(function*(batch: Batch, shares: ReadonlyMap<string, Share>) {
    const keys = [...shares.keys()]
    const locked = yield* lock(keys)
    if (locked.length < keys.length) {
      known = new Set()
      return yield* new SweptError()
    }
    const at = Math.max(...locked.map((row) => row.now))
    const found = new Map(locked.map((row) => {
      const account = new Account(slotsOf(row.slots), Object.entries(row.marks))
      return [keyOf(row.budget, row.account), { row, account, reapAt: row.reap_at ?? Infinity }]
    }))
    // Each share was locked.
    const entry = (share: Share) => found.get(keyOf(share.rules.name, share.account))!

    let { settles } = batch
    const held = new Set<string>()
    if (settles.length > 0) {
      const first =
        yield* sql`INSERT INTO ${writers} AS w (owner, batch, seen_at) VALUES (${batch.owner}, ${batch.number}, ${at})
        ON CONFLICT (owner) DO UPDATE SET batch = excluded.batch, seen_at = excluded.seen_at WHERE w.batch < excluded.batch
        RETURNING owner`
      if (first.length === 0) settles = []
      const leases = JSON.stringify(settles.map(({ lease }) => [lease]))
      const ended = yield* sql`DELETE FROM ${holds} WHERE lease IN (SELECT ${cell(0)} FROM ${rows(leases)})
        RETURNING ${returning}`
      for (const { account, budget, lease } of yield* decodeHolds(ended)) held.add(lease + keyOf(budget, account))
    }

    const due = [...found].filter(([, { reapAt }]) => reapAt <= at)
    if (due.length > 0) {
      const dueKeys = `[${due.map(([key]) => key).join()}]`
      const lapsed = yield* sql`DELETE FROM ${holds} WHERE expires_at <= ${at} AND (budget, account) IN
        (SELECT ${cell(0)}, ${cell(1)} FROM ${rows(dueKeys)}) RETURNING ${returning}`
      for (const hold of yield* decodeHolds(lapsed)) {
        found.get(keyOf(hold.budget, hold.account))?.account.lapse(hold.slot, hold.nano_usd)
      }
      const next = yield* decodeReaps(
        yield* sql`SELECT budget, account, CAST(MIN(expires_at) AS TEXT) AS reap_at FROM ${holds} WHERE (budget, account) IN
          (SELECT ${cell(0)}, ${cell(1)} FROM ${rows(dueKeys)}) GROUP BY budget, account`
      )
      for (const [, self] of due) self.reapAt = Infinity
      for (const { account, budget, reap_at } of next) found.get(keyOf(budget, account))!.reapAt = reap_at
    }

    const done = run(
      {
        account: (share) => entry(share).account,
        limitOf: (share) => {
          const { row } = entry(share)
          return limitOf(share, at, (budget, account) => ({
            budget,
            account,
            limitNanoUsd: (account === undefined ? row.common_limit : row.own_limit) ?? undefined,
            until: (account === undefined ? row.common_until : row.own_until) ?? Infinity
          }))
        }
      },
      { settles, reserves: batch.reserves },
      (lease, share) => held.has(lease + keyOf(share.rules.name, share.account)),
      at
    )

    const taken = batch.reserves.flatMap((ask, index) =>
      holdsOf(ask, done.replies[index]!).map(({ share, slot }) => { // one for each reservation
        const expiresAt = at + ask.leaseMillis
        const self = entry(share)
        self.reapAt = Math.min(self.reapAt, expiresAt)
        return [ask.lease, share.rules.name, share.account, slot, ask.nanoUsd, expiresAt]
      })
    )
    if (taken.length > 0) {
      yield* sql`INSERT INTO ${holds} (lease, budget, account, slot, nano_usd, expires_at)
        SELECT ${cell(0)}, ${cell(1)}, ${cell(2)}, ${int(3)}, ${int(4)}, ${int(5)} FROM ${rows(JSON.stringify(taken))}`
    }

    const written = [...shares].map(([key, share]) => {
      const { account: { marks, slots }, reapAt } = found.get(key)!
      const last = slots[slots.length - 1]?.start ?? at
      const forgetAt = share.rules.window.leavesAt(last) + keptMillis
      return [
        share.rules.name,
        share.account,
        JSON.stringify(slots.map((slot) => [slot.start, slot.spent, slot.reserved, slot.overshot, slot.lapsed])),
        JSON.stringify(Object.fromEntries(marks)),
        Number.isFinite(reapAt) ? reapAt : null,
        Number.isFinite(forgetAt) ? forgetAt : null
      ]
    })
    yield* sql`INSERT INTO ${accounts} (budget, account, slots, marks, reap_at, forget_at)
      SELECT ${cell(0)}, ${cell(1)}, ${cell(2)}, ${cell(3)}, ${int(4)}, ${int(5)} FROM ${
      rows(JSON.stringify(written))
    } WHERE true
      ON CONFLICT (budget, account) DO UPDATE SET slots = excluded.slots, marks = excluded.marks, reap_at = excluded.reap_at,
      forget_at = excluded.forget_at`
    return done
  })

  const begin = isPg ? "BEGIN ISOLATION LEVEL READ COMMITTED" : "BEGIN IMMEDIATE"

  const step = (batch: Batch) =>
    Effect.suspend(() => {
      const shares = new Map<string, Share>()
      const touch = (share: Share) => shares.set(keyOf(share.rules.name, share.account), share)
      for (const { holds } of batch.settles) for (const { share } of holds) touch(share)
      for (const ask of batch.reserves) ask.shares.forEach(touch)
      const keys = [...shares.keys()].sort()
      const once = Effect.andThen(
        Effect.suspend(() => ensure(keys)),
        orBroken(sql.withTransaction(transaction(batch, shares)))
      )
      return Effect.provideService(once, SqlClient.BeginTransaction, begin).pipe(
        Effect.retry({ while: (error) => error instanceof SweptError, times: 3 }),
        Effect.retry({ while: isTransient, schedule: again }),
        Effect.retry({ while: isBroken, times: 1 })
      )
    })

  let sweptAt = -Infinity
  const sweep = Effect.suspend(() => {
    const millis = clock.currentTimeMillisUnsafe()
    if (millis < sweptAt + sweepMillis) return Effect.void
    sweptAt = millis
    return Effect.all([
      sql`DELETE FROM ${holds} WHERE expires_at <= ${now()} - ${sql.literal(`${keptMillis}`)}`,
      sql`DELETE FROM ${accounts} AS a WHERE forget_at <= ${now()} AND NOT EXISTS
        (SELECT 1 FROM ${holds} h WHERE h.budget = a.budget AND h.account = a.account)`,
      sql`DELETE FROM ${overrides} WHERE until_at <= ${now()}`,
      sql`DELETE FROM ${writers} WHERE seen_at <= ${now()} - ${sql.literal(`${7 * keptMillis}`)}`
    ], { discard: true })
  })

  const renew = Effect.fnUntraced(function*(leases: ReadonlyArray<string>, leaseMillis: number) {
    for (let from = 0; from < leases.length; from += maxRenewed) {
      const some = JSON.stringify(leases.slice(from, from + maxRenewed).map((lease) => [lease]))
      yield* sql`UPDATE ${holds} SET expires_at = ${now()} + ${sql.literal(`${Math.ceil(leaseMillis)}`)}
        WHERE expires_at > ${now()} AND lease IN (SELECT ${cell(0)} FROM ${rows(some)})`
    }
    yield* sweep
  })

  const override = ({ account, budget, limitNanoUsd, until }: Override) => {
    const row = account === undefined ? whole : oneOf(account)
    if (limitNanoUsd === undefined) return sql`DELETE FROM ${overrides} WHERE budget = ${budget} AND account = ${row}`
    const json = JSON.stringify([[budget, row, limitNanoUsd, Number.isFinite(until) ? until : null]])
    return sql`INSERT INTO ${overrides} (budget, account, nano_usd, until_at)
      SELECT ${cell(0)}, ${cell(1)}, ${int(2)}, ${int(3)} FROM ${rows(json)} WHERE true
      ON CONFLICT (budget, account) DO UPDATE SET nano_usd = excluded.nano_usd, until_at = excluded.until_at`
  }

  const read = Effect.fnUntraced(function*(budgets: ReadonlyArray<string>) {
    const named = sql`budget IN (SELECT ${cell(0)} FROM ${rows(JSON.stringify(budgets.map((budget) => [budget])))})`
    const [{ now: at }] = yield* decodeNow(yield* sql`SELECT CAST(${now()} AS TEXT) AS now`)
    const stored = yield* decodeStored(
      yield* sql`SELECT budget, account, slots FROM ${accounts} WHERE ${named} ORDER BY account, budget LIMIT ${
        sql.literal(`${maxRead}`)
      }`
    )
    const lapsed = yield* decodeHolds(
      yield* sql`SELECT ${returning} FROM ${holds} WHERE ${named} AND expires_at <= ${at}`
    )
    const others = yield* decodeOverrides(
      yield* sql`SELECT budget, account, ${text("nano_usd")}, ${text("until_at")} FROM ${overrides} WHERE ${named}`
    )
    const found = new Map(stored.map((row) => [keyOf(row.budget, row.account), new Account(slotsOf(row.slots))]))
    for (const hold of lapsed) found.get(keyOf(hold.budget, hold.account))?.lapse(hold.slot, hold.nano_usd)
    return {
      accounts: stored.map(({ account, budget }) => ({
        budget,
        account,
        slots: found.get(keyOf(budget, account))?.slots ?? []
      })),
      overrides: others.map(({ account, budget, nano_usd, until_at }): Override => ({
        budget,
        account: account === whole ? undefined : account.slice(1),
        limitNanoUsd: nano_usd,
        until: until_at ?? Infinity
      })),
      now: at
    }
  })

  return Store.of({
    isLocal: false,
    step,
    renew,
    override,
    // Who only reads leaves the lock of writers alone.
    read: (budgets) =>
      Effect.provideService(orBroken(sql.withTransaction(read(budgets))), SqlClient.BeginTransaction, "BEGIN")
  })
})

/**
 * Keeps accounts in the database of the `SqlClient`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options = {}
): Layer.Layer<Store, SqlError | Migrator.MigrationError, SqlClient.SqlClient> => Layer.effect(Store, make(options))

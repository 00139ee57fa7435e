/**
 * One process of the soak: it makes calls of all kinds under every policy, over the stores that it is given, and tells each second how it is.
 * `start` runs it, the rest of this file is what it does.
 */
import { NodeRedis } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { Cause, Effect, Exit, Fiber, Layer, Logger, Metric, Redacted, Stream } from "effect"
import type { Redis } from "effect/persistence"
import { type ChildProcess, fork } from "node:child_process"
import { once } from "node:events"
import { readdirSync } from "node:fs"
import { monitorEventLoopDelay } from "node:perf_hooks"
import { fileURLToPath } from "node:url"
import * as Budget from "../../src/Budget.ts"
import * as BudgetSql from "../../src/Budget/Sql.ts"
import * as CallContext from "../../src/CallContext.ts"
import * as CircuitBreakerRedis from "../../src/CircuitBreaker/Redis.ts"
import * as ClaudeService from "../../src/ClaudeService.ts"
import * as CostLedgerSql from "../../src/CostLedger/Sql.ts"
import * as KeyStore from "../../src/KeyStore.ts"
import * as RateLimiter from "../../src/RateLimiter.ts"
import * as RateLimiterRedis from "../../src/RateLimiter/Redis.ts"
import { chance } from "../limits/workload.ts"

export interface Task {
  readonly name: string
  readonly seed: number
  readonly api: string
  readonly redis: { readonly kind: "one" | "cluster"; readonly urls: ReadonlyArray<string> }
  readonly postgres: string
  readonly key: string
}

/** What a process is told: to use another key, to step its clock, to make no new calls, to go on, to end. */
export type Order =
  | { readonly _tag: "Key"; readonly key: string }
  | { readonly _tag: "Clock"; readonly millis: number }
  | { readonly _tag: "Rest" | "Go" | "End" }

export interface Vitals {
  readonly open: number
  /** How long the call that has been open longest has been so. */
  readonly oldestMillis: number
  readonly counts: Readonly<Record<string, number>>
  /** Since the last report. */
  readonly delayMillis: number
}

/** How a process is when nothing is under way. */
export interface Rest {
  readonly heap: number
  readonly descriptors: number
  readonly timers: number
  readonly fibers: number
  readonly waiting: number
  readonly inFlight: number
}

export type Report =
  | { readonly _tag: "Vitals"; readonly vitals: Vitals }
  | { readonly _tag: "Rest"; readonly rest: Rest }

export interface Worker {
  readonly task: Task
  readonly child: ChildProcess
  readonly tell: (order: Order) => void
  /** All that it printed. */
  readonly said: () => string
  vitals: Vitals | undefined
  reportedAt: number
  rest: Rest | undefined
  readonly exited: Promise<number | null>
}

export const start = (task: Task): Worker => {
  const child = fork(fileURLToPath(import.meta.url), [JSON.stringify(task)], {
    execArgv: ["--expose-gc", "--disable-warning=ExperimentalWarning"],
    stdio: ["ignore", "pipe", "pipe", "ipc"]
  })
  let said = ""
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (bytes) => (said += bytes))
  const worker: Worker = {
    task,
    child,
    tell: (order) => {
      if (child.connected) child.send(order)
    },
    said: () => said,
    vitals: undefined,
    reportedAt: performance.now(),
    rest: undefined,
    exited: once(child, "exit").then(([code]) => code)
  }
  child.on("message", (report: Report) => {
    worker.reportedAt = performance.now()
    if (report._tag === "Vitals") worker.vitals = report.vitals
    else worker.rest = report.rest
  })
  return worker
}

/** How long a call may take in all. */
export const deadlineMillis = 15_000

/** The budget that has room for a part of the calls that count towards it. */
export const tightUsd = 0.02
export const tightModel = "claude-haiku-4-5"
const model = "claude-sonnet-5-5"

const concurrency = 16

const main = async (task: Task) => {
  const dice = chance(task.seed)
  const counts: Record<string, number> = {}
  const count = (name: string) => {
    counts[name] = (counts[name] ?? 0) + 1
  }
  const open = new Set<{ readonly since: number }>()
  let secret = task.key
  let offset = 0
  let resting = false
  const realNow = Date.now
  Date.now = () => realNow() + offset
  let fibers = 0
  const delay = monitorEventLoopDelay({ resolution: 10 })
  delay.enable()

  const redis: Layer.Layer<Redis.Redis> = task.redis.kind === "cluster"
    ? (await import("../../test/utils/redisFleet.ts")).clusterConnection(task.redis.urls)
    : Layer.orDie(NodeRedis.layer({ url: task.redis.urls[0]!, socket: { reconnectStrategy: () => 50 } }))
  const postgres = PgClient.layer({
    url: Redacted.make(task.postgres),
    maxConnections: 4,
    connectTimeout: "2 seconds"
  })
  const keys = KeyStore.layer({
    name: "soak",
    read: () => Effect.sync(() => ({ secret: Redacted.make(secret) })),
    names: ["ANTHROPIC_API_KEY"],
    changes: KeyStore.every("500 millis")
  })
  const layer = ClaudeService.layerWithParts({
    api: { baseUrl: task.api, timeouts: { headers: "5 seconds", firstContent: "5 seconds", idle: "5 seconds" } },
    keys,
    retry: { base: 50, throttledBase: 100, cap: 1_000, circuitWait: "5 seconds" },
    limiter: RateLimiterRedis.layer({ storeTimeout: "500 millis" }).pipe(Layer.provide(redis)),
    breaker: CircuitBreakerRedis.layer({ storeTimeout: "500 millis" }).pipe(Layer.provide(redis)),
    ledger: CostLedgerSql.layer({ flushEvery: 200 }).pipe(Layer.provide(postgres)),
    budget: BudgetSql.layer({
      budgets: [
        { name: "all", limit: 1_000 },
        { name: "tight", limit: tightUsd, filter: { model: [tightModel] } }
      ],
      lease: "5 seconds"
    }).pipe(Layer.provide(postgres))
  })

  const call = Effect.gen(function*() {
    const claude = yield* ClaudeService.ClaudeService
    const kind = dice.next()
    const request = (content: string, max_tokens = 60, isTight = false) => ({
      model: isTight ? tightModel : model,
      max_tokens,
      messages: [{ role: "user" as const, content }]
    })
    const read = (content: string, pauseMillis: number, max_tokens = 60) =>
      claude.stream(request(content, max_tokens)).pipe(
        Stream.runForEach(() => pauseMillis === 0 ? Effect.void : Effect.sleep(pauseMillis))
      )
    const question = `Question ${Math.floor(dice.next() * 1e6)}?`
    const asked = kind < 0.5
      ? Effect.as(claude.create(request(question)), "answered")
      : kind < 0.6
      ? Effect.as(claude.create(request(question, 60, true)), "answered, tight budget")
      : kind < 0.8
      ? Effect.as(read(question, 0), "streamed")
      : kind < 0.88
      ? Effect.as(read(question, 5 + 20 * dice.next()), "streamed to a slow reader")
      : kind < 0.995
      ? Effect.raceFirst(
        Effect.as(claude.create(request(question)), "answered"),
        Effect.as(Effect.sleep(200 * dice.next()), "interrupted")
      )
      : kind < 0.998
      ? Effect.as(claude.create(request("huge")), "30 MB")
      : Effect.as(read("tiny", 0, 64_000), "tiny events by the thousand")
    const one = { since: performance.now() }
    open.add(one)
    return yield* asked.pipe(
      CallContext.annotate({
        tenant: dice.next() < 0.5 ? "a" : "b",
        priority: (["interactive", "standard", "bulk"] as const)[Math.floor(3 * dice.next())]!
      }),
      CallContext.withDeadline(deadlineMillis),
      Effect.exit,
      Effect.map((exit) => {
        open.delete(one)
        if (Exit.isSuccess(exit)) return count(exit.value)
        const error = Cause.squash(exit.cause)
        const tag = typeof error === "object" && error !== null && "_tag" in error ? String(error._tag) : "defect"
        if (tag === "defect") console.error("defect:", Cause.pretty(exit.cause))
        count(tag)
      })
    )
  })

  const lane = Effect.gen(function*() {
    while (true) {
      if (resting) yield* Effect.sleep(50)
      else {
        yield* call
        yield* Effect.sleep(200 * dice.next())
      }
    }
  })

  /** Waits until nothing is under way, and looks. */
  const look = Effect.gen(function*() {
    const limiter = yield* RateLimiter.RateLimiter
    const budget = yield* Budget.Budget
    while (open.size > 0) yield* Effect.sleep(50)
    // Pools, checks of keys and back-offs of stores come to rest too.
    yield* Effect.sleep(3_000)
    for (let i = 0; i < 4; i++) {
      globalThis.gc?.()
      yield* Effect.sleep(50)
    }
    yield* Effect.ignore(budget.snapshot)
    const groups = yield* limiter.snapshot
    const rest: Rest = {
      heap: process.memoryUsage().heapUsed,
      descriptors: readdirSync("/proc/self/fd").length,
      timers: process.getActiveResourcesInfo().filter((name) => name === "Timeout").length,
      fibers,
      waiting: groups.reduce((sum, { waiting }) => sum + waiting, 0),
      inFlight: groups.reduce((sum, { inFlight }) => sum + inFlight, 0)
    }
    process.send?.({ _tag: "Rest", rest } satisfies Report)
  })

  const report = Effect.sync(() => {
    const now = performance.now()
    const vitals: Vitals = {
      open: open.size,
      oldestMillis: Math.max(0, ...[...open].map(({ since }) => now - since)),
      counts,
      delayMillis: delay.percentile(99) / 1e6
    }
    delay.reset()
    process.send?.({ _tag: "Vitals", vitals } satisfies Report)
  })

  const program = Effect.gen(function*() {
    const run = yield* Effect.map(Effect.context<RateLimiter.RateLimiter | Budget.Budget>(), Effect.runForkWith)
    const lanes = yield* Effect.forkChild(
      Effect.all(Array.from({ length: concurrency }, () => lane), { concurrency: "unbounded" })
    )
    const reports = yield* Effect.forkChild(Effect.forever(Effect.delay(report, 1_000)))
    yield* Effect.callback<void>((resume) => {
      process.on("message", (order: Order) => {
        if (order._tag === "Key") secret = order.key
        else if (order._tag === "Clock") offset += order.millis
        else if (order._tag === "Go") resting = false
        else if (order._tag === "Rest") {
          resting = true
          run(look)
        } else resume(Effect.void)
      })
    })
    yield* Fiber.interruptAll([lanes, reports])
  })
  const exit = await Effect.runPromiseExit(program.pipe(
    Effect.provide(layer),
    Effect.provide(Logger.layer([Logger.consoleLogFmt])),
    Effect.provideService(Metric.FiberRuntimeMetrics, {
      recordFiberStart: () => void fibers++,
      recordFiberEnd: () => void fibers--
    })
  ))
  if (Exit.isFailure(exit)) console.error("ended:", Cause.pretty(exit.cause))
  process.exit(Exit.isSuccess(exit) ? 0 : 1)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  // It does not outlive who started it.
  process.on("disconnect", () => process.exit(1))
  await main(JSON.parse(process.argv[2]!))
}

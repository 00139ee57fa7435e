/**
 * Four processes of 16 workers each that share their limits over one Redis, against the simulator over HTTP with time compressed. The workload is that of
 * `limits`.
 *
 * - `goodput`: work that was answered, as a part of what the server's buckets let through at best.
 * - `refused_per_100`: answers 429 for each hundred requests that were sent.
 * - `fairness`: calls answered to the slowest worker, and to the slowest process, as a part of the mean.
 * - `round_trips_per_call`: to Redis, before the answer, and all.
 * - `admission_p99`: of admissions while there is room, in plain round trips (`PING`, p99, interleaved on the same connection).
 */
import { NodeRedis } from "@effect/platform-node"
import { Context, Effect, Exit, Layer, Scope } from "effect"
import { Redis } from "effect/persistence"
import * as Simulator from "../src/testing/Simulator.ts"
import * as SimulatorServer from "../src/testing/SimulatorServer.ts"
import { best, limits } from "./limits/best.ts"
import { start } from "./limits/process.ts"
import { bare } from "./limits/sides.ts"
import { answer, latency, rates } from "./limits/workload.ts"
import type { Run } from "./run.ts"

const processes = 4
const workersEach = 16
const minutes = 10

/** How many times faster than real time it runs. */
const compress = Number(process.argv[3] ?? 10)

const redis = process.env["REDIS_URL"] ?? "redis://127.0.0.1:6379"

const percentile = (values: ReadonlyArray<number>, part: number): number =>
  [...values].sort((a, b) => a - b)[Math.floor((values.length - 1) * part)] ?? NaN

/** Removes what the run left. */
const sweep = (prefix: string) =>
  Effect.gen(function*() {
    const { send } = yield* Redis.Redis
    const keys = yield* send<ReadonlyArray<string>>("KEYS", `${prefix}*`)
    if (keys.length > 0) yield* send("DEL", ...keys)
  }).pipe(Effect.provide(NodeRedis.layer({ url: redis })), Effect.runPromise)

export const run: Run = async (report) => {
  const scope = Scope.makeUnsafe()
  const simulator = Simulator.layer({
    answer,
    limits: limits(rates, compress),
    latency: {
      firstToken: { median: latency.firstToken.median / compress, sigma: latency.firstToken.sigma },
      perToken: latency.perToken / compress
    },
    billRows: 1
  })
  const context = await Effect.runPromise(
    Layer.buildWithScope(Layer.provideMerge(SimulatorServer.layer(), simulator), scope)
  )
  const { url } = Context.get(context, SimulatorServer.SimulatorServer)
  const prefix = `bench-${process.pid}-${Date.now()}:`
  const started = await Promise.all(Array.from({ length: processes }, (_, index) =>
    start({
      api: url,
      redis,
      prefix,
      compress,
      minutes,
      processes,
      workers: Array.from({ length: workersEach }, (_, worker) => index * workersEach + worker),
      admissions: 1_000
    })))
  try {
    // The buckets of a real server were there before.
    await bare({ baseUrl: url, fetch: undefined, compress }).call({ input: 40, output: 5 }, {
      type: "chat",
      priority: "standard"
    })
    const results = await Promise.all(started.map((process) => process("work")))
    const counted = await Effect.runPromise(Context.get(context, Simulator.Simulator).requests)
    const admissions = await Promise.all(started.map((process) => process("admit")))

    const calls = results.flatMap(({ calls }) => calls)
    const sum = (values: ReadonlyArray<number>) => values.reduce((all, one) => all + one, 0)
    const answered = sum(calls)
    const refused = counted.byStatus[429] ?? 0
    const name = `${processes} processes, HTTP, time x${compress}`
    const row = (metric: string, value: number, unit: string, n: number, what = name, peer = "effect-claude") =>
      report({ metric, case: what, value, unit, peer, n })
    row(
      "goodput",
      sum(results.map(({ work }) => work)) / best(processes * workersEach, minutes, rates).work,
      "ratio",
      answered
    )
    row("refused_per_100", 100 * refused / counted.total, "1/100", counted.total)
    row("fairness", Math.min(...calls) / (answered / calls.length), "ratio", calls.length, `${name}, workers`)
    row(
      "fairness",
      Math.min(...results.map(({ calls }) => sum(calls))) / (answered / processes),
      "ratio",
      processes,
      `${name}, processes`
    )
    const granted = sum(results.map(({ granted }) => granted))
    const trips = (what: "waited" | "trips") => sum(results.map((result) => result[what])) / granted
    row("round_trips_per_call", trips("waited"), "1/call", granted, `${name}, before the answer`)
    row("round_trips_per_call", trips("trips"), "1/call", granted, `${name}, all`)
    const mine = admissions.flatMap(({ admissions }) => admissions)
    const pings = admissions.flatMap(({ pings }) => pings)
    for (const part of [0.5, 0.99]) {
      row(
        `admission_p${100 * part}`,
        percentile(mine, part) / percentile(pings, part),
        "round trips",
        mine.length,
        "with room",
        "PING"
      )
    }
  } finally {
    await sweep(prefix)
    await Effect.runPromise(Scope.close(scope, Exit.void))
  }
}

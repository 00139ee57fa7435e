/** One of several processes that share their limits over Redis: `start` runs it, the rest of this file is what it does. */
import { NodeRedis } from "@effect/platform-node"
import { Context, Effect, Layer, Redacted } from "effect"
import { Redis } from "effect/persistence"
import { fork } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"
import { CallContext } from "../../src/CallContext.ts"
import * as RateLimiter from "../../src/RateLimiter.ts"
import * as RateLimiterRedis from "../../src/RateLimiter/Redis.ts"
import * as ClaudeTest from "../../src/testing/ClaudeTest.ts"
import { work } from "./best.ts"
import * as Sides from "./sides.ts"
import { chance, draw, minute, model, rates } from "./workload.ts"

export interface Task {
  readonly api: string
  readonly redis: string
  readonly prefix: string
  readonly compress: number
  readonly minutes: number
  readonly processes: number
  /** Its workers, of all. */
  readonly workers: ReadonlyArray<number>
  /** Admissions with room to measure. */
  readonly admissions: number
}

export interface Result {
  readonly calls: ReadonlyArray<number>
  readonly work: number
  /** Trips to Redis that somebody waited for, all, and the calls that they let in. */
  readonly waited: number
  readonly trips: number
  readonly granted: number
  /** Milliseconds. */
  readonly admissions: ReadonlyArray<number>
  readonly pings: ReadonlyArray<number>
}

/** Starts a process; it works when it is told to. */
export const start = async (task: Task) => {
  const child = fork(fileURLToPath(import.meta.url), [JSON.stringify(task)], {
    execArgv: [],
    // What is printed is figures alone.
    stdio: ["ignore", process.stderr, process.stderr, "ipc"]
  })
  await once(child, "message")
  return async (what: "work" | "admit"): Promise<Result> => {
    child.send(what)
    const [result] = await once(child, "message")
    if (what === "admit") child.disconnect()
    return result
  }
}

const main = async ({ admissions, api, compress, minutes, prefix, processes, redis, workers }: Task) => {
  let waited = 0
  let granted = 0
  let trips = 0

  const layerRedis = Layer.orDie(NodeRedis.layer({ url: redis }))
  const counted = Layer.effect(
    Redis.Redis,
    Effect.map(Redis.Redis, (redis) => ({
      ...redis,
      send: (command, ...args) =>
        Effect.suspend(() => {
          trips++
          return Effect.ensuring(
            redis.send(command, ...args),
            Effect.sync(() => {
              if (args.at(-1)?.includes("\"ask\":{") === true) waited++
            })
          )
        })
    }))
  ).pipe(Layer.provide(layerRedis))
  const store = Layer.effect(
    RateLimiter.Store,
    Effect.map(RateLimiter.Store, (store): RateLimiter.Store["Service"] => ({
      step: (batch) =>
        Effect.tap(store.step(batch), (reply) =>
          Effect.sync(() => {
            if (reply._tag === "Done" && reply.reservation?._tag === "Granted") granted++
          }))
    }))
  ).pipe(Layer.provide(RateLimiterRedis.layerStore({ prefix })), Layer.provide(counted))

  const one = Sides.ours({ baseUrl: api, fetch: undefined, compress }, rates, store, { processes })

  const load = async (): Promise<Result> => {
    const began = Date.now()
    const end = began + minutes * minute / compress
    const calls = workers.map(() => 0)
    let done = 0
    const worker = async (index: number, at: number) => {
      const dice = chance(index + 1)
      while (Date.now() < end) {
        const { type, ...sizes } = draw(dice, (Date.now() - began) * compress / minute)
        const answered = await one.call(sizes, { type, priority: "standard" }).then(() => true, () => false)
        if (Date.now() > end || !answered) continue
        calls[at]!++
        done += work(sizes, rates)
      }
    }
    const all = Promise.all(workers.map(worker))
    await Promise.race([all, new Promise((resolve) => setTimeout(resolve, end - began + 1))])
    const result = { calls, work: done, waited, trips, granted, admissions: [], pings: [] }
    await one.close().catch(() => {})
    return result
  }

  /** Admissions with room, and between them plain round trips over the same connection. */
  const admit = Effect.gen(function*() {
    const limiter = yield* RateLimiter.RateLimiter
    const redis = yield* Redis.Redis
    const times = { admissions: new Array<number>(), pings: new Array<number>() }
    const timed = <A, E, R>(into: Array<number>, effect: Effect.Effect<A, E, R>) =>
      Effect.suspend(() => {
        const began = performance.now()
        return Effect.tap(effect, () => Effect.sync(() => into.push(performance.now() - began)))
      })
    const worker = Effect.fnUntraced(function*(index: number) {
      const dice = chance(index + 1)
      const context = Context.get(Context.empty(), CallContext)
      for (let left = Math.ceil(admissions / workers.length); left > 0; left--) {
        yield* Effect.sleep(20 + dice.next() * 40)
        yield* timed(times.pings, redis.send("PING"))
        yield* Effect.sleep(20 + dice.next() * 40)
        const attempt = ClaudeTest.attempt({
          model,
          context,
          estimate: { inputTokens: 400, maxOutputTokens: 4_096 },
          key: { label: "bench", group: "room", secret: Redacted.make("none") }
        })
        yield* yield* timed(times.admissions, limiter.admit(attempt))
      }
    })
    yield* Effect.all(workers.map(worker), { concurrency: "unbounded" })
    // The first ones open the connection and load the script.
    const warm = (all: Array<number>) => all.slice(Math.ceil(all.length / 10))
    return { admissions: warm(times.admissions), pings: warm(times.pings) }
  }).pipe(
    Effect.provide(
      RateLimiterRedis.layer({ limits: "scale", prefix, processes }).pipe(Layer.provideMerge(layerRedis))
    )
  )

  process.on("message", async (what) => {
    if (what === "work") process.send?.(await load())
    else process.send?.({ calls: [], work: 0, waited, trips, granted, ...await Effect.runPromise(admit) })
  })
  process.on("disconnect", () => process.exit())
  await one.ready()
  process.send?.("ready")
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(JSON.parse(process.argv[2]!))

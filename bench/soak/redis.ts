/** The kinds of Redis that the soak shares, and what happens to each. */
import { Effect, type Scope } from "effect"
import type { Redis } from "effect/persistence"
import * as TestRedis from "../../test/utils/redis.ts"
import * as Fleet from "../../test/utils/redisFleet.ts"
import type { Task } from "./worker.ts"

export interface Shared {
  readonly name: string
  readonly redis: Task["redis"]
  /** What may happen to it, by name. Each ends with all of it running again. */
  readonly faults: Readonly<Record<string, Effect.Effect<unknown, Redis.RedisError>>>
  /** All that it holds. */
  readonly contents: Effect.Effect<string, Redis.RedisError>
}

type Send = Redis.Redis["Service"]["send"]

const contents = (send: Send) =>
  Effect.gen(function*() {
    const keys = yield* send<ReadonlyArray<string>>("KEYS", "*")
    const values = yield* Effect.forEach(keys, (key) =>
      Effect.flatMap(send<string>("TYPE", key), (type) =>
        type === "hash" ? send("HGETALL", key) : send("GET", key)))
    return JSON.stringify([keys, values])
  })

const away = <E>(first: Effect.Effect<unknown, E>, then: Effect.Effect<unknown, E>) =>
  Effect.andThen(first, Effect.andThen(Effect.sleep(1_500), then))

const one = Effect.gen(function*(): Effect.fn.Return<Shared, Redis.RedisError, Scope.Scope> {
  const server = yield* TestRedis.server({ durable: true })
  const send = yield* Fleet.sendTo(server)
  return {
    name: "one server",
    redis: { kind: "one", urls: [server.url] },
    faults: {
      "Redis killed and restarted": away(server.kill, server.start),
      "Redis paused": away(server.pause, server.resume),
      "Redis emptied": send("FLUSHALL")
    },
    contents: contents(send)
  }
})

const pair = Effect.gen(function*(): Effect.fn.Return<Shared, Redis.RedisError, Scope.Scope> {
  const pair = yield* Fleet.pair
  return {
    name: "a primary with a replica",
    redis: { kind: "one", urls: [pair.url] },
    faults: {
      "replica took over": away(pair.takeOver, pair.rejoin),
      "replica took over without the last writes": away(
        Effect.andThen(pair.cut, Effect.andThen(Effect.sleep(500), pair.takeOver)),
        pair.rejoin
      ),
      "Redis out of reach": away(pair.proxy.hang, pair.proxy.mend),
      "Redis emptied": pair.send("FLUSHALL")
    },
    contents: contents(pair.send)
  }
})

const cluster = Effect.gen(function*(): Effect.fn.Return<Shared, Redis.RedisError, Scope.Scope> {
  const { move, nodes, urls } = yield* Fleet.cluster
  let next = 0
  const node = Effect.sync(() => nodes[next++ % nodes.length]!)
  const keys = Effect.map(
    Effect.forEach(nodes, ({ send }) => send<ReadonlyArray<string>>("KEYS", "*")),
    (keys) => keys.flat()
  )
  return {
    name: "a cluster of three",
    redis: { kind: "cluster", urls },
    faults: {
      "slots moved": Effect.flatMap(keys, (keys) => Effect.forEach(keys, move)),
      "node killed and restarted": Effect.flatMap(node, ({ server }) => away(server.kill, server.start)),
      "node paused": Effect.flatMap(node, ({ server }) => away(server.pause, server.resume)),
      "node emptied": Effect.flatMap(node, ({ send }) => send("FLUSHALL"))
    },
    contents: Effect.map(Effect.forEach(nodes, ({ send }) => contents(send)), (all) => all.join("\n"))
  }
})

export const kinds = [one, pair, cluster]

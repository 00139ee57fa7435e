/** Several servers of Redis as one: a cluster whose slots move, and a primary with a replica that takes over. */
import { Context, Effect, Layer, type Scope } from "effect"
import { Redis } from "effect/persistence"
import { createClient, createCluster } from "redis"
import { eventually } from "./eventually.ts"
import { freePort } from "./freePort.ts"
import { type Proxy, proxy } from "./proxy.ts"
import * as TestRedis from "./redis.ts"

type Send = Redis.Redis["Service"]["send"]

/** What a client of Redis does here: commands alone. */
const over = (
  connect: Effect.Effect<{ readonly destroy: () => void }, never, Scope.Scope>,
  command: (args: [string, ...Array<string>]) => Promise<unknown>
) =>
  Effect.flatMap(connect, () =>
    Redis.make({
      send: <A>(...args: [string, ...Array<string>]) =>
        Effect.tryPromise({
          try: () => command(args) as Promise<A>, // whoever asks knows what the answer is
          catch: (cause) => new Redis.RedisError({ cause })
        }),
      subscribe: () => Effect.die("not for subscriptions"),
      connect: Effect.die("not for connections of one caller")
    }))

/** A client that is back soon after its connection broke, and that ends at once, whatever it waits for. */
const connection = (url: string): Layer.Layer<Redis.Redis> =>
  Layer.effect(
    Redis.Redis,
    Effect.suspend(() => {
      const client = createClient({ url, socket: { reconnectStrategy: () => 20 } }).on("error", () => {})
      return over(
        Effect.acquireRelease(Effect.promise(() => client.connect()), () => Effect.sync(() => client.destroy())),
        (args) => client.sendCommand(args)
      )
    })
  )

/** A way to command a server, which comes back when the server does. */
export const sendTo = ({ url }: TestRedis.Server): Effect.Effect<Send, never, Scope.Scope> =>
  Effect.map(Layer.build(connection(url)), (context) => Context.get(context, Redis.Redis).send)

/** One node of a cluster, and a way to command it. */
interface Node {
  readonly server: TestRedis.Server
  readonly id: string
  readonly send: Send
}

export interface Cluster {
  readonly urls: ReadonlyArray<string>
  readonly nodes: ReadonlyArray<Node>
  /** The slot of a key goes to the next node, with all that is in it. */
  readonly move: (key: string) => Effect.Effect<void, Redis.RedisError>
}

const slots = 16_384

export const cluster: Effect.Effect<Cluster, Redis.RedisError, Scope.Scope> = Effect.gen(function*() {
  const start = Effect.gen(function*() {
    const bus = yield* Effect.promise(freePort)
    const server = yield* TestRedis.server({
      durable: false,
      args: ["--cluster-enabled", "yes", "--cluster-port", `${bus}`]
    })
    const send = yield* sendTo(server)
    return { server, bus, send, id: yield* send<string>("CLUSTER", "MYID") }
  })
  const nodes = yield* Effect.all([start, start, start], { concurrency: "unbounded" })
  const from = (index: number) => Math.floor(index * slots / nodes.length)
  for (const [index, { send }] of nodes.entries()) {
    yield* send("CLUSTER", "SET-CONFIG-EPOCH", `${index + 1}`)
    yield* send("CLUSTER", "ADDSLOTSRANGE", `${from(index)}`, `${from(index + 1) - 1}`)
    const { bus, server } = nodes[0]!
    if (index > 0) yield* send("CLUSTER", "MEET", "127.0.0.1", `${server.port}`, `${bus}`)
  }
  const ready = Effect.forEach(nodes, ({ send }) => {
    const info = Effect.map(
      send<string>("CLUSTER", "INFO"),
      (info) => info.includes("cluster_state:ok") && info.includes(`cluster_known_nodes:${nodes.length}`)
    )
    return eventually(Effect.orDie(info), (isReady) => isReady, 30)
  })
  yield* ready

  const move = Effect.fnUntraced(function*(key: string) {
    // A node that was started again takes no writes for two seconds.
    yield* ready
    const slot = `${yield* nodes[0]!.send<number>("CLUSTER", "KEYSLOT", key)}`
    let owner = -1
    for (const [index, { id, send }] of nodes.entries()) {
      const lines = (yield* send<string>("CLUSTER", "NODES")).split("\n")
      const ranges = lines.find((line) => line.startsWith(id))?.split(" ").slice(8) ?? []
      const owns = ranges.some((range) => {
        const [first = NaN, last = first] = range.split("-").map(Number)
        return first <= Number(slot) && Number(slot) <= last
      })
      if (owns) owner = index
    }
    const source = nodes[owner]!
    const target = nodes[(owner + 1) % nodes.length]!
    yield* target.send("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
    yield* source.send("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
    while (true) {
      // What is new is asked for at the target meanwhile, what is still here is not.
      yield* Effect.sleep(20)
      const keys = yield* source.send<ReadonlyArray<string>>("CLUSTER", "GETKEYSINSLOT", slot, "2")
      if (keys.length === 0) break
      yield* source.send("MIGRATE", "127.0.0.1", `${target.server.port}`, "", "0", "10000", "KEYS", ...keys)
    }
    for (const { send } of [target, source, ...nodes]) yield* send("CLUSTER", "SETSLOT", slot, "NODE", target.id)
  })
  return { urls: nodes.map(({ server }) => server.url), nodes, move }
})

/** A client of the cluster, as `docs/recipes/several-processes.md` makes it. */
export const clusterConnection = (urls: ReadonlyArray<string>): Layer.Layer<Redis.Redis> =>
  Layer.effect(
    Redis.Redis,
    Effect.suspend(() => {
      const client = createCluster({ rootNodes: urls.map((url) => ({ url })) }).on("error", () => {})
      return over(
        Effect.acquireRelease(Effect.promise(() => client.connect()), () => Effect.sync(() => client.destroy())),
        // The third argument of EVAL and of EVALSHA is the key.
        (args) => client.sendCommand(args[3], false, args)
      )
    })
  )

export interface Pair {
  /** An address that leads to whoever is primary. */
  readonly url: string
  readonly proxy: Proxy
  /** The replica has all that the primary had when it was asked for the first time. */
  readonly isFollowing: Effect.Effect<unknown>
  /** Every write of the primary has reached the replica; then they swap. Nobody may write meanwhile. */
  readonly swap: Effect.Effect<void, Redis.RedisError>
  /** The replica gets no more writes. */
  readonly cut: Effect.Effect<void, Redis.RedisError>
  /** The primary crashes, and the replica takes over with what it has. */
  readonly takeOver: Effect.Effect<void, Redis.RedisError>
  /** What was the primary starts again, as a replica. */
  readonly rejoin: Effect.Effect<void, Redis.RedisError>
  /** Commands whoever is primary. */
  readonly send: Send
}

export const pair: Effect.Effect<Pair, Redis.RedisError, Scope.Scope> = Effect.gen(function*() {
  const args = ["--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0"]
  const start = Effect.gen(function*() {
    const server = yield* TestRedis.server({ durable: false, args })
    return { server, send: yield* sendTo(server) }
  })
  let primary = yield* start
  let replica = yield* start
  const follow = Effect.suspend(() => replica.send("REPLICAOF", "127.0.0.1", `${primary.server.port}`))
  const isFollowing = Effect.suspend(() => {
    const info = Effect.map(replica.send<string>("INFO", "replication"), (info) => info.includes("link_status:up"))
    return eventually(Effect.orDie(info), (isUp) => isUp, 30)
  })
  yield* follow
  yield* isFollowing
  const wire = yield* proxy(new URL(primary.server.url))
  const promote = Effect.suspend(() => {
    ;[primary, replica] = [replica, primary]
    return Effect.andThen(primary.send("REPLICAOF", "NO", "ONE"), wire.leadTo(primary.server.port))
  })
  return {
    url: `redis://127.0.0.1:${wire.port}`,
    proxy: wire,
    isFollowing,
    swap: Effect.gen(function*() {
      // It waits for what its own connection has written.
      yield* primary.send("SET", "swap", "1")
      yield* eventually(Effect.orDie(primary.send<number>("WAIT", "1", "1000")), (count) => count === 1)
      yield* promote
      yield* follow
    }),
    cut: Effect.asVoid(Effect.suspend(() => replica.send("REPLICAOF", "127.0.0.1", "1"))),
    takeOver: Effect.andThen(Effect.suspend(() => primary.server.kill), promote),
    rejoin: Effect.gen(function*() {
      yield* replica.server.start
      yield* follow
      yield* isFollowing
    }),
    send: (command, ...args) => Effect.suspend(() => primary.send(command, ...args))
  }
})

/** A client of whoever is primary. */
export const pairConnection = ({ url }: Pair): Layer.Layer<Redis.Redis> => connection(url)

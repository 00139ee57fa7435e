import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Context, Effect, Fiber, Layer, Logger, Redacted, Scope } from "effect"
import * as Attempt from "effect-claude/Attempt"
import * as RateLimiter from "effect-claude/RateLimiter"
import * as RateLimiterRedis from "effect-claude/RateLimiter/Redis"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import * as Usage from "effect-claude/Usage"
import { Redis } from "effect/persistence"
import type { BucketSet } from "../../src/RateLimiter/internal/BucketSet.ts"
import * as Client from "../../src/RateLimiter/internal/client.ts"
import { suite } from "../suites/RateLimiterStore.ts"
import { amounts, type Asked, reserve } from "../utils/bucketSets.ts"
import { eventually } from "../utils/eventually.ts"
import * as TestRedis from "../utils/redis.ts"

const layerOf = (server: TestRedis.Server, options: RateLimiterRedis.Options = {}) =>
  Layer.fresh(RateLimiterRedis.layer(options)).pipe(Layer.provide(TestRedis.connection(server)))

/** A bucket of sixty that takes ten minutes to fill, so that a test sees next to nothing of its refill. */
const limits: RateLimiter.Limits = { requestsPerMinute: 6 }
const burstMillis = 600_000

const attemptOf = (inputTokens: number): Attempt.Attempt =>
  ClaudeTest.attempt({
    model: "claude-opus-5",
    estimate: { inputTokens, maxOutputTokens: 1 },
    key: { label: "k", group: "g", secret: Redacted.make("s") }
  })

const ask = (requests: number, options: Partial<Asked> = {}): Asked => ({
  limits,
  usage: amounts(requests),
  reserve: amounts(0),
  withinMillis: 0,
  ...options
})

const clientOf = (
  store: RateLimiter.Store["Service"],
  { flushMillis = 20, processes = 1, timeoutMillis = 1_000 }: Partial<Client.Options> = {}
) =>
  Effect.map(
    Client.make({ step: store.step, timeoutMillis, flushMillis, processes }),
    (open) => open("opus-5 team", burstMillis)
  )

/** One more process on the same buckets. */
const processOn = (server: TestRedis.Server, options: Partial<Client.Options> = {}) =>
  Layer.build(Layer.provide(RateLimiterRedis.layerStore(), TestRedis.connection(server))).pipe(
    Effect.flatMap((context) => clientOf(Context.get(context, RateLimiter.Store), options)),
    // A connection closes when what it was asked is answered.
    Effect.tap(Effect.addFinalizer(() => server.revive))
  )

/** Takes one after the other until there is none left, and returns how many. */
const drain = Effect.fnUntraced(function*(buckets: BucketSet) {
  let taken = 0
  while ((yield* reserve(buckets, ask(1))).ticket !== undefined) taken++
  return taken
})

const free = (buckets: BucketSet) =>
  Effect.map(Effect.andThen(reserve(buckets, ask(0)), buckets.levels), ({ requests }) => requests?.free ?? NaN)

const share = (buckets: BucketSet) => Effect.map(buckets.levels, ({ share }) => share)

const isBack = (buckets: BucketSet) => eventually(share(buckets), (share) => share === 1, 20)

/** What was logged of the store. */
const logged = () => {
  const lines: Array<string> = []
  const logger = Logger.make<unknown, void>(({ message }) => {
    const line = String(Array.isArray(message) ? message[0] : message)
    if (line.startsWith("RateLimiter:")) lines.push(line)
  })
  return { lines, layer: Logger.layer([logger]) }
}

const gone = "RateLimiter: the store does not answer. Until it does, each process goes on with its share of the limits."
const back = "RateLimiter: the store answers again."

describe.skipIf(!TestRedis.isInstalled)("RateLimiter/Redis", () => {
  suite({
    name: "Redis",
    layer: Layer.provide(RateLimiterRedis.layerStore(), TestRedis.shared()),
    sleep: Effect.sleep,
    toleranceMillis: 900,
    test: it.live,
    isConcurrent: true
  })

  it.live("goes on with shares over a crash of the server, and reports afterwards what was used", () => {
    const log = logged()
    return Effect.gen(function*() {
      const server = yield* TestRedis.server({ durable: true })
      const here = yield* processOn(server)
      const there = yield* processOn(server)
      for (let i = 0; i < 10; i++) yield* Effect.all([reserve(here, ask(1)), reserve(there, ask(1))])

      yield* server.kill
      // Forty are left, twenty for each; what the last refill brought may be one more.
      const taken = yield* drain(here)
      assert.isAtLeast(taken, 19)
      assert.isAtMost(taken, 21)
      for (let i = 0; i < 5; i++) assert.isDefined((yield* reserve(there, ask(1))).ticket)
      assert.strictEqual(yield* share(there), 0.5)

      yield* server.start
      yield* isBack(here)
      yield* isBack(there)
      const left = yield* eventually(free(there), (free) => free < 20)
      assert.approximately(left, 40 - taken - 5, 3)
      assert.approximately((yield* drain(here)) + (yield* drain(there)), left, 2)
      assert.deepStrictEqual([...log.lines].sort(), [back, back, gone, gone])
    }).pipe(Effect.scoped, Effect.provide(log.layer))
  })

  it.live("waits for a server that hangs no longer than once, and takes back what it took after all", () => {
    const log = logged()
    return Effect.gen(function*() {
      const server = yield* TestRedis.server({ durable: false })
      const here = yield* processOn(server)
      const there = yield* processOn(server)
      const held = yield* reserve(here, ask(10, { reserve: amounts(10) }))
      yield* reserve(there, ask(0))
      yield* reserve(here, ask(0))

      yield* server.pause
      const asking = yield* Effect.forkChild(Effect.all([reserve(here, ask(7)), reserve(here, ask(7))], {
        concurrency: "unbounded"
      }))
      const all = yield* Fiber.join(asking)
      assert.deepStrictEqual(all.map(({ ticket }) => ticket !== undefined), [true, true])
      // Of forty that were free it has twenty, and six of them are left.
      assert.isAtMost(yield* drain(here), 7)
      // What is larger than the share is not too large for the whole.
      assert.isBelow((yield* reserve(here, ask(50))).waitMillis, Infinity)
      yield* here.report({
        ticket: held.ticket!,
        usage: amounts(-10),
        release: amounts(10),
        observed: undefined,
        pause: undefined
      })
      assert.isAtLeast(yield* drain(here), 19)

      yield* server.resume
      yield* isBack(here)
      // Sixty, less fourteen, six and twenty.
      const left = yield* eventually(free(there), (free) => free < 30)
      assert.approximately(left, 20, 3)
      assert.deepStrictEqual(log.lines, [gone, back])
    }).pipe(Effect.scoped, Effect.provide(log.layer))
  })

  it.live(
    "gives out no full bucket when the server lost its data, and keeps what headers taught and a pause",
    () =>
      Effect.gen(function*() {
        const server = yield* TestRedis.server({ durable: false })
        const here = yield* processOn(server)
        const there = yield* processOn(server)
        const input = { ...ask(40), usage: amounts(40, 100) }
        const { ticket } = yield* reserve(here, input)
        const report = {
          ticket: ticket!,
          usage: amounts(0),
          release: amounts(0),
          observed: undefined,
          pause: undefined
        }
        const limit = { limit: 60, remaining: 600, resetAt: undefined }
        yield* here.report({
          ...report,
          observed: {
            now: 0,
            limits: { requests: undefined, inputTokens: limit, outputTokens: undefined, tokens: undefined }
          }
        })
        yield* eventually(Effect.andThen(reserve(there, ask(0)), there.levels), ({ inputTokens }) =>
          inputTokens !== undefined)
        yield* server.kill
        yield* server.start
        assert.isAtMost((yield* drain(there)) + (yield* drain(here)), 21)
        assert.strictEqual((yield* here.levels).inputTokens?.perMinute, 60)

        yield* here.report({ ...report, pause: { reason: "throttle", millis: 500_000 } })
        yield* eventually(reserve(there, ask(1)), ({ waitMillis }) =>
          waitMillis > 400_000)
        yield* server.kill
        yield* server.start
        assert.isAbove((yield* reserve(there, ask(1))).waitMillis, 400_000)
      }).pipe(Effect.scoped, Effect.provide(Logger.layer([])))
  )

  it.live(
    "keeps what is larger than its share waiting, and refuses what is larger than the whole",
    () =>
      Effect.gen(function*() {
        const server = yield* TestRedis.server({ durable: false })
        const limiters = yield* Effect.forEach([0, 1], () =>
          Effect.map(
            Layer.build(
              layerOf(server, { limits: { inputTokensPerMinute: 1_000 } })
            ),
            Context.get(RateLimiter.RateLimiter)
          ))
        yield* Effect.addFinalizer(() => server.revive)
        const [here, there] = limiters
        for (const limiter of [here!, there!, here!]) yield* limiter.admit(attemptOf(100))
        yield* server.pause
        yield* here!.admit(attemptOf(340))
        // One with a reservation, and one behind it.
        const waiting = yield* Effect.forEach([900, 900], (input) => Effect.forkChild(here!.admit(attemptOf(input))))
        yield* eventually(here!.snapshot, ([group]) => group?.waiting === 2)
        const refused = yield* Effect.flip(here!.admit(attemptOf(1_400)))
        assert.strictEqual(refused.reason, "tooLarge")
        assert.isTrue(waiting.every((fiber) => fiber.pollUnsafe() === undefined))
        assert.strictEqual((yield* here!.snapshot)[0]?.levels.share, 0.5)
        yield* Fiber.interruptAll(waiting)
      }).pipe(Effect.scoped, Effect.provide(Logger.layer([])))
  )

  it.live(
    "reports what is left when its layer ends, and counts no longer as a process",
    () =>
      Effect.gen(function*() {
        const server = yield* TestRedis.server({ durable: false })
        const there = yield* processOn(server)
        const scope = yield* Scope.make()
        const here = yield* Scope.provide(processOn(server, { flushMillis: 3_600_000 }), scope)
        const { ticket } = yield* reserve(here, ask(10, { reserve: amounts(20) }))
        assert.isAtMost(yield* free(there), 31)
        yield* here.report({
          ticket: ticket!,
          usage: amounts(-10),
          release: amounts(20),
          observed: undefined,
          pause: undefined
        })
        yield* Scope.close(scope, yield* Effect.exit(Effect.void))
        assert.isAbove(yield* free(there), 59)
        yield* server.pause
        yield* reserve(there, ask(0))
        assert.strictEqual(yield* share(there), 1)
      }).pipe(Effect.scoped, Effect.provide(Logger.layer([])))
  )

  it.live(
    "serves all processes and all their callers in turn, large and small, and never more than there is",
    () =>
      Effect.gen(function*() {
        const server = yield* TestRedis.server({ durable: false })
        // Fifty a second, and a burst of ten.
        const options = {
          burst: "200 millis",
          limits: { requestsPerMinute: 3_000, inputTokensPerMinute: 300_000 }
        } as const
        const began = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
        const counts: Array<Array<number>> = []
        const processes = yield* Effect.forEach([0, 1, 2, 3], (index) =>
          Effect.gen(function*() {
            const context = yield* Layer.build(layerOf(server, { ...options, storeTimeout: "10 seconds" }))
            const limiter = Context.get(context, RateLimiter.RateLimiter)
            const mine = counts[index] = [0, 0, 0, 0, 0]
            const worker = Effect.fnUntraced(function*(at: number) {
              while (true) {
                // The first process asks for half a bucket each time.
                const inputTokens = index === 0 ? 500 : 1
                const attempt = attemptOf(inputTokens)
                yield* Attempt.guard(
                  limiter,
                  attempt,
                  Effect.sync(() => {
                    mine[at]!++
                    attempt.outcome = Attempt.Outcome.Completed({
                      usage: Usage.make({ inputTokens, outputTokens: 1 }),
                      limits: undefined,
                      model: undefined,
                      requestId: undefined,
                      stopReason: undefined
                    })
                  })
                )
              }
            })
            return yield* Effect.forkScoped(Effect.all([0, 1, 2, 3, 4].map(worker), { concurrency: "unbounded" }))
          }))
        yield* eventually(Effect.succeed(counts), (counts) => counts.flat().every((count) => count >= 3), 30)
        yield* Fiber.interruptAll(processes)
        const elapsed = (yield* Effect.clockWith((clock) => clock.currentTimeMillis)) - began
        const input = counts.flatMap((counts, index) => counts.map((count) => count * (index === 0 ? 500 : 1)))
        const total = input.reduce((sum, count) => sum + count, 0)
        assert.isAtMost(total, 1_000 + elapsed * 5 + 500)
        // As often as the small ones, one after the other.
        const [large = 0, ...small] = counts.map((counts) => counts.reduce((sum, count) => sum + count, 0))
        for (const one of small) assert.isBelow(one, 3 * large + 20)
      }).pipe(Effect.scoped)
  )

  it.live.each(["OK", "1 2 3", null, 7, []].map((answer) => ({ answer })))(
    "goes on with its share of the limits when all that Redis says is $answer",
    ({ answer }) =>
      Effect.gen(function*() {
        const context = yield* Layer.build(RateLimiterRedis.layerStore()).pipe(
          Effect.provide(TestRedis.saying(answer))
        )
        const buckets = yield* clientOf(Context.get(context, RateLimiter.Store), { processes: 2 })
        assert.strictEqual(yield* drain(buckets), 30)
      }).pipe(Effect.scoped, Effect.provide(Logger.layer([])))
  )

  it.live("keeps one key for a group, under its prefix and in one slot of a cluster", () =>
    Effect.gen(function*() {
      const server = yield* TestRedis.server({ durable: false })
      const connection = yield* Layer.build(TestRedis.connection(server))
      const config = ConfigProvider.fromUnknown({ PREFIX: "mine:", RPM: "1" })
      const built = <A>(layer: Layer.Layer<A, Config.ConfigError, Redis.Redis>) =>
        Layer.build(layer).pipe(
          Effect.provide(connection),
          Effect.provideService(ConfigProvider.ConfigProvider, config)
        )
      const keys = Context.get(connection, Redis.Redis).send<ReadonlyArray<string>>("KEYS", "*")
      const prefix = Config.String("PREFIX")
      const store = Context.get(yield* built(RateLimiterRedis.layerStoreConfig({ prefix })), RateLimiter.Store)
      yield* reserve(yield* clientOf(store), ask(1))
      assert.deepStrictEqual(yield* keys, ["mine:limits:{opus-5 team}"])
      const limits = Config.all({ requestsPerMinute: Config.Number("RPM") })
      const context = yield* built(RateLimiterRedis.layerConfig({ prefix, limits }))
      yield* Context.get(context, RateLimiter.RateLimiter).admit(attemptOf(1))
      assert.deepStrictEqual([...yield* keys].sort(), ["mine:limits:{opus-5 g}", "mine:limits:{opus-5 team}"])
    }).pipe(Effect.scoped))
})

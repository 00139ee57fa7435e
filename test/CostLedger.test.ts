import { assert, describe, it } from "@effect/vitest"
import {
  Cause,
  Config,
  ConfigProvider,
  Context,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  Redacted,
  Schema,
  Stream
} from "effect"
import { Attempt, ClaudeService, Model, PriceBook, Usage } from "effect-claude"
import { AuthError, ServerError } from "effect-claude/ClaudeError"
import * as CostLedger from "effect-claude/CostLedger"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import { TestClock } from "effect/testing"
import { all } from "./suites/CostLedgerStore.ts"
import * as Attempts from "./utils/attempts.ts"
import * as LedgerRows from "./utils/ledgerRows.ts"
import { asking } from "./utils/ledgerStore.ts"
import * as Prices from "./utils/prices.ts"
import * as settling from "./utils/settling.ts"

const usage = Usage.make({ inputTokens: 1_000, outputTokens: 100 })

const completed = (more: Partial<Parameters<typeof Attempt.Outcome.Completed>[0]> = {}) =>
  Attempt.Outcome.Completed({
    usage,
    limits: undefined,
    model: "served-model",
    requestId: "req_1",
    stopReason: "end_turn",
    ...more
  })

const failed = (error: ServerError | AuthError, seen = Usage.zero) =>
  Attempt.Outcome.Failed({ usage: seen, error, limits: undefined })

const using = (options?: CostLedger.Options) =>
  Effect.provide(Layer.suspend(() => {
    kinds = new Attempt.CallKinds()
    return CostLedger.layer(options).pipe(Layer.provide(Prices.layer))
  }))

let calls = 0

/** What the calls of the test that runs taught. */
let kinds = new Attempt.CallKinds()

const attempt = (more: Partial<Attempt.MessageAttempt> = {}): Attempt.MessageAttempt => {
  const made = {
    ...Attempts.attempt(),
    callId: `call-${calls++}`,
    estimate: { inputTokens: 2_000, maxOutputTokens: 500 },
    ...more
  }
  return { ...made, kind: kinds.of(made.model, made.context.requestType) }
}

/** Admits an attempt that ends so after so long. */
const call = Effect.fnUntraced(
  function*(outcome: Attempt.Outcome, more: Partial<Attempt.MessageAttempt> = {}, millis = 0) {
    const ledger = yield* CostLedger.CostLedger
    const made = attempt(more)
    yield* settling.admit(ledger, made)
    if (millis > 0) yield* TestClock.adjust(millis)
    made.outcome = outcome
    yield* settling.settle(made)
    yield* Attempt.guard(Attempt.learning(kinds), made, Effect.void)
    return made
  }
)

const rows = Effect.gen(function*() {
  const ledger = yield* CostLedger.CostLedger
  yield* ledger.flush
  return yield* Stream.runCollect(ledger.rows(all))
})

const last = Effect.map(rows, (rows) => rows.at(-1))

const status = Effect.flatMap(CostLedger.CostLedger, (ledger) => ledger.status)

/** A store in memory that can be made to fail or to hang, and counts what it is asked. */
const fragile = Effect.gen(function*() {
  const store = Context.get(yield* Layer.build(Layer.fresh(CostLedger.layerStoreMemory())), CostLedger.Store)
  const state = { mood: "fine" as "fine" | "down" | "silent" | "deaf" | "broken" | "slow", writes: 0, largest: 0 }
  const down = Effect.fail(new Error("gone"))
  return {
    state,
    store,
    layer: (options: CostLedger.Options = {}) =>
      CostLedger.layerNoDeps(options).pipe(Layer.provide([
        Prices.layer,
        Layer.succeed(CostLedger.Store, {
          step: (command) =>
            Effect.suspend(() => {
              if (command._tag !== "Write") return store.step(command)
              state.writes++
              state.largest = Math.max(state.largest, command.rows.length)
              if (state.mood === "down") return down
              if (state.mood === "silent") return Effect.never
              if (state.mood === "slow") return Effect.delay(store.step(command), "1 second")
              if (state.mood === "broken") return Effect.die(new Error("broken"))
              // It heard, and nobody hears that it did.
              if (state.mood === "deaf") return Effect.andThen(store.step(command), down)
              return store.step(command)
            })
        })
      ]))
  }
})

const stored = (store: CostLedger.Store["Service"]) =>
  Effect.map(asking(store).page(all, 100_000, undefined), ({ rows }) => rows)

/** What the ledger logged. */
const logged = () => {
  const lines: Array<string> = []
  const logger = Logger.make<unknown, void>(({ logLevel, message }) => {
    lines.push(`${logLevel} ${String(message)}`)
  })
  return { lines, layer: Logger.layer([logger]) }
}

describe("CostLedger", () => {
  it.effect.each([
    { query: { zone: "Mars/Olympus" }, what: "unknown time zone Mars/Olympus" },
    { query: { from: "yesterday" }, what: "from is not a valid date" },
    { query: { to: NaN }, what: "to is not a valid date" }
  ])("refuses a query that makes no sense: $what", ({ query, what }) =>
    Effect.gen(function*() {
      const ledger = yield* CostLedger.CostLedger
      const error = yield* Effect.flip(ledger.report(query))
      assert.strictEqual(error.reason, "query")
      assert.include(error.message, what)
    }).pipe(using()))

  describe("writes a row", () => {
    it.effect("of a whole answer: who, what, when, how much", () =>
      Effect.gen(function*() {
        yield* TestClock.adjust(5_000)
        yield* call(
          completed(),
          {
            callId: "call-x",
            number: 3,
            context: {
              ...Attempts.attempt().context,
              user: "ada",
              tenant: "acme",
              requestType: "summary",
              tags: { team: "blue" },
              headers: { "x-secret": "sk-ant-secret" }
            },
            key: { label: "main", group: "org", secret: Redacted.make("sk-ant-secret") },
            optimized: {
              askedModel: "asked-model",
              changes: [
                { rule: "cheaper", what: "a smaller model", savedNanoUsd: 70 },
                { rule: "shorter", what: "fewer tokens", savedNanoUsd: undefined }
              ]
            }
          },
          1_200
        )
        assert.deepStrictEqual(yield* rows, [{
          callId: "call-x",
          attempt: 3,
          at: 5_000,
          latencyMillis: 1_200,
          user: "ada",
          tenant: "acme",
          requestType: "summary",
          tags: { team: "blue" },
          key: "main",
          askedModel: "asked-model",
          sentModel: Attempts.model,
          model: "served-model",
          rules: ["cheaper", "shorter"],
          optimizerSavedNanoUsd: 70,
          usage,
          nanoUsd: 4_500_000,
          cacheSavedNanoUsd: 0,
          confidence: "exact",
          outcome: "completed",
          error: undefined,
          stopReason: "end_turn",
          billed: "yes",
          requestId: "req_1"
        }])
        assert.notInclude(JSON.stringify(yield* rows), "secret")
      }).pipe(using()))

    it.effect("of the time that decided its price", () =>
      Effect.gen(function*() {
        yield* call(completed(), { sentAt: 400 }, 1_000)
        assert.deepInclude(yield* last, { at: 400, latencyMillis: 600 })
      }).pipe(using()))

    it.effect("of a failure, with what it cost", () =>
      Effect.gen(function*() {
        yield* call(failed(new AuthError({ kind: "authentication", requestId: "req_2" })))
        assert.deepInclude(yield* last, {
          outcome: "failed",
          error: "AuthError",
          billed: "no",
          nanoUsd: 0,
          confidence: "exact",
          requestId: "req_2",
          model: Attempts.model
        })
        yield* call(failed(new ServerError({ overloaded: false, billed: "unknown" }), usage))
        assert.deepInclude(yield* last, {
          error: "ServerError",
          billed: "unknown",
          nanoUsd: 4_500_000,
          confidence: "derived"
        })
      }).pipe(using()))

    it.effect("of an attempt whose reader went away", () =>
      Effect.gen(function*() {
        yield* call(Attempt.Outcome.Aborted({ usage }))
        assert.deepInclude(yield* last, {
          outcome: "aborted",
          billed: "unknown",
          nanoUsd: 4_500_000,
          confidence: "derived"
        })
      }).pipe(using()))

    it.effect("with null for what has no price, not zero", () =>
      Effect.gen(function*() {
        yield* call(completed({ model: "unpriced" }))
        assert.deepInclude(yield* last, { nanoUsd: null, cacheSavedNanoUsd: null, model: "unpriced" })
      }).pipe(using()))

    it.effect("only of what was sent to get a message", () =>
      Effect.gen(function*() {
        yield* call(Attempt.Outcome.NotSent())
        const ledger = yield* CostLedger.CostLedger
        for (const endpoint of ["countTokens", "models"] as const) {
          yield* Attempt.guard(ledger, { ...attempt(), endpoint, outcome: completed() }, Effect.void)
        }
        assert.deepStrictEqual(yield* rows, [])
      }).pipe(using()))

    it.effect("with what such calls produced, where nothing came back", () =>
      Effect.gen(function*() {
        const output = Effect.map(last, (row) => row?.usage.outputTokens)
        const typed = (requestType: string) => ({ context: { ...Attempts.attempt().context, requestType } })
        yield* call(Attempts.aborted)
        assert.strictEqual(yield* output, 500)
        assert.deepInclude(yield* last, { confidence: "estimated" })
        for (const outputTokens of [10, 20, 30]) {
          yield* call(completed({ usage: Usage.make({ outputTokens }) }), typed("short"))
        }
        for (const outputTokens of [300, 400]) {
          yield* call(completed({ usage: Usage.make({ outputTokens }) }), typed("long"))
        }
        yield* call(Attempts.aborted, typed("short"))
        assert.strictEqual(yield* output, 20)
        yield* call(Attempts.aborted, typed("long"))
        assert.strictEqual(yield* output, 350)
        yield* call(Attempts.aborted, typed("new"))
        assert.strictEqual(yield* output, 152)
        yield* call(Attempts.aborted, { model: "other" })
        assert.strictEqual(yield* output, 500)
      }).pipe(using()))

    it.effect("that every store takes, whatever callers wrote", () =>
      Effect.gen(function*() {
        const user = `\0\uD800${"x".repeat(600)}`
        const tags = Object.fromEntries(Array.from({ length: 50 }, (_, index) => [`tag-${index}`, "\0"]))
        yield* call(completed(), { context: { ...Attempts.attempt().context, user, tags } })
        const row = yield* last
        assert(row !== undefined)
        assert.match(row.user ?? "", /^\uFFFD\uFFFDx{177}~[0-9a-f]{16}$/)
        assert.strictEqual(Object.keys(row.tags).length, 32)
        assert.strictEqual(row.tags["tag-0"], "\uFFFD")
      }).pipe(using()))

    it.effect("that every store takes, whatever price books, rules and servers say", () =>
      Effect.gen(function*() {
        const costs = [1.4, NaN, 1e22]
        const book = PriceBook.PriceBook.of({
          ...Prices.book,
          cost: (served) => {
            const nanoUsd = costs.shift() ?? 0
            return { ...Prices.book.cost(served)!, nanoUsd, cacheSavedNanoUsd: -nanoUsd } // it has a price
          }
        })
        const said = [0.5, Infinity, -2].map((savedNanoUsd) => ({
          optimized: { askedModel: "asked", changes: [{ rule: "mine", what: "", savedNanoUsd }] }
        }))
        yield* Effect.gen(function*() {
          const speed = "fast\0"
          for (const more of said) {
            yield* call(completed({ usage: { ...usage, speed, serviceTier: "x".repeat(600) } }), more)
          }
          const written = yield* rows
          assert.deepStrictEqual(written.map(({ nanoUsd }) => nanoUsd), [1, null, null])
          assert.deepStrictEqual(written.map(({ cacheSavedNanoUsd }) => cacheSavedNanoUsd), [-1, null, null])
          assert.deepStrictEqual(written.map(({ optimizerSavedNanoUsd }) => optimizerSavedNanoUsd), [1, null, -2])
          assert.deepStrictEqual(written[0]?.usage, {
            ...usage,
            speed: "fast\uFFFD",
            serviceTier: "x".repeat(512),
            inferenceGeo: undefined
          })
        }).pipe(
          Effect.provide(CostLedger.layer().pipe(Layer.provide(Layer.succeed(PriceBook.PriceBook, book))))
        )
      }))

    it.effect("once, at whatever step its call is interrupted", () =>
      Effect.gen(function*() {
        const ledger = yield* CostLedger.CostLedger
        for (let steps = 0; steps < 40; steps++) {
          const made = attempt()
          const send = Effect.gen(function*() {
            made.outcome = Attempts.aborted
            for (let step = 0; step < 10; step++) yield* Effect.yieldNow
            made.outcome = completed()
          })
          const fiber = yield* Effect.forkChild(Attempt.guard(ledger, made, send))
          for (let step = 0; step < steps; step++) yield* Effect.yieldNow
          yield* Fiber.interrupt(fiber)
          const found = (yield* rows).filter(({ callId }) => callId === made.callId)
          const expected = made.outcome._tag === "NotSent" ? [] : [made.outcome._tag.toLowerCase()]
          assert.deepStrictEqual(found.map(({ outcome }) => outcome as string), expected)
        }
      }).pipe(using()))
  })

  describe("writes in the background", () => {
    it.effect("after a while, or sooner when many wait", () =>
      Effect.gen(function*() {
        const { layer, state, store } = yield* fragile
        yield* Effect.gen(function*() {
          yield* call(completed())
          yield* TestClock.adjust(999)
          assert.strictEqual((yield* status).pendingRows, 1)
          assert.strictEqual(state.writes, 0)
          yield* TestClock.adjust(1)
          assert.strictEqual((yield* status).pendingRows, 0)
          for (let n = 0; n < 25; n++) yield* call(completed())
          yield* Effect.yieldNow
          yield* Effect.yieldNow
          yield* Effect.yieldNow
          yield* Effect.yieldNow
          assert.strictEqual((yield* stored(store)).length, 26)
          assert.strictEqual(state.largest, 10)
        }).pipe(Effect.provide(layer({ batchRows: 10 })))
      }).pipe(Effect.scoped))

    it.effect("and what comes during a write is written without another call", () =>
      Effect.gen(function*() {
        const { layer, state, store } = yield* fragile
        yield* Effect.gen(function*() {
          state.mood = "slow"
          yield* call(completed())
          yield* TestClock.adjust("1500 millis")
          yield* call(completed())
          yield* TestClock.adjust("500 millis")
          assert.strictEqual((yield* stored(store)).length, 1)
          yield* TestClock.adjust("2 seconds")
          assert.strictEqual((yield* stored(store)).length, 2)
        }).pipe(Effect.provide(layer()))
      }).pipe(Effect.scoped))

    it.effect("and nothing waits for a store that hangs", () =>
      Effect.gen(function*() {
        const { layer, state, store } = yield* fragile
        yield* Effect.gen(function*() {
          state.mood = "silent"
          for (let n = 0; n < 25; n++) yield* call(completed(), {}, 100)
          assert.deepInclude(yield* status, { pendingRows: 25, isDown: false })
          yield* TestClock.adjust("5 seconds")
          assert.deepInclude(yield* status, { pendingRows: 25, isDown: true })
          state.mood = "fine"
          yield* TestClock.adjust("1 minute")
          assert.deepInclude(yield* status, { pendingRows: 0, isDown: false, lostRows: 0 })
          assert.strictEqual((yield* stored(store)).length, 25)
        }).pipe(Effect.provide(layer()))
      }).pipe(Effect.scoped))

    it.effect("and tries again, less and less often, until the store is back; two lines say so", () => {
      const log = logged()
      return Effect.gen(function*() {
        const { layer, state, store } = yield* fragile
        yield* Effect.gen(function*() {
          state.mood = "down"
          for (let n = 0; n < 3; n++) yield* call(completed(), {}, 500)
          yield* TestClock.adjust("10 minutes")
          assert.isAtLeast(state.writes, 20)
          assert.isAtMost(state.writes, 30)
          state.mood = "fine"
          yield* TestClock.adjust("30 seconds")
          assert.strictEqual((yield* stored(store)).length, 3)
          assert.deepStrictEqual(log.lines, [
            "Warn CostLedger: the store does not answer. Until it does, rows wait in memory, at most 10000 of them.",
            "Info CostLedger: the store answers again."
          ])
        }).pipe(Effect.provide(layer()))
      }).pipe(Effect.scoped, Effect.provide(log.layer))
    })

    it.effect("and writes no row twice when an answer of the store was lost", () =>
      Effect.gen(function*() {
        const { layer, state, store } = yield* fragile
        yield* Effect.gen(function*() {
          state.mood = "deaf"
          for (let n = 0; n < 5; n++) yield* call(completed())
          yield* TestClock.adjust("10 seconds")
          state.mood = "fine"
          yield* TestClock.adjust("1 minute")
          assert.strictEqual((yield* stored(store)).length, 5)
          assert.strictEqual((yield* status).pendingRows, 0)
        }).pipe(Effect.provide(layer({ batchRows: 2 })))
      }).pipe(Effect.scoped))

    it.effect("and loses what comes when too many wait, counts it, and says so once", () => {
      const log = logged()
      return Effect.gen(function*() {
        const { layer, state, store } = yield* fragile
        yield* Effect.gen(function*() {
          state.mood = "down"
          for (let n = 0; n < 12; n++) yield* call(completed(), { callId: `call-${n}` })
          assert.deepInclude(yield* status, { pendingRows: 10, lostRows: 2 })
          state.mood = "fine"
          yield* TestClock.adjust("1 minute")
          assert.deepStrictEqual(
            (yield* stored(store)).map(({ callId }) => callId),
            Array.from({ length: 10 }, (_, n) => `call-${n}`)
          )
          const ledger = yield* CostLedger.CostLedger
          assert.strictEqual((yield* ledger.report({ from: 0 })).missingRows, 2)
          state.mood = "down"
          for (let n = 20; n < 33; n++) yield* call(completed())
          state.mood = "fine"
          yield* TestClock.adjust("1 minute")
          assert.deepInclude(yield* status, { pendingRows: 0, lostRows: 5 })
          const full = "Warn CostLedger: 10 rows wait for the store; further rows are lost."
          const lostSome = (count: number) =>
            `Warn CostLedger: ${count} rows were lost while too many waited for the store.`
          assert.deepStrictEqual(log.lines, [full, lostSome(2), full, lostSome(3)])
        }).pipe(Effect.provide(layer({ maxPending: 10, flushEvery: "10 seconds" })))
      }).pipe(Effect.scoped, Effect.provide(log.layer))
    })

    it.effect("and a store with a defect is a store that does not answer", () =>
      Effect.gen(function*() {
        const { layer, state, store } = yield* fragile
        yield* Effect.gen(function*() {
          state.mood = "broken"
          yield* call(completed())
          yield* TestClock.adjust("10 seconds")
          assert.deepInclude(yield* status, { pendingRows: 1, isDown: true })
          state.mood = "fine"
          yield* TestClock.adjust("1 minute")
          assert.strictEqual((yield* stored(store)).length, 1)
        }).pipe(Effect.provide(layer()))
      }).pipe(Effect.scoped))

    it.effect("and a flush says whether all is written", () =>
      Effect.gen(function*() {
        const { layer, state } = yield* fragile
        yield* Effect.gen(function*() {
          const ledger = yield* CostLedger.CostLedger
          state.mood = "down"
          yield* call(completed())
          assert.strictEqual((yield* Effect.flip(ledger.flush)).reason, "store")
          assert.isTrue(Exit.isFailure(yield* Effect.exit(ledger.report())))
          state.mood = "fine"
          yield* ledger.flush
          assert.deepInclude(yield* status, { pendingRows: 0, isDown: false })
        }).pipe(Effect.provide(layer()))
      }).pipe(Effect.scoped))

    it.effect("and an interrupted flush loses nothing", () =>
      Effect.gen(function*() {
        const { layer, state, store } = yield* fragile
        yield* Effect.gen(function*() {
          const ledger = yield* CostLedger.CostLedger
          state.mood = "silent"
          yield* call(completed())
          const flush = yield* Effect.forkChild(ledger.flush, { startImmediately: true })
          yield* Fiber.interrupt(flush)
          assert.isTrue(Cause.hasInterruptsOnly(yield* Effect.flip(Effect.sandbox(Fiber.join(flush)))))
          state.mood = "fine"
          yield* ledger.flush
          assert.strictEqual((yield* stored(store)).length, 1)
        }).pipe(Effect.provide(layer()))
      }).pipe(Effect.scoped))

    it.effect("and what waits at the end is written", () =>
      Effect.gen(function*() {
        const { layer, store } = yield* fragile
        yield* Effect.replicateEffect(call(completed()), 25).pipe(Effect.provide(layer({ batchRows: 10 })))
        assert.strictEqual((yield* stored(store)).length, 25)
      }).pipe(Effect.scoped))

    it.effect("and an end does not wait longer than the store may take", () => {
      const log = logged()
      return Effect.gen(function*() {
        const { layer, state } = yield* fragile
        state.mood = "silent"
        const ending = yield* call(completed()).pipe(
          Effect.provide(layer({ storeTimeout: "3 seconds" })),
          Effect.forkChild({ startImmediately: true })
        )
        yield* TestClock.adjust("2999 millis")
        assert.isUndefined(ending.pollUnsafe())
        yield* TestClock.adjust(1)
        yield* Fiber.join(ending)
        assert.include(
          log.lines.join("\n"),
          "Warn CostLedger: 1 rows could not be written before the end and are lost."
        )
      }).pipe(Effect.scoped, Effect.provide(log.layer))
    })
  })

  describe("writes at once to a store in this process", () => {
    it.effect("so that a row is there when its attempt has ended", () =>
      Effect.gen(function*() {
        yield* call(completed(), { callId: "call-now" })
        const ledger = yield* CostLedger.CostLedger
        const found = yield* Stream.runCollect(ledger.rows(all))
        assert.deepStrictEqual(found.map(({ callId }) => callId), ["call-now"])
        assert.strictEqual((yield* status).pendingRows, 0)
      }).pipe(using()))

    it.effect("and a row that it fails to take is lost, counted and logged once; calls go on", () => {
      const log = logged()
      const failures = [Effect.fail("full"), Effect.die(new Error("broken"))]
      const store = { isLocal: true, step: () => failures.shift() ?? Effect.fail("gone") }
      return Effect.gen(function*() {
        for (let n = 0; n < 3; n++) yield* call(completed())
        assert.deepInclude(yield* status, { pendingRows: 0, lostRows: 3 })
        assert.deepStrictEqual(log.lines, ["Warn CostLedger: the store failed; rows are lost."])
      }).pipe(
        Effect.provide(
          CostLedger.layerNoDeps().pipe(Layer.provide([Prices.layer, Layer.succeed(CostLedger.Store, store)]))
        ),
        Effect.provide(log.layer)
      )
    })
  })

  it.effect("writes as much as it can at the end, in the time that it has", () => {
    const log = logged()
    return Effect.gen(function*() {
      const { layer, state, store } = yield* fragile
      state.mood = "slow"
      const ending = yield* Effect.replicateEffect(call(completed()), 9).pipe(
        Effect.provide(layer({ storeTimeout: "2500 millis", batchRows: 1, flushEvery: "1 minute" })),
        Effect.forkChild({ startImmediately: true })
      )
      yield* TestClock.adjust("2499 millis")
      assert.isUndefined(ending.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(ending)
      assert.strictEqual((yield* stored(store)).length, 2)
      assert.deepStrictEqual(log.lines, ["Warn CostLedger: 7 rows could not be written before the end and are lost."])
    }).pipe(Effect.scoped, Effect.provide(log.layer))
  })

  it.effect("feeds rows to who listens, and ends with the layer", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.gen(function*() {
        const ledger = yield* CostLedger.CostLedger
        const fiber = yield* Effect.forkDetach(Stream.runCollect(ledger.feed), { startImmediately: true })
        yield* call(completed(), { callId: "call-a" })
        yield* call(completed(), { callId: "call-b" })
        return fiber
      }).pipe(using())
      assert.deepStrictEqual((yield* Fiber.join(fiber)).map(({ callId }) => callId), ["call-a", "call-b"])
    }))

  it.effect("removes rows that are too old or too many, in steps", () =>
    Effect.gen(function*() {
      const count = Effect.map(rows, (rows) => rows.length)
      for (let n = 0; n < 2_600; n++) yield* call(completed())
      assert.strictEqual(yield* count, 2_600)
      yield* TestClock.adjust("10 minutes")
      assert.strictEqual(yield* count, 2_500)
      yield* TestClock.adjust("49 minutes")
      yield* call(completed(), { callId: "late" })
      yield* TestClock.adjust("11 minutes")
      assert.deepStrictEqual((yield* rows).map(({ callId }) => callId), ["late"])
    }).pipe(using({ keepFor: "1 hour", keepRows: 2_500 })))

  it.effect("writes what is kept in memory at once: 20,000 calls in a row at a port that does not wait lose no row", () =>
    Effect.gen(function*() {
      yield* Effect.replicateEffect(ClaudeService.create(ClaudeTest.hello), 20_000, { discard: true })
      const ledger = yield* CostLedger.CostLedger
      const { evictedRows, ...rest } = yield* ledger.status
      assert.deepStrictEqual(rest, { pendingRows: 0, lostRows: 0, isDown: false })
      assert.isAtLeast(evictedRows, 10_000)
    }).pipe(
      Effect.provide(
        ClaudeService.layerWithParts({ api: ClaudeTest.layerApi(ClaudeTest.forever("Hi.")), keys: [ClaudeTest.key] })
      )
    ))

  it.effect("says when a bounded store evicts rows", () => {
    const log = logged()
    return Effect.gen(function*() {
      for (let n = 0; n < 5; n++) yield* call(completed())
      const ledger = yield* CostLedger.CostLedger
      yield* ledger.flush
      assert.strictEqual((yield* status).evictedRows, 2)
      const report = yield* ledger.report({ from: 0 })
      assert.strictEqual(report.missingRows, 2)
      assert.strictEqual(report.total.attempts, 3)
      assert.deepStrictEqual(log.lines, [
        "Info CostLedger: the store is full; older rows are evicted for newer ones."
      ])
    }).pipe(
      Effect.provide(
        CostLedger.layerNoDeps().pipe(
          Layer.provide([Prices.layer, CostLedger.layerStoreMemory({ maxRows: 3 })])
        )
      ),
      Effect.provide(log.layer)
    )
  })

  it.effect("asks the store for nothing but what was asked of it, so that it can take its shortest way", () =>
    Effect.gen(function*() {
      const asked: Array<CostLedger.Command> = []
      const step = (command: CostLedger.Command) => {
        asked.push(command)
        return Effect.succeed(CostLedger.step(rowsInMemory, command)[1])
      }
      const [rowsInMemory] = CostLedger.step(undefined, { _tag: "Write", rows: [LedgerRows.row({ at: 1_000 })] })
      yield* Effect.gen(function*() {
        const ledger = yield* CostLedger.CostLedger
        yield* ledger.report({ from: 0, to: 2_000, by: "model" })
        yield* ledger.report({ from: 0, to: 2_000, where: { user: "ada", tenant: undefined, tags: { team: "blue" } } })
      }).pipe(Effect.provide(
        CostLedger.layerNoDeps().pipe(
          Layer.provide([Prices.layer, Layer.succeed(CostLedger.Store, { isLocal: true, step })])
        )
      ))
      assert.deepStrictEqual(asked.flatMap((command) => command._tag === "Aggregate" ? [command.where] : []), [
        {},
        { user: "ada", tags: { team: "blue" } }
      ])
    }))

  it.effect("reports on a model by its alias too, and one of your own", () =>
    Effect.gen(function*() {
      const store = yield* CostLedger.Store
      const haiku = "claude-haiku-4-5-20251001"
      yield* store.step({
        _tag: "Write",
        rows: [haiku, haiku, "ours-2026", "x"].map((model, n) => LedgerRows.row({ model, callId: `call-${n}` }))
      })
      const ledger = yield* CostLedger.CostLedger
      const attempts = (model: string) =>
        Effect.map(ledger.report({ from: 0, to: "2027-01-01", where: { model } }), ({ total }) => total.attempts)
      assert.strictEqual(yield* attempts("claude-haiku-4-5"), 2)
      assert.strictEqual(yield* attempts(haiku), 2)
      assert.strictEqual(yield* attempts("ours"), 1)
      assert.strictEqual(yield* attempts("x"), 1)
      const bill = [{ day: "2026-10-24", model: "ours", nanoUsd: 450_000 }]
      const { entries } = yield* ledger.reconcile(bill, { from: 0, to: Date.parse("2027-01-01") })
      assert.deepStrictEqual(entries.flatMap(({ model, only }) => only === null ? [model] : []), ["ours-2026"])
    }).pipe(Effect.provide(
      CostLedger.layerNoDeps().pipe(
        Layer.provideMerge(CostLedger.layerStoreMemory()),
        Layer.provide(Prices.layer),
        Layer.provide(Model.layerCatalogue([Model.make({ id: "ours-2026", aliases: ["ours"], group: "ours" })]))
      )
    )))

  it.effect.each([
    { name: "a field that does not exist", query: { where: { region: "eu" } } },
    { name: "a dimension that does not exist", query: { by: "region" } },
    { name: "a value that is no text", query: { where: { user: 7 } } },
    { name: "a tag without a name", query: { by: { tag: null } } },
    { name: "no date", query: { from: null } }
  ])("refuses a query that came from elsewhere with $name", ({ query }) =>
    Effect.gen(function*() {
      const ledger = yield* CostLedger.CostLedger
      const error = yield* Effect.flip(ledger.report(query as {})) // not what its type says
      assert.strictEqual(error.reason, "query")
    }).pipe(using()))

  it.effect("refuses settings that make no sense", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Effect.void.pipe(using({ batchRows: 0 })))
      assert.include(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "", "batchRows is from 1 to 1000, not 0")
    }))

  it.effect("is configured, and turned off", () =>
    Effect.gen(function*() {
      const layer = CostLedger.layerConfig({ keepRows: Config.Int("KEEP_ROWS") }).pipe(Layer.provide(Prices.layer))
      const configured = Effect.replicateEffect(call(completed()), 3).pipe(
        Effect.andThen(TestClock.adjust("10 minutes")),
        Effect.andThen(rows),
        Effect.provide(layer)
      )
      const provider = ConfigProvider.layer(ConfigProvider.fromUnknown({ KEEP_ROWS: "1" }))
      assert.strictEqual((yield* Effect.provide(configured, provider)).length, 1)
      const off = call(completed()).pipe(Effect.andThen(rows), Effect.provide(CostLedger.layerOff))
      assert.deepStrictEqual(yield* off, [])
    }))

  it.effect("has rows that JSON keeps", () =>
    Effect.gen(function*() {
      yield* call(completed({ model: "unpriced" }))
      const codec = Schema.toCodecJson(CostLedger.Row)
      const [row] = yield* rows
      assert(row !== undefined)
      const json: unknown = JSON.parse(JSON.stringify(Schema.encodeSync(codec)(row)))
      assert.deepEqual(
        JSON.parse(JSON.stringify(Schema.decodeUnknownSync(codec)(json))),
        JSON.parse(JSON.stringify(row))
      )
    }).pipe(using()))
})

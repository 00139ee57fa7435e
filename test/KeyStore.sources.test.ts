import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Logger, Option, Redacted, Schema, Stream } from "effect"
import { type Attempt, KeyStore } from "effect-claude"
import { TestClock } from "effect/testing"
import { planted, suite } from "./suites/KeyStore.ts"
import { nowhere, showing } from "./utils/leaks.ts"

/** A source in memory, with a count of its readings and failures on demand. */
const memory = (name: string, first: Readonly<Record<string, string>> = {}) => {
  const texts = new Map(Object.entries(first))
  const state = {
    reads: 0,
    failure: undefined as unknown,
    expiresAt: undefined as number | undefined,
    texts,
    gate: Effect.void as Effect.Effect<void>
  }
  const secret = (text: string): KeyStore.Secret => ({ secret: Redacted.make(text), expiresAt: state.expiresAt })
  const all = Effect.gen(function*() {
    state.reads++
    yield* state.gate
    if (state.failure !== undefined) return yield* Effect.fail(state.failure)
    return Object.fromEntries([...texts].map(([name, text]) => [name, secret(text)]))
  })
  const source: KeyStore.Source = {
    name,
    read: (key) => Effect.map(all, (found) => found[key]),
    all,
    changes: KeyStore.every("10 seconds"),
    set: (key, value) => Effect.sync(() => void texts.set(key, Redacted.value(value))),
    remove: (key) => Effect.sync(() => void texts.delete(key))
  }
  return { source, state }
}

const labels = (keys: ReadonlyArray<{ readonly label: string }>) => keys.map((key) => key.label)

const secrets = (keys: ReadonlyArray<Attempt.Key>) => keys.map((key) => Redacted.value(key.secret))

const errorOf = <A>(effect: Effect.Effect<A, KeyStore.KeyStoreError>) => Effect.flip(effect)

const logging = <A, E, R>(effect: Effect.Effect<A, E, R>) => {
  const lines: Array<string> = []
  const logger = Logger.make<unknown, void>(({ logLevel, message }) =>
    void lines.push(`${logLevel} ${String(message)}`)
  )
  return Effect.map(Effect.provide(effect, Logger.layer([logger])), (value) => [value, lines] as const)
}

/** Subscribes, and gives what came so far. */
const following = (store: KeyStore.KeyStore["Service"]) => {
  const seen: Array<ReadonlyArray<string>> = []
  return Effect.as(
    Effect.andThen(
      Effect.forkScoped(Stream.runForEach(store.changes!, (keys) => Effect.sync(() => seen.push(secrets(keys))))),
      Effect.yieldNow
    ),
    seen
  )
}

describe("a source in memory", () => {
  suite(
    Effect.sync(() => {
      const { source, state } = memory("memory")
      return {
        source: { ...source, changes: KeyStore.every(5) },
        put: (texts) =>
          Effect.sync(() => {
            state.texts.clear()
            for (const [name, text] of Object.entries(texts)) state.texts.set(name, text)
          }),
        names: ["one", "two"]
      }
    }),
    { isWritable: true, isChanging: true }
  )
})

describe("a source of two functions", () => {
  suite(
    Effect.sync(() => {
      const texts = new Map<string, string>()
      return {
        source: {
          name: "manager",
          read: (name) =>
            Effect.sync(() => {
              const text = texts.get(name)
              return text === undefined ? undefined : { secret: Redacted.make(text), version: "7" }
            }),
          names: ["one", "two"],
          changes: KeyStore.every(5)
        },
        put: (given) =>
          Effect.sync(() => {
            texts.clear()
            for (const [name, text] of Object.entries(given)) texts.set(name, text)
          }),
        names: ["one", "two"]
      }
    }),
    { isWritable: false, isChanging: true }
  )

  it.effect("reads one name where it is given none", () =>
    Effect.gen(function*() {
      const asked: Array<string> = []
      const store = yield* KeyStore.make([{
        name: "manager",
        read: (name) => Effect.sync(() => (asked.push(name), { secret: Redacted.make(planted("a")), version: "7" }))
      }])
      assert.deepStrictEqual(labels(yield* store.keys), ["anthropic-api-key"])
      assert.deepStrictEqual(asked, ["anthropic-api-key"])
      assert.deepStrictEqual((yield* store.list()).map(({ version }) => version), ["7"])
    }).pipe(Effect.scoped))
})

describe("chain", () => {
  it.effect("takes the keys of the first source that has any, and reports what each gives", () =>
    Effect.gen(function*() {
      const [one, two, three] = [
        memory("one"),
        memory("two", { b: planted("b") }),
        memory("three", { c: planted("c") })
      ]
      const store = yield* KeyStore.make([one.source, two.source, three.source])
      assert.deepStrictEqual(labels(yield* store.keys), ["b"])
      assert.strictEqual(three.state.reads, 0)
      const report = yield* store.report
      assert.deepStrictEqual(report.map(({ error, keys, source }) => [source, labels(keys), error?.kind]), [
        ["one", [], "absent"],
        ["two", ["b"], undefined],
        ["three", ["c"], undefined]
      ])
      assert.deepStrictEqual((yield* store.list()).map(({ isUsed, label }) => [label, isUsed]), [["b", true], [
        "c",
        false
      ]])
      assert.strictEqual(Redacted.value((yield* store.get("c")).secret), planted("c"))
    }).pipe(Effect.scoped))

  it.effect("takes those of all sources on request; of two with one label the earlier counts", () =>
    Effect.gen(function*() {
      const one = memory("one", { a: planted("a") })
      const two = memory("two", { a: planted("x"), b: planted("b") })
      const store = yield* KeyStore.make([one.source, two.source], { use: "all" })
      assert.deepStrictEqual(secrets(yield* store.keys), [planted("a"), planted("b")])
      assert.deepStrictEqual(
        (yield* store.list()).map(({ isUsed, label, source }) => [source, label, isUsed]),
        [["one", "a", true], ["two", "a", false], ["two", "b", true]]
      )
    }).pipe(Effect.scoped))

  it.effect("goes on where a source fails, and says why for each where none has a key", () =>
    Effect.gen(function*() {
      const locked = memory("locked")
      locked.state.failure = new KeyStore.KeyStoreError({
        store: "locked",
        kind: "locked",
        reason: "the keyring is locked",
        remedy: "Unlock it."
      })
      const broken = memory("broken")
      broken.state.failure = Object.assign(new Error(planted("a")), { code: "ECONNREFUSED" })
      const dying: KeyStore.Source = { name: "dying", read: () => Effect.die(new TypeError(planted("b"))) }
      const throwing: KeyStore.Source = {
        name: "throwing",
        read: () => {
          throw new RangeError(planted("c"))
        }
      }
      const silent: KeyStore.Source = { name: "silent", read: () => Effect.never }
      const sources = [locked.source, broken.source, dying, throwing, silent]
      const store = yield* KeyStore.make(sources, { timeout: "3 seconds" })
      const asked = yield* Effect.forkChild(showing(store.keys))
      yield* TestClock.adjust("3 seconds")
      const { exit, lines } = yield* Fiber.join(asked)
      nowhere(lines, planted("a"), planted("b"), planted("c"))
      const error = Option.getOrThrow(Exit.getCause(exit)).pipe(Cause.squash)
      assert.instanceOf(error, KeyStore.KeyStoreError)
      assert.strictEqual(error.kind, "none")
      assert.strictEqual(
        error.message,
        [
          "No API key was found (locked, broken, dying, throwing, silent): no source has a key.",
          "- locked: the keyring is locked. Unlock it.",
          "- broken: it failed with ECONNREFUSED.",
          "- dying: it failed with TypeError.",
          "- throwing: it failed with RangeError.",
          "- silent: it did not answer within 3 seconds."
        ].join("\n")
      )
      const last = memory("last", { a: planted("d") })
      const longer = yield* KeyStore.make([...sources.slice(0, 4), last.source])
      assert.deepStrictEqual(labels(yield* longer.keys), ["a"])
    }).pipe(Effect.scoped))

  it.effect("stores in the first source that can be written, or the one that is named", () =>
    Effect.gen(function*() {
      const [one, two] = [memory("one"), memory("two")]
      const { remove: _, set: __, ...readOnly } = memory("zero").source
      const store = yield* KeyStore.make([readOnly, one.source, two.source])
      const key = { label: "a", group: "default", secret: Redacted.make(planted("a")) }
      assert.strictEqual(yield* store.set(key), "one")
      assert.strictEqual(yield* store.set(key, { source: "two" }), "two")
      assert.strictEqual((yield* errorOf(store.set(key, { source: "zero" }))).kind, "readOnly")
      assert.strictEqual((yield* errorOf(store.set(key, { source: "else" }))).kind, "absent")
      assert.deepStrictEqual(yield* store.remove("a", { source: "two" }), ["two"])
      yield* store.set(key, { source: "two" })
      assert.deepStrictEqual(yield* store.remove("a"), ["one", "two"])
      assert.deepStrictEqual((yield* store.report).map(({ isWritable }) => isWritable), [false, true, true])
    }).pipe(Effect.scoped))

  it.effect("keeps the keys that share a name with one that is replaced or removed", () =>
    Effect.gen(function*() {
      const { source, state } = memory("one", { team: `${planted("a")},${planted("b")}` })
      const store = yield* KeyStore.make([source])
      yield* store.set({ label: "team-1", group: "org", secret: Redacted.make(planted("c")) })
      assert.sameMembers(secrets(yield* store.keys), [planted("b"), planted("c")])
      yield* store.remove("team-2")
      assert.deepStrictEqual([...state.texts.keys()], ["team"])
      assert.deepStrictEqual(secrets(yield* store.keys), [planted("c")])
    }).pipe(Effect.scoped))
})

describe("reading", () => {
  it.effect("is one for all who ask at the same time, and outlives one who is interrupted", () =>
    Effect.gen(function*() {
      const { source, state } = memory("one", { a: planted("a") })
      state.gate = Effect.sleep("1 second")
      const store = yield* KeyStore.make([source])
      const asking = yield* Effect.forEach(Array.from({ length: 64 }), () => Effect.forkChild(store.keys))
      yield* TestClock.adjust("500 millis")
      yield* Fiber.interrupt(asking[0]!)
      yield* TestClock.adjust("500 millis")
      for (const fiber of asking.slice(1)) assert.deepStrictEqual(labels(yield* Fiber.join(fiber)), ["a"])
      assert.strictEqual(state.reads, 1)
      const again = yield* Effect.forkChild(store.keys)
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(again)
      assert.strictEqual(state.reads, 2)
    }).pipe(Effect.scoped))
})

describe("changes", () => {
  it.effect("starts with the keys of now, and gives them again only where they differ", () =>
    Effect.gen(function*() {
      const { source, state } = memory("one", { a: planted("a") })
      const store = yield* KeyStore.make([source])
      const seen = yield* following(store)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(seen, [[planted("a")]])
      assert.isAtLeast(state.reads, 6)
      state.texts.set("a", planted("b"))
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(seen, [[planted("a")], [planted("b")]])
      const later = yield* following(store)
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(later, [[planted("b")]])
    }).pipe(Effect.scoped))

  it.effect("reads nothing in the background before somebody subscribes", () =>
    Effect.gen(function*() {
      const { source, state } = memory("one", { a: planted("a") })
      const store = yield* KeyStore.make([source])
      yield* store.keys
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(state.reads, 1)
    }).pipe(Effect.scoped))

  it.effect("reads nothing again for a subscriber who has just read", () =>
    Effect.gen(function*() {
      const { source, state } = memory("one", { a: planted("a") })
      const store = yield* KeyStore.make([source])
      yield* store.keys
      const seen = yield* following(store)
      yield* TestClock.adjust("9 seconds")
      assert.deepStrictEqual([state.reads, seen], [1, [[planted("a")]]])
      yield* TestClock.adjust("1 second")
      assert.strictEqual(state.reads, 2)
    }).pipe(Effect.scoped))

  it.effect("outlives failures with one warning, a back-off, and the last keys in use", () =>
    Effect.gen(function*() {
      const { source, state } = memory("one", { a: planted("a") })
      const [, lines] = yield* logging(
        Effect.gen(function*() {
          const store = yield* KeyStore.make([source])
          const seen = yield* following(store)
          yield* TestClock.adjust("10 seconds")
          state.failure = { code: "ETIMEDOUT" }
          state.reads = 0
          yield* TestClock.adjust("10 minutes")
          // 1, 2, 4, 8, 16, 32 seconds, then once a minute.
          assert.isAtMost(state.reads, 17)
          assert.isAtLeast(state.reads, 14)
          assert.deepStrictEqual(secrets(yield* store.keys), [planted("a")])
          assert.deepStrictEqual(seen, [[planted("a")]])
          state.failure = undefined
          state.texts.set("a", planted("b"))
          yield* TestClock.adjust("1 minute")
          assert.deepStrictEqual(seen, [[planted("a")], [planted("b")]])
          state.reads = 0
          yield* TestClock.adjust("1 minute")
          assert.strictEqual(state.reads, 6)
        }).pipe(Effect.scoped)
      )
      assert.deepStrictEqual(lines, [
        "Warn KeyStore: The API keys cannot be accessed (one): it failed with ETIMEDOUT. The keys that it gave before stay in use.",
        "Info KeyStore: one answers again."
      ])
    }))

  it.effect("takes up a source again that was not there for a while", () =>
    Effect.gen(function*() {
      const { source, state } = memory("m", { a: planted("a") })
      const store = yield* KeyStore.make([source])
      const seen = yield* following(store)
      yield* TestClock.adjust("15 seconds")
      state.failure = new KeyStore.KeyStoreError({ store: "m", kind: "unavailable", reason: "it is not there" })
      yield* TestClock.adjust("30 seconds")
      state.failure = undefined
      state.texts.set("a", planted("b"))
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(seen, [[planted("a")], [planted("b")]])
    }).pipe(Effect.scoped))

  it.effect("keeps the last keys where no source has one any more", () =>
    Effect.gen(function*() {
      const { source, state } = memory("one", { a: planted("a") })
      const [, lines] = yield* logging(
        Effect.gen(function*() {
          const store = yield* KeyStore.make([source])
          const seen = yield* following(store)
          yield* TestClock.adjust("10 seconds")
          state.texts.clear()
          yield* TestClock.adjust("10 minutes")
          assert.deepStrictEqual(secrets(yield* store.keys), [planted("a")])
          assert.deepStrictEqual(seen, [[planted("a")]])
          state.texts.set("b", planted("b"))
          yield* TestClock.adjust("1 minute")
          assert.deepStrictEqual(seen.at(-1), [planted("b")])
        }).pipe(Effect.scoped)
      )
      assert.deepStrictEqual(lines, ["Warn KeyStore: no source has a key any more. The last ones stay in use."])
    }))

  it.effect("goes back to an earlier source that answers again, and not to a later one while it fails", () =>
    Effect.gen(function*() {
      const one = memory("one")
      const two = memory("two", { b: planted("b") })
      one.state.failure = { code: "ECONNREFUSED" }
      const store = yield* KeyStore.make([one.source, two.source])
      const seen = yield* following(store)
      yield* TestClock.adjust("10 seconds")
      one.state.failure = undefined
      one.state.texts.set("a", planted("a"))
      yield* TestClock.adjust("1 minute")
      one.state.failure = { code: "ECONNREFUSED" }
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(seen, [[planted("b")], [planted("a")]])
      one.state.failure = undefined
      one.state.texts.clear()
      yield* TestClock.adjust("2 minutes")
      assert.deepStrictEqual(seen.at(-1), [planted("b")])
    }).pipe(Effect.scoped))

  it.effect("reads a key again before its end, and one that is not renewed less and less often", () =>
    Effect.gen(function*() {
      const { source, state } = memory("one", { a: planted("a") })
      state.expiresAt = 600_000
      const { changes: _, ...still } = source
      const store = yield* KeyStore.make([still])
      const seen = yield* following(store)
      yield* TestClock.adjust("1 second")
      state.reads = 0
      yield* TestClock.adjust("478 seconds")
      assert.strictEqual(state.reads, 0)
      state.texts.set("a", planted("b"))
      state.expiresAt = 1_200_000
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual([state.reads, seen], [1, [[planted("a")], [planted("b")]]])
      state.reads = 0
      yield* TestClock.adjust("20 minutes")
      assert.isAtLeast(state.reads, 10)
      assert.isAtMost(state.reads, 30)
    }).pipe(Effect.scoped))

  it.effect("reads a key of a short life again after half of it", () =>
    Effect.gen(function*() {
      const { source, state } = memory("one", { a: planted("a") })
      state.expiresAt = 60_000
      const { changes: _, ...still } = source
      const store = yield* KeyStore.make([still])
      yield* following(store)
      yield* TestClock.adjust("29 seconds")
      assert.strictEqual(state.reads, 1)
      state.expiresAt = 90_000
      yield* TestClock.adjust("1 second")
      assert.strictEqual(state.reads, 2)
      yield* TestClock.adjust("30 seconds")
      assert.strictEqual(state.reads, 3)
    }).pipe(Effect.scoped))

  it.effect("follows a source whose stream of changes fails again, with one warning", () =>
    Effect.gen(function*() {
      const { source, state } = memory("one", { a: planted("a") })
      let starts = 0
      const watched: KeyStore.Source = {
        ...source,
        changes: Stream.suspend(() => {
          starts++
          return Stream.fail({ code: "ECONNRESET", secret: planted("z") })
        })
      }
      const [, lines] = yield* logging(
        Effect.gen(function*() {
          const store = yield* KeyStore.make([watched])
          const seen = yield* following(store)
          yield* TestClock.adjust("1 second")
          state.texts.set("a", planted("b"))
          yield* TestClock.adjust("10 minutes")
          assert.deepStrictEqual(seen, [[planted("a")], [planted("b")]])
          assert.isAtMost(starts, 20)
        }).pipe(Effect.scoped)
      )
      assert.deepStrictEqual(lines, [
        "Warn KeyStore: changes of one are not followed for a moment: it failed with ECONNRESET."
      ])
    }))

  it.effect("reads less and less often where a stream of changes fails each time after it said something", () =>
    Effect.gen(function*() {
      const { source, state } = memory("one", { a: planted("a") })
      const store = yield* KeyStore.make([{
        ...source,
        changes: Stream.concat(Stream.make(undefined), Stream.fail("lost"))
      }])
      yield* following(store)
      yield* TestClock.adjust("10 minutes")
      assert.isAtMost(state.reads, 35)
    }).pipe(Effect.scoped))

  it.effect("begins at once again where a stream of changes lasted before it failed", () =>
    Effect.gen(function*() {
      const { source } = memory("one", { a: planted("a") })
      let starts = 0
      const store = yield* KeyStore.make([{
        ...source,
        changes: Stream.suspend(() => {
          starts++
          const lasting = starts > 10 ? Stream.tick("2 minutes").pipe(Stream.take(2)) : Stream.make(undefined)
          return Stream.concat(lasting, Stream.fail("lost"))
        })
      }])
      yield* following(store)
      yield* TestClock.adjust("10 minutes")
      const before = starts
      assert.isAtMost(before, 13)
      yield* TestClock.adjust(20 * 121_000)
      assert.isAtLeast(starts - before, 20)
    }).pipe(Effect.scoped))

  it.effect("notices a key that was set or removed through the store at once", () =>
    Effect.gen(function*() {
      const { source } = memory("one", { a: planted("a") })
      const store = yield* KeyStore.make([source])
      const seen = yield* following(store)
      yield* TestClock.adjust("1 second")
      yield* store.set({ label: "b", group: "default", secret: Redacted.make(planted("b")) })
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(seen.at(-1), [planted("a"), planted("b")])
    }).pipe(Effect.scoped))

  it.effect("ends with the store", () =>
    Effect.gen(function*() {
      const { source } = memory("one", { a: planted("a") })
      const fiber = yield* Effect.scoped(Effect.gen(function*() {
        const store = yield* KeyStore.make([source])
        const fiber = yield* Effect.forkDetach(Stream.runCollect(store.changes!), { startImmediately: true })
        yield* TestClock.adjust("1 second")
        return fiber
      }))
      assert.strictEqual((yield* Fiber.join(fiber)).length, 1)
    }))
})

describe("documents", () => {
  const Name = Schema.String.check(Schema.isPattern(/^[a-z][a-z0-9._-]{0,20}$/))
  const Text = Schema.String.check(Schema.isPattern(/^[!#-&(-[\]-_a-~]([!-~]{0,118}[!#-&(-[\]-_a-~])?$/))
  const AnyKey = Schema.Struct({
    label: Name,
    group: Name,
    secret: Text,
    weight: Schema.UndefinedOr(Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1e6 })))
  })

  it.effect.prop("of a key that was stored give the same key", { key: AnyKey }, ({ key }) =>
    Effect.gen(function*() {
      const { source } = memory("one")
      const store = yield* KeyStore.make([source])
      yield* store.set({ ...key, secret: Redacted.make(key.secret) })
      const [read, ...others] = yield* store.keys
      assert.deepStrictEqual(others, [])
      assert.deepStrictEqual({ weight: undefined, ...read!, secret: Redacted.value(read!.secret) }, {
        ...key,
        weight: key.weight === undefined ? undefined : Math.abs(key.weight) // JSON has no -0
      })
    }).pipe(Effect.scoped))

  it.effect.prop("of any text give keys or an error", { text: Schema.String }, ({ text }) =>
    Effect.gen(function*() {
      const store = yield* KeyStore.make([memory("one", { a: text }).source])
      const exit = yield* Effect.exit(store.keys)
      if (Exit.isSuccess(exit)) assert.isTrue(secrets(exit.value).every((secret) => /^[\x21-\x7e]+$/.test(secret)))
      else assert.instanceOf(Cause.squash(exit.cause), KeyStore.KeyStoreError)
    }).pipe(Effect.scoped))

  it.effect.each([
    [`[{"label":"a","secret":"x"},{"label":"a","secret":"y"}]`, "the label a stands there twice"],
    [`[{"label":"a"}]`, "the `secret` of a is not a key of visible ASCII characters"],
    [`[{"label":"a","secret":"x","weight":-1}]`, "the `weight` of a is not a number from 0 to 1,000,000"],
    [`[{"label":"a","secret":"x","group":7}]`, "the `group` of a is not a name"],
    [`{"sk-ant-x":"x"}`, "the name of entry 1: a label looks like a key"],
    [`[{"label":"sk-ant-x","secret":"x"}]`, "entry 1: a label looks like a key"],
    [`[7]`, "entry 1 is neither a key nor an object with a `secret`"],
    [`{"a":`, "it starts like JSON and is none"],
    [`"x"`, "it stands in quotation marks: remove them"],
    ["'x'", "it stands in quotation marks: remove them"],
    ["\u201cx\u201d", "it stands in quotation marks: remove them"],
    [`"x,y"`, "entry 1 stands in quotation marks: remove them"],
    ["x, y`", "entry 2 stands in quotation marks: remove them"],
    [`{"a":"\\"x\\""}`, "the `secret` of a stands in quotation marks: remove them"],
    [`[{"label":"a","secret":"\\"x"}]`, "the `secret` of a stands in quotation marks: remove them"],
    ["a b", "it is neither API keys of visible ASCII characters, separated by commas, nor JSON"]
  ])("of %s say what is wrong", ([text, reason]) =>
    Effect.gen(function*() {
      const store = yield* KeyStore.make([memory("one", { name: text! }).source])
      const error = yield* errorOf(store.keys)
      assert.deepStrictEqual([error.kind, error.reason], ["invalid", `name: ${reason}`])
    }).pipe(Effect.scoped))
})

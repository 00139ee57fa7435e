/** What every source of keys does, whatever it is kept in. */
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Logger, Redacted, type Scope, Stream } from "effect"
import { ClaudeService, KeyPool, KeyStore } from "effect-claude"
import { fetchOf, hello } from "../utils/http.ts"
import { nowhere, showing } from "../utils/leaks.ts"

/**
 * - `put`: stores texts under names as whoever keeps the real thing does, in place of what was there.
 * - `names`: two names that can be used in it.
 */
export interface Place {
  readonly source: KeyStore.Source
  readonly put: (texts: Readonly<Record<string, string>>) => Effect.Effect<void>
  readonly names: readonly [string, string]
}

/** The place of one test. */
export type MakePlace = Effect.Effect<Place, never, Scope.Scope>

/** A service with the keys of this store, which reaches nobody. */
const serviceOf = (store: KeyStore.KeyStore["Service"]) =>
  ClaudeService.layer({
    keys: Layer.provide(KeyPool.layer(), Layer.succeed(KeyStore.KeyStore, store)),
    api: { fetch: fetchOf(() => new Response("", { status: 503 })).fetch },
    retry: { retries: 0 }
  })

/** A key of the length and shape of real ones. */
export const planted = (letter: string): string =>
  `sk-ant-api03-${letter.repeat(10)}${"Plant3d-".repeat(10)}${letter}AA`

const shownOf = (keys: ReadonlyArray<{ label: string; group: string; weight?: number | undefined }>) =>
  keys.map(({ group, label, weight }) => [label, group, weight ?? 1])

const failed = (exit: Exit.Exit<unknown, unknown>): KeyStore.KeyStoreError => {
  const error = Exit.isFailure(exit)
    ? exit.cause.reasons.map((reason) => reason._tag === "Fail" && reason.error)[0]
    : exit
  assert.instanceOf(error, KeyStore.KeyStoreError)
  return error
}

export const suite = (
  place: MakePlace,
  options: {
    readonly isWritable: boolean
    readonly isChanging: boolean
    /** It holds one token, and no text with labels. */
    readonly isToken?: boolean
  }
): void => {
  const live = (
    name: string,
    test: (place: Place, store: KeyStore.KeyStore["Service"]) => Effect.Effect<void, unknown>
  ): void | boolean =>
    it.live(name, () =>
      Effect.gen(function*() {
        const given = yield* place
        yield* test(given, yield* KeyStore.make([given.source]))
      }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))))

  /** What is about labels, groups and weights. */
  const labelled: typeof live = (name, test) => options.isToken === true || live(name, test)

  live("gives a plain key under its name", ({ names: [one], put }, store) =>
    Effect.gen(function*() {
      yield* put({ [one]: `${planted("a")}\n` })
      const [key, ...others] = yield* store.keys
      assert.deepStrictEqual(others, [])
      assert.strictEqual(key?.group, "default")
      assert.strictEqual(Redacted.value(key!.secret), planted("a"))
    }))

  labelled("gives labels, groups and weights", ({ names: [one], put }, store) =>
    Effect.gen(function*() {
      yield* put({
        [one]: JSON.stringify([
          { label: "team-a", group: "org-a", secret: planted("a"), weight: 3 },
          { label: "team-b", group: "org-b", secret: planted("b") }
        ])
      })
      const keys = yield* store.keys
      assert.deepStrictEqual(shownOf(keys), [["team-a", "org-a", 3], ["team-b", "org-b", 1]])
      assert.deepStrictEqual(keys.map((key) => Redacted.value(key.secret)), [planted("a"), planted("b")])
      assert.strictEqual(Redacted.value((yield* store.get("team-b")).secret), planted("b"))
    }))

  labelled(
    "lists keys without their secrets, and fingerprints only on request",
    ({ names: [one], put, source }, store) =>
      Effect.gen(function*() {
        yield* put({ [one]: JSON.stringify({ "team-a": { group: "org-a", secret: planted("a"), weight: 2 } }) })
        const plain = yield* store.list()
        assert.deepStrictEqual(shownOf(plain), [["team-a", "org-a", 2]])
        assert.deepStrictEqual(plain.map(({ isUsed, source }) => [isUsed, source]), [[true, source.name]])
        assert.isTrue(plain.every((key) => !("fingerprint" in key)))
        const [listed] = yield* store.list({ fingerprint: true })
        assert.match(listed?.fingerprint ?? "", /^[0-9a-f]{12}$/)
        const report = yield* store.report
        assert.deepStrictEqual(report.map(({ error, keys }) => [keys.length, error]), [[1, undefined]])
      })
  )

  live("says that it has no key", ({ put }, store) =>
    Effect.gen(function*() {
      yield* put({})
      assert.strictEqual(failed(yield* Effect.exit(store.keys)).kind, "absent")
      assert.include(failed(yield* Effect.exit(store.get("team-a"))).message, "no key labelled team-a")
      assert.deepStrictEqual(yield* store.list(), [])
      const mistaken = yield* showing(store.get(planted("l")))
      assert.strictEqual(failed(mistaken.exit).kind, "absent")
      nowhere(mistaken.lines, planted("l"))
    }))

  live("refuses what is no key", ({ names: [one], put }, store) =>
    Effect.gen(function*() {
      yield* put({ [one]: `${planted("a")} and ${planted("b")}` })
      const { exit, lines } = yield* showing(store.keys)
      assert.strictEqual(failed(exit).kind, "invalid")
      nowhere(lines, planted("a"), planted("b"))
    }))

  labelled("shows a key nowhere", ({ names: [one], put }, store) =>
    Effect.gen(function*() {
      const secret = planted("x")
      yield* put({ [one]: JSON.stringify([{ label: "team-a", group: "org-a", secret }]) })
      const all = yield* showing(Effect.all([
        store.keys,
        store.get("team-a"),
        store.list({ fingerprint: true }),
        store.report,
        Effect.exit(store.get("team-b"))
      ]))
      nowhere(all.lines, secret)
      assert.isTrue(Exit.isSuccess(all.exit))
      for (
        const text of [
          `[{"label":"team-a","secret":"${secret}"`,
          `{"${secret}":"${secret}"}`,
          `[{"secret":["${secret}"]}]`,
          `[{"label":"${secret}","secret":"team-a"}]`,
          `[{"label":"team-a","group":"${secret}","secret":"x"}]`,
          `[{"label":"team-a","weight":"${secret}","secret":"x"}]`,
          `[{"label":"x-${secret}","secret":"x"},{"label":"x-${secret}","secret":"x"}]`,
          `{"team-a":{"secret":"${secret}","headers":{"x-a":"${secret}\\n"}}}`,
          `{"gw ${secret.slice(13)}":"${secret.slice(13)}"}`,
          `"${secret}"`,
          `'${secret}'`,
          `ANTHROPIC_API_KEY=${secret} ${secret}`,
          `team-a: ${secret}\nteam-b: ${secret}`,
          `${secret}\0`,
          `${secret}\ufeff\n-----BEGIN ${secret}`,
          `<html>${secret}</html>`
        ]
      ) {
        yield* put({ [one]: text })
        const { exit, lines } = yield* showing(Effect.gen(function*() {
          const call = Effect.provide(ClaudeService.create(hello), serviceOf(store))
          return [
            yield* Effect.exit(store.keys),
            yield* Effect.exit(store.list({ fingerprint: true })),
            yield* Effect.exit(call),
            yield* store.report
          ]
        }))
        assert.isTrue(Exit.isSuccess(exit), String(exit))
        for (let at = "sk-ant-api03-".length; at + 10 <= secret.length; at++) {
          assert.notInclude(lines.join("\n"), secret.slice(at, at + 10), text.replaceAll(secret, "KEY"))
        }
      }
    }))

  if (options.isWritable) {
    live("stores, replaces and removes keys", ({ put, source }, store) =>
      Effect.gen(function*() {
        yield* put({})
        const key = { label: "team-a", group: "org-a", secret: Redacted.make(planted("a")), weight: 0.5 }
        assert.strictEqual(yield* store.set(key), source.name)
        yield* store.set({ label: "team-b", group: "default", secret: Redacted.make(planted("b")) })
        assert.sameDeepMembers(shownOf(yield* store.keys), [["team-a", "org-a", 0.5], ["team-b", "default", 1]])
        yield* store.set({ ...key, secret: Redacted.make(planted("c")), group: "org-c" })
        const replaced = (yield* store.keys).find(({ label }) => label === "team-a")
        assert.deepStrictEqual([replaced?.group, Redacted.value(replaced!.secret)], ["org-c", planted("c")])
        assert.deepStrictEqual(yield* store.remove("team-a"), [source.name])
        assert.deepStrictEqual(shownOf(yield* store.list()), [["team-b", "default", 1]])
        assert.deepStrictEqual(yield* store.remove("team-b"), [source.name])
        assert.deepStrictEqual(yield* store.list(), [])
        assert.strictEqual(failed(yield* Effect.exit(store.remove("team-b"))).kind, "absent")
      }))

    live("stores a key again that was removed", ({ put }, store) =>
      Effect.gen(function*() {
        yield* put({})
        const key = { label: "team-a", group: "default", secret: Redacted.make(planted("a")) }
        yield* store.set(key)
        yield* store.remove("team-a")
        yield* store.set(key)
        assert.deepStrictEqual(shownOf(yield* store.list()), [["team-a", "default", 1]])
      }))

    live("refuses to store what is no key, and shows it nowhere", (_, store) =>
      Effect.gen(function*() {
        for (
          const [label, secret] of [["team-a", `${planted("a")} x`], [planted("b"), planted("a")], ["", planted("a")]]
        ) {
          const { exit, lines } = yield* showing(
            store.set({ label: label!, group: "default", secret: Redacted.make(secret!) })
          )
          assert.strictEqual(failed(exit).kind, "invalid")
          nowhere(lines, planted("a"), planted("b"))
        }
      }))
  } else {
    live("says that keys cannot be stored in it", ({ names: [one], put }, store) =>
      Effect.gen(function*() {
        yield* put({ [one]: planted("a") })
        const set = store.set({ label: "b", group: "default", secret: Redacted.make(planted("b")) })
        const { exit, lines } = yield* showing(set)
        assert.strictEqual(failed(exit).kind, "readOnly")
        nowhere(lines, planted("a"), planted("b"))
        const [label] = (yield* store.list()).map((key) => key.label)
        assert.strictEqual(failed(yield* Effect.exit(store.remove(label!))).kind, "readOnly")
      }))
  }

  if (options.isChanging) {
    live(
      "follows changes, and keeps its keys while what it reads is broken",
      ({ names: [one, two], put }, store) =>
        Effect.gen(function*() {
          yield* put({ [one]: planted("a") })
          yield* store.keys
          const seen: Array<ReadonlyArray<string>> = []
          const secretsOf = (keys: Effect.Success<typeof store.keys>) => keys.map((key) => Redacted.value(key.secret))
          const following = yield* store.changes!.pipe(
            Stream.map(secretsOf),
            Stream.tap((secrets) => Effect.sync(() => seen.push(secrets))),
            Stream.takeUntil((secrets) => secrets.includes(planted("d"))),
            Stream.runDrain,
            Effect.forkChild
          )
          yield* until(() => seen.length === 1)
          yield* put({ [one]: planted("b") })
          yield* until(() => seen.length === 2)
          yield* put({ [one]: "{ broken" })
          yield* Effect.sleep(30)
          assert.deepStrictEqual(secretsOf(yield* store.keys), [planted("b")])
          yield* put({ [one]: planted("c"), [two]: planted("d") })
          yield* Fiber.join(following)
          assert.deepStrictEqual(seen.slice(0, 2), [[planted("a")], [planted("b")]])
          assert.sameMembers([...seen.at(-1)!], [planted("c"), planted("d")])
        })
    )
  }
}

const until = (holds: () => boolean): Effect.Effect<void> =>
  Effect.gen(function*() {
    for (let left = 1000; left > 0 && !holds(); left--) yield* Effect.sleep(5)
    assert.isTrue(holds(), "did not come")
  })

import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Effect, Exit, Redacted, Scope } from "effect"
import { KeyStore } from "effect-claude"
import { planted, suite } from "../suites/KeyStore.ts"
import { sourceIn } from "../utils/keyringProcess.ts"
import { nowhere, showing } from "../utils/leaks.ts"
import * as SecretService from "../utils/secretService.ts"

const key = { label: "team-a", group: "default", secret: Redacted.make(planted("a")) }

/** What comes of reading, storing and removing a key, none of which shows it. */
const errors = (source: KeyStore.Source) =>
  Effect.gen(function*() {
    const store = yield* KeyStore.make([source])
    const { exit, lines } = yield* showing(
      Effect.all([Effect.flip(store.keys), Effect.flip(store.set(key)), Effect.flip(store.remove("team-a"))])
    )
    nowhere(lines, planted("a"))
    return yield* exit
  })

const bare = { PATH: process.env["PATH"] ?? "", HOME: "/nonexistent" }

describe.skipIf(!SecretService.isInstalled)("Keyring", () => {
  describe("with a Secret Service", () => {
    const scope = Scope.makeUnsafe()
    let service: SecretService.Service
    let source: KeyStore.Source
    beforeAll(() =>
      Effect.runPromise(
        Effect.gen(function*() {
          service = yield* SecretService.start(yield* SecretService.home, "password")
          source = yield* sourceIn(service.env)
        }).pipe(Scope.provide(scope))
      )
    )
    afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

    suite(
      Effect.sync(() => ({
        source,
        names: ["one", "two"] as const,
        put: (texts) =>
          Effect.sync(() => {
            service.clear("effect-claude")
            const labels = Object.keys(texts)
            if (labels.length > 0) service.store("effect-claude", "effect-claude\tlabels", JSON.stringify(labels))
            for (const label of labels) service.store("effect-claude", label, texts[label]!)
          })
      })),
      { isWritable: true, isChanging: false }
    )

    it.live("reads an entry of another program by its label", () =>
      Effect.gen(function*() {
        yield* Effect.sync(() => service.store("other", "mine", planted("m")))
        const source = yield* sourceIn(service.env, { service: "other", labels: ["mine", "missing"] })
        const [found, ...others] = yield* (yield* KeyStore.make([source])).keys
        assert.deepStrictEqual([found?.label, Redacted.value(found!.secret), others.length], ["mine", planted("m"), 0])
      }).pipe(Effect.scoped))

    it.live("says that it is locked, and the chain goes on", () =>
      Effect.gen(function*() {
        const service = yield* SecretService.start(yield* SecretService.home, "password")
        const source = yield* sourceIn(service.env)
        yield* (yield* KeyStore.make([source])).set(key)
        yield* Effect.sync(() => service.lock())
        for (const error of yield* errors(source)) {
          assert.deepStrictEqual([error.kind, error.reason], ["locked", "the keyring is locked"])
          assert.include(error.message, "Unlock it")
        }
        const other: KeyStore.Source = {
          name: "other",
          read: () => Effect.succeed({ secret: Redacted.make(planted("b")) })
        }
        const chain = yield* KeyStore.make([source, other])
        assert.deepStrictEqual((yield* chain.keys).map((key) => Redacted.value(key.secret)), [planted("b")])
        assert.deepStrictEqual((yield* chain.report).map(({ error }) => error?.kind), ["locked", undefined])
      }).pipe(Effect.scoped))
  })

  it.live("says that there is no session bus, and never falls back to the keyring of the kernel", () =>
    Effect.gen(function*() {
      for (const env of [bare, { ...bare, DBUS_SESSION_BUS_ADDRESS: "unix:path=/nonexistent" }]) {
        for (const error of yield* errors(yield* sourceIn(env))) {
          assert.strictEqual(error.kind, "unavailable")
          assert.include(error.message, "there is no Secret Service")
          assert.include(error.message, "encrypted file")
        }
      }
    }).pipe(Effect.scoped))

  it.live("says that there is a bus without a keyring", () =>
    Effect.gen(function*() {
      const service = yield* SecretService.start(yield* SecretService.home, undefined)
      const [read, set] = yield* errors(yield* sourceIn(service.env))
      assert.strictEqual(read?.kind, "absent")
      assert.include(["locked", "unavailable"], set?.kind)
    }).pipe(Effect.scoped))
})

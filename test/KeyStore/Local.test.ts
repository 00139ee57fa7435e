import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Context, Effect, Layer, Redacted } from "effect"
import { KeyStore } from "effect-claude"
import * as AgeFile from "effect-claude/KeyStore/AgeFile"
import * as Local from "effect-claude/KeyStore/Local"
import { randomUUID } from "node:crypto"
import { join } from "node:path"
import { planted } from "../suites/KeyStore.ts"
import { folder } from "../utils/folders.ts"

const passphrase = Redacted.make("correct horse battery staple")

/** The store with this environment; the keyring of whoever runs the test has nothing under such a service. */
const storeIn = (env: Readonly<Record<string, string>>, options: Local.Options = {}) =>
  Layer.build(Local.layerConfig({ workFactor: 10, ...options })).pipe(
    Effect.map(Context.get(KeyStore.KeyStore)),
    Effect.provideService(
      ConfigProvider.ConfigProvider,
      ConfigProvider.fromUnknown({ CLAUDE_KEYRING_SERVICE: `effect-claude-test-${randomUUID()}`, ...env })
    )
  )

const labels = (keys: ReadonlyArray<{ readonly label: string }>) => keys.map(({ label }) => label)

describe("Local", () => {
  it.live("reads the environment, then the keyring, then the encrypted file, and says why for each", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "keys.age")
      const none = yield* storeIn({ CLAUDE_KEYS_FILE: path })
      const error = yield* Effect.flip(none.keys)
      assert.strictEqual(error.kind, "none")
      assert.deepStrictEqual(error.sources?.map(({ source }) => source), ["environment", "keyring", "encrypted file"])
      const env = { CLAUDE_KEYS_FILE: path, CLAUDE_KEYS_PASSPHRASE: Redacted.value(passphrase) }
      const file = yield* storeIn(env)
      const key = { label: "team-a", group: "org-a", secret: Redacted.make(planted("a")) }
      assert.strictEqual(yield* file.set(key, { source: "encrypted file" }), "encrypted file")
      assert.deepStrictEqual(labels(yield* file.keys), ["team-a"])
      const both = yield* storeIn({ ...env, ANTHROPIC_API_KEY: planted("b") })
      assert.deepStrictEqual(labels(yield* both.keys), ["env-1"])
      const report = yield* both.report
      assert.deepStrictEqual(
        report.map((
          { isWritable, keys, source }
        ) => [source, isWritable, labels(keys), keys.some(({ isUsed }) => isUsed)]),
        [["environment", false, ["env-1"], true], ["keyring", true, [], false], [
          "encrypted file",
          true,
          ["team-a"],
          false
        ]]
      )
      const locked = yield* storeIn({ CLAUDE_KEYS_FILE: path })
      assert.include((yield* Effect.flip(locked.keys)).message, "there is neither a passphrase nor an identity")
    }).pipe(Effect.scoped))

  it.live("prefers what is given to the environment", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "keys.age")
      const own = yield* KeyStore.make([AgeFile.source({ path, passphrase, workFactor: 10 })])
      yield* own.set({ label: "team-a", group: "org-a", secret: Redacted.make(planted("a")) })
      const env = { CLAUDE_KEYS_FILE: "/nonexistent", CLAUDE_KEYS_IDENTITY: "AGE-SECRET-KEY-1X" }
      const store = yield* storeIn(env, { path, passphrase })
      assert.deepStrictEqual(labels(yield* store.keys), ["team-a"])
    }).pipe(Effect.scoped))

  it("keeps the file in the folder of the user's configuration", () => {
    assert.match(Local.defaultPath() ?? "", /[\\/]effect-claude[\\/]keys\.age$/)
  })

  it.effect("works for a user without a home folder, and says so where it looked for a key", () =>
    Effect.gen(function*() {
      const names = ["HOME", "XDG_CONFIG_HOME"]
      const before = yield* Effect.acquireRelease(
        Effect.sync(() => names.map((name) => process.env[name])),
        (before) =>
          Effect.sync(() => {
            for (const [index, name] of names.entries()) {
              delete process.env[name]
              if (before[index] !== undefined) process.env[name] = before[index]
            }
          })
      )
      assert.lengthOf(before, 2)
      process.env["HOME"] = ""
      process.env["XDG_CONFIG_HOME"] = "relative"
      assert.isUndefined(Local.defaultPath())
      const file = Local.sources()[2]!
      const store = yield* KeyStore.make([file])
      const key = { label: "team-a", group: "org-a", secret: Redacted.make(planted("a")) }
      for (const failing of [store.keys, Effect.asVoid(store.set(key)), Effect.asVoid(store.remove("team-a"))]) {
        const error = yield* Effect.flip<unknown, KeyStore.KeyStoreError, never>(failing)
        assert.strictEqual(error.kind, "unavailable")
        assert.include(error.message, "this user has no home folder. Set HOME, or CLAUDE_KEYS_FILE to the path")
      }
    }).pipe(Effect.scoped))
})

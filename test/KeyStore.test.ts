import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Exit, Redacted, Result } from "effect"
import * as KeyStore from "effect-claude/KeyStore"
import { inspect } from "node:util"
import { nowhere } from "./utils/leaks.ts"

const keysOf = (env: Record<string, string>) =>
  Effect.flatMap(KeyStore.KeyStore, (store) => store.keys).pipe(
    Effect.provide(KeyStore.layerEnv),
    Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown(env))
  )

describe("layerEnv", () => {
  it.effect("reads one key", () =>
    Effect.gen(function*() {
      const [key, ...others] = yield* keysOf({ ANTHROPIC_API_KEY: "sk-ant-1" })
      assert.deepStrictEqual([key?.label, key?.group, Redacted.value(key!.secret)], ["env-1", "default", "sk-ant-1"])
      assert.deepStrictEqual(others, [])
    }))

  it.effect("reads several, however they are spaced", () =>
    Effect.gen(function*() {
      const keys = yield* keysOf({ ANTHROPIC_API_KEY: " sk-ant-1 ,\tsk-ant-2,, " })
      assert.deepStrictEqual(keys.map((key) => [key.label, Redacted.value(key.secret)]), [
        ["env-1", "sk-ant-1"],
        ["env-2", "sk-ant-2"]
      ])
    }))

  it.effect.each([
    {},
    { ANTHROPIC_API_KEY: "" },
    { ANTHROPIC_API_KEY: " , " },
    {
      ANTHROPIC_API_KEY: "sk-ant-secret 1\n2"
    },
    { ANTHROPIC_API_KEY: "\"sk-ant-secret 1\"" },
    { ANTHROPIC_API_KEY: "'sk-ant-secret-1'" }
  ])(
    "refuses %j without repeating it",
    (env: Record<string, string>) =>
      Effect.gen(function*() {
        const exit = yield* Effect.exit(keysOf(env))
        assert.isTrue(Exit.isFailure(exit))
        assert.include(String(exit), "ANTHROPIC_API_KEY")
        assert.notInclude(String(exit), "secret 1")
        assert.notInclude(JSON.stringify(exit), "secret 1")
        assert.notInclude(JSON.stringify(exit), "secret-1")
      })
  )

  it.effect("shows no key when it is printed", () =>
    Effect.gen(function*() {
      const keys = yield* keysOf({ ANTHROPIC_API_KEY: "sk-ant-1" })
      assert.notInclude(`${JSON.stringify(keys)} ${String(keys[0]?.secret)}`, "sk-ant-1")
    }))

  const json = JSON.stringify([
    { label: "team-a", group: "org-a", secret: "sk-ant-a", weight: 2 },
    { label: "team-b", secret: "sk-ant-1" }
  ])

  it.effect("reads labels, groups and weights as JSON, and a key that is there twice once", () =>
    Effect.gen(function*() {
      const keys = yield* keysOf({ ANTHROPIC_API_KEYS: json, ANTHROPIC_API_KEY: "sk-ant-1,sk-ant-2" })
      assert.deepStrictEqual(
        keys.map(({ group, label, secret, weight }) => [label, group, Redacted.value(secret), weight]),
        [
          ["team-a", "org-a", "sk-ant-a", 2],
          ["team-b", "default", "sk-ant-1", undefined],
          ["env-2", "default", "sk-ant-2", undefined]
        ]
      )
      assert.deepStrictEqual((yield* keysOf({ ANTHROPIC_API_KEYS: json })).map(({ label }) => label), [
        "team-a",
        "team-b"
      ])
    }))

  it.effect("says what is wrong with JSON without repeating it", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(keysOf({ ANTHROPIC_API_KEYS: json.replace("org-a", "org\u0000-a") }))
      assert.isTrue(Exit.isFailure(exit))
      for (const text of [String(exit), JSON.stringify(exit), inspect(exit, { depth: 20 })]) {
        assert.notInclude(text, "sk-ant-a")
      }
    }))
})

describe("layerKeys", () => {
  it.effect("refuses what is no key, and shows it nowhere", () =>
    Effect.gen(function*() {
      for (
        const [secret, reason] of [
          [`"sk-ant-x"`, "the `secret` of a stands in quotation marks: remove them"],
          ["sk-ant-x\n", undefined],
          ["sk-ant-x y", "the `secret` of a is not a key of visible ASCII characters"]
        ] as const
      ) {
        const key = { label: "a", group: "default", secret: Redacted.make(secret) }
        const store = yield* Effect.provide(KeyStore.KeyStore, KeyStore.layerKeys([key]))
        const result = yield* Effect.result(store.keys)
        if (reason === undefined) assert.isTrue(Result.isSuccess(result))
        else assert.deepInclude(yield* Effect.flip(store.keys), { kind: "invalid", store: "program", reason })
        nowhere([inspect(result, { depth: 20 })], "sk-ant-x")
      }
    }))
})

describe("environment", () => {
  const storeIn = (env: Record<string, string>) =>
    Effect.provideService(
      KeyStore.make([KeyStore.environment]),
      ConfigProvider.ConfigProvider,
      ConfigProvider.fromUnknown(env)
    )

  it.effect("is a source of the same keys, and has none where nothing is set", () =>
    Effect.gen(function*() {
      const store = yield* storeIn({ ANTHROPIC_API_KEY: "sk-ant-1, sk-ant-2" })
      assert.deepStrictEqual((yield* store.keys).map(({ label }) => label), ["env-1", "env-2"])
      assert.strictEqual(Redacted.value((yield* store.get("env-2")).secret), "sk-ant-2")
      for (const env of [{}, { ANTHROPIC_API_KEY: "" }, { ANTHROPIC_API_KEYS: "[]" }]) {
        const error = yield* Effect.flip((yield* storeIn(env)).keys)
        assert.deepStrictEqual([error.store, error.kind], ["environment", "absent"])
      }
    }).pipe(Effect.scoped))

  it.effect("says what is wrong, and which variable, without repeating it", () =>
    Effect.gen(function*() {
      const store = yield* storeIn({ ANTHROPIC_API_KEY: "sk-ant-1", ANTHROPIC_API_KEYS: `[{"secret":"sk-ant-x y"}]` })
      const error = yield* Effect.flip(store.keys)
      assert.strictEqual(error.kind, "invalid")
      assert.include(error.message, "ANTHROPIC_API_KEYS: the `secret` of env-1 is not a key")
      assert.notInclude(inspect(error, { depth: 20 }), "sk-ant-x")
    }).pipe(Effect.scoped))

  it.effect("says that a key was copied with its quotation marks", () =>
    Effect.gen(function*() {
      for (const key of [`"sk-ant-x"`, "'sk-ant-x'", "\u2018sk-ant-x\u2019", `\\"sk-ant-x\\"`]) {
        const error = yield* Effect.flip((yield* storeIn({ ANTHROPIC_API_KEY: key })).keys)
        assert.deepInclude(error, {
          kind: "invalid",
          reason: "ANTHROPIC_API_KEY: it stands in quotation marks: remove them"
        })
        const unread = yield* Effect.flip(keysOf({ ANTHROPIC_API_KEY: key }))
        assert.include(String(unread), "it stands in quotation marks: remove them")
        nowhere([inspect([error, unread], { depth: 20 })], "sk-ant-x")
      }
    }).pipe(Effect.scoped))
})

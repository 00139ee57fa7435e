import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Exit, Redacted } from "effect"
import * as KeyStore from "effect-claude/KeyStore"

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

  it.effect.each([{}, { ANTHROPIC_API_KEY: "" }, { ANTHROPIC_API_KEY: " , " }, {
    ANTHROPIC_API_KEY: "sk-ant-secret 1\n2"
  }])(
    "refuses %j without repeating it",
    (env: Record<string, string>) =>
      Effect.gen(function*() {
        const exit = yield* Effect.exit(keysOf(env))
        assert.isTrue(Exit.isFailure(exit))
        assert.include(String(exit), "ANTHROPIC_API_KEY")
        assert.notInclude(String(exit), "secret 1")
        assert.notInclude(JSON.stringify(exit), "secret 1")
      })
  )

  it.effect("shows no key when it is printed", () =>
    Effect.gen(function*() {
      const keys = yield* keysOf({ ANTHROPIC_API_KEY: "sk-ant-1" })
      assert.notInclude(`${JSON.stringify(keys)} ${String(keys[0]?.secret)}`, "sk-ant-1")
    }))
})

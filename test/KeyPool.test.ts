import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { NoUsableKeyError } from "effect-claude/ClaudeError"
import * as KeyPool from "effect-claude/KeyPool"
import * as KeyStore from "effect-claude/KeyStore"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"

const admitted = (count: number, labels: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const pool = yield* KeyPool.KeyPool
    return yield* Effect.forEach(Array.from({ length: count }), (_, i) => {
      const attempt = ClaudeTest.attempt({ number: i + 1, key: null })
      return Effect.as(pool.admit(attempt), attempt)
    })
  }).pipe(
    Effect.map((attempts) => attempts.map((attempt) => attempt.key?.label)),
    Effect.provide(
      KeyPool.layer().pipe(
        Layer.provide(ClaudeTest.layerApi()),
        Layer.provide(KeyStore.layerKeys(labels.map((label) => ({ label, group: "g", secret: Redacted.make(label) }))))
      )
    )
  )

describe("KeyPool", () => {
  it.effect("gives its only key to all", () =>
    Effect.map(admitted(2, ["a"]), (labels) => assert.deepStrictEqual(labels, ["a", "a"])))

  it.effect("lets keys take turns", () =>
    Effect.map(admitted(4, ["a", "b", "c"]), (labels) => assert.deepStrictEqual(labels, ["a", "b", "c", "a"])))

  it.effect("refuses when there is none", () =>
    Effect.map(
      Effect.flip(admitted(1, [])),
      (error) => assert.deepStrictEqual(error, new NoUsableKeyError({ reasons: {}, attempts: 0 }))
    ))
})

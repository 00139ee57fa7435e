import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Redacted } from "effect"
import * as Attempt from "effect-claude/Attempt"
import { CallContext } from "effect-claude/CallContext"
import { NoUsableKeyError } from "effect-claude/ClaudeError"
import * as KeyPool from "effect-claude/KeyPool"
import * as KeyStore from "effect-claude/KeyStore"

const admitted = (count: number, labels: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const pool = yield* KeyPool.KeyPool
    return yield* Effect.forEach(Array.from({ length: count }), (_, i) => {
      const attempt: Attempt.Attempt = {
        callId: "call-1",
        number: i + 1,
        endpoint: "messages",
        model: "m",
        context: Context.get(Context.empty(), CallContext),
        estimate: { inputTokens: 0, maxOutputTokens: 0 },
        key: undefined,
        outcome: Attempt.Outcome.NotSent()
      }
      return Effect.as(pool.admit(attempt), attempt)
    })
  }).pipe(
    Effect.map((attempts) => attempts.map((attempt) => attempt.key?.label)),
    Effect.provide(
      KeyPool.layer().pipe(
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

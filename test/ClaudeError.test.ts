import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Schema } from "effect"
import * as ClaudeError from "effect-claude/ClaudeError"
import * as Usage from "effect-claude/Usage"
import { message } from "./utils/http.ts"

const seconds = Duration.seconds(3)
const rateLimit = new ClaudeError.RateLimitError({
  limit: "requests",
  retryAfter: seconds,
  requestId: "req_1",
  status: 429
})

const all: ReadonlyArray<ClaudeError.StreamError> = [
  new ClaudeError.AuthError({ kind: "billing", status: 402, detail: "pay first." }),
  new ClaudeError.BadRequestError({ status: 400, errorType: "invalid_request_error" }),
  rateLimit,
  new ClaudeError.ConnectionError({ reason: "idle", limit: "idle", billed: "unknown" }),
  new ClaudeError.ServerError({ overloaded: true, shouldRetry: false }),
  new ClaudeError.CircuitOpenError({ group: "opus-5", retryAfter: seconds }),
  new ClaudeError.RateLimitedLocallyError({ reason: "queueFull", group: "opus-5", retryAfter: seconds }),
  new ClaudeError.BudgetExceededError({
    budget: "tenant:a",
    limitNanoUsd: 5_000_000_000,
    spentNanoUsd: 4_000_000_000,
    reservedNanoUsd: 500_000_000,
    neededNanoUsd: 600_000_000
  }),
  new ClaudeError.UnpricedModelError({ model: "claude-next" }),
  new ClaudeError.InputRejectedError({ findings: [{ rule: "nul", path: "messages[0].content" }] }),
  new ClaudeError.NoUsableKeyError({ reasons: { a: "quarantined" } }),
  new ClaudeError.DeadlineExceededError({ lastError: rateLimit, attempts: 2 }),
  new ClaudeError.StreamInterruptedError({
    // The SDK's type asks for fields that a test does not need.
    partial: { ...message, stop_reason: null } as never,
    usage: Usage.make({ outputTokens: 7 }),
    costNanoUsd: 70_000,
    cause: new ClaudeError.ConnectionError({ reason: "reset" })
  })
]

describe("every error", () => {
  it("has one of the thirteen tags", () => {
    assert.strictEqual(new Set(all.map((error) => error._tag)).size, 13)
  })

  it.effect("crosses a wire unchanged", () =>
    Effect.gen(function*() {
      const codec = Schema.toCodecJson(ClaudeError.StreamError)
      for (const error of all) {
        const wire = JSON.stringify(yield* Schema.encodeEffect(codec)(error))
        const back = yield* Schema.decodeUnknownEffect(codec)(JSON.parse(wire))
        assert.strictEqual(back.constructor, error.constructor)
        assert.strictEqual(back.message, error.message)
        assert.deepStrictEqual(JSON.stringify(back), JSON.stringify(error))
      }
    }))

  it("says what happened and what to do", () => {
    for (const error of all) assert.match(error.message, /^[A-Z].*\. [A-Z].*\.$/, error._tag)
    assert.strictEqual(
      rateLimit.message,
      "Claude refused the call: the limit of requests a minute was reached (HTTP 429, request req_1). Try again in 3s."
    )
  })

  it("knows whether it is retryable, billed, and when to come back", () => {
    assert.deepStrictEqual(
      all.map((error) => [error._tag, error.isRetryable, error.billed, error.retryAfter === undefined, error.attempts]),
      [
        ["AuthError", false, "no", true, 1],
        ["BadRequestError", false, "no", true, 1],
        ["RateLimitError", true, "no", false, 1],
        ["ConnectionError", true, "unknown", true, 1],
        ["ServerError", false, "no", true, 1],
        ["CircuitOpenError", false, "no", false, 0],
        ["RateLimitedLocallyError", false, "no", false, 0],
        ["BudgetExceededError", false, "no", true, 0],
        ["UnpricedModelError", false, "no", true, 0],
        ["InputRejectedError", false, "no", true, 0],
        ["NoUsableKeyError", false, "no", true, 0],
        ["DeadlineExceededError", false, "no", false, 2],
        ["StreamInterruptedError", false, "unknown", true, 0]
      ]
    )
  })

  it("is told apart from what never left the process", () => {
    assert.deepStrictEqual(all.filter(ClaudeError.isApiError), all.slice(0, 5) as never)
  })
})

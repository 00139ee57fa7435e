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

const incomplete = (reason: ClaudeError.IncompleteAnswerError["reason"]) =>
  new ClaudeError.IncompleteAnswerError({
    reason,
    text: "Half a",
    stopReason: "max_tokens",
    messageId: "msg_1",
    model: "claude-opus-4-6",
    usage: Usage.make({ outputTokens: 2 })
  })

const rejected = (kind: ClaudeError.InputFinding["kind"], action: ClaudeError.InputFinding["action"]) =>
  new ClaudeError.InputRejectedError({
    findings: [
      new ClaudeError.InputFinding({
        kind,
        rule: "aRule",
        severity: "high",
        action,
        path: "messages[0].content",
        offset: 3,
        length: 4
      })
    ],
    total: 1
  })

const all: ReadonlyArray<ClaudeError.StreamError | ClaudeError.TextError> = [
  new ClaudeError.AuthError({ kind: "billing", status: 402, detail: "pay first.", keyLabel: "env-1", keyGroup: "org" }),
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
  new ClaudeError.BudgetUnavailableError({ reason: "store", retryAfter: seconds }),
  new ClaudeError.UnpricedModelError({ model: "claude-next" }),
  rejected("injection", "reject"),
  new ClaudeError.NoUsableKeyError({ reasons: { a: "quarantined" } }),
  new ClaudeError.DeadlineExceededError({ lastError: rateLimit, attempts: 2 }),
  new ClaudeError.StreamInterruptedError({
    // The SDK's type asks for fields that a test does not need.
    partial: { ...message, stop_reason: null } as never,
    usage: Usage.make({ outputTokens: 7 }),
    costNanoUsd: 70_000,
    cause: new ClaudeError.ConnectionError({ reason: "reset" })
  }),
  incomplete("maxTokens")
]

describe("every error", () => {
  it("has a tag of its own", () => {
    assert.strictEqual(new Set(all.map((error) => error._tag)).size, 15)
  })

  it.effect("crosses a wire unchanged", () =>
    Effect.gen(function*() {
      const codec = Schema.toCodecJson(Schema.Union([ClaudeError.StreamError, ClaudeError.TextError]))
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
      "Claude refused the call: the limit of requests per minute was reached (HTTP 429, request req_1). Try again in 3s."
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
        ["BudgetUnavailableError", false, "no", false, 0],
        ["UnpricedModelError", false, "no", true, 0],
        ["InputRejectedError", false, "no", true, 0],
        ["NoUsableKeyError", false, "no", true, 0],
        ["DeadlineExceededError", false, "no", false, 2],
        ["StreamInterruptedError", false, "unknown", true, 0],
        ["IncompleteAnswerError", false, "yes", true, 1]
      ]
    )
  })

  it("is told apart from what never left the process", () => {
    assert.deepStrictEqual(all.filter(ClaudeError.isApiError), all.slice(0, 5) as never)
  })
})

describe("httpStatus", () => {
  /** What a tag answers with, whatever its fields, or as they say. A tag that is missing here does not compile. */
  const statuses: {
    readonly [Tag in (ClaudeError.StreamError | ClaudeError.TextError)["_tag"]]: ReadonlyArray<
      readonly [Extract<ClaudeError.StreamError | ClaudeError.TextError, { _tag: Tag }>, ClaudeError.HttpStatus]
    >
  } = {
    AuthError: [[new ClaudeError.AuthError({ kind: "authentication", status: 401 }), 500]],
    BadRequestError: [
      [new ClaudeError.BadRequestError({ status: 400 }), 400],
      [new ClaudeError.BadRequestError({ status: 404 }), 400],
      [new ClaudeError.BadRequestError({ status: 413 }), 413]
    ],
    RateLimitError: [[rateLimit, 503]],
    ConnectionError: [
      [new ClaudeError.ConnectionError({ reason: "reset" }), 502],
      [new ClaudeError.ConnectionError({ reason: "malformed", status: 200 }), 502],
      [new ClaudeError.ConnectionError({ reason: "timeout", limit: "headers" }), 504],
      [new ClaudeError.ConnectionError({ reason: "idle", limit: "idle" }), 504]
    ],
    ServerError: [
      [new ClaudeError.ServerError({ overloaded: false, status: 500 }), 502],
      [new ClaudeError.ServerError({ overloaded: true, status: 529 }), 503]
    ],
    CircuitOpenError: [[new ClaudeError.CircuitOpenError({ group: "opus-5", retryAfter: seconds }), 503]],
    RateLimitedLocallyError: [
      [new ClaudeError.RateLimitedLocallyError({ reason: "queueFull", group: "opus-5" }), 503],
      [new ClaudeError.RateLimitedLocallyError({ reason: "deadline", group: "opus-5" }), 503],
      [new ClaudeError.RateLimitedLocallyError({ reason: "tooLarge", group: "opus-5" }), 413]
    ],
    BudgetExceededError: [[
      new ClaudeError.BudgetExceededError({
        budget: "a",
        limitNanoUsd: 1,
        spentNanoUsd: 1,
        reservedNanoUsd: 0,
        neededNanoUsd: 1
      }),
      429
    ]],
    BudgetUnavailableError: [[new ClaudeError.BudgetUnavailableError({ reason: "store" }), 503]],
    UnpricedModelError: [[new ClaudeError.UnpricedModelError({ model: "claude-next" }), 500]],
    InputRejectedError: [
      [rejected("injection", "reject"), 422],
      [rejected("tooLong", "reject"), 413],
      [rejected("secret", "observe"), 422]
    ],
    NoUsableKeyError: [
      [new ClaudeError.NoUsableKeyError({ reasons: {} }), 500],
      [new ClaudeError.NoUsableKeyError({ reasons: { a: "cooling down" } }), 503]
    ],
    DeadlineExceededError: [[new ClaudeError.DeadlineExceededError({}), 504]],
    StreamInterruptedError: [[
      new ClaudeError.StreamInterruptedError({
        partial: message as never, // the SDK's type asks for fields that a test does not need
        usage: Usage.zero,
        cause: new ClaudeError.ServerError({ overloaded: true })
      }),
      503
    ]],
    IncompleteAnswerError: [
      [incomplete("refusal"), 422],
      [incomplete("contextWindow"), 413],
      [incomplete("toolUse"), 500],
      [incomplete("pausedTurn"), 500],
      [incomplete("maxTokens"), 502],
      [incomplete("empty"), 502],
      [incomplete("unknown"), 502]
    ]
  }

  it("is that of the table for every tag", () => {
    for (const [tag, rows] of Object.entries(statuses)) {
      for (const [error, status] of rows) {
        assert.strictEqual(error._tag, tag)
        assert.strictEqual(ClaudeError.httpStatus(error), status, error.message)
      }
    }
  })
})

describe("isOverloaded", () => {
  it.effect("lets a program recover from overload, and from nothing else", () =>
    Effect.gen(function*() {
      const recovered = (error: ClaudeError.CallError) =>
        Effect.fail(error).pipe(
          Effect.catchIf(ClaudeError.isOverloaded, ({ overloaded }) => Effect.succeed(overloaded satisfies true)),
          Effect.catch(({ _tag }) => Effect.succeed(_tag))
        )
      assert.strictEqual(yield* recovered(new ClaudeError.ServerError({ overloaded: true })), true)
      assert.strictEqual(yield* recovered(new ClaudeError.ServerError({ overloaded: false })), "ServerError")
      assert.strictEqual(yield* recovered(rateLimit), "RateLimitError")
    }))
})

describe("isRefusal", () => {
  it("holds for every refusal, and for no error of the API", () => {
    for (const error of all) {
      assert.strictEqual(ClaudeError.isRefusal(error), Schema.is(ClaudeError.Refusal)(error), error._tag)
      assert.isFalse(ClaudeError.isRefusal(error) && ClaudeError.isApiError(error), error._tag)
    }
    assert.isTrue(all.some(ClaudeError.isRefusal))
    assert.isFalse(ClaudeError.isRefusal({ _tag: "CircuitOpenError" }))
  })
})

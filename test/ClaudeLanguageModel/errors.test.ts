/** Every error of a call, as the reason of an `AiError`, and back. */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, ExecutionPlan, Layer, Schema, Stream } from "effect"
import * as ClaudeError from "effect-claude/ClaudeError"
import * as ClaudeLanguageModel from "effect-claude/ClaudeLanguageModel"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import { AiError, LanguageModel } from "effect/ai"
import { modelId, streamed, ways } from "../utils/languageModel.ts"

const soon = Duration.seconds(7)
const finding = new ClaudeError.InputFinding({
  kind: "injection",
  rule: "ignoreInstructions",
  severity: "high",
  action: "reject",
  path: "messages[0].content",
  offset: 0,
  length: 4
})
const budget = {
  budget: "all",
  limitNanoUsd: 100,
  spentNanoUsd: 90,
  reservedNanoUsd: 5,
  neededNanoUsd: 20,
  retryAfter: soon
}
const { RateLimitError, RateLimitedLocallyError } = ClaudeError

type Reason = AiError.AiErrorReason["_tag"]

const table: ReadonlyArray<
  readonly [reason: Reason, retryable: boolean, error: ClaudeError.CallError, fields?: object]
> = [
  ["RateLimitError", true, new RateLimitError({ limit: "requests", retryAfter: soon }), { retryAfter: soon }],
  ["QuotaExhaustedError", false, new RateLimitError({ limit: "spend" })],
  ["AuthenticationError", false, new ClaudeError.AuthError({ kind: "authentication" }), { kind: "InvalidKey" }],
  ["AuthenticationError", false, new ClaudeError.AuthError({ kind: "permission" }), {
    kind: "InsufficientPermissions"
  }],
  ["QuotaExhaustedError", false, new ClaudeError.AuthError({ kind: "billing" })],
  ["InvalidRequestError", false, new ClaudeError.BadRequestError({ status: 400 })],
  ["InternalProviderError", true, new ClaudeError.BadRequestError({ status: 409 })],
  ["NetworkError", true, new ClaudeError.ConnectionError({ reason: "reset" }), { reason: "TransportError" }],
  ["InvalidResponseError", false, new ClaudeError.ConnectionError({ reason: "malformed", billed: "yes" })],
  ["InternalProviderError", true, new ClaudeError.ServerError({ overloaded: true, retryAfter: soon })],
  ["InternalProviderError", true, new ClaudeError.CircuitOpenError({ group: "sonnet", retryAfter: soon })],
  [
    "RateLimitError",
    true,
    new RateLimitedLocallyError({ reason: "queueFull", group: "sonnet", retryAfter: soon }),
    { retryAfter: soon }
  ],
  ["RateLimitError", true, new RateLimitedLocallyError({ reason: "deadline", group: "sonnet", retryAfter: soon })],
  ["RateLimitError", true, new RateLimitedLocallyError({ reason: "paused", group: "sonnet", retryAfter: soon })],
  ["InvalidRequestError", false, new RateLimitedLocallyError({ reason: "tooLarge", group: "sonnet" })],
  ["QuotaExhaustedError", false, new RateLimitedLocallyError({ reason: "spend", group: "sonnet" })],
  ["QuotaExhaustedError", false, new ClaudeError.BudgetExceededError({ ...budget, resetsAt: 86_400_000 })],
  ["InternalProviderError", true, new ClaudeError.BudgetUnavailableError({ reason: "store", retryAfter: soon })],
  ["InvalidRequestError", false, new ClaudeError.UnpricedModelError({ model: "x" }), { parameter: "model" }],
  ["AuthenticationError", false, new ClaudeError.NoUsableKeyError({ reasons: {} }), { kind: "MissingKey" }],
  ["AuthenticationError", false, new ClaudeError.NoUsableKeyError({ reasons: { a: "revoked" } }), {
    kind: "InvalidKey"
  }],
  ["RateLimitError", true, new ClaudeError.NoUsableKeyError({ reasons: { a: "cools down" }, retryAfter: soon })],
  ["InvalidUserInputError", false, new ClaudeError.InputRejectedError({ findings: [finding], total: 1 })],
  ["UnknownError", false, new ClaudeError.DeadlineExceededError({})]
]

const claude = (...script: ReadonlyArray<ClaudeTest.Answer>) =>
  Layer.provideMerge(ClaudeLanguageModel.layer({ model: modelId, maxTokens: 500 }), ClaudeTest.layer(...script))

const failing = (error: ClaudeError.CallError) => claude(Effect.fail(error))

const withoutMetadata = new Set(["NetworkError", "InvalidUserInputError"])

const json = Schema.toCodecJson(AiError.AiError)

describe.each(Object.entries(ways))("an error, %s", (way, ask) => {
  const failed = (error: ClaudeError.CallError) =>
    Effect.map(Effect.flip(Effect.provide(ask(), failing(error))), (error) => error as AiError.AiError)

  it.effect.each(table)("is %s (retryable: %s) for %s", ([reason, retryable, error, fields]) =>
    Effect.gen(function*() {
      const got = yield* failed(error)
      assert.isTrue(AiError.isAiError(got))
      assert.strictEqual(got.reason._tag, reason)
      assert.strictEqual(got.isRetryable, retryable)
      assert.deepInclude(got.reason, fields ?? {})
      assert.deepStrictEqual(got.retryAfter, error.retryAfter)
      assert.deepInclude(got, {
        module: "ClaudeLanguageModel",
        method: way === "whole" ? "generateText" : "streamText"
      })
      // The error of the call itself, also after a wire where its reason has metadata.
      assert.strictEqual(ClaudeLanguageModel.original(got) as unknown, error)
      const sent = Schema.decodeUnknownSync(json)(JSON.parse(JSON.stringify(Schema.encodeSync(json)(got))))
      const back = ClaudeLanguageModel.original(sent)
      if (withoutMetadata.has(reason)) assert.strictEqual(back, sent)
      else {
        assert.strictEqual((back as ClaudeError.CallError)._tag, error._tag)
        assert.strictEqual((back as ClaudeError.CallError).message, error.message)
        assert.deepStrictEqual((back as ClaudeError.CallError).retryAfter, error.retryAfter)
      }
    }))

  it.effect("says when a budget has room again", () =>
    Effect.gen(function*() {
      const { reason } = yield* failed(new ClaudeError.BudgetExceededError({ ...budget, resetsAt: 86_400_000 }))
      assert.strictEqual((reason as AiError.QuotaExhaustedError).resetAt?.epochMilliseconds, 86_400_000)
    }))

  it.effect("is caught by the tag of the call's own error", () =>
    Effect.gen(function*() {
      const answer = ask().pipe(
        Effect.as("answered"),
        Effect.mapError((error) => ClaudeLanguageModel.original(error as AiError.AiError)),
        Effect.catchTags({
          BudgetExceededError: ({ budget }) => Effect.succeed(budget),
          CircuitOpenError: ({ group }) => Effect.succeed(group)
        }),
        Effect.provide(failing(new ClaudeError.BudgetExceededError(budget)))
      )
      assert.strictEqual(yield* answer, "all")
    }))
})

it.effect("another error stays what it is", () =>
  Effect.sync(() => {
    const own = AiError.make({ module: "M", method: "m", reason: new AiError.UnknownError({}) })
    assert.strictEqual(ClaudeLanguageModel.original(own), own)
    assert.strictEqual(ClaudeLanguageModel.original("no"), "no")
  }))

describe("a stream that is cut", () => {
  const cut = {
    content: ["The secret is ", "blue."],
    error: new ClaudeError.ServerError({ overloaded: true, retryAfter: soon })
  }
  const read = Stream.runForEach(LanguageModel.streamText({ prompt: "Hi." }), (part) =>
    Effect.sync(() => {
      if (part.type === "text-delta") texts.push(part.delta)
    }))
  const texts: Array<string> = []

  it.effect("gives what arrived and fails, not to be tried again, and tells no content", () =>
    Effect.gen(function*() {
      texts.length = 0
      const error = yield* Effect.flip(read)
      assert.strictEqual(texts.join(""), "The secret is blue.")
      assert.strictEqual(error.reason._tag, "InvalidResponseError")
      assert.isFalse(error.isRetryable)
      assert.deepStrictEqual(error.retryAfter, soon)
      assert.notInclude(JSON.stringify(error) + error.message, "secret")
      const own = ClaudeLanguageModel.original(error)
      assert.strictEqual((own as { _tag: string })._tag, "StreamInterruptedError")
      assert.include(JSON.stringify((own as ClaudeError.StreamInterruptedError).partial.content), "secret")
    }).pipe(Effect.provide(claude(cut))))

  it.effect("is not begun anew by a plan that asks whether to try again", () =>
    Effect.gen(function*() {
      texts.length = 0
      const plan = ExecutionPlan.make({
        provide: ClaudeLanguageModel.model(modelId, { maxTokens: 500 }),
        attempts: 3,
        while: (error: AiError.AiError) => error.isRetryable
      })
      const error = yield* LanguageModel.streamText({ prompt: "Hi." }).pipe(
        Stream.withExecutionPlan(plan),
        Stream.runForEach((part) =>
          Effect.sync(() => {
            if (part.type === "text-delta") texts.push(part.delta)
          })
        ),
        Effect.flip
      )
      assert.strictEqual(error.reason._tag, "InvalidResponseError")
      assert.strictEqual(texts.join(""), "The secret is blue.")
      assert.lengthOf(yield* ClaudeTest.calls, 1)
    }).pipe(Effect.provide(ClaudeTest.layer(cut, "Again."))))

  it.effect("before its first content is retryable", () =>
    Effect.gen(function*() {
      const error = (yield* Effect.flip(streamed())) as AiError.AiError
      assert.strictEqual(error.reason._tag, "InternalProviderError")
      assert.isTrue(error.isRetryable)
    }).pipe(Effect.provide(claude({ content: [], error: cut.error }))))
})

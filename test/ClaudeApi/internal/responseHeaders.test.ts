import { assert, describe, it } from "@effect/vitest"
import { Duration } from "effect"
import * as ResponseHeaders from "../../../src/ClaudeApi/internal/responseHeaders.ts"

const now = Date.parse("2026-11-23T12:00:00Z")

const wait = (headers: Record<string, string>) => {
  const duration = ResponseHeaders.retryAfter(new Headers(headers), now)
  return duration === undefined ? undefined : Duration.toMillis(duration)
}

describe("retryAfter", () => {
  it.each([
    [{ "retry-after-ms": "1234.2" }, 1235],
    [{ "retry-after-ms": "10", "retry-after": "3" }, 10],
    [{ "retry-after-ms": "0", "retry-after": "3" }, 3000],
    [{ "retry-after-ms": "soon", "retry-after": "3" }, 3000],
    [{ "retry-after": "2.5" }, 2500],
    [{ "retry-after": "Mon, 23 Nov 2026 12:00:30 GMT" }, 30_000],
    [{ "retry-after": "2026-11-23T12:01:00Z" }, 60_000],
    [{ "retry-after": "Mon, 23 Nov 2026 11:00:00 GMT" }, undefined],
    [{ "retry-after": "-5" }, undefined],
    [{ "retry-after": "never" }, undefined],
    [{ "retry-after": "" }, undefined],
    [{ "retry-after": "1e300" }, undefined],
    [{ "retry-after": "99999999999999" }, undefined],
    [{}, undefined]
  ])("reads %j as %s ms", (headers, expected) => {
    assert.strictEqual(wait(headers as Record<string, string>), expected)
  })
})

describe("limits", () => {
  it("reads each family, and leaves out what was not sent or makes no sense", () => {
    assert.deepStrictEqual(
      ResponseHeaders.limits(
        new Headers({
          "anthropic-ratelimit-requests-limit": "50",
          "anthropic-ratelimit-requests-remaining": "49",
          "anthropic-ratelimit-requests-reset": "2026-11-23T12:00:01Z",
          "anthropic-ratelimit-input-tokens-limit": "lots",
          "anthropic-ratelimit-input-tokens-remaining": "9",
          "anthropic-ratelimit-output-tokens-limit": "1000",
          "anthropic-ratelimit-output-tokens-remaining": "-20"
        })
      ),
      {
        requests: { limit: 50, remaining: 49, resetAt: now + 1000 },
        tokens: undefined,
        inputTokens: undefined,
        outputTokens: { limit: 1000, remaining: -20, resetAt: undefined }
      }
    )
    assert.isUndefined(ResponseHeaders.limits(new Headers({ "content-type": "text/html" })))
    assert.isUndefined(
      ResponseHeaders.limits(
        new Headers({
          "anthropic-ratelimit-requests-limit": "9".repeat(400),
          "anthropic-ratelimit-requests-remaining": "9"
        })
      )
    )
  })
})

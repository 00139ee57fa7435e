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
    [{ "retry-after": "Mon, 23 Nov 2026 11:00:00 GMT, 45" }, 45_000],
    [{ "retry-after": "Mon, 23 Nov 2026 12:00:30 GMT, 45" }, 45_000],
    [{ "retry-after": "5, 60" }, 60_000],
    [{ "retry-after": "60, , soon, 5" }, 60_000],
    [{ "retry-after": "30", "date": "Mon, 23 Nov 2026 12:05:00 GMT" }, 30_000],
    [{ "retry-after": "Mon, 23 Nov 2026 12:05:30 GMT", "date": "Mon, 23 Nov 2026 12:05:00 GMT" }, 30_000],
    [{ "retry-after": "Mon, 23 Nov 2026 11:55:30 GMT", "date": "Mon, 23 Nov 2026 11:55:00 GMT" }, 30_000],
    [{ "retry-after": "2026-11-23T11:55:30.5Z", "date": "Mon, 23 Nov 2026 11:55:00 GMT" }, 30_500],
    [{ "retry-after": "2026-11-23T13:00:30+01:00" }, 30_000],
    [{ "retry-after": "2026-11-23T12:00:30" }, 30_000],
    [{ "retry-after": "Mon, 23 Nov 2026 12:00:30 GMT", "date": "yesterday" }, 30_000],
    [{ "retry-after": "Monday, 23-Nov-26 12:00:30 GMT" }, 30_000],
    [{ "retry-after": "Mon Nov 23 12:00:30 2026" }, 30_000],
    [{ "retry-after-ms": "100, 250" }, 250],
    [{ "retry-after-ms": "10junk", "retry-after": "3" }, 3000],
    [{}, undefined]
  ])("reads %j as %s ms", (headers, expected) => {
    assert.strictEqual(wait(headers as Record<string, string>), expected)
  })

  it("reads no more than a header of a server in its right mind has", () => {
    assert.strictEqual(wait({ "retry-after": "5,".repeat(100_000) }), 5000)
  })
})

import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect } from "effect"
import { TestClock } from "effect/testing"
import { createServer, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { satisfies } from "../../../src/Cli/internal/doctor/machine.ts"
import * as Network from "../../../src/Cli/internal/doctor/network.ts"
import { models } from "../../../src/Cli/internal/doctor/stores.ts"

/** The base URL of a server that answers so. */
const served = (answer: (response: ServerResponse) => void) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(() =>
        new Promise<ReturnType<typeof createServer>>((resolve) => {
          const server = createServer((_, response) => answer(response))
          server.listen(0, "127.0.0.1", () => resolve(server))
        })
      ),
      (server) => Effect.sync(() => void server.close().closeAllConnections())
    ),
    (server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  )

const ask = (baseUrl: string, timeout: Duration.Input = "10 seconds") =>
  Effect.map(
    Network.api(baseUrl, Duration.fromInputUnsafe(timeout)),
    (checks) => Object.fromEntries(checks.map(({ message, name, status }) => [name, `${status}: ${message}`]))
  )

describe("doctor", () => {
  it.live("compares the clock with that of the API, which needs no key for that", () =>
    Effect.gen(function*() {
      const now = yield* Clock.currentTimeMillis
      for (
        const [seconds, expected] of [
          [0, /^ok: The clock agrees/],
          [-60, /^warn: The clock is (59|60|61) s ahead of the server's: turn on time synchronization/],
          [3_600, /^fail: The clock is 3(599|600|601) s behind the server's/]
        ] as const
      ) {
        const date = new Date(now + seconds * 1000).toUTCString()
        const url = yield* served((response) => response.writeHead(401, { date }).end("{}"))
        const { api = "", clock = "" } = yield* ask(url)
        assert.match(api, /^ok: http:\/\/127.* answers in \d+ ms/)
        assert.match(clock, expected)
      }
    }).pipe(Effect.scoped))

  it.live("tells an API from what is none, is down, or does not answer", () =>
    Effect.gen(function*() {
      const other = yield* served((response) => response.writeHead(404).end("<html>"))
      assert.match(
        (yield* ask(other))["api"] ?? "",
        /^fail: .* answers HTTP 404, not as the API does: check ANTHROPIC_BASE_URL/
      )
      const down = yield* served((response) => response.writeHead(529).end())
      assert.match((yield* ask(down))["api"] ?? "", /^warn: .* answers HTTP 529/)
      const silent = yield* served(() => {})
      const found = yield* ask(silent, "50 millis")
      assert.match(found["api"] ?? "", /^fail: .*: it does not answer within 50ms: check the network and firewalls/)
      assert.match(found["clock"] ?? "", /^skipped/)
    }).pipe(Effect.scoped))

  it("knows which versions a range has", () => {
    const cases = [
      ["4.1.0", "^4.1.0", true],
      ["4.0.9", "^4.1.0", false],
      ["5.0.0", "^4.1.0", false],
      ["4.10.0", "^4.9.3", true],
      ["0.3.2", "^0.3.1", true],
      ["0.4.0", "^0.3.1", false],
      ["24.21.0", ">=22.19.0", true],
      ["22.18.0", ">=22.19.0", false],
      ["5.0.0-beta.1", "^5.0.0", true]
    ] as const
    for (const [version, range, expected] of cases) {
      assert.strictEqual(satisfies(version, range), expected, `${version} ${range}`)
    }
  })

  it.effect("tells of models that are deprecated, retired or not known", () =>
    Effect.gen(function*() {
      const seen = new Map([["claude-opus-4-20250514", 7], ["claude-sonnet-5-5", 9]])
      yield* TestClock.setTime(Date.parse("2026-11-26"))
      const found = yield* models(seen, ["claude-opus-4-5", "claude-none"])
      const lines = found.map(({ message, status }) => `${status}: ${message}`).join("\n")
      assert.lengthOf(found, 3)
      assert.match(
        lines,
        /^fail: claude-opus-4-20250514 \(7 attempts in 30 days\) is retired since 2026-06-15: move to/m
      )
      assert.match(lines, /^warn: claude-opus-4-5 is deprecated and retires in 57 days, on 2027-01-22: move to/m)
      assert.match(lines, /^warn: claude-none is not in the catalogue of /m)
    }))
})

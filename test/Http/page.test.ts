/** The status page in Chromium, over a simulated API in virtual time. */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Layer, Redacted, Stream } from "effect"
import * as CallContext from "effect-claude/CallContext"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as Health from "effect-claude/Health"
import * as HttpServer from "effect-claude/Http/Server"
import * as Simulator from "effect-claude/testing/Simulator"
import { TestClock } from "effect/testing"
import { readFileSync } from "node:fs"
import { createRequire } from "node:module"
import type { Page } from "playwright-core"
import { isInstalled, launch, open } from "../utils/chromium.ts"
import { settle } from "../utils/http.ts"

const { Fault } = Simulator

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8")

const keys = ["north-1", "north-2", "south-1"].map((label): Simulator.Key => ({
  key: `sk-ant-${label}`,
  label,
  organization: label.slice(0, 5),
  workspace: "default"
}))

const limits = { requestsPerMinute: 150, inputTokensPerMinute: 60_000, outputTokensPerMinute: 24_000 }

const layer = (options: HttpServer.Options = {}) =>
  HttpServer.layer({ port: 0, shutdownTimeout: 0, ...options }).pipe(
    Layer.provideMerge(Health.layer()),
    Layer.provideMerge(Simulator.layerClaude(
      { keys, limits, latency: { firstToken: { median: "400 millis", sigma: 0.5 }, perToken: "5 millis" } },
      {
        limiter: { limits },
        breaker: { consecutiveFailures: 3, openDuration: "5 seconds", maxOpenDuration: "5 seconds", jitter: 0 },
        budget: {
          budgets: [
            { name: "day", limit: 50, window: { calendar: "day" } },
            { name: "tenants", per: "tenant", limit: 20, window: { rolling: "1 hour" } }
          ]
        }
      }
    ))
  )

const request = (model: string, length: number) => ({
  model,
  max_tokens: 300,
  messages: [{ role: "user" as const, content: "Tell me about rivers. ".repeat(length) }]
})

/** A call like others, by its number. */
const call = (n: number) => {
  const tenant = ["acme", "globex", "initech"][n % 3]!
  const answer = n % 2 === 0
    ? Stream.runDrain(ClaudeService.stream(request("claude-sonnet-5-5", 20 + n % 90)))
    : ClaudeService.create(request(n % 3 === 0 ? "claude-opus-5-5" : "claude-haiku-5-5", 10 + n % 50))
  return Effect.ignore(answer).pipe(
    CallContext.annotate({ tenant, requestType: n % 2 === 0 ? "chat" : "summary", user: `u-${n % 40}` }),
    CallContext.withDeadline("30 seconds")
  )
}

const shots = process.env["SCREENSHOTS"]

/** Steps of a second; answers end with them. */
const steps = shots === undefined ? 1 : 4

/** Seconds of virtual time with so many calls each. */
const pass = Effect.fnUntraced(function*(seconds: number, callsPerSecond = 0) {
  for (let second = 0; second < seconds; second++) {
    for (let n = 0; n < callsPerSecond; n++) yield* Effect.forkChild(call(second * callsPerSecond + n))
    for (let step = 0; step < steps; step++) {
      yield* settle
      yield* TestClock.adjust(Duration.millis(1_000 / steps))
    }
  }
  yield* settle
})

const see = (page: Page, selector: string, text: RegExp | string) =>
  Effect.promise(() => page.locator(selector).filter({ hasText: text }).first().waitFor({ timeout: 60_000 }))

/** What `axe` finds, each with the elements. */
const violations = (page: Page) =>
  Effect.promise(async () => {
    await page.evaluate(axe)
    const found = await page.evaluate(() =>
      (globalThis as unknown as {
        axe: { run: () => Promise<{ violations: Array<{ id: string; nodes: Array<{ html: string }> }> }> }
      })
        .axe.run()
    )
    return found.violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`)
  })

/** Waits until all of the page has the colours that it was told to have: with the second frame from here the first has been drawn. */
const drawn = (page: Page) =>
  Effect.promise(() =>
    page.evaluate(() =>
      new Promise<void>((resolve) => {
        const { requestAnimationFrame } = globalThis as unknown as { requestAnimationFrame: (use: () => void) => void }
        requestAnimationFrame(() => requestAnimationFrame(resolve))
      })
    )
  )

/** Shows the page as the documentation has it, where it is asked for. */
const shoot = (page: Page, name: string) =>
  Effect.promise(async () => {
    if (shots === undefined) return
    await page.mouse.move(0, 0)
    await page.evaluate(() => scrollTo(0, 0))
    const clip = { x: 0, y: 0, width: 1440, height: 1480 }
    await page.screenshot({ path: `${shots}/status-${name}.png`, fullPage: true, clip })
  })

const heapMB = (page: Page) =>
  Effect.promise(async () => {
    const session = await page.context().newCDPSession(page)
    await session.send("HeapProfiler.collectGarbage")
    const { metrics } = await session.send("Performance.enable").then(() => session.send("Performance.getMetrics"))
    return metrics.find(({ name }) => name === "JSHeapUsedSize")!.value / 1e6
  })

describe.runIf(isInstalled)("the status page", () => {
  it.effect("shows traffic, opens a call, follows a circuit, and asks nobody else", () =>
    Effect.gen(function*() {
      const { url } = yield* HttpServer.Server
      const { clearFaults, inject } = yield* Simulator.Simulator
      const page = yield* open(yield* launch, url)
      yield* see(page, "#link", "live")
      yield* see(page, "#ready", "Ready")

      yield* inject(Fault.Status({ status: 529 }), { times: 2 })
      yield* Effect.forkChild(call(3))
      yield* pass(10)
      yield* pass(2)
      yield* see(page, "tbody", "answered at attempt 3")
      yield* Effect.promise(() => page.locator("tbody button").first().press("Enter"))
      yield* see(page, ".steps", /waits .* before the next attempt, because of ServerError/)
      yield* see(page, ".steps", /attempt 3 with key .* was answered/)
      yield* Effect.promise(() => page.locator("tbody button").first().press("Enter"))

      yield* inject(Fault.Status({ status: 500 }), {})
      for (let n = 0; n < 4; n++) {
        yield* Effect.forkChild(ClaudeService.create(request("claude-opus-5-5", 5)).pipe(Effect.ignore))
      }
      yield* pass(3)
      yield* see(page, "#circuits", /opus-5-5\s*open/)
      yield* see(page, "#ready", "Not ready")
      yield* see(page, "#reasons", /The circuit of opus-5-5 is open/)
      yield* clearFaults
      yield* pass(20)
      yield* see(page, "#circuits", /opus-5-5\s*closed/)
      yield* see(page, "#ready", /^Ready/)
      assert.deepStrictEqual(page.faults, { complaints: [], outside: [] })
    }).pipe(Effect.scoped, Effect.provide(layer())))

  it.effect("asks for the token, or takes it from the address, below a prefix too", () =>
    Effect.gen(function*() {
      const { url } = yield* HttpServer.Server
      const browser = yield* launch
      const page = yield* open(browser, url)
      yield* see(page, "label", "This server asks for its token.")
      yield* Effect.promise(() => page.fill("#token", "wrong"))
      yield* Effect.promise(() => page.press("#token", "Enter"))
      yield* Effect.promise(() => page.fill("#token", "s3cret"))
      yield* Effect.promise(() => page.press("#token", "Enter"))
      yield* see(page, "#link", "live")
      const other = yield* open(browser, `${url}#token=s3cret`)
      yield* see(other, "#link", "live")
      assert.notInclude(other.url(), "s3cret")
    }).pipe(Effect.scoped, Effect.provide(layer({ token: Redacted.make("s3cret"), prefix: "/claude" }))))

  it.effect(
    "has nothing that axe objects to in both schemes, and stays small in ten minutes of traffic",
    () =>
      Effect.gen(function*() {
        const { url } = yield* HttpServer.Server
        const { clearFaults, inject } = yield* Simulator.Simulator
        const page = yield* open(yield* launch, url)
        yield* see(page, "#link", "live")
        for (let minute = 0; minute < 10; minute++) {
          yield* pass(45, 2)
          yield* inject(Fault.Status({ status: 529 }), { probability: 0.4 })
          yield* pass(10, 2)
          yield* clearFaults
          yield* pass(5, 2)
          yield* see(page, "#up", `up ${minute + 1} min`)
        }
        yield* see(page, "#minute-calls", /^1\d\d$/)
        assert.isBelow(yield* heapMB(page), 60)
        yield* Effect.promise(() => page.locator("tbody", { hasText: "at attempt" }).first().locator("button").click())
        for (const colorScheme of ["light", "dark"] as const) {
          yield* Effect.promise(() => page.emulateMedia({ colorScheme }))
          yield* drawn(page)
          assert.deepStrictEqual(yield* violations(page), [])
          yield* shoot(page, colorScheme)
        }
        assert.deepStrictEqual(page.faults, { complaints: [], outside: [] })
      }).pipe(Effect.scoped, Effect.provide(layer()))
  )
})

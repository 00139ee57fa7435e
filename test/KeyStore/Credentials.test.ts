import { assert, beforeEach, describe, it } from "@effect/vitest"
import { Effect, Logger, Redacted, type Scope, Stream } from "effect"
import { ClaudeService, KeyStore } from "effect-claude"
import * as Credentials from "effect-claude/KeyStore/Credentials"
import { TestClock } from "effect/testing"
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { planted, suite } from "../suites/KeyStore.ts"
import { folder } from "../utils/folders.ts"
import { nowhere, showing } from "../utils/leaks.ts"
import * as Recorder from "../utils/recorder.ts"

const jwt = "eyJhbGciOiJSUzI1NiIsImtpZCI6IlBsYW50ZWQifQ.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJl"
const refreshToken = "sk-ant-ort01-PlantedRefreshTokenThatIsLongEnoughToBeFound"
const tokenOf = (n: number): string => `sk-ant-oat01-${"PlantedAccessToken".repeat(3)}-${n}`

/** The SDK reads its variables from the process. */
const withEnv = (env: Readonly<Record<string, string>>): Effect.Effect<void, never, Scope.Scope> =>
  Effect.asVoid(Effect.acquireRelease(
    Effect.sync(() => {
      const before = { ...process.env }
      for (const name of Object.keys(process.env)) if (name.startsWith("ANTHROPIC_")) delete process.env[name]
      Object.assign(process.env, env)
      return before
    }),
    (before) =>
      Effect.sync(() => {
        for (const name of Object.keys(env)) delete process.env[name]
        Object.assign(process.env, before)
      })
  ))

/** The endpoint of the API that gives tokens; each lives `lifeSeconds`. */
const endpoint = Effect.gen(function*() {
  const state = { lifeSeconds: 3600, given: 0, failure: undefined as Recorder.Reply | undefined }
  const recorder = yield* Recorder.start(({ path }) => {
    if (path !== "/v1/oauth/token") return { status: 404 }
    if (state.failure !== undefined) return state.failure
    const body = { access_token: tokenOf(++state.given), token_type: "Bearer", expires_in: state.lifeSeconds }
    return { status: 200, body }
  })
  return { ...recorder, state }
})

const federation = (config: string, more: Readonly<Record<string, string>> = {}) =>
  withEnv({
    ANTHROPIC_CONFIG_DIR: config,
    ANTHROPIC_FEDERATION_RULE_ID: "rule_1",
    ANTHROPIC_ORGANIZATION_ID: "org_1",
    ANTHROPIC_IDENTITY_TOKEN: jwt,
    ...more
  })

interface Profile {
  readonly config?: unknown
  readonly credentials?: unknown
}

/** A folder of the SDK with a profile of a signed-in user. */
const profile = (config: string, name: string, { config: given, credentials }: Profile): void => {
  for (const kind of ["configs", "credentials"]) mkdirSync(join(config, kind), { recursive: true, mode: 0o700 })
  const authentication = { type: "user_oauth", client_id: "client_1" }
  const write = (kind: string, value: unknown): void =>
    writeFileSync(join(config, kind, `${name}.json`), typeof value === "string" ? value : JSON.stringify(value), {
      mode: 0o600
    })
  write("configs", given ?? { authentication, workspace_id: "wrkspc_1" })
  if (credentials !== undefined) write("credentials", credentials)
}

const secondsFromNow = (seconds: number): number => Math.floor(Date.now() / 1000) + seconds

const secretsOf = (keys: Effect.Success<KeyStore.KeyStore["Service"]["keys"]>) =>
  keys.map((key) => Redacted.value(key.secret))

const errorOf = (options: Credentials.Options = {}) =>
  Effect.gen(function*() {
    const store = yield* KeyStore.make([Credentials.source(options)])
    const { exit, lines } = yield* showing(Effect.flip(store.keys))
    nowhere(lines, planted("a"), jwt, refreshToken, tokenOf(1))
    return yield* exit
  }).pipe(Effect.scoped)

describe("Credentials", () => {
  beforeEach(() => {
    assert.isUndefined(process.env["ANTHROPIC_CONFIG_DIR"])
  })

  suite(
    Effect.gen(function*() {
      const config = yield* folder
      yield* withEnv({ ANTHROPIC_CONFIG_DIR: config })
      return {
        source: Credentials.source(),
        names: ["credentials", "other"] as const,
        put: (texts) =>
          Effect.sync(() => {
            const [token] = Object.values(texts)
            rmSync(config, { recursive: true })
            if (token !== undefined) profile(config, "default", { credentials: { access_token: token.trim() } })
          })
      }
    }),
    { isWritable: false, isChanging: false, isToken: true }
  )

  it.effect("exchanges the identity of a service for a token, once for all callers", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(Date.now())
      yield* federation(yield* folder, { ANTHROPIC_WORKSPACE_ID: "wrkspc_1" })
      const { asked, state, url } = yield* endpoint
      const source = Credentials.source({ baseUrl: url, label: "service", group: "workspace-a" })
      const store = yield* KeyStore.make([source], { timeout: Infinity })
      const { exit, lines } = yield* showing(
        Effect.all(Array.from({ length: 64 }, () => store.keys), { concurrency: "unbounded" })
      )
      nowhere(lines, jwt, tokenOf(1))
      const all = yield* exit
      assert.isTrue(all.every((keys) => secretsOf(keys).join() === tokenOf(1)))
      assert.strictEqual(state.given, 1)
      yield* store.keys
      assert.strictEqual(state.given, 1)
      const [[key]] = all as [[KeyStoreKey]]
      assert.deepStrictEqual([key.label, key.group, key.headers], [
        "service",
        "workspace-a",
        { "anthropic-beta": "oauth-2025-04-20" }
      ])
      assert.approximately(key.expiresAt!, Date.now() + 3_600_000, 60_000)
      const [{ body }] = asked as [Recorder.Asked]
      assert.deepInclude(body as object, { assertion: jwt, federation_rule_id: "rule_1", workspace_id: "wrkspc_1" })
    }).pipe(Effect.scoped))

  it.effect("asks once for a token of a short life, and again after half of it", () =>
    Effect.gen(function*() {
      const start = Date.now()
      yield* TestClock.setTime(start)
      yield* federation(yield* folder)
      const { state, url } = yield* endpoint
      state.lifeSeconds = 60
      const store = yield* KeyStore.make([Credentials.source({ baseUrl: url })], { timeout: Infinity })
      yield* store.keys
      yield* TestClock.adjust("25 seconds")
      assert.deepStrictEqual([secretsOf(yield* store.keys), state.given], [[tokenOf(1)], 1])
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual([secretsOf(yield* store.keys), state.given], [[tokenOf(2)], 2])
    }).pipe(Effect.scoped))

  it.effect("refreshes before the end, and keeps the old token where that fails", () =>
    Effect.gen(function*() {
      const start = Date.now()
      yield* TestClock.setTime(start)
      yield* federation(yield* folder)
      const { state, url } = yield* endpoint
      const store = yield* KeyStore.make([Credentials.source({ baseUrl: url })], { timeout: Infinity })
      yield* store.keys
      const seen: Array<string> = []
      yield* store.changes!.pipe(
        Stream.runForEach((keys) => Effect.sync(() => seen.push(...secretsOf(keys)))),
        Effect.forkScoped
      )
      const until = (seconds: number) =>
        Effect.gen(function*() {
          yield* TestClock.setTime(start + seconds * 1000)
          // The exchange is real: it needs turns of the event loop.
          for (let turns = 50; turns > 0; turns--) {
            yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 2)))
          }
        })
      yield* until(3_470)
      assert.strictEqual(state.given, 1)
      state.failure = { status: 500, body: { error: { type: "api_error", message: jwt } } }
      yield* until(3_490)
      assert.deepStrictEqual([seen, secretsOf(yield* store.keys)], [[tokenOf(1)], [tokenOf(1)]])
      state.failure = undefined
      state.lifeSeconds = 7_200
      yield* until(3_560)
      assert.deepStrictEqual(seen, [tokenOf(1), tokenOf(2)])
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))))

  it.effect("refreshes the token of a profile, sends its workspace, and keeps the file up to date", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(Date.now())
      const config = yield* folder
      yield* withEnv({ ANTHROPIC_CONFIG_DIR: config, ANTHROPIC_PROFILE: "work" })
      const { asked, state, url } = yield* endpoint
      const credentials = { access_token: tokenOf(0), refresh_token: refreshToken, expires_at: secondsFromNow(600) }
      profile(config, "work", { credentials })
      const store = yield* KeyStore.make([Credentials.source({ baseUrl: url })], { timeout: Infinity })
      const [fresh] = yield* store.keys
      assert.deepStrictEqual([Redacted.value(fresh!.secret), fresh?.headers, state.given], [
        tokenOf(0),
        { "anthropic-workspace-id": "wrkspc_1", "anthropic-beta": "oauth-2025-04-20" },
        0
      ])
      yield* TestClock.adjust("490 seconds")
      assert.deepStrictEqual(secretsOf(yield* store.keys), [tokenOf(1)])
      assert.deepInclude(asked[0]?.body as object, { grant_type: "refresh_token", refresh_token: refreshToken })
      const file = JSON.parse(readFileSync(join(config, "credentials", "work.json"), "utf8"))
      assert.strictEqual(file.access_token, tokenOf(1))
    }).pipe(Effect.scoped))

  it.live("takes a token without an end as the file has it", () =>
    Effect.gen(function*() {
      const config = yield* folder
      yield* withEnv({ ANTHROPIC_CONFIG_DIR: config })
      const { state, url } = yield* endpoint
      const write = (n: number): void =>
        profile(config, "default", { credentials: { access_token: tokenOf(n), refresh_token: refreshToken } })
      write(7)
      const store = yield* KeyStore.make([Credentials.source({ baseUrl: url })])
      assert.deepStrictEqual(secretsOf(yield* store.keys), [tokenOf(7)])
      assert.deepStrictEqual(secretsOf(yield* store.keys), [tokenOf(7)])
      write(8)
      assert.deepStrictEqual(secretsOf(yield* store.keys), [tokenOf(8)])
      assert.strictEqual(state.given, 0)
    }).pipe(Effect.scoped))

  it.effect("uses up a token that cannot be refreshed", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(Date.now())
      const config = yield* folder
      yield* withEnv({ ANTHROPIC_CONFIG_DIR: config })
      profile(config, "default", { credentials: { access_token: tokenOf(0), expires_at: secondsFromNow(100) } })
      const store = yield* KeyStore.make([Credentials.source()], { timeout: Infinity })
      assert.deepStrictEqual(secretsOf(yield* store.keys), [tokenOf(0)])
      yield* TestClock.adjust("99 seconds")
      const error = yield* errorOf()
      assert.deepStrictEqual([error.kind, error.reason], ["denied", "the token has ended and cannot be refreshed"])
    }).pipe(Effect.scoped))

  it.live("are what a service calls with, the beta that the token needs included", () =>
    Effect.gen(function*() {
      yield* federation(yield* folder)
      const message = {
        id: "msg_1",
        type: "message",
        role: "assistant",
        model: "claude-haiku-5-5",
        content: [{ type: "text", text: "Hello." }],
        stop_reason: "end_turn",
        stop_sequence: null,
        usage: { input_tokens: 1, output_tokens: 1 }
      }
      const { asked, url } = yield* Recorder.start(({ path }) =>
        path === "/v1/oauth/token"
          ? { status: 200, body: { access_token: tokenOf(1), token_type: "Bearer", expires_in: 3600 } }
          : { status: 200, body: message }
      )
      const request = { model: "claude-haiku-5-5", max_tokens: 8, messages: [{ role: "user" as const, content: "Hi" }] }
      const layer = ClaudeService.layer({
        api: { baseUrl: url },
        keys: KeyStore.layer(Credentials.source({ baseUrl: url }))
      })
      assert.strictEqual(yield* Effect.provide(ClaudeService.text(request), layer), "Hello.")
      const sent = asked.find(({ path }) => path === "/v1/messages")
      assert.strictEqual(sent?.headers.authorization, `Bearer ${tokenOf(1)}`)
      assert.strictEqual(sent?.headers["anthropic-beta"], "oauth-2025-04-20")
      assert.isUndefined(sent?.headers["x-api-key"])
    }).pipe(Effect.scoped))

  it.live("says what is wrong, and shows no token", () =>
    Effect.gen(function*() {
      const config = yield* folder
      yield* withEnv({ ANTHROPIC_CONFIG_DIR: config })
      const { state, url } = yield* endpoint
      const kinds: Array<string> = []
      const check = (kind: string, options: Credentials.Options = {}) =>
        Effect.map(errorOf(options), (error) => {
          kinds.push(`${error.kind}: ${error.reason}`)
          assert.strictEqual(error.kind, kind, error.reason)
        })
      yield* check("absent")
      yield* check("absent", { profile: "missing" })
      yield* check("unreachable", { profile: "../other" })
      profile(config, "none", {})
      yield* check("unavailable", { profile: "none" })
      profile(config, "broken", { config: `{"authentication": "${planted("a")}` })
      yield* check("invalid", { profile: "broken" })
      profile(config, "torn", { credentials: `${planted("a")}` })
      yield* check("invalid", { profile: "torn" })
      profile(config, "other", { config: { authentication: { type: "magic" } } })
      yield* check("invalid", { profile: "other" })
      profile(config, "wide", { credentials: { access_token: tokenOf(1) } })
      chmodSync(join(config, "credentials", "wide.json"), 0o644)
      yield* check("permissions", { profile: "wide" })
      const ended = { access_token: tokenOf(1), refresh_token: refreshToken, expires_at: secondsFromNow(-10) }
      profile(config, "ended", { credentials: ended })
      yield* check("unreachable", { profile: "ended", baseUrl: "http://127.0.0.1:1" })
      state.failure = {
        status: 401,
        body: { error: "invalid_grant", error_description: refreshToken.slice(0, 5), other: refreshToken }
      }
      yield* check("denied", { profile: "ended", baseUrl: url })
      state.failure = { status: 529, body: {} }
      yield* check("unreachable", { profile: "ended", baseUrl: url })
      const authentication = { type: "user_oauth" }
      profile(config, "elsewhere", {
        config: { authentication, base_url: "https://claude.example.com/" },
        credentials: { access_token: tokenOf(1) }
      })
      yield* check("invalid", { profile: "elsewhere" })
      const store = yield* KeyStore.make([
        Credentials.source({ profile: "elsewhere", baseUrl: "https://claude.example.com" })
      ])
      assert.deepStrictEqual(secretsOf(yield* store.keys), [tokenOf(1)])
    }).pipe(Effect.scoped))
})

type KeyStoreKey = Effect.Success<KeyStore.KeyStore["Service"]["keys"]>[number]

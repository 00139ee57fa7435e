import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Logger, Redacted } from "effect"
import { KeyStore } from "effect-claude"
import * as Vault from "effect-claude/KeyStore/Vault"
import { TestClock } from "effect/testing"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { planted, suite } from "../suites/KeyStore.ts"
import { folder } from "../utils/folders.ts"
import { nowhere, showing } from "../utils/leaks.ts"
import * as Recorder from "../utils/recorder.ts"

const rootToken = "hvs.CAESIPlantedRootTokenThatIsLongEnoughToBeFound"
const jwt = "eyJhbGciOiJSUzI1NiIsImtpZCI6IlBsYW50ZWQifQ.eyJzdWIiOiJwbGFudGVkIn0.c2lnbmF0dXJl"

/** What is known of a token: when it ends, and whether it can be renewed. */
interface TokenState {
  ttl: number
  renewable: boolean
}

/** The protocol of Vault, as far as its documentation of KV 2, tokens and the Kubernetes engine says. */
const vault = (options: { readonly namespace?: string } = {}) =>
  Effect.gen(function*() {
    const state = {
      fields: undefined as Readonly<Record<string, unknown>> | undefined,
      version: 0,
      isSealed: false,
      tokens: new Map<string, TokenState>([[rootToken, { ttl: 0, renewable: false }]]),
      logins: 0
    }
    const denied = { status: 403, body: { errors: ["permission denied"] } }
    const answer = ({ body, headers, method, path }: Recorder.Asked): Recorder.Reply => {
      if (state.isSealed) return { status: 503, body: { errors: ["Vault is sealed"] } }
      if (headers["x-vault-request"] !== "true") return { status: 412, body: {} }
      if (headers["x-vault-namespace"] !== options.namespace) return { status: 404, body: { errors: ["no handler"] } }
      if (method === "POST" && path === "/v1/auth/kubernetes/login") {
        const given = body as { role?: string; jwt?: string }
        if (given.role !== "my-service" || given.jwt !== jwt) {
          return { status: 400, body: { errors: [`bad ${given.jwt}`] } }
        }
        const token = `hvs.${"PlantedLoginToken".repeat(2)}${++state.logins}`
        state.tokens.set(token, { ttl: 600, renewable: true })
        return { status: 200, body: { auth: { client_token: token, lease_duration: 600, renewable: true } } }
      }
      const token = state.tokens.get(String(headers["x-vault-token"]))
      if (token === undefined) {
        return denied
      }
      if (path === "/v1/auth/token/lookup-self") {
        return { status: 200, body: { data: { ...token, policies: ["default"] } } }
      }
      if (path === "/v1/auth/token/renew-self") return { status: 200, body: { auth: { lease_duration: token.ttl } } }
      if (method !== "GET" || path !== "/v1/secret/data/claude/keys") return denied
      const metadata = { version: state.version, destroyed: false, deletion_time: "" }
      return state.fields === undefined
        ? { status: 404, body: { data: { data: null, metadata } } }
        : { status: 200, body: { data: { data: state.fields, metadata } } }
    }
    const recorder = yield* Recorder.start(answer)
    return { ...recorder, state, paths: () => recorder.asked.splice(0).map(({ method, path }) => `${method} ${path}`) }
  })

const rootAuth = { token: Redacted.make(rootToken) }

const errorOf = (options: Vault.Options, env: Readonly<Record<string, string>> = {}) =>
  Effect.gen(function*() {
    const store = yield* KeyStore.make([Vault.source(options)])
    const { exit, lines } = yield* showing(Effect.flip(store.keys))
    nowhere(lines, planted("a"), rootToken, jwt)
    return yield* exit
  }).pipe(Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown(env)), Effect.scoped)

const path = "claude/keys"

describe("Vault", () => {
  suite(
    Effect.gen(function*() {
      const { state, url } = yield* vault()
      return {
        source: Vault.source({ address: url, path, auth: rootAuth, pollInterval: 5 }),
        names: ["one", "two"] as const,
        put: (texts) =>
          Effect.sync(() => {
            state.version++
            state.fields = Object.keys(texts).length === 0 ? undefined : texts
          })
      }
    }),
    { isWritable: false, isChanging: true }
  )

  it.live("reads address, token, namespace from the environment, and shows the version", () =>
    Effect.gen(function*() {
      const { asked, state, url } = yield* vault({ namespace: "team/a" })
      state.fields = { key: planted("a"), other: { group: "org-b", secret: planted("b") }, note: 7 }
      state.version = 12
      const env = { VAULT_ADDR: `${url}/`, VAULT_TOKEN: rootToken, VAULT_NAMESPACE: "team/a" }
      const store = yield* KeyStore.make([Vault.source({ path, fields: ["key", "other"] })]).pipe(
        Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown(env))
      )
      assert.deepStrictEqual(
        (yield* store.list()).map(({ group, label, version }) => [label, group, version]),
        [["key", "default", "12"], ["other", "org-b", "12"]]
      )
      assert.isTrue(asked.every(({ headers }) => headers["x-vault-token"] === rootToken))
    }).pipe(Effect.scoped))

  it.effect("logs in by the service account, once for a token's life, and again where the token is refused", () =>
    Effect.gen(function*() {
      const { paths, state, url } = yield* vault()
      const serviceAccountFile = join(yield* folder, "token")
      writeFileSync(serviceAccountFile, `${jwt}\n`)
      state.fields = { key: planted("a") }
      const source = Vault.source({ address: url, path, auth: { role: "my-service", serviceAccountFile } })
      const store = yield* KeyStore.make([source], { timeout: Infinity })
      const [login, get] = ["POST /v1/auth/kubernetes/login", "GET /v1/secret/data/claude/keys"]
      yield* store.keys
      yield* store.keys
      assert.deepStrictEqual(paths(), [login, get, get])
      yield* TestClock.adjust("401 seconds")
      yield* store.keys
      assert.deepStrictEqual(paths(), [login, get])
      state.tokens.clear()
      yield* store.keys
      assert.deepStrictEqual(paths(), [get, login, get])
      const { exit, lines } = yield* showing(store.keys)
      assert.isTrue(exit._tag === "Success")
      nowhere(lines, "PlantedLoginTokenPlantedLoginToken", jwt)
    }).pipe(Effect.scoped))

  it.effect("renews a token that ends and may be renewed, after two thirds of its life", () =>
    Effect.gen(function*() {
      const { paths, state, url } = yield* vault()
      state.fields = { key: planted("a") }
      state.tokens.set(rootToken, { ttl: 900, renewable: true })
      const store = yield* KeyStore.make([Vault.source({ address: url, path, auth: rootAuth })], { timeout: Infinity })
      yield* store.keys
      yield* TestClock.adjust("599 seconds")
      yield* store.keys
      const [lookup, get] = ["GET /v1/auth/token/lookup-self", "GET /v1/secret/data/claude/keys"]
      assert.deepStrictEqual(paths(), [lookup, get, get])
      yield* TestClock.adjust("1 second")
      yield* store.keys
      assert.deepStrictEqual(paths(), ["POST /v1/auth/token/renew-self", lookup, get])
      yield* TestClock.adjust("1 second")
      yield* store.keys
      assert.deepStrictEqual(paths(), [get])
    }).pipe(Effect.scoped))

  it.live("reads the token of an agent's file anew each time", () =>
    Effect.gen(function*() {
      const { state, url } = yield* vault()
      const tokenFile = join(yield* folder, "token")
      state.fields = { key: planted("a") }
      const store = yield* KeyStore.make([Vault.source({ address: url, path, auth: { tokenFile } })])
      assert.strictEqual((yield* Effect.flip(store.keys)).kind, "unavailable")
      writeFileSync(tokenFile, "hvs.old")
      assert.strictEqual((yield* Effect.flip(store.keys)).kind, "denied")
      writeFileSync(tokenFile, rootToken)
      assert.strictEqual((yield* store.keys).length, 1)
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))))

  it.live("says what is wrong, and shows neither a key nor a token", () =>
    Effect.gen(function*() {
      const { state, url } = yield* vault()
      state.fields = { key: planted("a") }
      const kinds = {
        denied: { address: url, path: "else/where", auth: rootAuth },
        unreachable: { address: "http://127.0.0.1:1", path, auth: rootAuth },
        invalid: { address: "http://vault.internal:8200", path, auth: rootAuth },
        unavailable: { path, auth: rootAuth }
      }
      for (const [kind, options] of Object.entries(kinds)) {
        assert.strictEqual((yield* errorOf(options)).kind, kind)
      }
      assert.include((yield* errorOf(kinds.invalid)).message, "vault.internal:8200 is not reached by HTTPS")
      assert.include((yield* errorOf({ address: url, path })).message, "there is no token")
      assert.strictEqual(
        (yield* errorOf({ address: url, path, auth: { token: Redacted.make("hvs.other") } })).kind,
        "denied"
      )
      assert.strictEqual((yield* errorOf({ address: `http://user:pass@${new URL(url).host}`, path })).kind, "invalid")
      const serviceAccountFile = join(yield* folder, "token")
      writeFileSync(serviceAccountFile, jwt)
      const login = yield* errorOf({ address: url, path, auth: { role: "other", serviceAccountFile } })
      assert.deepStrictEqual([login.kind, login.reason], [
        "invalid",
        "Vault does not understand the request for auth/kubernetes/login"
      ])
      state.isSealed = true
      const sealed = yield* errorOf({ address: url, path, auth: rootAuth })
      assert.deepStrictEqual([sealed.kind, sealed.reason], ["unreachable", "Vault is sealed or in maintenance"])
    }).pipe(Effect.scoped))

  it.live("does not follow redirects, reads no endless answer, and takes what is no JSON for a failure", () =>
    Effect.gen(function*() {
      const target = yield* vault()
      let reply: Recorder.Reply = { status: 200 }
      const { url } = yield* Recorder.start(() => reply)
      const kindWith = (next: Recorder.Reply) => {
        reply = next
        return Effect.map(errorOf({ address: url, path, auth: rootAuth }), ({ kind }) => kind)
      }
      const redirect: Recorder.Reply = (response) => response.writeHead(307, { location: target.url }).end()
      assert.strictEqual(yield* kindWith(redirect), "unreachable")
      assert.deepStrictEqual(target.asked, [])
      assert.strictEqual(yield* kindWith((response) => response.end(planted("a"))), "unreachable")
      const endless: Recorder.Reply = (response) => {
        const timer = setInterval(() => response.write(Buffer.alloc(1024 * 1024, planted("a"))), 1)
        response.on("close", () => clearInterval(timer))
      }
      assert.strictEqual(yield* kindWith(endless), "invalid")
      assert.strictEqual(yield* kindWith((response) => response.destroy()), "unreachable")
      assert.strictEqual(
        yield* kindWith((response) => {
          response.writeHead(200, { "content-length": 100 })
          response.write(planted("a"))
          setImmediate(() => response.destroy())
        }),
        "unreachable"
      )
    }).pipe(Effect.scoped))
})

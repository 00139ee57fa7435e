import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Fiber, Logger, Stream } from "effect"
import { KeyStore } from "effect-claude"
import * as Kubernetes from "effect-claude/KeyStore/Kubernetes"
import { writeFileSync } from "node:fs"
import type { ServerResponse } from "node:http"
import { join } from "node:path"
import { planted, suite } from "../suites/KeyStore.ts"
import * as Certificate from "../utils/certificate.ts"
import { eventually } from "../utils/eventually.ts"
import { folder } from "../utils/folders.ts"
import { nowhere, showing } from "../utils/leaks.ts"
import * as Recorder from "../utils/recorder.ts"

const token = "eyJhbGciOiJSUzI1NiIsImtpZCI6IlBsYW50ZWQifQ.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJl"

/** The API of a cluster, as far as one secret needs it, with the files that it mounts. */
const cluster = (options: { readonly mayWatch: boolean; readonly isSecure?: boolean }) =>
  Effect.gen(function*() {
    const path = yield* folder
    const tls = options.isSecure === true ? Certificate.make(path) : undefined
    const tokenFile = join(path, "token")
    writeFileSync(tokenFile, token)
    const state = {
      data: undefined as Readonly<Record<string, string>> | undefined,
      version: 100,
      mayGet: true,
      token,
      watchers: new Set<ServerResponse>()
    }
    const secret = () => ({
      kind: "Secret",
      metadata: { name: "claude-keys", resourceVersion: String(state.version) },
      data: Object.fromEntries(
        Object.entries(state.data ?? {}).map(([name, text]) => [name, Buffer.from(text).toString("base64")])
      )
    })
    const failure = (code: number) => ({ status: code, body: { kind: "Status", code, message: `no, ${state.token}` } })
    const recorder = yield* Recorder.start(({ headers, path }) => {
      if (headers.authorization !== `Bearer ${state.token}`) return failure(401)
      const url = new URL(path, "http://cluster")
      if (url.pathname === "/api/v1/namespaces/team-a/secrets/claude-keys") {
        if (!state.mayGet) return failure(403)
        return state.data === undefined ? failure(404) : { status: 200, body: secret() }
      }
      const selector = url.searchParams.get("fieldSelector")
      if (
        url.pathname !== "/api/v1/namespaces/team-a/secrets" || selector !== "metadata.name=claude-keys"
      ) return failure(403)
      if (!options.mayWatch || url.searchParams.get("watch") !== "1") return failure(403)
      return (response) => {
        response.writeHead(200, { "content-type": "application/json" })
        response.write(`${JSON.stringify({ type: "ADDED", object: secret() })}\n`)
        state.watchers.add(response)
        response.on("close", () => state.watchers.delete(response))
      }
    }, tls)
    const change = (data: Readonly<Record<string, string>> | undefined) =>
      Effect.sync(() => {
        state.data = data
        state.version++
        for (const response of state.watchers) {
          response.write(`${JSON.stringify({ type: "MODIFIED", object: secret() })}\n`)
        }
      })
    const given: Kubernetes.Options = {
      secret: "claude-keys",
      namespace: "team-a",
      server: recorder.url,
      tokenFile,
      caFile: tls?.caFile
    }
    return { ...recorder, state, change, given, tokenFile }
  })

const place = (options: { readonly mayWatch: boolean; readonly pollInterval: number }) =>
  Effect.gen(function*() {
    const { change, given } = yield* cluster(options)
    return {
      source: Kubernetes.source({ ...given, pollInterval: options.pollInterval }),
      names: ["one", "two"] as const,
      put: (texts: Readonly<Record<string, string>>) => change(Object.keys(texts).length === 0 ? undefined : texts)
    }
  })

const errorOf = (options: Kubernetes.Options) =>
  Effect.gen(function*() {
    const store = yield* KeyStore.make([Kubernetes.source(options)])
    const { exit, lines } = yield* showing(Effect.flip(store.keys))
    nowhere(lines, planted("a"), token)
    return yield* exit
  }).pipe(Effect.scoped)

describe("Kubernetes, watching", () => {
  suite(place({ mayWatch: true, pollInterval: 3_600_000 }), { isWritable: false, isChanging: true })
})

describe("Kubernetes, polling", () => {
  suite(place({ mayWatch: false, pollInterval: 5 }), { isWritable: false, isChanging: true })
})

describe("Kubernetes", () => {
  it.live.skipIf(!Certificate.isInstalled)(
    "reads by TLS with the certificate of the cluster, and no other",
    () =>
      Effect.gen(function*() {
        const { change, given } = yield* cluster({ mayWatch: true, isSecure: true })
        yield* change({ key: planted("a"), other: "no key at all" })
        const store = yield* KeyStore.make([Kubernetes.source({ ...given, fields: ["key"] })])
        assert.deepStrictEqual((yield* store.list()).map(({ label, version }) => [label, version]), [["key", "101"]])
        const other = Certificate.make(yield* folder)
        const error = yield* errorOf({ ...given, caFile: other.caFile })
        assert.strictEqual(error.kind, "unreachable")
        assert.match(error.message, /127\.0\.0\.1:\d+ cannot be reached \([A-Z_]+\)/)
      }).pipe(Effect.scoped)
  )

  it.live("reads the token of the service account anew for each request", () =>
    Effect.gen(function*() {
      const { change, given, state, tokenFile } = yield* cluster({ mayWatch: true })
      yield* change({ key: planted("a") })
      const store = yield* KeyStore.make([Kubernetes.source(given)])
      yield* store.keys
      state.token = "rotated"
      writeFileSync(tokenFile, "rotated\n")
      yield* change({ key: planted("b") })
      assert.strictEqual((yield* store.list())[0]?.version, "102")
    }).pipe(Effect.scoped))

  it.live.each([
    { how: "ends", stop: (response: ServerResponse): void => void response.end() },
    { how: "breaks", stop: (response: ServerResponse): void => void response.destroy() }
  ])("watches again where a connection $how, and learns what changed meanwhile", ({ stop }) =>
    Effect.gen(function*() {
      const { change, given, state } = yield* cluster({ mayWatch: true })
      yield* change({ key: planted("a") })
      const store = yield* KeyStore.make([Kubernetes.source(given)])
      const labels: Array<string> = []
      const following = yield* store.changes!.pipe(
        Stream.tap(([key]) => Effect.sync(() => labels.push(key!.label))),
        Stream.runDrain,
        Effect.forkChild
      )
      yield* eventually(Effect.sync(() => state.watchers.size), (size) => size === 1)
      const [response] = state.watchers
      stop(response!)
      yield* eventually(Effect.sync(() => state.watchers.size), (size) => size === 0)
      yield* change({ other: planted("a") })
      yield* eventually(Effect.sync(() => labels.join(" ")), (text) => text === "key other")
      yield* Fiber.interrupt(following)
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))))

  it.live("says what is wrong, and shows neither a key nor a token", () =>
    Effect.gen(function*() {
      const { change, given, state } = yield* cluster({ mayWatch: true })
      yield* change({ key: planted("a") })
      state.mayGet = false
      const denied = yield* errorOf(given)
      assert.strictEqual(denied.kind, "denied")
      assert.include(denied.message, "may not get the secret claude-keys. Bind a role")
      state.token = "another"
      assert.include((yield* errorOf(given)).message, "refuses the token of the service account")
      assert.strictEqual((yield* errorOf({ ...given, tokenFile: "/nonexistent" })).kind, "unavailable")
      assert.strictEqual((yield* errorOf({ ...given, server: "http://127.0.0.1:1" })).kind, "unreachable")
      assert.strictEqual((yield* errorOf({ ...given, server: "http://kubernetes.default.svc" })).kind, "invalid")
      const outside = yield* errorOf({ secret: "claude-keys" })
      assert.deepStrictEqual([outside.kind, outside.reason], [
        "unavailable",
        "there is no file /var/run/secrets/kubernetes.io/serviceaccount/namespace"
      ])
    }).pipe(Effect.scoped))

  it.live("finds the cluster by the environment of a pod", () =>
    Effect.gen(function*() {
      const { change, given, url } = yield* cluster({ mayWatch: true, isSecure: Certificate.isInstalled })
      if (!Certificate.isInstalled) return
      yield* change({ key: planted("a") })
      const { hostname, port } = new URL(url)
      const store = yield* KeyStore.make([Kubernetes.source({ ...given, server: undefined })]).pipe(
        Effect.provideService(
          ConfigProvider.ConfigProvider,
          ConfigProvider.fromUnknown({ KUBERNETES_SERVICE_HOST: hostname, KUBERNETES_SERVICE_PORT: port })
        )
      )
      assert.strictEqual((yield* store.keys).length, 1)
    }).pipe(Effect.scoped))
})

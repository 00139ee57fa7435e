/**
 * Keys in a secret of Kubernetes, read from its API by the service account of the pod. Unlike a mounted secret it needs no volume, and a change is known
 * within a second. Each field of the secret is one key, several separated by commas, or JSON with labels, groups and weights; its name is the label of a
 * plain key.
 *
 * The service account needs `get` on the secret, and `watch` to learn of changes at once; without `watch` it is read again after each `pollInterval`:
 *
 * ```yaml
 * kind: Role
 * apiVersion: rbac.authorization.k8s.io/v1
 * metadata: { name: claude-keys }
 * rules:
 *   - { apiGroups: [""], resources: [secrets], resourceNames: [claude-keys], verbs: [get, watch] }
 * ```
 *
 * Where a volume will do, `KeyStore/Folder` needs no permission at all.
 *
 * **Example** (The secret `claude-keys` of the pod's namespace)
 *
 * ```ts
 * import { ClaudeService, KeyStore } from "effect-claude"
 * import * as Kubernetes from "effect-claude/KeyStore/Kubernetes"
 *
 * export const live = ClaudeService.layer({ keys: KeyStore.layer(Kubernetes.source({ secret: "claude-keys" })) })
 * ```
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { Buffer } from "node:buffer"
import { every, KeyStoreError, type Secret, type Source } from "../KeyStore.ts"
import * as Http from "./internal/http.ts"
import * as Mounted from "./internal/mounted.ts"
import { own } from "./internal/own.ts"

/**
 * - `secret`: its name.
 * - `namespace`: the one that it is in. Default that of the pod.
 * - `fields`: the fields to read. Default all.
 * - `server`: of the API. Default that of the cluster.
 * - `tokenFile`, `caFile`: the token of the service account, which is read again for each request, and the certificates of the API. Default those that
 *   the cluster mounts.
 * - `isHttpAllowed`: sends the token without TLS to servers other than this machine. Default false.
 * - `pollInterval`: how often the secret is read again, beside watching it. Default 1 minute.
 * - `name`: in reports and errors. Default `kubernetes`.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly secret: string
  readonly namespace?: string | undefined
  readonly fields?: ReadonlyArray<string> | undefined
  readonly server?: string | undefined
  readonly tokenFile?: string | undefined
  readonly caFile?: string | undefined
  readonly isHttpAllowed?: boolean | undefined
  readonly pollInterval?: Duration.Input | undefined
  readonly name?: string | undefined
}

const idleMillis = 20_000

/** How long one request watches, as the server is asked to end it, and how much later the connection counts as dead. */
const watchSeconds = 240
const watchIdleMillis = (watchSeconds + 30) * 1000

/** The pause between two requests that watch. */
const pauseMillis = 1_000

const optionalText = (name: string) => Config.withDefault(Config.NonEmptyString(name), undefined)

const clusterServer = Effect.gen(function*() {
  const host = yield* optionalText("KUBERNETES_SERVICE_HOST")
  const port = yield* optionalText("KUBERNETES_SERVICE_PORT")
  if (host === undefined) return "https://kubernetes.default.svc"
  return `https://${host.includes(":") ? `[${host}]` : host}:${port ?? 443}`
})

const refused = (store: string, secret: string, status: number): KeyStoreError => {
  const [kind, reason, remedy] = status === 401
    ? [
      "denied",
      "the cluster refuses the token of the service account",
      "Mount the token of a service account."
    ] as const
    : status === 403
    ? [
      "denied",
      `the service account may not get the secret ${secret}`,
      "Bind a role with get and watch on it to the service account."
    ] as const
    : ["unreachable", `the cluster answered with status ${status}`, undefined] as const
  return new KeyStoreError({ store, kind, reason, remedy })
}

const versionOf = (body: object): string | undefined => {
  const metadata = Predicate.hasProperty(body, "metadata") ? body.metadata : undefined
  return Predicate.hasProperty(metadata, "resourceVersion") && Predicate.isString(metadata.resourceVersion)
    ? metadata.resourceVersion
    : undefined
}

/**
 * A secret of Kubernetes as a source.
 *
 * @category constructors
 * @since 0.1.0
 */
export const source = (options: Options): Source => {
  const { caFile = Mounted.caFile, fields, name = "kubernetes", secret, tokenFile = Mounted.tokenFile } = options

  /** A request, as the mounted files say at its time. */
  const requestFor = Effect.fnUntraced(function*(isWatch: boolean) {
    const given = options.server ?? (yield* clusterServer)
    const server = yield* Http.serverUrl(name, given, options.isHttpAllowed ?? false)
    const namespace = options.namespace ?? (yield* Mounted.text(name, Mounted.namespaceFile))
    const secrets = `${server}/api/v1/namespaces/${encodeURIComponent(namespace)}/secrets`
    const selector = encodeURIComponent(`metadata.name=${secret}`)
    return {
      method: "GET" as const,
      url: isWatch
        ? `${secrets}?watch=1&fieldSelector=${selector}&timeoutSeconds=${watchSeconds}`
        : `${secrets}/${encodeURIComponent(secret)}`,
      headers: { authorization: `Bearer ${yield* Mounted.text(name, tokenFile)}` },
      ca: server.startsWith("https:") ? yield* Mounted.text(name, caFile) : undefined,
      idleMillis: isWatch ? watchIdleMillis : idleMillis
    }
  })

  const all = Effect.gen(function*() {
    const { body, status } = yield* Http.ask(name, yield* requestFor(false))
    if (status === 404) return {}
    if (status !== 200 || !Predicate.isObject(body)) return yield* refused(name, secret, status)
    const data = Predicate.hasProperty(body, "data") && Predicate.isObject(body.data) ? body.data : {}
    const version = versionOf(body)
    return Object.fromEntries(
      Object.entries(data).flatMap(([label, value]): ReadonlyArray<[string, Secret]> =>
        Predicate.isString(value) && (fields?.includes(label) ?? true)
          ? [[label, { secret: Redacted.make(Buffer.from(value, "base64").toString("utf8"), { label }), version }]]
          : []
      )
    )
  })

  /** One request that watches. It ends when the server ends it; where watching is not allowed, polling alone remains. */
  const watchOnce = Stream.unwrap(Effect.gen(function*() {
    const { lines, status } = yield* Http.lines(name, yield* requestFor(true))
    if (status === 200) return Stream.concat(lines, Stream.fromEffectDrain(Effect.sleep(pauseMillis)))
    if (status !== 401 && status !== 403) return Stream.fail(refused(name, secret, status))
    yield* Effect.logDebug(`KeyStore: ${name} may not watch the secret ${secret}, and polls it.`)
    return Stream.never
  }))

  return {
    name,
    read: (label) => Effect.map(all, (secrets) => own(secrets, label)),
    all,
    changes: Stream.merge(every(options.pollInterval ?? "1 minute"), Stream.forever(watchOnce))
  }
}

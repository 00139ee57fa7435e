/**
 * Keys in Vault (or OpenBao), in a secret of the KV engine, version 2. Each field of the secret is one key, several separated by commas, or JSON with
 * labels, groups and weights; its name is the label of a plain key.
 *
 * - **The token** comes from `VAULT_TOKEN`, from the file of an agent, or from a login with the service account of a pod. One that ends is renewed, or got
 *   anew by the login, after two thirds of its life, and again at once where Vault refuses it.
 * - **Changes are followed**: the secret is read again after each `pollInterval`. Lists show its version.
 * - The policy of the token needs `read` on `<mount>/data/<path>`. Keys are stored with Vault's own tools.
 *
 * **Example** (A pod that logs in by its service account)
 *
 * ```ts
 * import { ClaudeService, KeyStore } from "effect-claude"
 * import * as Vault from "effect-claude/KeyStore/Vault"
 *
 * export const live = ClaudeService.layer({
 *   keys: KeyStore.layer(Vault.source({
 *     address: "https://vault.internal:8200",
 *     path: "claude/keys",
 *     auth: { role: "my-service" }
 *   }))
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Semaphore from "effect/Semaphore"
import { every, KeyStoreError, type Secret, type Source } from "../KeyStore.ts"
import * as Http from "./internal/http.ts"
import * as Mounted from "./internal/mounted.ts"
import { own } from "./internal/own.ts"

/**
 * How the source gets its token.
 *
 * - `token`: the token itself. Default `VAULT_TOKEN`.
 * - `tokenFile`: a file with the token, read again each time, as an agent of Vault writes it.
 * - `role`, `mount`, `serviceAccountFile`: a login by the Kubernetes engine at `mount` (default `kubernetes`) with the token of the pod's service
 *   account.
 *
 * @category options
 * @since 0.1.0
 */
export type Auth =
  | { readonly token: Redacted.Redacted<string> }
  | { readonly tokenFile: string }
  | {
    readonly role: string
    readonly mount?: string | undefined
    readonly serviceAccountFile?: string | undefined
  }

/**
 * - `address`: of the server. Default `VAULT_ADDR`.
 * - `path`: of the secret, without the engine.
 * - `mount`: of the KV engine. Default `secret`.
 * - `auth`: where the token comes from. Default `VAULT_TOKEN`.
 * - `namespace`: of the enterprise edition. Default `VAULT_NAMESPACE`, else none.
 * - `fields`: the fields to read. Default all.
 * - `caFile`: certificates in PEM that are trusted in place of the system's. Default `VAULT_CACERT`, else none.
 * - `isHttpAllowed`: sends the token without TLS to servers other than this machine. Default false.
 * - `pollInterval`: how often the secret is read again. Default 1 minute.
 * - `name`: in reports and errors. Default `vault`.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly address?: string | undefined
  readonly path: string
  readonly mount?: string | undefined
  readonly auth?: Auth | undefined
  readonly namespace?: string | undefined
  readonly fields?: ReadonlyArray<string> | undefined
  readonly caFile?: string | undefined
  readonly isHttpAllowed?: boolean | undefined
  readonly pollInterval?: Duration.Input | undefined
  readonly name?: string | undefined
}

/** A token, and when it should be renewed, in milliseconds since the epoch. */
interface Session {
  readonly token: Redacted.Redacted<string>
  readonly renewAt: number
}

interface Connection {
  readonly address: string
  readonly namespace: string | undefined
  readonly ca: string | undefined
}

const idleMillis = 20_000

const field = (value: unknown, ...path: ReadonlyArray<string>): unknown =>
  path.reduce<unknown>(
    (inner, name) => Predicate.isObject(inner) ? own(inner as Record<string, unknown>, name) : undefined,
    value
  )

/** The time for renewal of a token that lives so many seconds; 0 is for ever. */
const renewAt = (now: number, seconds: unknown): number =>
  Predicate.isNumber(seconds) && seconds > 0 ? now + seconds * 1000 * 2 / 3 : Infinity

const segments = (path: string): string =>
  path.split("/").filter((part) => part !== "").map(encodeURIComponent).join("/")

/** What each status of Vault means for whoever reads a secret. */
const refused = (store: string, path: string, status: number): KeyStoreError => {
  const failed = (kind: KeyStoreError["kind"], reason: string, remedy?: string) =>
    new KeyStoreError({ store, kind, reason, remedy })
  if (status === 401 || status === 403) {
    return failed(
      "denied",
      `Vault refuses ${path}`,
      "Give the token a policy with read on it, or a token that has not ended."
    )
  }
  if (status === 503) return failed("unreachable", "Vault is sealed or in maintenance", "Unseal it.")
  if (status === 400) {
    return failed("invalid", `Vault does not understand the request for ${path}`, "Check mount and role.")
  }
  return failed("unreachable", `Vault answered with status ${status}`)
}

const tokenConfig = Config.withDefault(Config.Redacted("VAULT_TOKEN"), undefined)

const optionalText = (name: string) => Config.withDefault(Config.NonEmptyString(name), undefined)

const connecting = Effect.fnUntraced(function*(name: string, options: Options) {
  const address = options.address ?? (yield* optionalText("VAULT_ADDR"))
  if (address === undefined) {
    return yield* new KeyStoreError({
      store: name,
      kind: "unavailable",
      reason: "there is no address",
      remedy: "Give `address`, or set VAULT_ADDR."
    })
  }
  const caFile = options.caFile ?? (yield* optionalText("VAULT_CACERT"))
  const ca = caFile === undefined ? undefined : yield* Mounted.text(name, caFile)
  return {
    address: yield* Http.serverUrl(name, address, options.isHttpAllowed ?? false),
    namespace: options.namespace ?? (yield* optionalText("VAULT_NAMESPACE")),
    ca
  }
})

const asking = (name: string, connection: Connection) => {
  const { address, ca, namespace } = connection
  return (method: "GET" | "POST", path: string, token?: Redacted.Redacted<string>, body?: unknown) =>
    Http.ask(name, {
      method,
      url: `${address}/v1/${path}`,
      headers: {
        "x-vault-request": "true",
        ...(token === undefined ? undefined : { "x-vault-token": Redacted.value(token) }),
        ...(namespace === undefined ? undefined : { "x-vault-namespace": namespace })
      },
      body,
      ca,
      idleMillis
    })
}

type Ask = ReturnType<typeof asking>

/** A token that was given: it is renewed where Vault says that it ends and may be. */
const sessionOf = Effect.fnUntraced(function*(ask: Ask, token: Redacted.Redacted<string>, isOld: boolean) {
  if (isOld) yield* ask("POST", "auth/token/renew-self", token, {})
  const now = yield* Clock.currentTimeMillis
  const { body, status } = yield* ask("GET", "auth/token/lookup-self", token)
  const isRenewable = status === 200 && field(body, "data", "renewable") === true
  return { token, renewAt: isRenewable ? renewAt(now, field(body, "data", "ttl")) : Infinity }
})

const login = Effect.fnUntraced(function*(name: string, ask: Ask, auth: Extract<Auth, { readonly role: string }>) {
  const { mount = "kubernetes", role, serviceAccountFile = Mounted.tokenFile } = auth
  const jwt = yield* Mounted.text(name, serviceAccountFile)
  const now = yield* Clock.currentTimeMillis
  const path = `auth/${segments(mount)}/login`
  const { body, status } = yield* ask("POST", path, undefined, { role, jwt })
  const token = field(body, "auth", "client_token")
  if (status !== 200 || !Predicate.isString(token)) return yield* refused(name, path, status)
  return {
    token: Redacted.make(token, { label: "vault" }),
    renewAt: renewAt(now, field(body, "auth", "lease_duration"))
  }
})

/** Gives tokens, one login or renewal for all who ask. `stale` is one that Vault has just refused. */
const tokens = (name: string, auth: Auth | undefined) => {
  const one = Semaphore.makeUnsafe(1)
  let session: Session | undefined

  const begin = Effect.fnUntraced(function*(ask: Ask, isOld: boolean) {
    if (auth !== undefined && "role" in auth) return yield* login(name, ask, auth)
    const token = auth === undefined ? yield* tokenConfig : "token" in auth ? auth.token : undefined
    if (token !== undefined) return yield* sessionOf(ask, token, isOld)
    return yield* new KeyStoreError({
      store: name,
      kind: "unavailable",
      reason: "there is no token",
      remedy: "Set VAULT_TOKEN, or say by `auth` where the token comes from."
    })
  })

  return (ask: Ask, stale?: Session): Effect.Effect<Session, KeyStoreError | Config.ConfigError> =>
    Effect.gen(function*() {
      if (auth !== undefined && "tokenFile" in auth) {
        return {
          token: Redacted.make(yield* Mounted.text(name, auth.tokenFile), { label: "vault" }),
          renewAt: Infinity
        }
      }
      const now = yield* Clock.currentTimeMillis
      if (session !== undefined && session !== stale && now < session.renewAt) return session
      session = yield* begin(ask, session !== undefined)
      return session
    }).pipe(one.withPermits(1))
}

/**
 * A secret of Vault as a source.
 *
 * @category constructors
 * @since 0.1.0
 */
export const source = (options: Options): Source => {
  const { fields, mount = "secret", name = "vault" } = options
  const path = `${segments(mount)}/data/${segments(options.path)}`
  const tokenFor = tokens(name, options.auth)

  const all = Effect.gen(function*() {
    const ask = asking(name, yield* connecting(name, options))
    let session = yield* tokenFor(ask)
    let answer = yield* ask("GET", path, session.token)
    if (answer.status === 403) {
      // The token may have been revoked or have ended early.
      session = yield* tokenFor(ask, session)
      answer = yield* ask("GET", path, session.token)
    }
    const { body, status } = answer
    if (status === 404) return {}
    const data = field(body, "data", "data")
    if (status !== 200 || !Predicate.isObject(data)) return yield* refused(name, path, status)
    const version = field(body, "data", "metadata", "version")
    return Object.fromEntries(
      Object.entries(data).filter(([label]) => fields?.includes(label) ?? true).map((
        [label, value]
      ): [string, Secret] => [
        label,
        {
          secret: Redacted.make(Predicate.isString(value) ? value : JSON.stringify(value), { label }),
          version: Predicate.isNumber(version) ? String(version) : undefined
        }
      ])
    )
  })

  return {
    name,
    read: (label) => Effect.map(all, (secrets) => own(secrets, label)),
    all,
    changes: every(options.pollInterval ?? "1 minute")
  }
}

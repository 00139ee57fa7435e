/**
 * The credentials of the vendor's SDK: profiles of a signed-in user, and workload identity federation, by which a service gets short-lived tokens for
 * the identity that its platform gives it, and keeps no key at all.
 *
 * The profile is the one of `ANTHROPIC_PROFILE`; else the variables of federation are used (`ANTHROPIC_FEDERATION_RULE_ID`, `ANTHROPIC_ORGANIZATION_ID`,
 * `ANTHROPIC_IDENTITY_TOKEN_FILE` and so on); else the active profile. `ANTHROPIC_API_KEY` is not looked at: that is `KeyStore.environment`.
 *
 * - **The token is refreshed before it ends**, two minutes by default, once for all callers. While that fails the old one stays in use.
 * - **What tokens need is sent along**: the beta of OAuth, and the workspace of a profile. `Key.headers` has it.
 * - **A profile may be for another API** (`base_url`). Its token is refused unless `baseUrl` is the same: give it here and as `api.baseUrl` of the service.
 *
 * **Example** (Federation, else a key of the environment)
 *
 * ```ts
 * import { ClaudeService, KeyStore } from "effect-claude"
 * import * as Credentials from "effect-claude/KeyStore/Credentials"
 *
 * export const live = ClaudeService.layer({
 *   keys: KeyStore.chain([Credentials.source(), KeyStore.environment])
 * })
 * ```
 *
 * @since 0.1.0
 */
import type * as Chain from "@anthropic-ai/sdk/lib/credentials/credential-chain"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import { KeyStoreError, type Secret, type Source } from "../KeyStore.ts"
import { print } from "./internal/document.ts"

/**
 * - `profile`: a profile by its name, in place of what the environment says. Default none.
 * - `label`, `group`: of the key. Default `credentials` and `default`.
 * - `baseUrl`: the API that tokens are asked of and used for. Default `https://api.anthropic.com`.
 * - `refreshBefore`: how long before its end a token is refreshed. Default 2 minutes; give the store the same.
 * - `fetch`: sends the requests for tokens. Default the global `fetch`.
 * - `name`: in reports and errors. Default `credentials`.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly profile?: string | undefined
  readonly label?: string | undefined
  readonly group?: string | undefined
  readonly baseUrl?: string | undefined
  readonly refreshBefore?: Duration.Input | undefined
  readonly fetch?: typeof globalThis.fetch | undefined
  readonly name?: string | undefined
}

type Result = NonNullable<Awaited<ReturnType<typeof Chain.defaultCredentials>>>

/** A token that is handed out without asking for another one before `reuseUntil`. */
interface Kept {
  readonly token: Token
  readonly reuseUntil: number
  readonly headers: Readonly<Record<string, string>>
}

type Token = Awaited<ReturnType<Result["provider"]>>

/** What the API wants of a request with a token of OAuth. */
const oauthBeta = "oauth-2025-04-20"

/** A token that lives shorter than this is not handed out any more. */
const leastLifeMillis = 5_000

const hostOf = (url: string): string => URL.parse(url)?.host ?? "an address that is none"

const withoutSlash = (url: string): string => url.replace(/\/+$/, "")

/** Why the SDK failed. Its messages are looked at and not shown: they repeat pieces of files. */
const failure = (store: string) => (error: unknown): KeyStoreError => {
  const message = error instanceof Error ? error.message : ""
  const status = Predicate.hasProperty(error, "statusCode") ? error.statusCode : undefined
  const failed = (kind: KeyStoreError["kind"], reason: string, remedy?: string) =>
    new KeyStoreError({ store, kind, reason, remedy })
  if (Predicate.isNumber(status)) {
    return status >= 400 && status < 500 && status !== 429
      ? failed(
        "denied",
        `no token was given (HTTP ${status})`,
        "Sign in again, or check the federation rule and the identity."
      )
      : failed("unreachable", `no token was given (HTTP ${status})`)
  }
  if (/group\/world-/.test(message)) {
    return failed("permissions", "other users can access the file of the credentials", "Run chmod 600 on it.")
  }
  if (/failed to reach/i.test(message)) return failed("unreachable", "the API cannot be reached for a token")
  if (/has expired and no refresh/.test(message)) {
    return failed("denied", "the token has ended and cannot be refreshed", "Sign in again.")
  }
  if (
    /not valid JSON|failed to parse|must include|missing "authentication"|not a known|unsupported type/.test(message)
  ) {
    return failed("invalid", "the file of the profile or of its credentials is damaged", "Sign in again.")
  }
  if (/does not exist|not found/.test(message)) {
    return failed("unavailable", "the profile or its credentials do not exist", "Check the name, or sign in.")
  }
  if (/requires|not supported|https/i.test(message)) {
    return failed(
      "invalid",
      "the profile or the variables of federation are incomplete",
      "See the documentation of the SDK."
    )
  }
  return failed("unreachable", "the credentials cannot be read")
}

const load = (store: string) =>
  Effect.tryPromise({
    try: () => import("@anthropic-ai/sdk/lib/credentials/credential-chain"),
    catch: () =>
      new KeyStoreError({
        store,
        kind: "unavailable",
        reason: "this version of @anthropic-ai/sdk has no credential chain",
        remedy: "Update it."
      })
  })

/**
 * The credentials of the SDK as a source of one key.
 *
 * @category constructors
 * @since 0.1.0
 */
export const source = (options: Options = {}): Source => {
  const { group = "default", label = "credentials", name = "credentials" } = options
  const baseUrl = withoutSlash(options.baseUrl ?? "https://api.anthropic.com")
  const refreshBeforeMillis = Duration.toMillis(options.refreshBefore ?? "2 minutes")
  const toError = failure(name)

  /** The last token: without a file to keep it in, the SDK would exchange one for each reading. */
  let last: Kept | undefined

  const lifeOf = ({ expiresAt }: Token, now: number): number => (expiresAt ?? Infinity) * 1000 - now

  const resolve = Effect.gen(function*() {
    const { defaultCredentials } = yield* load(name)
    const result = yield* Effect.tryPromise({
      try: () =>
        defaultCredentials(
          { baseURL: baseUrl, fetch: options.fetch ?? globalThis.fetch, onSafetyWarning: () => {} },
          options.profile
        ),
      catch: toError
    })
    const other = result?.baseURL === undefined ? baseUrl : withoutSlash(result.baseURL)
    if (other === baseUrl) return result ?? undefined
    return yield* new KeyStoreError({
      store: name,
      kind: "invalid",
      reason: `the profile is for ${hostOf(other)}, and the requests go to ${hostOf(baseUrl)}`,
      remedy: "Give its base URL as `baseUrl` here and as `api.baseUrl` of the service."
    })
  })

  /** A token that has no end or was not handed out before, else the same one, as long as it lives. */
  const tokenOf = Effect.fnUntraced(function*({ provider }: Result) {
    const get = (forceRefresh: boolean) => Effect.tryPromise({ try: () => provider({ forceRefresh }), catch: toError })
    const token = yield* get(false)
    const life = lifeOf(token, yield* Clock.currentTimeMillis)
    const isAlive = life > leastLifeMillis
    if (life === Infinity || (isAlive && token.token !== last?.token.token)) return token
    return yield* Effect.catch(get(true), (error) => isAlive ? Effect.succeed(token) : Effect.fail(error))
  })

  const read = Effect.gen(function*() {
    if (last === undefined || (yield* Clock.currentTimeMillis) >= last.reuseUntil) {
      const result = yield* resolve
      if (result === undefined) return undefined
      const token = yield* tokenOf(result)
      const now = yield* Clock.currentTimeMillis
      const life = lifeOf(token, now)
      const reuseUntil = life === Infinity ? now : now + life - Math.min(refreshBeforeMillis, life / 2)
      last = { token, reuseUntil, headers: { ...result.extraHeaders, "anthropic-beta": oauthBeta } }
    }
    const { headers, token } = last
    const key = { label, group, secret: Redacted.make(token.token, { label }) }
    const expiresAt = token.expiresAt === null ? undefined : token.expiresAt * 1000
    return { secret: print(label, [key]), headers, expiresAt }
  })

  return {
    name,
    read: (asked) => asked === label ? read : Effect.succeed(undefined),
    all: Effect.map(read, (secret): Record<string, Secret> => secret === undefined ? {} : { [label]: secret })
  }
}

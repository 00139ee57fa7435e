/** Which connections requests take: HTTP/2 or not, and through which proxy. */
import * as Config from "effect/Config"
import { SourceError } from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Undici from "undici"

export interface Options {
  readonly proxy?: boolean | string | Redacted.Redacted<string> | undefined
  readonly http2?: boolean | undefined
}

/** What proxies need of `undici`, and how it connects. */
export interface Connections {
  readonly agent: (undici: typeof Undici) => Undici.Dispatcher
}

/** The process of Node, whose types this package does without. */
const node = (): { readonly env?: Record<string, string | undefined>; readonly execArgv?: ReadonlyArray<string> } =>
  (globalThis as { readonly process?: object }).process ?? {}

const variable = (name: string): string => node().env?.[name] ?? ""

/** Whether Node itself was told to use the proxies of the environment. */
const isSwitchedOn = (): boolean =>
  variable("NODE_USE_ENV_PROXY") === "1" ||
  [...node().execArgv ?? [], ...variable("NODE_OPTIONS").split(/\s+/)].includes("--use-env-proxy")

const decoded: (text: string) => Option.Option<string> = Option.liftThrowable(decodeURIComponent)

/** Whether it is the URL of a proxy, whose user and password can be decoded. */
const isProxyUrl = (text: string): boolean => {
  if (!URL.canParse(text)) return false
  const { password, protocol, username } = new URL(text)
  return /^(https?|socks5?):$/.test(protocol) && Option.isSome(decoded(`${username} ${password}`))
}

/** Says nothing of the URL, which may have a password. */
const refusal = (where: string): Config.ConfigError =>
  new Config.ConfigError(new SourceError({ message: `${where}: expected the URL of a proxy, http, https or socks5` }))

const textOf = (proxy: string | Redacted.Redacted<string>): string =>
  Redacted.isRedacted(proxy) ? Redacted.value(proxy) : proxy

/** The variables that name proxies. */
const variables = ["https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY"]

/** Users and passwords of the proxies that may be asked, which see more than the API does and may repeat it. */
export const secrets = ({ proxy = isSwitchedOn() }: Options): ReadonlyArray<string> => {
  const urls = proxy === false ? [] : proxy === true ? variables.map(variable) : [textOf(proxy)]
  return urls.filter(isProxyUrl).flatMap((text) => {
    const { password, username } = new URL(text)
    return password === "" ? [] : [username, password].flatMap((each) => Option.toArray(decoded(each)))
  })
}

/** The connections that the options ask for. A URL that is none fails. */
export const connections = (
  { http2 = false, proxy = isSwitchedOn() }: Options
): Effect.Effect<Connections, Config.ConfigError> => {
  const own = { headersTimeout: 0, bodyTimeout: 0, allowH2: http2, connect: { preferH2: http2 } }
  if (proxy === false) return Effect.succeed({ agent: ({ Agent }) => new Agent(own) })
  const proxied = { headersTimeout: 0, bodyTimeout: 0, allowH2: http2, requestTls: { allowH2: http2, preferH2: http2 } }
  if (proxy === true) {
    const wrong = variables.find((name) => variable(name) !== "" && !isProxyUrl(variable(name)))
    return wrong === undefined
      ? Effect.succeed({ agent: ({ EnvHttpProxyAgent }) => new EnvHttpProxyAgent(proxied) })
      : Effect.fail(refusal(wrong))
  }
  const uri = textOf(proxy)
  return isProxyUrl(uri)
    ? Effect.succeed({ agent: ({ ProxyAgent }) => new ProxyAgent({ ...proxied, uri }) })
    : Effect.fail(refusal("proxy"))
}

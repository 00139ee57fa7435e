/** What can be said without asking anybody: Node, packages, proxies. */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import { existsSync, readFileSync } from "node:fs"
import { redact } from "../redact.ts"
import { manifest } from "../version.ts"
import { type Check, check } from "./check.ts"

type Version = readonly [number, number, number]

const parse = (text: string): Version => {
  const [major = 0, minor = 0, patch = 0] = text.replace(/^[^\d]*/, "").split(/[.-]/).map(Number)
  return [major, minor, patch]
}

const compare = (left: Version, right: Version): number =>
  left[0] - right[0] || left[1] - right[1] || left[2] - right[2]

/** Whether a version is in a range of the form `^1.2.3` or `>=1.2.3`, the forms of our package.json. */
export const satisfies = (version: string, range: string): boolean => {
  const [has, wanted] = [parse(version), parse(range)]
  if (compare(has, wanted) < 0) return false
  if (!range.startsWith("^")) return true
  return has[0] === wanted[0] && (wanted[0] > 0 || has[1] === wanted[1])
}

export const node: Effect.Effect<ReadonlyArray<Check>> = Effect.sync(() => {
  const { node } = process.versions
  const range = manifest.engines.node
  return [
    satisfies(node, range)
      ? check("node", "ok", `Node ${node}`)
      : check("node", "fail", `Node ${node}; it must be ${range}: https://nodejs.org`)
  ]
})

/** The installed version of a package, as this package would load it. */
const versionOf = (name: string): Option.Option<string> => {
  const entry = Result.try(() => import.meta.resolve(name))
  if (Result.isFailure(entry)) return Option.none()
  for (let folder = new URL(".", entry.success); folder.pathname !== "/"; folder = new URL("..", folder)) {
    const file = new URL("package.json", folder)
    if (!existsSync(file)) continue
    const found: { readonly name?: string; readonly version?: string } = JSON.parse(readFileSync(file, "utf8")) // packages have both
    if (found.name === name && found.version !== undefined) return Option.some(found.version)
  }
  return Option.none()
}

/** What optional packages are for. */
const purposes: Readonly<Record<string, string>> = {
  "@effect/platform-node": "this command, and Redis",
  "@effect/sql-pg": "a ledger or budgets in Postgres",
  "@napi-rs/keyring": "keys in the keyring of the operating system",
  "age-encryption": "keys in an encrypted file"
}

export const packages: Effect.Effect<ReadonlyArray<Check>> = Effect.sync(() => [
  check("package effect-claude", "ok", manifest.version),
  ...Object.entries({ ...manifest.peerDependencies, ...manifest.dependencies }).map(([name, range]): Check => {
    const version = Option.getOrUndefined(versionOf(name))
    const optional = manifest.peerDependenciesMeta[name]?.optional === true
    if (version !== undefined) {
      return satisfies(version, range)
        ? check(`package ${name}`, "ok", version)
        : check(`package ${name}`, "fail", `${version}; it must be ${range}: npm install ${name}@${range}`)
    }
    return optional
      ? check(`package ${name}`, "skipped", `Not installed; ${purposes[name] ?? "some parts"} would need it`)
      : check(`package ${name}`, "fail", `Not installed: npm install ${name}`)
  })
])

const proxyVariables = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]

const proxyOf = (name: string) =>
  Effect.map(
    Config.option(Config.NonEmptyString(name)),
    (value) => Option.toArray(Option.map(value, (url) => `${name}=${redact(url)}`))
  )

/** The connections of this package go straight to the API, whatever these variables say. */
export const proxies = Effect.map(Effect.forEach(proxyVariables, proxyOf), (found): ReadonlyArray<Check> => {
  const set = found.flat()
  return [
    set.length === 0
      ? check("proxies", "ok", "No proxy in the environment")
      : check(
        "proxies",
        "warn",
        `${
          set.join(", ")
        }: calls do not go through a proxy unless the program passes its own api: { fetch }, or ANTHROPIC_BASE_URL names a gateway`
      )
  ]
})

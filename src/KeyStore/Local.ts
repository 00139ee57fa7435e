/**
 * The keys of this machine: the environment, else the keyring of the operating system, else an encrypted file. It suits a program that runs on a
 * developer's machine as well as on a server, and is what the command `effect-claude` uses.
 *
 * **Example** (A service with whatever keys the machine has)
 *
 * ```ts
 * import { ClaudeService } from "effect-claude"
 * import * as Local from "effect-claude/KeyStore/Local"
 *
 * export const live = ClaudeService.layer({ keys: Local.layerConfig() })
 * ```
 *
 * @since 0.1.0
 */
import type * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import { homedir } from "node:os"
import { isAbsolute, join } from "node:path"
import { env, platform } from "node:process"
import * as ClaudeConfig from "../ClaudeConfig.ts"
import * as KeyStore from "../KeyStore.ts"
import * as AgeFile from "./AgeFile.ts"
import * as Keyring from "./Keyring.ts"

/**
 * - `path`: of the encrypted file. Default `keys.age` in the folder `effect-claude` of the user's configuration: `$XDG_CONFIG_HOME`, `~/.config` or
 *   `%APPDATA%`.
 * - `passphrase`, `identity`, `identityFile`: what opens it, one of them, as in `KeyStore/AgeFile`. Default none, so that the file is not opened.
 * - `recipients`: who else can open it when it is written. Default nobody.
 * - `workFactor`: how dear each guess of a passphrase is, as a power of two. Default 18.
 * - `pollInterval`: how often the file is looked at. Default 10 seconds.
 * - `service`: what the entries of the keyring are filed under. Default `effect-claude`.
 * - `labels`: entries of the keyring that were made by others. Default none.
 * - `isKernelKeyring`: uses the keyring of the Linux kernel, which forgets everything at reboot. Default false.
 * - `use`: `"first"` takes the keys of the first source that has any, `"all"` those of all three. Default `"first"`.
 * - `timeout`: the longest that reading a source may take. Default 30 seconds.
 * - `refreshBefore`: how long before its end a key is read again. Default 2 minutes.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options
  extends Omit<Keyring.Options, "name">, Omit<AgeFile.Options, "name" | "path">, KeyStore.Options
{
  readonly path?: string | undefined
}

const configurationFolder = (): string | undefined => {
  const given = platform === "win32" ? env["APPDATA"] : env["XDG_CONFIG_HOME"]
  if (given !== undefined && isAbsolute(given)) return given
  // A user without a home, as in a container, makes it throw; with an empty HOME it is the current folder.
  const home = Result.getOrElse(Result.try(homedir), () => "")
  return isAbsolute(home) ? join(home, ".config") : undefined
}

/**
 * Where the encrypted file is by default; undefined for a user without a home folder.
 *
 * @category constructors
 * @since 0.1.0
 */
export const defaultPath = (): string | undefined => {
  const folder = configurationFolder()
  return folder === undefined ? undefined : join(folder, "effect-claude", "keys.age")
}

/** The encrypted file where nobody knows where it would be. */
const homeless = (): KeyStore.Source => {
  const name = "encrypted file"
  const failed = Effect.fail(
    new KeyStore.KeyStoreError({
      store: name,
      kind: "unavailable",
      reason: "this user has no home folder",
      remedy: "Set HOME, or CLAUDE_KEYS_FILE to the path of the file."
    })
  )
  return { name, read: () => failed, set: () => failed, remove: () => failed }
}

/**
 * The three sources, in order.
 *
 * @category constructors
 * @since 0.1.0
 */
export const sources = (options: Options = {}): ReadonlyArray<KeyStore.Source> => {
  const path = options.path ?? defaultPath()
  return [
    KeyStore.environment,
    Keyring.source({ service: options.service, labels: options.labels, isKernelKeyring: options.isKernelKeyring }),
    path === undefined ? homeless() : AgeFile.source({ ...options, path })
  ]
}

/**
 * A store over the three sources. Each call makes a store of its own: call it once and share the value.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<KeyStore.KeyStore> =>
  KeyStore.chain(sources(options), options)

/**
 * `layer` with what the environment says about the keyring and the file (`ClaudeConfig.keys`); options that are given win.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (options: Options = {}): Layer.Layer<KeyStore.KeyStore, Config.ConfigError> =>
  Layer.unwrap(Effect.map(ClaudeConfig.keys, (given) => layer(both(given, options))))

const both = (
  { identity, identityFile, passphrase, path, service }: ClaudeConfig.KeysOptions,
  options: Options
): Options => {
  const opens = [options.passphrase, options.identity, options.identityFile].some((one) => one !== undefined)
  return {
    ...(opens ? undefined : { passphrase, identity, identityFile }),
    ...options,
    path: options.path ?? path,
    service: options.service ?? service
  }
}

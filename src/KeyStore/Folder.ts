/**
 * Keys in a folder of files, one file for each name, as Kubernetes and other systems mount secrets.
 *
 * A file holds one key, several separated by commas, or JSON with labels, groups and weights. Its name is the label of a plain key. Names that
 * start with a dot and folders are left out.
 *
 * - **Updates are followed.** Kubernetes replaces all files at once, by exchanging the folder behind the link `..data`. The content is read
 *   again after each `pollInterval` and compared, and all files are read from one version, never from two.
 * - **A volume that is mounted with `subPath` is never updated**, and neither are environment variables from a secret: mount the whole folder. From a
 *   change of the secret until kubelet updates the folder it can take a minute or two.
 *
 * **Example** (A mounted secret)
 *
 * ```ts
 * import { ClaudeService, KeyStore } from "effect-claude"
 * import * as Folder from "effect-claude/KeyStore/Folder"
 *
 * export const live = ClaudeService.layer({
 *   keys: KeyStore.layer(Folder.source({ path: "/var/run/secrets/anthropic" }))
 * })
 * ```
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as fs from "node:fs/promises"
import { basename, join } from "node:path"
import { every, KeyStoreError, type Secret, type Source } from "../KeyStore.ts"
import * as Files from "./internal/files.ts"
import { own } from "./internal/own.ts"

/**
 * - `path`: of the folder.
 * - `files`: the files to read, for a folder that holds other things too. Default all.
 * - `pollInterval`: how often it is read again. Default 10 seconds.
 * - `name`: in reports and errors. Default `folder`.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly path: string
  readonly files?: ReadonlyArray<string> | undefined
  readonly pollInterval?: Duration.Input | undefined
  readonly name?: string | undefined
}

/** The most files that are read. */
const maxFiles = 1000

const decoder = new TextDecoder()

/**
 * The folder as a source.
 *
 * @category constructors
 * @since 0.1.0
 */
export const source = (options: Options): Source => {
  const { name = "folder", path } = options

  const isGiven = (file: string): boolean => options.files?.includes(file) ?? !file.startsWith(".")

  /** All files of one version; undefined where that version is gone. */
  const readFrom = Effect.fnUntraced(function*(folder: string, version: string | undefined) {
    const entries = yield* Files.found(name, path, () => fs.readdir(folder, { withFileTypes: true }))
    if (entries === undefined) return version === undefined ? {} : undefined
    const files = entries.filter((entry) => !entry.isDirectory() && isGiven(entry.name)).map((entry) => entry.name)
    if (files.length > maxFiles) {
      return yield* new KeyStoreError({
        store: name,
        kind: "invalid",
        reason: `${path} has more than ${maxFiles} files`
      })
    }
    const secrets: Array<readonly [string, Secret]> = []
    for (const file of files.sort()) {
      const read = yield* Files.read(name, join(folder, file), { isPrivate: false })
      if (read === undefined) return undefined
      const secret = Redacted.make(decoder.decode(read.bytes), { label: file })
      secrets.push([file, { secret, version: version ?? read.changedAt }])
    }
    return Object.fromEntries(secrets)
  })

  const once = Effect.gen(function*() {
    const data = yield* Files.found(name, path, () => fs.realpath(join(path, "..data")))
    return yield* readFrom(data ?? path, data === undefined ? undefined : basename(data))
  })

  const all = Effect.gen(function*() {
    // The folder can be exchanged while it is read; kubelet does so at most about once a second.
    for (let left = 3; left > 0; left--) {
      const secrets = yield* once
      if (secrets !== undefined) return secrets
    }
    return yield* new KeyStoreError({ store: name, kind: "unreachable", reason: `${path} changes all the time` })
  })

  return {
    name,
    read: (file) => Effect.map(all, (secrets) => own(secrets, file)),
    all,
    changes: every(options.pollInterval ?? "10 seconds")
  }
}

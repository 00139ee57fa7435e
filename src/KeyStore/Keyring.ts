/**
 * Keys in the keyring of the operating system: the keychain of macOS, the credential manager of Windows, the Secret Service of a Linux desktop
 * (GNOME Keyring, KWallet, KeePassXC). Needs the package `@napi-rs/keyring`.
 *
 * Each key is an entry of its own, with the label as its account; one more entry lists the labels.
 *
 * - **On Linux the Secret Service is asked, and nothing else.** A server or a container usually has none, which is the error `unavailable`. The
 *   keyring of the kernel, which forgets everything at reboot, is used only with `isKernelKeyring`.
 * - **A locked keyring** makes the system ask the user to unlock it; where nobody can be asked, or the user declines, that is the error `locked`.
 *
 * **Example** (The keyring, else the environment)
 *
 * ```ts
 * import { KeyStore } from "effect-claude"
 * import * as Keyring from "effect-claude/KeyStore/Keyring"
 *
 * export const layer = KeyStore.chain([Keyring.source(), KeyStore.environment])
 * ```
 *
 * @since 0.1.0
 */
import type { AsyncEntry } from "@napi-rs/keyring"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import { KeyStoreError, type Secret, type Source } from "../KeyStore.ts"

/**
 * - `service`: what the entries are filed under. Default `effect-claude`.
 * - `labels`: entries that were made by others, such as the tool of the keyring, and are not in the list of labels. Default none.
 * - `isKernelKeyring`: uses the keyring of the Linux kernel, which forgets everything at reboot, in place of the Secret Service. Default false.
 * - `name`: in reports and errors. Default `keyring` or `kernel keyring`.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly service?: string | undefined
  readonly labels?: ReadonlyArray<string> | undefined
  readonly isKernelKeyring?: boolean | undefined
  readonly name?: string | undefined
}

/** The account of the entry that lists the labels; no label has such a character. */
const listAccount = "effect-claude\tlabels"

const parseLabels = Schema.decodeUnknownOption(Schema.fromJsonString(Schema.Array(Schema.String)))

/** Why the package failed, from its words about the system, which are not shown. */
const failure = (name: string, isKernelKeyring: boolean) => (error: unknown): KeyStoreError => {
  const message = error instanceof Error ? error.message : ""
  const failed = (kind: KeyStoreError["kind"], reason: string, remedy: string) =>
    new KeyStoreError({ store: name, kind, reason, remedy })
  if (/prompt was dismissed|is locked|interaction is not allowed|InteractionNotAllowed/i.test(message)) {
    return failed(
      "locked",
      "the keyring is locked",
      "Unlock it, by signing in to the desktop or with the tool of the keyring, and try again."
    )
  }
  if (isKernelKeyring && /AccessDenied|denied|not supported|ENOSYS/i.test(message)) {
    return failed("unavailable", "the keyring of the kernel cannot be used here", "Containers often forbid it.")
  }
  if (/d-?bus|no result found|ServiceUnknown|not provided by any/i.test(message)) {
    return failed(
      "unavailable",
      "there is no Secret Service: no session bus, or no keyring behind it",
      "Start one, such as gnome-keyring-daemon under dbus-run-session, or keep the keys in an encrypted file."
    )
  }
  if (/denied|not permitted|authorization/i.test(message)) {
    return failed("denied", "the system refuses access to the keyring", "Allow this program to use it.")
  }
  return failed("unreachable", "the keyring failed", "Look at the log of the system's keyring.")
}

/**
 * The keyring as a source.
 *
 * @category constructors
 * @since 0.1.0
 */
export const source = (options: Options = {}): Source => {
  const { isKernelKeyring = false, labels = [], service = "effect-claude" } = options
  const name = options.name ?? (isKernelKeyring ? "kernel keyring" : "keyring")
  const oneWriter = Semaphore.makeUnsafe(1)

  const load = Effect.tryPromise({
    try: () => import("@napi-rs/keyring"),
    catch: () =>
      new KeyStoreError({
        store: name,
        kind: "unavailable",
        reason: "the package @napi-rs/keyring is not installed",
        remedy: "Run npm install @napi-rs/keyring."
      })
  })

  // Without `linux` the package would fall back to the keyring of the kernel silently.
  const entryOptions = { linux: { store: isKernelKeyring ? "keyutils" : "secret-service" } } as const

  const withEntry = <A>(account: string, run: (entry: AsyncEntry, signal: AbortSignal) => Promise<A>) =>
    Effect.flatMap(load, ({ AsyncEntry }) =>
      Effect.tryPromise({
        try: (signal) => run(new AsyncEntry(service, account, entryOptions), signal),
        catch: failure(name, isKernelKeyring)
      }))

  const readEntry = (account: string): Effect.Effect<string | undefined, KeyStoreError> =>
    Effect.map(withEntry(account, (entry, signal) => entry.getPassword(signal)), (text) => text ?? undefined)

  const writeEntry = (account: string, text: string): Effect.Effect<void, KeyStoreError> =>
    withEntry(account, (entry, signal) => entry.setPassword(text, signal))

  const read = (label: string): Effect.Effect<Secret | undefined, KeyStoreError> =>
    Effect.map(
      readEntry(label),
      (text) => text === undefined ? undefined : { secret: Redacted.make(text, { label }), version: undefined }
    )

  const listed = Effect.map(
    readEntry(listAccount),
    (text): ReadonlyArray<string> =>
      text === undefined ? [] : Option.getOrElse(parseLabels(text), (): ReadonlyArray<string> => [])
  )

  const all = Effect.gen(function*() {
    const found: Array<readonly [string, Secret]> = []
    for (const label of new Set([...(yield* listed), ...labels])) {
      const secret = yield* read(label)
      if (secret !== undefined) found.push([label, secret])
    }
    return Object.fromEntries(found)
  })

  // The list may name an entry that is missing, if one of these was interrupted; an entry that it lacks would be lost.
  return {
    name,
    read,
    all,
    set: (label, secret) =>
      Effect.gen(function*() {
        const known = yield* listed
        if (!known.includes(label)) yield* writeEntry(listAccount, JSON.stringify([...known, label]))
        yield* writeEntry(label, Redacted.value(secret))
      }).pipe(oneWriter.withPermits(1)),
    remove: (label) =>
      Effect.gen(function*() {
        yield* withEntry(label, (entry, signal) => entry.deletePassword(signal))
        const known = yield* listed
        if (known.includes(label)) {
          yield* writeEntry(listAccount, JSON.stringify(known.filter((other) => other !== label)))
        }
      }).pipe(oneWriter.withPermits(1))
  }
}

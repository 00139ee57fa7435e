/**
 * Keys in an encrypted file, in the format of age: `age --decrypt` opens what is written here, and a file that `age` wrote is read.
 *
 * The text of the file is JSON, an object from labels to keys: `{ "team-a": "sk-ant-...", "team-b": { "secret": "sk-ant-...", "group": "org-b" } }`. A
 * file with nothing but a key is read too.
 *
 * - **A passphrase** is for people: opening a file with it takes about a second of processor time by design. Choose one that cannot be guessed, and keep
 *   it apart from the file: who has both has the keys. **An identity** (`age-keygen`) is for services: fast, and more than one recipient can open the
 *   file. An identity file in the folder of the encrypted file is refused.
 * - **The file is for its owner alone**: it is written with mode 0600, atomically, and refused where other users can access it (not on Windows).
 * - **Changes are followed**: the file is looked at after each `pollInterval`, and opened again only if its content has changed.
 *
 * Programs that store keys at the same time wait for each other, by a file with `.lock` behind the name.
 *
 * **Example** (A file that the passphrase of the environment opens)
 *
 * ```ts
 * import { KeyStore } from "effect-claude"
 * import * as AgeFile from "effect-claude/KeyStore/AgeFile"
 * import { Config } from "effect"
 *
 * export const layer = KeyStore.layer(
 *   AgeFile.source({ path: "/etc/my-service/keys.age", passphrase: Config.Redacted("KEYS_PASSPHRASE") })
 * )
 * ```
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import { dirname, resolve } from "node:path"
import { every, KeyStoreError, type Secret, type Source } from "../KeyStore.ts"
import * as Age from "./internal/age.ts"
import * as Files from "./internal/files.ts"
import { own } from "./internal/own.ts"
import { defaultName } from "./internal/reading.ts"

/**
 * Give `passphrase`, `identity` or `identityFile`.
 *
 * - `path`: of the file. It is created, with its folder, when the first key is stored.
 * - `passphrase`: what was used to encrypt it; an effect is run each time the file has to be opened, such as a prompt.
 * - `identity`: one or more identities as `age-keygen` prints them, a line each.
 * - `identityFile`: a file of such lines, in another folder, with mode 0600.
 * - `recipients`: who else can open the file when it is written, beside the owner of the identity. Default nobody.
 * - `workFactor`: how dear each guess of a passphrase is, as a power of two, from 10 to 20. Default 18.
 * - `pollInterval`: how often the file is looked at. Default 10 seconds.
 * - `name`: in reports and errors. Default `encrypted file`.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly path: string
  readonly passphrase?: Redacted.Redacted<string> | Effect.Effect<Redacted.Redacted<string>, unknown> | undefined
  readonly identity?: Redacted.Redacted<string> | Effect.Effect<Redacted.Redacted<string>, unknown> | undefined
  readonly identityFile?: string | undefined
  readonly recipients?: ReadonlyArray<string> | undefined
  readonly workFactor?: number | undefined
  readonly pollInterval?: Duration.Input | undefined
  readonly name?: string | undefined
}

type Given = Redacted.Redacted<string> | Effect.Effect<Redacted.Redacted<string>, unknown>

/** What is stored under each name, as JSON or, of a bare key, as a string. */
type Content = Readonly<Record<string, unknown>>

const parseJson = Schema.decodeUnknownOption(Schema.fromJsonString(Schema.Unknown))

const decoder = new TextDecoder()

/** Everything that stands in the text of a file. A text that is no object of labels is one entry. */
const contentOf = (text: string): Content => {
  if (text.trim() === "") return {}
  const value = Option.getOrUndefined(parseJson(text))
  return Predicate.isObject(value) && !Predicate.hasProperty(value, "secret")
    ? Object.fromEntries(Object.entries(value))
    : { [defaultName]: text }
}

/** A number or null is no key: within an array it is refused. */
const textOf = (value: unknown): string =>
  Predicate.isString(value) ? value : JSON.stringify(Predicate.isObjectOrArray(value) ? value : [value])

/** A document of a source as it stands in the file: JSON as JSON. */
const valueOf = (text: string): unknown => /^[[{]/.test(text) ? Option.getOrElse(parseJson(text), () => text) : text

const opener = (options: Options, name: string) => {
  const { identity, identityFile, passphrase, path, recipients = [], workFactor } = options
  const open = (given: Given): Effect.Effect<Redacted.Redacted<string>, unknown> =>
    Redacted.isRedacted(given) ? Effect.succeed(given) : given
  const invalid = (reason: string) => new KeyStoreError({ store: name, kind: "invalid", reason })

  const ofLines = (text: Redacted.Redacted<string>): Effect.Effect<Age.Lock, KeyStoreError> => {
    const lines = Redacted.value(text).split("\n").map((line) => line.trim())
    const identities = lines.filter((line) => line !== "" && !line.startsWith("#")).map((line) =>
      Redacted.make(line, { label: "identity" })
    )
    return identities.length === 0
      ? Effect.fail(invalid("there is no identity"))
      : Effect.succeed({ _tag: "Identity", identities, recipients })
  }

  const ofFile = Effect.fnUntraced(function*(file: string) {
    if (dirname(resolve(file)) === dirname(resolve(path))) {
      return yield* invalid(`the identity file is in the folder of ${path}: keep them apart`)
    }
    const read = yield* Files.read(name, file, { isPrivate: true })
    if (read === undefined) {
      return yield* new KeyStoreError({ store: name, kind: "unavailable", reason: `there is no identity file ${file}` })
    }
    return yield* ofLines(Redacted.make(decoder.decode(read.bytes)))
  })

  const given = [passphrase, identity, identityFile].filter((one) => one !== undefined)
  if (given.length !== 1) {
    return Effect.fail(
      given.length > 1
        ? invalid("give one of passphrase, identity and identityFile")
        : new KeyStoreError({
          store: name,
          kind: "unavailable",
          reason: `there is neither a passphrase nor an identity for ${path}`
        })
    )
  }
  if (identityFile !== undefined) return ofFile(identityFile)
  if (identity !== undefined) return Effect.flatMap(open(identity), ofLines)
  return Effect.map(open(passphrase!), (passphrase): Age.Lock => ({ _tag: "Passphrase", passphrase, workFactor })) // the one that is given
}

/**
 * The file as a source.
 *
 * @category constructors
 * @since 0.1.0
 */
export const source = (options: Options): Source => {
  const { name = "encrypted file", path } = options
  const lock = opener(options, name)
  const oneWriter = Semaphore.makeUnsafe(1)

  /** The last version that was opened: opening one again is dear. */
  let opened: { readonly bytes: Uint8Array; readonly content: Redacted.Redacted<Content> } | undefined

  /** The last version that could not be opened, where asking again would give the same. */
  let refused: { readonly bytes: Uint8Array; readonly error: KeyStoreError } | undefined

  const decrypt = Effect.fnUntraced(function*(bytes: Uint8Array) {
    if (refused !== undefined && sameBytes(refused.bytes, bytes)) return yield* refused.error
    const isFixed = Redacted.isRedacted(options.passphrase) || Redacted.isRedacted(options.identity)
    return yield* Effect.tapError(Age.decrypt(name, path, bytes, yield* lock), (error) =>
      Effect.sync(() => {
        if (isFixed && error.kind !== "unavailable") refused = { bytes, error }
      }))
  })

  const contentFrom = (file: Files.File | undefined): Effect.Effect<Redacted.Redacted<Content>, unknown> =>
    Effect.gen(function*() {
      if (file === undefined) return Redacted.make({})
      if (opened !== undefined && sameBytes(opened.bytes, file.bytes)) return opened.content
      const text = yield* decrypt(file.bytes)
      const content = Redacted.make(contentOf(Redacted.value(text)))
      opened = { bytes: file.bytes, content }
      return content
    })

  const readFile = Files.read(name, path, { isPrivate: true })

  const all = Effect.gen(function*() {
    const file = yield* readFile
    const content = Redacted.value(yield* contentFrom(file))
    return Object.fromEntries(
      Object.entries(content).map(([label, value]): [string, Secret] => [label, {
        secret: Redacted.make(textOf(value), { label }),
        version: file?.changedAt
      }])
    )
  })

  const change = (edit: (content: Content) => Content): Effect.Effect<void, unknown> =>
    Effect.gen(function*() {
      const content = edit(Redacted.value(yield* contentFrom(yield* readFile)))
      const text = Redacted.make(`${JSON.stringify(content, undefined, 2)}\n`, { label: path })
      const bytes = yield* Age.encrypt(name, text, yield* lock)
      yield* Files.write(name, path, bytes)
      opened = { bytes, content: Redacted.make(content) }
    }).pipe((changing) => Files.alone(name, path, changing), oneWriter.withPermits(1))

  return {
    name,
    read: (label) => Effect.map(all, (secrets) => own(secrets, label)),
    all,
    changes: every(options.pollInterval ?? "10 seconds"),
    set: (label, secret) => change((content) => ({ ...content, [label]: valueOf(Redacted.value(secret)) })),
    remove: (label) =>
      change((content) => Object.fromEntries(Object.entries(content).filter(([other]) => other !== label)))
  }
}

const sameBytes = (a: Uint8Array | undefined, b: Uint8Array | undefined): boolean =>
  a === b || a !== undefined && b !== undefined && a.length === b.length && a.every((byte, index) => byte === b[index])

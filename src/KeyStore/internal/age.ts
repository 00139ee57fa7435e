/** The age format, by the package `age-encryption`, with its failures told apart. */
import type * as Age from "age-encryption"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { maxWorkFactor, scryptIdentity, scryptRecipient, workFactorTooHigh } from "./scrypt.ts"
import { KeyStoreError } from "./source.ts"

/** What opens a file: a passphrase, or identities as `age-keygen` prints them, with the recipients to encrypt for. */
export type Lock =
  | {
    readonly _tag: "Passphrase"
    readonly passphrase: Redacted.Redacted<string>
    readonly workFactor: number | undefined
  }
  | {
    readonly _tag: "Identity"
    readonly identities: ReadonlyArray<Redacted.Redacted<string>>
    readonly recipients: ReadonlyArray<string>
  }

const load = (store: string): Effect.Effect<typeof Age, KeyStoreError> =>
  Effect.tryPromise({
    try: () => import("age-encryption"),
    catch: () =>
      new KeyStoreError({
        store,
        kind: "unavailable",
        reason: "the package age-encryption is not installed",
        remedy: "Run npm install age-encryption."
      })
  })

const decoder = new TextDecoder()

const armorStart = "-----BEGIN AGE ENCRYPTED FILE-----"

const fileStart = "age-encryption.org/v1"

const corrupt = (store: string, path: string, what: string): KeyStoreError =>
  new KeyStoreError({
    store,
    kind: "corrupt",
    reason: `${path} ${what}`,
    remedy: "Restore it from a copy, or remove it and store the keys again."
  })

const notOpened = (store: string, path: string, lock: Lock): KeyStoreError =>
  new KeyStoreError({
    store,
    kind: "passphrase",
    reason: lock._tag === "Passphrase"
      ? `the passphrase does not open ${path}`
      : `the identity does not open ${path}: it was encrypted for another one or with a passphrase`,
    remedy: "If it is the right one, the file was altered."
  })

/** Why the package could not decrypt; its messages are its own, and hold nothing of the file. */
const failure = (store: string, path: string, lock: Lock) => (error: unknown): KeyStoreError => {
  const message = error instanceof Error ? error.message : ""
  if (message.startsWith("no identity matched")) return notOpened(store, path, lock)
  if (message === workFactorTooHigh) {
    return new KeyStoreError({
      store,
      kind: "invalid",
      reason: `the work factor of ${path} is above ${maxWorkFactor}`,
      remedy: "Encrypt it with a lower one."
    })
  }
  return corrupt(store, path, "was truncated or altered")
}

const isWrongKey = (error: unknown): boolean =>
  error instanceof Error && /invalid (identity|recipient)|unrecognized (identity|recipient)/.test(error.message)

/** Something of the package that fails only where what is given is no identity or recipient. */
const given = <A>(store: string, run: () => A | Promise<A>): Effect.Effect<A, KeyStoreError> =>
  Effect.tryPromise({
    try: () => Promise.resolve().then(run),
    catch: (error) =>
      new KeyStoreError({
        store,
        kind: "invalid",
        reason: isWrongKey(error)
          ? "an identity or a recipient is not one of age"
          : "the age package refuses the identity or the recipients",
        remedy: "Identities start with AGE-SECRET-KEY-1, recipients with age1. Make both with age-keygen."
      })
  })

const binary = (age: typeof Age, store: string, path: string, bytes: Uint8Array) => {
  const start = decoder.decode(bytes.subarray(0, armorStart.length)).trimStart()
  if (start.startsWith(fileStart)) return Effect.succeed(bytes)
  if (!armorStart.startsWith(start.slice(0, 20)) || start.length === 0) {
    return Effect.fail(corrupt(store, path, "is not a file of age"))
  }
  return Effect.try({
    try: () => age.armor.decode(decoder.decode(bytes)),
    catch: () => corrupt(store, path, "was truncated or altered")
  })
}

/** The text of an encrypted file, armored or not. */
export const decrypt = Effect.fnUntraced(function*(store: string, path: string, bytes: Uint8Array, lock: Lock) {
  const age = yield* load(store)
  const file = yield* binary(age, store, path, bytes)
  const decrypter = new age.Decrypter()
  yield* given(store, () => {
    if (lock._tag === "Passphrase") decrypter.addIdentity(scryptIdentity(lock.passphrase))
    else for (const identity of lock.identities) decrypter.addIdentity(Redacted.value(identity))
  })
  const text = yield* Effect.tryPromise({
    try: () => decrypter.decrypt(file, "text"),
    catch: failure(store, path, lock)
  })
  return Redacted.make(text, { label: path })
})

/** A text, encrypted for whoever can open what `lock` opens. */
export const encrypt = Effect.fnUntraced(function*(store: string, text: Redacted.Redacted<string>, lock: Lock) {
  const age = yield* load(store)
  const encrypter = new age.Encrypter()
  if (lock._tag === "Passphrase") {
    encrypter.addRecipient(scryptRecipient(lock.passphrase, lock.workFactor ?? 18, age.Stanza))
  } else {
    const own = yield* Effect.forEach(
      lock.identities,
      (identity) => given(store, () => age.identityToRecipient(Redacted.value(identity)))
    )
    yield* given(store, () => {
      for (const recipient of new Set([...own, ...lock.recipients])) encrypter.addRecipient(recipient)
    })
  }
  return yield* given(store, () => encrypter.encrypt(Redacted.value(text)))
})

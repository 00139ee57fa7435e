/** A store of keys that are given. */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import type { Key } from "../../Attempt.ts"
import { print, wrongSecret } from "./document.ts"
import { manage } from "./manage.ts"
import { own } from "./own.ts"
import { KeyStoreError } from "./source.ts"

/** White space and a byte order mark come along where a key is read from a file. They are no part of it. */
const trimmed = (keys: ReadonlyArray<Key>): ReadonlyArray<Key> =>
  keys.map((key) => {
    const { label, secret } = key
    const text = Redacted.value(secret)
    return text === text.trim() ? key : { ...key, secret: Redacted.make(text.trim(), { label }) }
  })

export const fixed = (name: string, given: ReadonlyArray<Key>, changed?: Stream.Stream<ReadonlyArray<Key>>) => {
  const keys = trimmed(given)
  const changes = changed && Stream.map(changed, trimmed)
  const secrets = Object.fromEntries(keys.map((key) => [key.label, {
    secret: print(key.label, [key]),
    expiresAt: key.expiresAt,
    headers: key.headers
  }]))
  const source = {
    name,
    read: (label: string) => Effect.succeed(own(secrets, label)),
    all: Effect.succeed(secrets)
  }
  // What cannot be a header would fail each call, and what stands in quotation marks would be refused by the API.
  const checked = Effect.suspend(() => {
    const wrong = ({ label, secret }: Key) => wrongSecret(label, Redacted.value(secret))
    const reason = keys.map(wrong).find((reason) => reason !== undefined)
    return reason === undefined
      ? Effect.succeed(keys)
      : Effect.fail(new KeyStoreError({ store: name, kind: "invalid", reason }))
  })
  const managed = manage([source], { use: "first", timeoutMillis: Infinity, refreshBeforeMillis: 0 }, Effect.void)
  return { keys: checked, changes, ...managed }
}

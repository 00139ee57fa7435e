/** A store of keys that are given. */
import * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type { Key } from "../../Attempt.ts"
import { print } from "./document.ts"
import { manage } from "./manage.ts"
import { own } from "./own.ts"

export const fixed = (name: string, keys: ReadonlyArray<Key>, changes?: Stream.Stream<ReadonlyArray<Key>>) => {
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
  const managed = manage([source], { use: "first", timeoutMillis: Infinity, refreshBeforeMillis: 0 }, Effect.void)
  return { keys: Effect.succeed(keys), changes, ...managed }
}

/** Runs Lua on one key in Redis. */
import * as Effect from "effect/Effect"
import * as Redis from "effect/persistence/Redis"

/**
 * The script by its hash and, where the server does not know it, in full. Both name the key, so that in a cluster they reach the node that has it, and
 * a server that took over learns the script from whoever comes first.
 */
export const make = Effect.fnUntraced(function*<A>(lua: string) {
  const { send } = yield* Redis.Redis
  const digest = yield* Effect.promise(() => crypto.subtle.digest("SHA-1", new TextEncoder().encode(lua)))
  const hash = Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("")
  return (key: string, argument: string): Effect.Effect<A, Redis.RedisError> =>
    Effect.catchIf(
      send<A>("EVALSHA", hash, "1", key, argument),
      ({ cause }) => String(cause).includes("NOSCRIPT"),
      () => send<A>("EVAL", lua, "1", key, argument)
    )
})

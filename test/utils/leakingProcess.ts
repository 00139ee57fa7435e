/** A process that has keys of every kind of source on this machine, prints all that it has of them, and crashes. */
import { Cause, Effect, Layer, References } from "effect"
import { inspect } from "node:util"
import * as ClaudeConfig from "../../src/ClaudeConfig.ts"
import * as KeyStore from "../../src/KeyStore.ts"
import * as Folder from "../../src/KeyStore/Folder.ts"
import * as Local from "../../src/KeyStore/Local.ts"

const [, , folder = "", crash = ""] = process.argv

await Effect.gen(function*() {
  const store = yield* KeyStore.KeyStore
  const keys = yield* store.keys
  const report = yield* store.report
  yield* Effect.logTrace("keys", keys, report, yield* store.list({ fingerprint: true }))
  for (const value of [keys, report, store]) {
    console.log(value, JSON.stringify(value), inspect(value, { depth: 20, showHidden: true }))
  }
  if (crash === "defect") return yield* Effect.die(keys)
  if (crash === "error") return yield* store.get(String(keys.length))
  if (crash === "throw") throw Object.assign(new Error("crash"), { keys, report })
  console.error(Cause.pretty(Cause.die(keys)))
  return process.abort()
}).pipe(
  Effect.provide(Layer.unwrap(Effect.map(ClaudeConfig.keys, (given) => {
    const options = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
    return KeyStore.chain([Folder.source({ path: folder }), ...Local.sources(options)], { use: "all" })
  }))),
  Effect.provideService(References.MinimumLogLevel, "All"),
  Effect.runPromise
)

/** Whether the stores answer, and which models the ledger has seen. */
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Redis } from "effect/persistence/Redis"
import * as Redacted from "effect/Redacted"
import * as References from "effect/References"
import * as CostLedger from "../../../CostLedger.ts"
import * as Model from "../../../Model.ts"
import * as PriceBook from "../../../PriceBook.ts"
import * as Ledger from "../ledger.ts"
import { printable } from "../output.ts"
import { load } from "../peer.ts"
import { redact } from "../redact.ts"
import { type Check, check, orFailed } from "./check.ts"

class StoreError extends Data.TaggedError("StoreError")<{ readonly message: string }> {}

/** What a model was asked for in the ledger: attempts of the last 30 days. */
export type Seen = ReadonlyMap<string, number>

const bounded = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.timeoutOrElse(effect, {
    duration: "10 seconds",
    orElse: () =>
      Effect.fail(
        new StoreError({ message: "It does not answer within 10 seconds: check the network and its address" })
      )
  })

/** The check of the ledger, and the models that it has seen. */
export const ledger = Effect.fnUntraced(function*(target: Ledger.Target | undefined) {
  if (target === undefined) {
    const none: Seen = new Map()
    return [[check("ledger", "skipped", "No ledger: give --ledger or CLAUDE_LEDGER")], none] as const
  }
  const seen = new Map<string, number>()
  const report = Effect.flatMap(CostLedger.CostLedger, (ledger) => ledger.report({ by: "model" })).pipe(
    Effect.provide(Ledger.layer(target, "refuse").pipe(Layer.provide(PriceBook.layer()))),
    bounded
  )
  const name = redact(Redacted.value(target.address))
  const checks = yield* orFailed("ledger", report, ({ groups, total }) => {
    for (const { attempts, key } of groups) if (key !== null) seen.set(key, attempts)
    return [check("ledger", "ok", `${name} answers: ${total.attempts} attempts in 30 days`)]
  })
  return [checks, seen] as const
})

export const redis = Effect.fnUntraced(function*(url: Redacted.Redacted<string> | undefined) {
  if (url === undefined) return [check("redis", "skipped", "No Redis: give --redis or CLAUDE_REDIS")]
  const ping = Effect.flatMap(
    load("redis", "Redis", () => import("@effect/platform-node/NodeRedis")),
    (NodeRedis) =>
      Effect.flatMap(Redis, (redis) => redis.send("PING")).pipe(
        Effect.provide(NodeRedis.layer({ url: Redacted.value(url) })),
        Effect.mapError(({ cause }) =>
          new StoreError({ message: redact(cause instanceof Error ? cause.message : String(cause)) })
        )
      )
  )
  const name = redact(Redacted.value(url))
  // What its client logs is in the error.
  const quiet = Effect.provideService(bounded(ping), References.MinimumLogLevel, "None")
  return yield* orFailed("redis", quiet, () => [check("redis", "ok", `${name} answers`)])
})

/** Where the models in use stand in their life. */
export const models = Effect.fnUntraced(function*(seen: Seen, named: ReadonlyArray<string>) {
  const now = yield* Clock.currentTimeMillis
  const ids = new Set([...seen.keys(), ...named])
  if (ids.size === 0) return [check("models", "skipped", "No models: give --model, or a ledger that has seen some")]
  const found = [...ids].flatMap((id): ReadonlyArray<Check> => {
    const model = Model.find(id)
    const attempts = seen.get(id)
    const shown = `${printable(id)}${attempts === undefined ? "" : ` (${attempts} attempts in 30 days)`}`
    if (model === undefined) {
      return [
        check(`model ${printable(id)}`, "warn", `${shown} is not in the catalogue of ${Model.asOf}: check its name`)
      ]
    }
    const stage = Model.lifecycleAt(model, now)
    if (stage === "active") return []
    const days = Model.daysToRetirement(model, now)
    const when = days === undefined
      ? ""
      : days > 0
      ? ` and retires in ${days} days, on ${model.retiresOn}`
      : ` since ${model.retiresOn}`
    return [check(
      `model ${printable(id)}`,
      stage === "retired" ? "fail" : "warn",
      `${shown} is ${stage}${when}: move to a current model`
    )]
  })
  return found.length > 0
    ? found
    : [
      check(
        "models",
        "ok",
        `${ids.size} ${ids.size === 1 ? "model" : "models"} in use, none deprecated (as of ${Model.asOf})`
      )
    ]
})

/** Which keys there are, where they come from, and whether the API accepts them. */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ClaudeApi from "../../../ClaudeApi.ts"
import type * as ClaudeConfig from "../../../ClaudeConfig.ts"
import * as KeyStore from "../../../KeyStore.ts"
import { checkKey, type Verdict } from "../checkKey.ts"
import * as Keys from "../keyStore.ts"
import { printable } from "../output.ts"
import { redact } from "../redact.ts"
import { type Check, check, type Status } from "./check.ts"

/** What is not there is no fault as long as another source has a key. */
const harmless: ReadonlySet<string> = new Set(["absent", "unavailable"])

const reasonOf = ({ error, source }: KeyStore.SourceReport): string =>
  error === undefined ? "" : `${source}: ${error.reason}${error.remedy === undefined ? "" : `. ${error.remedy}`}`

const sourcesOf = (reports: ReadonlyArray<KeyStore.SourceReport>): ReadonlyArray<Check> => {
  const used = reports.flatMap(({ keys }) => keys).filter(({ isUsed }) => isUsed)
  const reasons = reports.filter(({ error }) => error !== undefined)
  if (used.length === 0) {
    const why = reasons.map((report) => redact(reasonOf(report))).join("; ")
    return [check("keys", "fail", `No API key (${why}): set ANTHROPIC_API_KEY, or store one by effect-claude keys set`)]
  }
  const shown = used.map(({ group, label, source }) => `${printable(label)} of ${printable(group)} from ${source}`)
  const failing = reasons.filter(({ error }) => error !== undefined && !harmless.has(error.kind))
  return [
    check("keys", "ok", shown.join(", ")),
    ...failing.map((report) => check(`keys ${report.source}`, "warn", redact(reasonOf(report))))
  ]
}

const statuses: Readonly<Record<Verdict, Status>> = {
  accepted: "ok",
  limited: "warn",
  refused: "fail",
  unknown: "warn"
}

/** Without a timeout, the API is not asked. */
export const keys = Effect.fnUntraced(
  function*(timeout: Duration.Duration | undefined, options: ClaudeConfig.Options | undefined) {
    const store = yield* KeyStore.KeyStore
    const reports = yield* store.report
    const found = sourcesOf(reports)
    if (timeout === undefined) return found
    const labels = new Set(reports.flatMap(({ keys }) => keys).filter(({ isUsed }) => isUsed).map(({ label }) => label))
    const asked = yield* Effect.forEach(labels, (label) =>
      Effect.matchEffect(store.get(label), {
        onFailure: () => Effect.succeed(check(`key ${printable(label)}`, "warn", "It was removed meanwhile")),
        onSuccess: (key) =>
          Effect.map(
            checkKey(key, timeout),
            ({ message, verdict }) =>
              check(
                `key ${printable(label)}`,
                statuses[verdict],
                verdict === "accepted" ? "The API accepts it" : message
              )
          )
      }), { concurrency: 4 }).pipe(Effect.provide(ClaudeApi.layer(options?.api)))
    return [...found, ...asked]
  },
  Effect.provide(Keys.layer)
)

/** A policy that only watches: what was attempted for each call, and what came of it. */
import { Array, Clock, Duration, Effect, Layer } from "effect"
import {
  Attempt,
  type ClaudeConfig,
  ClaudeService,
  CostLedger,
  CostReport,
  KeyPool,
  type KeyStore,
  PriceBook,
  Usage
} from "../../src/index.ts"
import { seconds, table } from "./terminal.ts"

/** A call and all its attempts so far. */
interface Row {
  readonly name: string
  readonly began: number
  ended: number
  attempts: number
  usage: Usage.Usage
  nanoUsd: number
  result: string
}

export interface Watch {
  readonly policy: Attempt.Policy
  /** Where all that is watched is written down. */
  readonly ledger: CostLedger.CostLedger["Service"]
  readonly table: Effect.Effect<string>
}

const count = (tokens: number): string => tokens.toLocaleString("en")

/** A line for calls that are alike, with the longest of their latencies. */
const cells = (name: string, result: string, rows: ReadonlyArray<Row>): ReadonlyArray<string> => {
  const usage = rows.reduce((sum, row) => Usage.sum(sum, row.usage), Usage.zero)
  return [
    name,
    result,
    count(rows.length),
    count(rows.reduce((sum, { attempts }) => sum + attempts, 0)),
    count(Usage.promptTokens(usage)),
    count(usage.outputTokens),
    CostReport.usd(rows.reduce((sum, { nanoUsd }) => sum + nanoUsd, 0), 6),
    seconds(Math.max(...rows.map(({ began, ended }) => ended - began)))
  ]
}

const render = (rows: ReadonlyArray<Row>): string =>
  table([
    ["call", "result", "calls", "attempts", "input", "output", "USD", "longest"],
    ...Object.values(Array.groupBy(rows, ({ name, result }) => `${name} ${result}`)).map((alike) =>
      cells(alike[0].name, alike[0].result, alike)
    ),
    cells("total", "", rows)
  ])

/** Watches calls by their request type, and tells of attempts that others follow or that followed others; the tag `call` says of which of many. */
export const make = (
  ledger: CostLedger.CostLedger["Service"],
  tell: (line: string) => Effect.Effect<void>
): Watch => {
  const rows = new Map<string, Row>()
  const book = PriceBook.make()

  const told = ({ context, number, outcome }: Attempt.Attempt): string | undefined => {
    const { call } = context.tags
    const which = `${call === undefined ? "" : `call ${call}, `}attempt ${number}`
    if (outcome._tag === "Completed") return number === 1 ? undefined : `${which}: answered`
    if (outcome._tag !== "Failed" || !outcome.error.isRetryable) return undefined
    const { _tag, retryAfter, status } = outcome.error
    const asked = retryAfter === undefined ? "" : `, asked to wait ${Duration.format(retryAfter)}`
    return `${which}: ${_tag}${status === undefined ? "" : ` (HTTP ${status})`}${asked}`
  }

  return {
    policy: {
      admit: (attempt) =>
        Effect.map(Clock.currentTimeMillis, (now) => {
          const name = attempt.context.requestType ?? "call"
          if (!rows.has(attempt.callId)) {
            rows.set(attempt.callId, {
              name,
              began: now,
              ended: now,
              attempts: 0,
              usage: Usage.zero,
              nanoUsd: 0,
              result: ""
            })
          }
          return Effect.flatMap(Clock.currentTimeMillis, (now) => {
            const { outcome } = attempt
            const row = rows.get(attempt.callId)
            if (row !== undefined) {
              row.ended = now
              row.attempts = attempt.number
              if (outcome._tag !== "NotSent") row.usage = Usage.sum(row.usage, outcome.usage)
              row.nanoUsd += Attempt.costOf(book, attempt, now)?.cost?.nanoUsd ?? 0
              row.result = outcome._tag === "Failed"
                ? outcome.error._tag
                : outcome._tag === "Completed"
                ? "answered"
                : "left"
            }
            const line = told(attempt)
            return line === undefined ? Effect.void : tell(line)
          })
        })
    },
    ledger,
    table: Effect.sync(() => render([...rows.values()]))
  }
}

/** The service with its parts to look at, and watched where it should be. */
export const claude = <E>(keys: Layer.Layer<KeyStore.KeyStore, E>, options: ClaudeConfig.Options, watch?: Watch) => {
  const pool = Effect.map(KeyPool.make(), (pool) => (
    watch === undefined ? pool : { ...pool, ...Attempt.both(watch.policy, pool) }
  ))
  return ClaudeService.layerWithParts({
    ...options,
    monitor: { log: false },
    keys: Layer.effect(KeyPool.KeyPool, pool).pipe(Layer.provide(keys)),
    ...(watch === undefined ? undefined : { ledger: Layer.succeed(CostLedger.CostLedger, watch.ledger) })
  })
}

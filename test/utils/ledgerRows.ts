/** Rows of a ledger, for tests. */
import { Schema } from "effect"
import { Usage } from "effect-claude"
import type { Row } from "effect-claude/CostLedger"
import { between } from "./between.ts"

const day = 86_400_000

/** When the first row of a test may have ended. */
export const epoch = Date.UTC(2026, 9, 24)

export const row = (row: Partial<Row> = {}): Row => ({
  callId: "call-1",
  attempt: 1,
  at: epoch,
  latencyMillis: 1_000,
  user: undefined,
  tenant: undefined,
  requestType: undefined,
  tags: {},
  key: "key-1",
  askedModel: "claude-sonnet-5-5",
  sentModel: "claude-sonnet-5-5",
  model: "claude-sonnet-5-5",
  rules: [],
  optimizerSavedNanoUsd: null,
  usage: Usage.make({ inputTokens: 100, outputTokens: 10 }),
  nanoUsd: 450_000,
  cacheSavedNanoUsd: 0,
  confidence: "exact",
  outcome: "completed",
  error: undefined,
  stopReason: "end_turn",
  billed: "yes",
  requestId: "req_1",
  ...row
})

const name = Schema.UndefinedOr(Schema.Literals(["a", "b", "'; --", "ü\n\"", "naïve 工具"]))

/** What tells one row of a property from another; calls and times collide now and then. */
export const Some = Schema.Struct({
  call: between(0, 1_000),
  attempt: between(1, 3),
  minutes: between(0, 4 * 24 * 60),
  model: Schema.Literals(["claude-sonnet-5-5", "claude-haiku-5-5", "x"]),
  user: name,
  tenant: name,
  requestType: name,
  tags: Schema.Record(Schema.Literals(["team", "o'k \"$.x"]), Schema.String),
  nanoUsd: Schema.NullOr(between(0, 10 ** 12)),
  cacheSavedNanoUsd: Schema.NullOr(between(-(10 ** 9), 10 ** 9)),
  tokens: between(0, 10 ** 7),
  confidence: Schema.Literals(["exact", "derived", "estimated"]),
  outcome: Schema.Literals(["completed", "failed", "aborted"])
})

const printable = (text: string): string => text.replace(/[\0\p{Surrogate}]/gu, "?")

export const some = ({ call, minutes, tags, tokens, ...rest }: typeof Some.Type): Row =>
  row({
    ...rest,
    callId: `call-${call}`,
    tags: Object.fromEntries(Object.entries(tags).map(([name, value]) => [name, printable(value)])),
    at: epoch + minutes * 60_000,
    usage: {
      ...Usage.make({ inputTokens: tokens, outputTokens: tokens >> 1, cacheReadTokens: tokens >> 2 }),
      serviceTier: "standard"
    }
  })

export const days = (count: number): number => count * day

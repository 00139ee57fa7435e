/** The events of `/events` and the updates of `/status` as they go over the wire. What is undefined is left out there. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { InputFinding } from "../../ClaudeError.ts"
import { Detail } from "../../Health.ts"
import { labels } from "../../internal/metrics.ts"
import type * as Monitor from "../../Monitor.ts"
import { Usage } from "../../Usage.ts"
import type * as Board from "./board.ts"

const maybe = <S extends Schema.Top & { readonly DecodingServices: never }>(schema: S) =>
  Schema.withDecodingDefaultKey<Schema.UndefinedOr<S>>(Effect.succeed(undefined))(Schema.UndefinedOr(schema))

const maybeString = maybe(Schema.String)
const maybeNumber = maybe(Schema.Finite)

const Operation = Schema.Literals(["chat", "count_tokens", "list_models", "get_model"])
const Priority = Schema.Literals(["interactive", "standard", "bulk"])
const Phase = Schema.Literals(["closed", "open", "halfOpen"])
const Fault = Schema.Literals(["caller", "policy", "provider", "own"])

const wait = { for: Schema.Literals(["limits", "key", "circuit", "retry"]), millis: Schema.Finite }

/** A step to another model. */
const fallback = {
  from: Schema.String,
  to: Schema.String,
  because: Schema.Literals(labels.fallback),
  changes: Schema.Array(Schema.String),
  skipped: maybeString
}

const CallRecord = Schema.Struct({
  callId: Schema.String,
  at: Schema.Finite,
  operation: Operation,
  stream: Schema.Boolean,
  model: Schema.String,
  servedModel: maybeString,
  requestId: maybeString,
  status: Schema.Literals(["success", "error", "cancelled"]),
  error: maybeString,
  fault: maybe(Fault),
  message: maybeString,
  httpStatus: maybeNumber,
  stopReason: maybeString,
  latencyMillis: Schema.Finite,
  firstTokenMillis: maybeNumber,
  overheadMillis: Schema.Finite,
  waits: Schema.Array(Schema.Struct(wait)),
  attempts: Schema.Finite,
  retries: Schema.Finite,
  moves: Schema.Finite,
  fallbacks: Schema.Array(Schema.Struct(fallback)),
  hedges: Schema.Finite,
  keyLabel: maybeString,
  usage: Usage,
  costNanoUsd: maybeNumber,
  changes: Schema.Array(Schema.String),
  user: maybeString,
  tenant: maybeString,
  requestType: maybeString,
  priority: Priority,
  metadata: Schema.Record(Schema.String, Schema.String)
})

/** What happens in the course of a call. */
const steps = {
  AttemptStarted: {},
  Waited: wait,
  FirstContent: { millis: Schema.Finite },
  AttemptEnded: {
    outcome: Schema.Literals(["completed", "failed", "aborted", "refused"]),
    error: maybeString,
    keyLabel: maybeString,
    requestId: maybeString,
    millis: Schema.Finite,
    usage: Usage,
    costNanoUsd: maybeNumber
  },
  Retrying: { error: Schema.String, waitMillis: Schema.Finite },
  Moved: { error: Schema.String, keyLabel: maybeString },
  FellBack: fallback,
  Hedged: { lateMillis: Schema.Finite },
  GaveUp: { error: Schema.String, reason: Schema.Literals(["retries", "retry_budget", "deadline", "retry_after"]) }
}

const others = {
  CallStarted: {
    callId: Schema.String,
    operation: Operation,
    stream: Schema.Boolean,
    model: Schema.String,
    user: maybeString,
    tenant: maybeString,
    requestType: maybeString,
    priority: Priority
  },
  CallEnded: { record: CallRecord },
  CircuitChanged: { group: Schema.String, from: Phase, to: Phase, openMillis: maybeNumber },
  KeyChanged: { label: Schema.String, group: Schema.String, from: maybeString, to: Schema.String },
  BudgetEvent: {
    event: Schema.Literals(["Threshold", "Exceeded", "Overshot", "Unpriced"]),
    budget: maybeString,
    account: maybeString,
    percent: maybeNumber,
    spentNanoUsd: maybeNumber,
    limitNanoUsd: maybeNumber,
    model: maybeString
  },
  InputFound: { finding: InputFinding }
}

type Fields = Schema.Struct.Fields

/** Members of a union, each with some fields of all. */
const each = <const Members extends Readonly<Record<string, Fields>>, const All extends Fields>(
  members: Members,
  all: All
) =>
  Object.fromEntries(Object.entries(members).map(([tag, fields]) => [tag, { ...fields, ...all }])) as {
    readonly [Tag in keyof Members]: Members[Tag] & All
  }

const ofAttempt = each(steps, { callId: Schema.String, attempt: Schema.Finite })

/**
 * Something that happened, as `/events` tells it.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Event: Schema.Codec<Monitor.Event, unknown> = Schema.TaggedUnion(
  each({ ...ofAttempt, ...others }, { at: Schema.Finite, sequence: Schema.Finite })
)

/**
 * Something that happened, as `/events` tells it.
 *
 * @category models
 * @since 0.1.0
 */
export type Event = Monitor.Event

const Quantiles = Schema.NullOr(Schema.Tuple([Schema.Finite, Schema.Finite]))

const Point = Schema.Struct({
  at: Schema.Finite,
  success: Schema.Finite,
  cancelled: Schema.Finite,
  caller: Schema.Finite,
  policy: Schema.Finite,
  provider: Schema.Finite,
  own: Schema.Finite,
  retries: Schema.Finite,
  latency: Quantiles,
  firstToken: Quantiles,
  input: Schema.Finite,
  output: Schema.Finite,
  nanoUsd: Schema.Finite,
  waited: Schema.Struct({
    limits: Schema.Finite,
    key: Schema.Finite,
    circuit: Schema.Finite,
    retry: Schema.Finite
  }),
  active: Schema.Finite,
  waiting: Schema.Finite
})

const Step = Schema.TaggedUnion(each(ofAttempt, { at: Schema.Finite }))

/**
 * What is new on the status page, as `/status` tells it.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Update: Schema.Codec<Board.Update, unknown> = Schema.Struct({
  sequence: Schema.Finite,
  points: Schema.Array(Point),
  calls: Schema.Array(
    Schema.Struct({ record: CallRecord, steps: Schema.Array(Step), notable: Schema.Boolean })
  ),
  circuits: Schema.Array(Schema.Struct({ at: Schema.Finite, group: Schema.String, to: Phase })),
  health: Detail
})

/**
 * What is new on the status page. The first update of a reader has all that is kept: `points` of the last ten minutes, up to 50 `calls` and up to 50 notable
 * ones, and the changes of `circuits`; each later one has what came since.
 *
 * @category models
 * @since 0.1.0
 */
export type Update = Board.Update

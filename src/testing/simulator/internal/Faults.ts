/**
 * Faults: when they strike, and what they do to the steps of an answer.
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Sse from "./Sse.ts"
import * as Step from "./Step.ts"
import * as Wire from "./Wire.ts"

/**
 * A place in an answer: after this many events of a stream, or after this many bytes of the body. In an answer that is not a stream
 * `events` means the middle of the body. A place after the end means just before the last event, or the last byte.
 *
 * @category models
 * @since 0.1.0
 */
export type Cut = { readonly events: number } | { readonly bytes: number }

/**
 * A fault of one request.
 *
 * - `None`: the request is answered as usual; for scripts.
 * - `Status`: the answer has this status (200 to 599), these headers and this body: a string as it is, anything else as JSON, by
 *   default the usual error envelope. A 429 without headers and body of its own says `retry-after: 1`, as that of an empty bucket does.
 * - `Refused`: no connection. A real server cannot refuse one request, so there the socket is closed before any byte of an answer.
 * - `ResetBeforeHeaders`: the connection is reset instead of an answer.
 * - `ResetMidStream`: the connection is reset within the body.
 * - `ErrorEvent`: an `error` event of this type within a stream, which then ends; for an answer that is not a stream, the status
 *   that goes with the type.
 * - `Stall`: nothing is sent before the headers, or after a place in the body, until the reader leaves.
 * - `Truncate`: the body ends early, cleanly.
 * - `Garbage`: `bytes` (default: an event whose data is not JSON) are inserted in the body, which then goes on.
 * - `Drip`: the body arrives in pieces of `bytes` bytes with a pause of `every` after each.
 *
 * @category models
 * @since 0.1.0
 */
export type Fault = Data.TaggedEnum<{
  None: {}
  Status: {
    readonly status: number
    readonly body?: unknown
    readonly headers?: Readonly<Record<string, string>> | undefined
  }
  Refused: {}
  ResetBeforeHeaders: {}
  ResetMidStream: { readonly after: Cut }
  ErrorEvent: { readonly type: string; readonly message?: string | undefined; readonly after: Cut }
  Stall: { readonly after: "nothing" | Cut }
  Truncate: { readonly after: Cut }
  Garbage: { readonly after: Cut; readonly bytes?: Uint8Array | undefined }
  Drip: { readonly bytes: number; readonly every: Duration.Input }
}>

/**
 * Constructors of faults.
 *
 * @category constructors
 * @since 0.1.0
 */
export const Fault = Data.taggedEnum<Fault>()

/**
 * The request that a rule for faults looks at. `key` and `organization` are those of the key that it carries, where the simulator knows it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Seen {
  readonly method: string
  readonly path: string
  readonly model: string | undefined
  readonly stream: boolean
  readonly key: string | undefined
  readonly organization: string | undefined
}

/**
 * When a fault strikes; all of its conditions must hold.
 *
 * - `probability`: of each request, seeded. Default 1.
 * - `times`: for at most this many requests. Default any number.
 * - `from`, `until`: after the start of the simulator. Default always.
 * - `request`: whether a request may be struck. Default every one.
 *
 * @category models
 * @since 0.1.0
 */
export interface When {
  readonly probability?: number | undefined
  readonly times?: number | undefined
  readonly from?: Duration.Input | undefined
  readonly until?: Duration.Input | undefined
  readonly request?: ((request: Seen) => boolean) | undefined
}

/**
 * A fault and when it strikes.
 *
 * - `fault`: what happens to the request.
 * - `when`: which requests it strikes. Default all.
 *
 * @category models
 * @since 0.1.0
 */
export interface Rule {
  readonly fault: Fault
  readonly when?: When | undefined
}

/**
 * A wave of 529 answers (`overloaded_error`).
 *
 * @category constructors
 * @since 0.1.0
 */
export const overload = (when?: When): Rule => ({ fault: Fault.Status({ status: 529 }), when })

interface Armed {
  readonly fault: Fault
  readonly probability: number
  readonly from: number
  readonly until: number
  readonly request: ((request: Seen) => boolean) | undefined
  left: number
}

/** A status that no server can send is a slip of the test's author. */
const possible = (fault: Fault): Fault => {
  if (fault._tag === "Status" && !(fault.status >= 200 && fault.status <= 599)) {
    throw new RangeError(`Fault.Status takes a status from 200 to 599, not ${fault.status}.`)
  }
  return fault
}

const arm = (fault: Fault, when: When = {}): Armed => ({
  fault: possible(fault),
  probability: when.probability ?? 1,
  from: when.from === undefined ? 0 : Duration.toMillis(Duration.fromInputUnsafe(when.from)),
  until: when.until === undefined ? Infinity : Duration.toMillis(Duration.fromInputUnsafe(when.until)),
  request: when.request,
  left: when.times ?? Infinity
})

export const make = (rules: ReadonlyArray<Rule>, chance: () => number) => {
  const always = rules.map(({ fault, when }) => arm(fault, when))
  let injected: Array<Armed> = []
  let script: Array<Fault> = []

  const strikes = (rule: Armed, seen: Seen, elapsed: number): boolean =>
    rule.left > 0 && elapsed >= rule.from && elapsed < rule.until && (rule.request?.(seen) ?? true) &&
    (rule.probability >= 1 || chance() < rule.probability)

  /** The fault for a request, at most one: scripted, then injected, then by the rules in their order. */
  const pick = (seen: Seen, elapsed: number): Fault | undefined => {
    if (script.length > 0) return script.shift()
    for (const rules of [injected, always]) {
      for (const rule of rules) {
        if (!strikes(rule, seen, elapsed)) continue
        rule.left--
        if (rule.left <= 0) injected = injected.filter((_) => _ !== rule)
        return rule.fault
      }
    }
    return undefined
  }

  return {
    pick,
    inject: (fault: Fault, when?: When) => void injected.push(arm(fault, when)),
    script: (faults: ReadonlyArray<Fault>) => void script.push(...faults.map(possible)),
    clear: () => {
      injected = []
      script = []
    }
  }
}

const encoder = new TextEncoder()
const bytesOf = (data: string | Uint8Array): Uint8Array => typeof data === "string" ? encoder.encode(data) : data

/** A whole response taken apart into head and body, and the steps of a stream as they are. */
function* apart(steps: Iterable<Step.Step>): Generator<Step.Step> {
  for (const step of steps) {
    if (step._tag === "Head" && step.body !== undefined) {
      yield Step.head(step.status, step.headers)
      yield Step.data(step.body, true)
    } else yield step
  }
}

/** Puts `what` at a place of the body. When `what` ends the answer, nothing follows, and `failed` hears of it before. */
function* at(
  steps: Iterable<Step.Step>,
  place: Cut,
  streaming: boolean,
  what: ReadonlyArray<Step.Step>,
  failed: () => void
): Generator<Step.Step> {
  let events = 0
  let bytes = 0
  let placed = false
  for (const step of apart(steps)) {
    if (placed || step._tag !== "Data") {
      yield step
      continue
    }
    const body = bytesOf(step.data)
    const offset = "bytes" in place
      ? place.bytes - bytes
      : streaming
      ? (place.events <= events ? 0 : Infinity)
      : body.length / 2
    const cut = Math.floor(step.last ? Math.min(offset, streaming ? 0 : body.length - 1) : offset)
    if (cut < body.length) {
      placed = true
      if (cut > 0) yield Step.data(body.subarray(0, cut))
      const final = what.some((step) => step._tag === "End" || step._tag === "Reset")
      if (final) failed()
      yield* what
      if (final) return
      yield Step.data(body.subarray(cut), step.last)
    } else yield step
    events++
    bytes += body.length
  }
}

function* drip(steps: Iterable<Step.Step>, bytes: number, millis: number): Generator<Step.Step> {
  for (const step of apart(steps)) {
    if (step._tag !== "Data") {
      yield step
      continue
    }
    const body = bytesOf(step.data)
    for (let from = 0; from < body.length; from += bytes) {
      yield Step.data(body.subarray(from, from + bytes), step.last && from + bytes >= body.length)
      yield Step.wait(millis)
    }
  }
}

const rubbish = encoder.encode("event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\u0000\ufffd]]\n\n")

/** What a fault makes of an answer. `failed` is called once the fault has spoilt it for good. */
export const apply = (
  fault: Fault,
  steps: Iterable<Step.Step>,
  streaming: boolean,
  requestId: string,
  headers: Record<string, string>,
  failed: () => void
): Iterable<Step.Step> => {
  const status = (
    status: number,
    given: unknown,
    type = Wire.typeOf(status),
    message = `Simulated status ${status}.`
  ) => {
    const body = given === undefined
      ? Wire.envelope({ type, message }, requestId)
      : typeof given === "string"
      ? given
      : JSON.stringify(given)
    return { body, kind: typeof given === "string" ? "text/html; charset=utf-8" : "application/json" }
  }
  return Fault.$match(fault, {
    None: () => steps,
    Status: (fault) => {
      const { body, kind } = status(fault.status, fault.body)
      const own = fault.headers ?? (fault.status === 429 && fault.body === undefined ? { "retry-after": "1" } : {})
      return [Step.head(fault.status, { "content-type": kind, ...headers, ...own }, body)]
    },
    Refused: () => [Step.refuse],
    ResetBeforeHeaders: () => [Step.reset],
    ResetMidStream: ({ after }) => at(steps, after, streaming, [Step.reset], failed),
    ErrorEvent: ({ after, message, type }) => {
      const code = Wire.statusOf(type)
      const { body, kind } = status(code, undefined, type, message)
      return streaming
        ? at(steps, after, true, [Step.data(Sse.error(body)), Step.end], failed)
        : [Step.head(code, { "content-type": kind, ...headers }, body)]
    },
    Stall: ({ after }) =>
      after === "nothing" ? [Step.wait(Infinity)] : at(steps, after, streaming, [Step.wait(Infinity)], failed),
    Truncate: ({ after }) => at(steps, after, streaming, [Step.end], failed),
    Garbage: ({ after, bytes }) => at(steps, after, streaming, [Step.data(bytes ?? rubbish)], failed),
    Drip: ({ bytes, every }) =>
      drip(steps, Math.max(1, Math.floor(bytes)), Duration.toMillis(Duration.fromInputUnsafe(every)))
  })
}

/** Faults of the simulator as flags name them: `529,probability=0.1,times=3`. */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import { Fault, type Rule } from "../../testing/Simulator.ts"

interface Details {
  probability?: number
  times?: number
  from?: Duration.Duration
  until?: Duration.Duration
  model?: string
  after?: number
  retryAfter?: number
}

/** Reads one detail into `details`; answers what is wrong with it. */
const readers: Readonly<Record<string, (details: Details, text: string) => string | undefined>> = {
  probability: (details, text) =>
    number(text, 0, 1, false, "from 0 to 1", (value) => {
      details.probability = value
    }),
  times: (details, text) =>
    number(text, 1, Infinity, true, "an integer from 1", (value) => {
      details.times = value
    }),
  from: (details, text) =>
    duration(text, (value) => {
      details.from = value
    }),
  until: (details, text) =>
    duration(text, (value) => {
      details.until = value
    }),
  model: (details, text) => {
    details.model = text
    return text === "" ? "the name of a model, or a part of it" : undefined
  },
  after: (details, text) =>
    number(text, 0, Infinity, true, "an integer from 0", (value) => {
      details.after = value
    }),
  "retry-after": (details, text) =>
    number(text, 0, Infinity, false, "seconds from 0", (value) => {
      details.retryAfter = value
    })
}

const number = (
  text: string,
  minimum: number,
  maximum: number,
  whole: boolean,
  expected: string,
  set: (value: number) => void
): string | undefined => {
  const value = text.trim() === "" ? NaN : Number(text)
  if (!(value >= minimum && value <= maximum) || (whole && !Number.isInteger(value))) return expected
  set(value)
  return undefined
}

/** `10s`, `200ms` and `1m` beside what durations are written like elsewhere. */
const units: Readonly<Record<string, string>> = { ms: "millis", s: "seconds", m: "minutes", h: "hours" }

const duration = (text: string, set: (value: Duration.Duration) => void): string | undefined => {
  const short = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text)
  const input = short === null ? text : `${short[1]} ${units[short[2] ?? ""]}`
  const value = /[a-z]/.test(input) ? Duration.fromInput(input as Duration.Input) : Option.none() // it tells what it cannot read
  if (Option.isNone(value)) return "a duration such as 10s or \"2 minutes\""
  set(value.value)
  return undefined
}

const kinds = ["reset", "cut", "error", "stall", "truncate", "garbage", "refuse", "drip"] as const

const faultOf = (kind: string, { after, retryAfter }: Details): Fault | undefined => {
  const place = { events: after ?? 3 }
  if (/^[45]\d\d$/.test(kind)) {
    const headers = retryAfter === undefined ? undefined : { "retry-after": String(retryAfter) }
    return Fault.Status({ status: Number(kind), headers })
  }
  switch (kind as typeof kinds[number]) { // or none of them
    case "reset":
      return Fault.ResetBeforeHeaders()
    case "cut":
      return Fault.ResetMidStream({ after: place })
    case "error":
      return Fault.ErrorEvent({ type: "overloaded_error", after: place })
    case "stall":
      return Fault.Stall({ after: after === undefined ? "nothing" : place })
    case "truncate":
      return Fault.Truncate({ after: place })
    case "garbage":
      return Fault.Garbage({ after: place })
    case "refuse":
      return Fault.Refused()
    case "drip":
      return Fault.Drip({ bytes: 16, every: "50 millis" })
    default:
      return undefined
  }
}

/** Reads one fault; fails with what is wrong with it. */
export const parse = (text: string): Result.Result<Rule, string> => {
  const [kind = "", ...parts] = text.split(",").map((part) => part.trim())
  const details: Details = {}
  for (const part of parts) {
    const at = part.indexOf("=")
    const name = at < 0 ? part : part.slice(0, at)
    const read = Object.hasOwn(readers, name) ? readers[name] : undefined
    if (at < 0 || read === undefined) {
      return Result.fail(`--fault ${text}: there is no ${part}; known are ${Object.keys(readers).join("=, ")}=.`)
    }
    const expected = read(details, part.slice(at + 1))
    if (expected !== undefined) return Result.fail(`--fault ${text}: ${name} is ${expected}.`)
  }
  const fault = faultOf(kind, details)
  if (fault === undefined) {
    return Result.fail(`--fault ${text}: the kind is a status from 400 to 599, or one of ${kinds.join(", ")}.`)
  }
  const { from, model, probability, times, until } = details
  return Result.succeed({
    fault,
    when: {
      probability,
      times,
      from,
      until,
      request: model === undefined ? undefined : (seen) => seen.model?.includes(model) === true
    }
  })
}

/** The options of the sanitizer. */
import type * as Effect from "effect/Effect"
import type { Action, Kind, PersonalData, Settings } from "./examination.ts"
import type { Matcher, Pattern } from "./ownPatterns.ts"
import type { TrustedRole } from "./texts.ts"

/**
 * What to look for in the texts of a request, and what to do about it.
 *
 * - `actions`: what to do with each kind of finding: `"off"` does not look for it, `"observe"` reports it, `"clean"` removes it, `"reject"` refuses
 *   the call. Default `"clean"` for `control`, `surrogate`, `invisible`, `bidirectional` and `secret`, `"observe"` for `injection` and
 *   `personal`, `"reject"` for `tooLong`, `"off"` for `lookalike`.
 * - `maxTextLength`: the most characters of one text. Default 2,000,000.
 * - `maxLength`: the most characters of all texts of a request together. Default 8,000,000.
 * - `trust`: roles whose texts are not examined: `"system"`, `"tools"` (their descriptions), `"assistant"`. Default none.
 * - `patterns`: patterns of your own. Default none.
 * - `disabledRules`: built-in rules that are not applied, by the `rule` of their findings. Default none.
 * - `personalData`: finds personal data in a text, as `personal` findings. A text that it fails to examine is one finding as a whole. Default none.
 * - `excerptLength`: how many characters of what was found go into findings of the stream, never of secrets and personal data. Default 0.
 * - `maxFindings`: the most findings of a request that are kept; all are counted. Default 100.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly actions?: { readonly [Name in Kind]?: Action | undefined } | undefined
  readonly maxTextLength?: number | undefined
  readonly maxLength?: number | undefined
  readonly trust?: ReadonlyArray<TrustedRole> | undefined
  readonly patterns?: ReadonlyArray<Pattern> | undefined
  readonly disabledRules?: ReadonlyArray<string> | undefined
  readonly personalData?:
    | ((text: string, path: string) => Effect.Effect<ReadonlyArray<PersonalData>, unknown>)
    | undefined
  readonly excerptLength?: number | undefined
  readonly maxFindings?: number | undefined
}

const defaults: Readonly<Record<Kind, Action>> = {
  tooLong: "reject",
  control: "clean",
  surrogate: "clean",
  invisible: "clean",
  bidirectional: "clean",
  lookalike: "off",
  injection: "observe",
  secret: "clean",
  personal: "observe"
}

/** A text that is cut keeps at least this much. */
const minLength = 16

const whole = (name: keyof Options, value: number, min: number): number => {
  if (!(value >= min)) throw new RangeError(`InputSanitizer: ${name} is at least ${min}, not ${value}`)
  return Math.floor(value)
}

/** Checks options. Throws a `RangeError` where they are invalid. */
export const settingsOf = (options: Options, matcher: Matcher | undefined): Settings => {
  const given = Object.entries(options.actions ?? {}).flatMap(([kind, action]) =>
    action === undefined ? [] : [[kind, action] as const]
  )
  for (const [kind, action] of given) {
    if (!(kind in defaults)) throw new RangeError(`InputSanitizer: there is no kind ${kind}`)
    if (!["off", "observe", "clean", "reject"].includes(action)) {
      throw new RangeError(`InputSanitizer: ${kind} is "off", "observe", "clean" or "reject", not ${action}`)
    }
  }
  return {
    actions: { ...defaults, ...Object.fromEntries(given) },
    maxTextLength: whole("maxTextLength", options.maxTextLength ?? 2_000_000, minLength),
    maxLength: whole("maxLength", options.maxLength ?? 8_000_000, minLength),
    maxFindings: whole("maxFindings", options.maxFindings ?? 100, 1),
    disabledRules: new Set(options.disabledRules),
    matcher
  }
}

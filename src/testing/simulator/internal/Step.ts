/**
 * The steps in which an answer is sent. The core makes them, faults change them, and `Drive` sends them.
 */
import * as Wire from "./Wire.ts"

export type Step =
  | { readonly _tag: "Wait"; readonly millis: number }
  /** The head of a response; with a `body` it is the whole response. */
  | {
    readonly _tag: "Head"
    readonly status: number
    readonly headers: Record<string, string>
    readonly body: string | undefined
  }
  | { readonly _tag: "Data"; readonly data: string | Uint8Array; readonly last: boolean }
  /** The body ends cleanly. */
  | { readonly _tag: "End" }
  /** The connection is reset. */
  | { readonly _tag: "Reset" }
  /** The connection never was. */
  | { readonly _tag: "Refuse" }

export const end: Step = { _tag: "End" }
export const reset: Step = { _tag: "Reset" }
export const refuse: Step = { _tag: "Refuse" }
export const wait = (millis: number): Step => ({ _tag: "Wait", millis })
export const data = (data: string | Uint8Array, last = false): Step => ({ _tag: "Data", data, last })
export const head = (status: number, headers: Record<string, string>, body?: string): Step => ({
  _tag: "Head",
  status,
  headers,
  body
})

/** The whole answer that is an error. */
export const refused = (refusal: Wire.Refusal, requestId: string, headers: Record<string, string>): Step =>
  head(
    refusal.status,
    { "content-type": "application/json", ...headers, ...refusal.headers },
    Wire.envelope(refusal, requestId)
  )

/** The steps of one answer, taken one at a time. */
export interface Steps {
  readonly next: () => Step
  readonly abort: () => void
}

/** Waits so many milliseconds, unless the returned function is called before. */
export type Wait = (millis: number, resume: () => void) => () => void

/**
 * What the endpoints beside messages have in common: a list, its entries, and what can be done with one.
 */
import type * as Keys from "./Keys.ts"
import type { Refusal } from "./Wire.ts"

/** A request for a resource, whose key was accepted. */
export interface Asked {
  readonly method: string
  /** The part of the path after the name of the resource. */
  readonly id: string | undefined
  /** The part after that. */
  readonly sub: string | undefined
  readonly query: URLSearchParams
  readonly key: Keys.Key
  readonly header: (name: string) => string | undefined
  /** Such as `http://127.0.0.1:8080`. */
  readonly origin: string
  /** The body as JSON; undefined where it is none. */
  readonly body: unknown
  /** The body as it came. */
  readonly bytes: Uint8Array
}

/** A success: a body that becomes JSON, or a text of a type of its own. */
export interface Reply {
  readonly body: unknown
  readonly contentType?: string | undefined
}

/** Answers a request; undefined where there is no such endpoint. */
export type Resource = (asked: Asked) => Reply | Refusal | undefined

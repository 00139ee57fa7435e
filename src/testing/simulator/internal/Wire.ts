/**
 * The bodies of requests before they are checked, and the envelope of errors.
 */

export interface Block {
  readonly type: string
  readonly [field: string]: unknown
}

export interface Turn {
  readonly role: string
  readonly content: string | ReadonlyArray<Block>
}

export interface Body {
  readonly model: string
  readonly max_tokens: number
  readonly messages: ReadonlyArray<Turn>
  readonly system?: string | ReadonlyArray<Block>
  readonly tools?: ReadonlyArray<Record<string, unknown>>
  readonly stream?: boolean
  readonly speed?: string | null
  readonly stop_sequences?: ReadonlyArray<string>
  readonly cache_control?: unknown
  readonly [field: string]: unknown
}

/** An answer that is not a success. */
export interface Refusal {
  readonly status: number
  readonly type: string
  readonly message: string
  readonly code?: string | undefined
  /** What `details` has beside the code. */
  readonly details?: Readonly<Record<string, unknown>> | undefined
  readonly headers?: Record<string, string> | undefined
}

const types: Record<number, string> = {
  401: "authentication_error",
  402: "billing_error",
  403: "permission_error",
  404: "not_found_error",
  409: "conflict_error",
  413: "request_too_large",
  429: "rate_limit_error",
  504: "timeout_error",
  529: "overloaded_error"
}

/** The error type that goes with a status. */
export const typeOf = (status: number): string =>
  types[status] ?? (status >= 500 ? "api_error" : "invalid_request_error")

/** The status that goes with an error type, for answers that are not streams. */
export const statusOf = (type: string): number =>
  type === "invalid_request_error" ? 400 : Number(Object.entries(types).find(([, _]) => _ === type)?.[0] ?? 500)

export const refuse = (
  status: number,
  message: string,
  code?: string,
  details?: Readonly<Record<string, unknown>>
): Refusal => ({ status, type: typeOf(status), message, code, details })

/** What is kept of a message: its blocks without the marks of breakpoints, which are of one request only. */
export const withoutBreakpoints = (turn: Turn): Turn =>
  typeof turn.content === "string" || !turn.content.some((block) => "cache_control" in block)
    ? turn
    : { ...turn, content: turn.content.map((block) => ({ ...block, cache_control: undefined })) }

/** The body of an error. */
export const envelope = (refusal: Omit<Refusal, "status">, requestId: string): string =>
  JSON.stringify({
    type: "error",
    error: {
      type: refusal.type,
      message: refusal.message,
      ...(refusal.code === undefined ? undefined : { details: { error_code: refusal.code, ...refusal.details } })
    },
    request_id: requestId
  })

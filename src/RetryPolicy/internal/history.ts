/** What earlier attempts add to the error of a call. */
import { type ApiError, type Billed, isApiError, type Refusal } from "../../ClaudeError.ts"

/** The attempts of a call that have failed so far: how they were billed at worst, and the last of their errors. */
export interface History {
  readonly billed: Billed
  readonly lastError: ApiError | undefined
}

/** Before any attempt. */
export const none: History = { billed: "no", lastError: undefined }

const order: ReadonlyArray<Billed> = ["no", "unknown", "yes"]

const worse = (a: Billed, b: Billed): Billed => order.indexOf(a) > order.indexOf(b) ? a : b

/** The same with one more attempt. */
export const after = (history: History, error: ApiError): History => ({
  billed: worse(history.billed, error.billed),
  lastError: error
})

/** The same error with what was before it, made anew: others may hold the one that is given. */
const again = <E extends ApiError | Refusal>(
  error: E,
  billed: Billed,
  lastError: ApiError | undefined,
  attempts: number = error.attempts
): E => {
  const Class = error.constructor as new(fields: object) => E // each error is made by its class alone
  const made = new Class({ ...error, attempts, billed, ...(isApiError(error) ? {} : { lastError }) })
  if (isApiError(error)) Object.defineProperty(made, "lastError", { value: lastError })
  if (error.stack !== undefined) made.stack = error.stack
  return made
}

/** A chain of all attempts would grow with them. */
const alone = (error: ApiError): ApiError =>
  error.lastError === undefined ? error : again(error, error.billed, undefined)

/** The error of the call as a whole. */
export const inLightOf = <E extends ApiError | Refusal>({ billed, lastError }: History, error: E): E =>
  lastError === undefined ? error : again(error, worse(billed, error.billed), alone(lastError))

/** A failure after which the call went elsewhere, and what was before it. */
export interface Failed {
  readonly error: ApiError | Refusal
  readonly before: History
}

/** The error of a call that went elsewhere in vain: the first, with what came after it. */
export const ofFirst = ({ before, error }: Failed, { billed, lastError }: History, sent: number): Failed["error"] => {
  const last = lastError === error ? before.lastError : lastError
  return last === undefined && sent === error.attempts
    ? error
    : again(error, worse(billed, error.billed), last && alone(last), sent)
}

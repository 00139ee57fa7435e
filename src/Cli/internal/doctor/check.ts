/** What the doctor looks at, and what it found. */
import * as Effect from "effect/Effect"
import { of } from "../failure.ts"

export type Status = "ok" | "warn" | "fail" | "skipped"

/**
 * - `name`: of what was looked at; stable, for programs.
 * - `message`: what was found, and what to do where that is not good.
 */
export interface Check {
  readonly name: string
  readonly status: Status
  readonly message: string
}

export const check = (name: string, status: Status, message: string): Check => ({ name, status, message })

/** A check that could not be made is not a good sign, and no reason to stop. */
export const orFailed = <A, R>(
  name: string,
  effect: Effect.Effect<A, unknown, R>,
  render: (value: A) => ReadonlyArray<Check>
): Effect.Effect<ReadonlyArray<Check>, never, R> =>
  Effect.match(effect, {
    onFailure: (error) => [check(name, "fail", of(error).message)],
    onSuccess: render
  })

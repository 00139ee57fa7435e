/** What an attempt keeps of those before it. */
import type { Attempt } from "../../Attempt.ts"

/**
 * The last attempt at the same model, with those before it only as far as no retry lies between: endless retries must not keep an endless chain. What
 * became of one at another model says nothing about this one.
 */
export const previousOf = <T extends Attempt>(last: T, model: string): T | undefined =>
  last.model !== model
    ? undefined
    : last.previous === undefined || last.moves
    ? last
    : { ...last, previous: undefined }

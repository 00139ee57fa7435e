/** What an attempt keeps of those before it. */
import type { Attempt } from "../../Attempt.ts"

/** The last attempt, with those before it only as far as no retry lies between: endless retries must not keep an endless chain. */
export const previousOf = <T extends Attempt>(last: T): T =>
  last.previous === undefined || last.moves ? last : { ...last, previous: undefined }

/** What callers are told that the limiter refuses. */
import * as Duration from "effect/Duration"
import type { Attempt } from "../../Attempt.ts"
import { RateLimitedLocallyError } from "../../ClaudeError.ts"
import type { Need } from "./BucketSet.ts"
import type { Refused } from "./Line.ts"

const reasons = { Closed: "spend", Deadline: "deadline", Paused: "paused", QueueFull: "queueFull" } as const

export const errorOf = (
  refused: Refused,
  group: string,
  attempt: Attempt,
  { size }: Need
): RateLimitedLocallyError => {
  const common = { group, attempts: attempt.number - 1 }
  if (refused._tag === "TooLarge") {
    return new RateLimitedLocallyError({
      ...common,
      needed: size,
      limit: refused.limit,
      reason: "tooLarge",
      retryAfter: undefined
    })
  }
  const isElsewhere = refused._tag === "Deadline" &&
    (attempt.patience !== undefined || attempt.waitUntil !== undefined)
  return new RateLimitedLocallyError({
    ...common,
    reason: isElsewhere ? "elsewhere" : reasons[refused._tag],
    retryAfter: Duration.millis(refused.waitMillis)
  })
}

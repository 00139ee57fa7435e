/** The longest wait that is waited for where the API asks for it, which retries, limiter and key pool of one service have in common. */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"

export const MaxRetryAfter = Context.Reference<Duration.Input>("effect-claude/MaxRetryAfter", {
  defaultValue: () => "60 seconds"
})

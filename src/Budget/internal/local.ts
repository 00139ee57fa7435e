/** How the policy asks a store in this process, which answers at once. */
import * as Effect from "effect/Effect"
import type { Client } from "./client.ts"
import type { Batch, Reply } from "./data.ts"

export const make = (
  step: (batch: Batch) => Effect.Effect<Reply, unknown>,
  report: (reply: Reply) => Effect.Effect<void>
): Client => ({
  reserve: (ask) =>
    Effect.orDie(Effect.flatMap(step({ reserves: [ask] }), (reply) => {
      const { decisions: [decision], events } = reply
      // A refusal changes nothing, and only the first in a window is an event.
      const isNews = decision?._tag !== "Refused" || events.length > 0
      return isNews ? Effect.as(report(reply), decision) : Effect.succeed(decision)
    })),
  settle: (settlement) => Effect.orDie(Effect.flatMap(step({ settlements: [settlement] }), report)),
  step: (batch) => Effect.orDie(step(batch))
})

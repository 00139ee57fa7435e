/** A store as a user would write one from the docstring of `RateLimiter.Store`: nothing but a `Map` and `step`. */
import { Clock, Effect, Layer } from "effect"
import * as RateLimiter from "effect-claude/RateLimiter"

/** `pace`: what each step takes before it is made, such as the way there. */
export const layer = (pace: Effect.Effect<void> = Effect.void): Layer.Layer<RateLimiter.Store> =>
  Layer.effect(
    RateLimiter.Store,
    Effect.map(Clock.Clock, (clock): RateLimiter.Store["Service"] => {
      const states = new Map<string, string>()
      const step = (batch: RateLimiter.Batch) => {
        const stored = states.get(batch.key)
        const state: RateLimiter.State | undefined = stored === undefined ? undefined : JSON.parse(stored)
        const [next, reply] = RateLimiter.step(state, batch, clock.currentTimeMillisUnsafe())
        states.set(batch.key, JSON.stringify(next))
        return reply
      }
      return { step: (batch) => Effect.andThen(pace, Effect.sync(() => step(JSON.parse(JSON.stringify(batch))))) }
    })
  )

/** What a team writes itself: retries and a circuit by cockatiel, a limit by bottleneck, the SDK inside. */
import Bottleneck from "bottleneck"
import { circuitBreaker, ConsecutiveBreaker, ExponentialBackoff, handleAll, retry, wrap } from "cockatiel"
import type { Side } from "../side.ts"
import { using } from "./sdk.ts"

export const make = async (baseURL: string): Promise<Side> => {
  const policy = wrap(
    retry(handleAll, { maxAttempts: 3, backoff: new ExponentialBackoff() }),
    circuitBreaker(handleAll, { halfOpenAfter: 10_000, breaker: new ConsecutiveBreaker(5) })
  )
  const limiter = new Bottleneck({
    reservoir: 2_000_000,
    reservoirRefreshAmount: 2_000_000,
    reservoirRefreshInterval: 60_000
  })
  return using({ baseURL, maxRetries: 0 }, (send) => policy.execute(() => limiter.schedule(send)))
}

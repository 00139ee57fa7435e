/** What calls added up to, second by second. */
import type { CallRecord, Fault, Wait, WaitReason } from "../../Monitor.ts"

/**
 * One second, `at` its end in milliseconds since the epoch.
 *
 * - `success`, `cancelled`, `caller`, `policy`, `provider`, `own`: calls that ended in it; the last four are failures by whose fault they were.
 * - `latency`, `firstToken`: p50 and p95 in milliseconds over the last 15 seconds; null where there were none.
 * - `input`, `output`: tokens. `nanoUsd`: integer nano-dollars.
 * - `waited`: milliseconds that ended waits took, by what they were for.
 * - `active`, `waiting`: calls in flight, and those of them that wait for room in the rate limits, at its end.
 *
 * @category models
 * @since 0.1.0
 */
export interface Point extends Readonly<Record<Fault | "cancelled" | "success", number>> {
  readonly at: number
  readonly retries: number
  readonly latency: Quantiles
  readonly firstToken: Quantiles
  readonly input: number
  readonly output: number
  readonly nanoUsd: number
  readonly waited: Readonly<Record<WaitReason, number>>
  readonly active: number
  readonly waiting: number
}

type Quantiles = readonly [p50: number, p95: number] | null

/** Seconds that are kept, seconds of which quantiles are taken, and the most times of each second that are. */
const maxPoints = 600
const quantileSeconds = 15
const maxTimes = 200

interface Second {
  readonly counts: Record<Fault | "cancelled" | "success", number>
  readonly waited: Record<WaitReason, number>
  retries: number
  input: number
  output: number
  nanoUsd: number
  latency: Array<number>
  firstToken: Array<number>
}

const second = (): Second => ({
  counts: { success: 0, cancelled: 0, caller: 0, policy: 0, provider: 0, own: 0 },
  waited: { limits: 0, key: 0, circuit: 0, retry: 0 },
  retries: 0,
  input: 0,
  output: 0,
  nanoUsd: 0,
  latency: [],
  firstToken: []
})

const quantilesOf = (times: Array<number>): Quantiles => {
  if (times.length === 0) return null
  times.sort((a, b) => a - b)
  const at = (share: number) => times[Math.min(times.length - 1, Math.floor(times.length * share))]!
  return [at(0.5), at(0.95)]
}

export class Seconds {
  readonly points: Array<Point> = []
  private current = second()
  /** The last of them, the current one included. */
  private readonly last: Array<Second> = [this.current]
  /** What 95 % of the last calls stayed below; `Infinity` before there are twenty. */
  slowMillis = Infinity

  add(record: CallRecord): void {
    const { costNanoUsd, fault = "own", firstTokenMillis, latencyMillis, retries, status, usage } = record
    const { current } = this
    current.counts[status === "error" ? fault : status]++
    current.retries += retries
    current.input += usage.inputTokens + usage.cacheReadTokens + usage.cacheWrite5mTokens + usage.cacheWrite1hTokens
    current.output += usage.outputTokens
    current.nanoUsd += costNanoUsd ?? 0
    if (status === "success" && current.latency.length < maxTimes) current.latency.push(latencyMillis)
    if (firstTokenMillis !== undefined && current.firstToken.length < maxTimes) {
      current.firstToken.push(firstTokenMillis)
    }
  }

  addWait({ for: reason, millis }: Wait): void {
    this.current.waited[reason] += millis
  }

  /** Ends the current second and begins the next. */
  end(at: number, active: number, waiting: number): Point {
    const { counts, input, nanoUsd, output, retries, waited } = this.current
    const latencies = this.last.flatMap(({ latency }) => latency)
    const latency = quantilesOf(latencies)
    this.slowMillis = latency !== null && latencies.length >= 20 ? latency[1] : Infinity
    const firstToken = quantilesOf(this.last.flatMap(({ firstToken }) => firstToken))
    const point = { at, ...counts, retries, latency, firstToken, input, output, nanoUsd, waited, active, waiting }
    this.points.push(point)
    if (this.points.length > maxPoints) this.points.shift()
    this.last.push(this.current = second())
    if (this.last.length > quantileSeconds) this.last.shift()
    return point
  }
}

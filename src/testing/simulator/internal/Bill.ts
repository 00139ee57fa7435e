/**
 * The cost of each request, in tokens and in dollars.
 */

/**
 * Tokens by price category.
 *
 * @category models
 * @since 0.1.0
 */
export interface BilledTokens {
  readonly input: number
  readonly output: number
  readonly cacheRead: number
  readonly cacheWrite5m: number
  readonly cacheWrite1h: number
}

/**
 * One request that was served: it passed every check and work on it began. `at` is its arrival in milliseconds since the epoch. A
 * request whose reader left has the outcome `aborted`, one that a fault cut short `failed`; both are charged for the output until then.
 * The prompt is charged in full, cache writes too, even when the reader left before the first token. Counting tokens is free, so its
 * rows hold zeros. Requests of a batch have the tier `batch` and half the price. `nanoUsd` is the cost in integer nano-dollars, by the prices of `PriceBook` on its arrival; undefined where the
 * model, or the way it was served, has no price. It is 0 for refusals that are free, although `usage` has their tokens.
 *
 * @category models
 * @since 0.1.0
 */
export interface BillRow {
  readonly requestId: string
  readonly at: number
  readonly key: string
  readonly organization: string
  readonly workspace: string
  readonly model: string
  readonly endpoint: "messages" | "count_tokens"
  readonly stream: boolean
  readonly tier: "standard" | "batch"
  readonly usage: BilledTokens
  readonly webSearches: number
  readonly nanoUsd: number | undefined
  readonly outcome: "complete" | "aborted" | "failed"
}

/**
 * The newest rows, oldest first, how many older ones were dropped, and the totals of all. `nanoUsd` adds up the rows
 * that have a price, `unpriced` counts the others.
 *
 * @category models
 * @since 0.1.0
 */
export interface Bill {
  readonly rows: ReadonlyArray<BillRow>
  readonly dropped: number
  readonly totals: BilledTokens & {
    readonly requests: number
    readonly nanoUsd: number
    readonly unpriced: number
  }
}

export const make = (capacity: number) => {
  const ring: Array<BillRow> = []
  const totals = {
    requests: 0,
    input: 0,
    output: 0,
    cacheRead: 0,
    cacheWrite5m: 0,
    cacheWrite1h: 0,
    nanoUsd: 0,
    unpriced: 0
  }
  return {
    add: (row: BillRow) => {
      ring[totals.requests % capacity] = row
      totals.requests++
      totals.input += row.usage.input
      totals.output += row.usage.output
      totals.cacheRead += row.usage.cacheRead
      totals.cacheWrite5m += row.usage.cacheWrite5m
      totals.cacheWrite1h += row.usage.cacheWrite1h
      totals.nanoUsd += row.nanoUsd ?? 0
      totals.unpriced += row.nanoUsd === undefined ? 1 : 0
    },
    read: (): Bill => {
      const oldest = totals.requests > capacity ? totals.requests % capacity : 0
      return {
        rows: [...ring.slice(oldest), ...ring.slice(0, oldest)],
        dropped: Math.max(0, totals.requests - capacity),
        totals: { ...totals }
      }
    }
  }
}

/** Rows on their way to a store, in bounded memory, and how many found no room. */
import * as Effect from "effect/Effect"
import { Outbox } from "../../internal/storeClient.ts"
import type { Row } from "./data.ts"
import { bytesOf } from "./recording.ts"

export class Backlog {
  lostRows = 0
  private bytes = 0
  /** How many lost ones the log has reported. */
  private reportedRows = 0
  private isEnded = false
  private readonly outbox = new Outbox<Row>(Infinity)
  private readonly maxRows: number
  private readonly maxBytes: number

  constructor(maxRows: number, maxBytes: number) {
    this.maxRows = maxRows
    this.maxBytes = maxBytes
  }

  get size(): number {
    return this.outbox.size
  }

  /** Whether there was room. */
  push(row: Row): boolean {
    const bytes = bytesOf(row)
    if (this.isEnded || this.size >= this.maxRows || this.bytes + bytes > this.maxBytes) return false
    this.bytes += bytes
    this.outbox.push(row)
    return true
  }

  take(max: number): { readonly number: number; readonly items: ReadonlyArray<Row> } {
    return this.outbox.take(max)
  }

  /** These rows, the oldest, are stored. */
  acknowledge(rows: ReadonlyArray<Row>, number: number): void {
    for (const row of rows) this.bytes -= bytesOf(row)
    this.outbox.acknowledge(number + rows.length - 1)
  }

  /** Counts a row that is lost; the first one since the last report is logged. */
  readonly lose: Effect.Effect<void> = Effect.suspend(() => {
    if (this.lostRows++ > this.reportedRows) return Effect.void
    return Effect.logWarning(
      this.isEnded
        ? "CostLedger: an attempt ended after the layer of the ledger; its row and those after it are lost."
        : `CostLedger: ${this.size} rows wait for the store; further rows are lost.`
    )
  })

  readonly reportLost: Effect.Effect<void> = Effect.suspend(() => {
    const count = this.lostRows - this.reportedRows
    this.reportedRows = this.lostRows
    return count === 0
      ? Effect.void
      : Effect.logWarning(`CostLedger: ${count} rows were lost while too many waited for the store.`)
  })

  /** What waits now is lost, and all that comes. */
  readonly end: Effect.Effect<void> = Effect.suspend(() => {
    this.isEnded = true
    const { size } = this
    if (size === 0) return Effect.void
    this.lostRows += size
    return Effect.logWarning(`CostLedger: ${size} rows could not be written before the end and are lost.`)
  })
}

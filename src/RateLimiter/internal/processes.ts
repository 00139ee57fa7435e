/** What a store that processes share remembers of each, so that what is lost on the way comes right with the next batch of the process. */
import { add, type Amounts, plus, zero } from "./Amounts.ts"
import { minute, type State } from "./State.ts"
import type { Ask, Process, Reply, Report, Sender } from "./Store.ts"

/** A process that sent nothing for so long is forgotten, and what it reserved is free again. */
export const processMillis = 5 * minute

const outOfOrder: Reply = { _tag: "Rejected", reason: "outOfOrder" }
const otherEpoch: Reply = { _tag: "Rejected", reason: "otherEpoch" }

/** Why a batch must not be taken in; undefined where it may. */
export const rejected = (self: State, { answered, call, epoch, known, process }: Sender): Reply | undefined => {
  const made = self.processes[process]?.call ?? 0
  if (known === undefined && epoch !== 0 && (epoch !== self.epoch || answered > made)) return otherEpoch
  return call <= made ? outOfOrder : undefined
}

/**
 * Frees what is reserved by processes that are gone and adds up what the others have reserved. Returns what abandoned batches took: it goes
 * back.
 */
export const update = (self: State, sender: Sender, now: number): ReadonlyArray<Amounts> => {
  const known = self.processes[sender.process]
  const abandoned = new Set(sender.abandoned)
  const grants = known?.grants ?? []
  const open = grants.filter(({ call }) => call > sender.acknowledged)
  self.processes[sender.process] = {
    call: sender.call,
    report: known?.report ?? 0,
    at: now,
    reserved: open.reduce((sum, { reserve }) => plus(sum, reserve), sender.reserved),
    grants: open
  }
  self.reserved = { ...zero }
  for (const [name, process] of Object.entries(self.processes)) {
    if (now - process.at > processMillis) delete self.processes[name]
    else add(self.reserved, process.reserved)
  }
  return grants.filter(({ call }) => call <= sender.acknowledged && abandoned.has(call)).map(({ usage }) => usage)
}

/** Of reports, those that were not taken in before. */
export const unread = (process: Process, first: number, reports: ReadonlyArray<Report>): ReadonlyArray<Report> => {
  const fresh = reports.slice(Math.max(0, process.report + 1 - first))
  if (fresh.length > 0) process.report = first + reports.length - 1
  return fresh
}

/** Remembers what a batch took until the process acknowledges the answer. */
export const granted = (process: Process, call: number, { reserve, usage }: Ask): void => {
  process.reserved = plus(process.reserved, reserve)
  process.grants = [...process.grants, { call, usage, reserve }]
}

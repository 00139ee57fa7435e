/** Circuits in the form in which they are kept over a restart. */
import type { Proposal, SavedCircuit, State } from "./circuit.ts"

export const saved = (state: State, consecutiveFailures: number): SavedCircuit => ({
  openUntil: state.phase === "closed" ? null : state.phase === "open" ? state.until : 0,
  openings: state.openings,
  openMillis: state.openMillis,
  closedAt: state.phase === "closed" ? state.since : 0,
  consecutiveFailures,
  window: state.phase === "closed" ? state.window : null
})

/** A saved circuit in the form in which a store takes it over. */
export const proposalOf = (circuit: SavedCircuit, now: number): Proposal => ({
  when: "always",
  isOpen: circuit.openUntil !== null,
  waitMillis: Math.max(0, (circuit.openUntil ?? 0) - now),
  openings: circuit.openings,
  openMillis: circuit.openMillis,
  closedMillis: now - circuit.closedAt,
  window: circuit.window
})

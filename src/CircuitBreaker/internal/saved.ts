/** Circuits in the form in which they are kept over a restart. */
import type { Proposal, Rules, SavedCircuit, State, Window } from "./circuit.ts"
import { slotMillisOf } from "./machine.ts"

const savedWindow = (window: Window, rules: Rules): SavedCircuit["window"] =>
  window._tag === "Size"
    ? { _tag: "Size", results: window.older.slice(window.dropped) + window.newer }
    : {
      _tag: "Duration",
      slotMillis: slotMillisOf(rules),
      slots: [...window.past, window.newest].filter(({ calls }) => calls > 0)
    }

export const saved = (state: State, rules: Rules, consecutiveFailures: number): SavedCircuit => ({
  openUntil: state.phase === "closed" ? null : state.phase === "open" ? state.until : 0,
  openings: state.openings,
  openMillis: state.openMillis,
  closedAt: state.phase === "closed" ? state.since : 0,
  consecutiveFailures,
  window: state.phase === "closed" ? savedWindow(state.window, rules) : null
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

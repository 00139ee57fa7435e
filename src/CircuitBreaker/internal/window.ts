/** The attempts by which a closed circuit is judged, counted where they were sent. */
import type { Rules, SavedCircuit, Slot, Window } from "./circuit.ts"

/** A window of time has so many slots; one of attempts too, or one for each attempt where it is shorter. */
export const slotCount = 10

/** Windows that are kept: a verdict that comes later than that is too old to count. */
export const windowsKept = 7

/** What one slot holds: milliseconds or, below 0, so many attempts. */
export const unitOf = ({ windowDuration, windowSize }: Rules): number =>
  windowSize > 0 ? -Math.ceil(windowSize / slotCount) : windowDuration / slotCount

/** The slots of one window. One more where a slot holds several attempts, so that a window is never smaller than it should be. */
export const lengthOf = ({ windowSize }: Rules): number => {
  if (windowSize === 0) return slotCount
  const size = Math.ceil(windowSize / slotCount)
  return Math.ceil(windowSize / size) + (size > 1 ? 1 : 0)
}

export const emptyWindow = (rules: Rules): Window => ({ unit: unitOf(rules), slots: [] })

/** The slot of an attempt that is sent now, and how many more fit into it. */
export const current = ({ slots, unit }: Window, now: number): { readonly slot: number; readonly room: number } => {
  if (unit > 0) return { slot: Math.floor(now / unit), room: Infinity }
  const newest = slots.at(-1)
  if (newest === undefined) return { slot: 0, room: -unit }
  const room = -unit - newest.calls
  return room > 0 ? { slot: newest.index, room } : { slot: newest.index + 1, room: -unit }
}

/** Forgets what is too old at `now`, what comes from the future after a clock was set back, and everything where the rules ask for other slots. */
export const advance = (window: Window, rules: Rules, now: number): Window => {
  if (window.unit !== unitOf(rules)) return emptyWindow(rules)
  const { slots, unit } = window
  const newest = slots.at(-1)
  if (newest === undefined) return window
  const { slot } = current(window, now)
  const oldest = slot - windowsKept * lengthOf(rules)
  if (slots[0]!.index > oldest && newest.index <= slot) return window
  return { unit, slots: slots.filter(({ index }) => index > oldest && index <= slot) }
}

/** Adds what changed. `counts` are in the order of their slots; those that no window holds any more are ignored. */
export const add = (window: Window, counts: ReadonlyArray<Slot>, rules: Rules, now: number): Window => {
  const slots: Array<Slot> = [...window.slots]
  const last = window.unit > 0 ? current(window, now).slot : Infinity
  let at = 0
  for (const { calls, failures, index, slow } of counts) {
    if (index > last) continue
    while (at < slots.length && slots[at]!.index < index) at++
    const known = slots[at]
    if (known?.index === index) {
      slots[at] = {
        index,
        calls: known.calls + calls,
        failures: known.failures + failures,
        slow: known.slow + slow
      }
    } else if (calls > 0) slots.splice(at, 0, { index, calls, failures, slow })
  }
  return advance({ unit: window.unit, slots }, rules, now)
}

/**
 * Whether rates open the circuit at `now`, judged by each window that is known as a whole and ends at slot `changed` or later. Attempts without a
 * verdict count as neither failed nor slow: those may be the first to end.
 */
export const trips = (window: Window, changed: number, rules: Rules, now: number): boolean => {
  const { slots } = window
  const length = lengthOf(rules)
  const from = Math.max(changed, current(window, now).slot - (windowsKept - 1) * length)
  let [calls, failures, slow, first] = [0, 0, 0, 0]
  for (const slot of slots) {
    calls += slot.calls
    failures += slot.failures
    slow += slot.slow
    for (let old = slots[first]!; old.index <= slot.index - length; old = slots[++first]!) {
      calls -= old.calls
      failures -= old.failures
      slow -= old.slow
    }
    if (slot.index < from || calls < rules.minimumCalls) continue
    if (failures > 0 && failures / calls >= rules.failureRate) return true
    if (slow > 0 && slow / calls >= rules.slowCallRate) return true
  }
  return false
}

/** The window that ends now. */
export const summary = (window: Window, rules: Rules, now: number): Omit<Slot, "index"> => {
  const { slot } = current(window, now)
  const newest = window.unit > 0 ? slot : window.slots.at(-1)?.index ?? 0
  let [calls, failures, slow] = [0, 0, 0]
  for (const each of window.slots) {
    if (each.index <= newest - lengthOf(rules) || each.index > newest) continue
    calls += each.calls
    failures += each.failures
    slow += each.slow
  }
  return { calls, failures, slow }
}

/** What a saved window of the same kind still says at `now`. */
export const restored = (saved: SavedCircuit["window"], rules: Rules, now: number): Window => {
  const sorted = [...saved?.slots ?? []].sort((a, b) => a.index - b.index)
  return saved === null ? emptyWindow(rules) : advance({ unit: saved.unit, slots: sorted }, rules, now)
}

/**
 * The pure step from one state of a circuit to the next. The in-memory store runs it, the script for Redis does the same, and a process that has lost
 * its store goes on with it alone. Beside it stands what only a process can know: the order in which its attempts were admitted.
 */
import type {
  Batch,
  Closed,
  DurationWindow,
  HalfOpen,
  Open,
  Permit,
  Proposal,
  Reply,
  Result,
  Rules,
  SavedCircuit,
  Slot,
  State,
  Window
} from "./circuit.ts"

export const isFailure = (result: Result): boolean => result === "failure" || result === "slowFailure"

export const isSlow = (result: Result): boolean => result === "slowSuccess" || result === "slowFailure"

/** The digit of each result in a window: bit 0 is a failure, bit 1 a slow call. */
export const digits: Record<Result, number> = { success: 0, failure: 1, slowSuccess: 2, slowFailure: 3 }

/** How many slots a window of time has. */
export const slotCount = 10

/** No attempt takes so long: what is still counted as in flight then belongs to a process that died. */
export const maxEarlyMillis = 600_000

export const slotMillisOf = (rules: Rules): number => rules.windowDuration / slotCount

const emptyWindow = (rules: Rules, now: number): Window =>
  rules.windowSize > 0
    ? { _tag: "Size", calls: 0, failures: 0, slow: 0, older: "", dropped: 0, newer: "" }
    : windowOf([], Math.floor(now * slotCount / rules.windowDuration))

/** The slots that are not too old when `index` is the newest. */
const windowOf = (slots: ReadonlyArray<Slot>, index: number): DurationWindow => {
  const past: Array<Slot> = []
  let newest: Slot = { index, calls: 0, failures: 0, slow: 0 }
  let [calls, failures, slow] = [0, 0, 0]
  for (const slot of slots) {
    if (slot.calls === 0 || slot.index <= index - slotCount || slot.index > index) continue
    calls += slot.calls
    failures += slot.failures
    slow += slot.slow
    if (slot.index < index) past.push(slot)
    else newest = slot
  }
  return { _tag: "Duration", calls, failures, slow, past, newest }
}

/** Forgets what is too old at `now`. */
const advance = (window: Window, rules: Rules, now: number): Window => {
  if (window._tag === "Size") return window
  const { newest, past } = window
  const index = Math.floor(now * slotCount / rules.windowDuration)
  // After a clock was set back, results of the future would stay until it has caught up.
  const isCurrent = index <= newest.index && index >= newest.index - slotCount
  return isCurrent ? window : windowOf([...past, newest], index)
}

/** One more result. Each step costs the same, whatever the size of the window. */
const add = (window: Window, result: Result, size: number): Window => {
  const digit = digits[result]
  const failed = digit & 1
  const slowed = digit >> 1
  const failures = window.failures + failed
  const slow = window.slow + slowed
  if (window._tag === "Duration") {
    const { past, newest: { calls, failures: before, index, slow: slowBefore } } = window
    const newest = { index, calls: calls + 1, failures: before + failed, slow: slowBefore + slowed }
    return { _tag: "Duration", calls: window.calls + 1, failures, slow, past, newest }
  }
  const newer = window.newer + digit
  if (window.calls < size) return { ...window, calls: window.calls + 1, failures, slow, newer }
  const isOver = window.dropped === window.older.length
  const [older, dropped] = isOver ? [window.newer + digit, 0] : [window.older, window.dropped]
  const oldest = older.charCodeAt(dropped)
  return {
    _tag: "Size",
    calls: window.calls,
    failures: failures - (oldest & 1),
    slow: slow - (oldest >> 1 & 1),
    older,
    dropped: dropped + 1,
    newer: isOver ? "" : newer
  }
}

/** What a saved window of the same kind still says at `now`. */
const restoredWindow = (saved: SavedCircuit["window"], rules: Rules, now: number): Window => {
  let window = emptyWindow(rules, now)
  if (saved?._tag === "Size" && window._tag === "Size") {
    const all = Object.keys(digits) as Array<Result> // they stand in the order of their digits
    for (const digit of saved.results) window = add(window, all[Number(digit)]!, rules.windowSize)
  } else if (saved?._tag === "Duration" && window._tag === "Duration" && saved.slotMillis === slotMillisOf(rules)) {
    window = windowOf(saved.slots, window.newest.index)
  }
  return window
}

export const closed = (rules: Rules, now: number, epoch: number, openings: number, openMillis: number): Closed => ({
  phase: "closed",
  epoch,
  openings,
  openMillis,
  since: now,
  early: 0,
  earlyAt: now,
  window: emptyWindow(rules, now)
})

/** An epoch is never given twice, not even by a store that lost its data in between. */
const nextEpoch = (epoch: number, now: number): number => Math.max(epoch + 1, now)

const opened = (state: State, batch: Batch, now: number): Open => {
  const { maxOpenDuration, openDuration } = batch.rules
  const isFirst = state.phase === "closed" && now - state.since >= state.openMillis
  const openings = isFirst ? 0 : state.openings
  const openMillis = Math.round(Math.min(maxOpenDuration, openDuration * 2 ** openings) * batch.openShare)
  return {
    phase: "open",
    epoch: nextEpoch(state.epoch, now),
    openings: openings + 1,
    openMillis,
    until: now + openMillis
  }
}

const proposed = (epoch: number, proposal: Proposal, batch: Batch, now: number): State => {
  const { closedMillis, isOpen, openings, openMillis, waitMillis, window } = proposal
  if (isOpen) return { phase: "open", epoch, openings, openMillis, until: now + waitMillis }
  return {
    ...closed(batch.rules, now, epoch, openings, openMillis),
    since: now - closedMillis,
    window: restoredWindow(window, batch.rules, now)
  }
}

/** The state from which a step goes on: the store's, or the one that the process proposes. */
const initial = (state: State | undefined, batch: Batch, now: number): State => {
  const { proposal } = batch
  if (state !== undefined && proposal !== undefined) {
    const isWorse = state.phase === "closed" && proposal.isOpen && proposal.waitMillis > 0
    if (proposal.when === "ifNone" || (proposal.when === "ifWorse" && !isWorse)) return state
  }
  const epoch = nextEpoch(state?.epoch ?? 0, now)
  return proposal === undefined ? closed(batch.rules, now, epoch, 0, 0) : proposed(epoch, proposal, batch, now)
}

/** One more result of a closed circuit, by which it is not judged. */
export const counted = (state: Closed, result: Result, rules: Rules, now: number): Closed => ({
  ...state,
  window: add(advance(state.window, rules, now), result, rules.windowSize)
})

/** Whether rates open a closed circuit. Attempts in flight count as successes at first: failures may be the first to end. */
const trips = (window: Window, early: number, rules: Rules): boolean => {
  if (window.calls < rules.minimumCalls) return false
  const calls = window.calls + early
  return window.failures >= rules.failureRate * calls && window.failures > 0 ||
    window.slow >= rules.slowCallRate * calls && window.slow > 0
}

const whileClosed = (state: Closed, batch: Batch, now: number): Closed | Open => {
  const { results, rules } = batch
  const isLeft = now - state.earlyAt < maxEarlyMillis
  const early = Math.max(0, state.early + batch.early)
  const last = isLeft ? early : 0
  let window = advance(state.window, rules, now)
  if (batch.tripped) return opened(state, batch, now)
  for (let index = 0; index < results.length; index++) {
    window = add(window, results[index]!, rules.windowSize)
    // Those that were early are so until the last result of their batch is counted.
    if (trips(window, index < results.length - 1 && isLeft ? Math.max(early, state.early) : last, rules)) {
      return opened(state, batch, now)
    }
  }
  if (results.length === 0 && batch.returned > 0 && trips(window, last, rules)) return opened(state, batch, now)
  return {
    phase: "closed",
    epoch: state.epoch,
    openings: state.openings,
    openMillis: state.openMillis,
    since: state.since,
    early,
    earlyAt: batch.early === 0 ? state.earlyAt : now,
    window
  }
}

const whileHalfOpen = (state: HalfOpen, batch: Batch, now: number): State => {
  const { returned, results, round, rules } = batch
  let { successes } = state
  for (const result of results) {
    if (isFailure(result) || (isSlow(result) && rules.slowCallRate <= 1)) return opened(state, batch, now)
    if (++successes >= rules.successThreshold) {
      return closed(batch.rules, now, nextEpoch(state.epoch, now), state.openings, state.openMillis)
    }
  }
  const permits = round === state.round ? Math.min(rules.halfOpenCalls, state.permits + returned) : state.permits
  return { ...state, successes, permits }
}

/** A round of half-open calls, of which the first is granted. */
const newRound = (state: Open | HalfOpen, { rules }: Batch, now: number): HalfOpen => ({
  phase: "halfOpen",
  epoch: state.phase === "halfOpen" ? state.epoch : nextEpoch(state.epoch, now),
  openings: state.openings,
  openMillis: state.openMillis,
  until: now + rules.halfOpenDuration,
  round: state.phase === "halfOpen" ? state.round + 1 : 1,
  permits: rules.halfOpenCalls - 1,
  successes: state.phase === "halfOpen" ? state.successes : 0
})

/** A clock that was set back, or that of another machine, makes no wait longer than the rules do. */
const bounded = (state: Open | HalfOpen, rules: Rules, now: number): Open | HalfOpen => {
  const until = now + (state.phase === "open" ? rules.maxOpenDuration : rules.halfOpenDuration)
  return state.until <= until ? state : { ...state, until }
}

/**
 * One step of a circuit: the state that follows, and what to answer. `now` is in milliseconds since the epoch of time, by the clock of the store.
 */
export const step = (state: State | undefined, batch: Batch, now: number): readonly [State, Reply] => {
  let next = state === undefined || batch.proposal !== undefined ? initial(state, batch, now) : state
  if (next.phase !== "closed") next = bounded(next, batch.rules, now)
  if (batch.epoch === next.epoch) {
    if (next.phase === "closed") next = whileClosed(next, batch, now)
    else if (next.phase === "halfOpen") next = whileHalfOpen(next, batch, now)
  } else if (next.phase === "closed") next = { ...next, window: advance(next.window, batch.rules, now) }
  let granted = 0
  if (batch.ask && next.phase !== "closed") {
    if (now >= next.until) {
      next = newRound(next, batch, now)
      granted = next.round
    } else if (next.phase === "halfOpen" && next.permits > 0) {
      next = { ...next, permits: next.permits - 1 }
      granted = next.round
    }
  }
  const { epoch, openings, openMillis, phase } = next
  return [next, {
    phase,
    epoch,
    waitMillis: next.phase === "closed" ? 0 : Math.max(0, next.until - now),
    openings,
    openMillis,
    permits: next.phase === "halfOpen" ? next.permits : 0,
    granted,
    state: next
  }]
}

/**
 * What is known of the attempts that ended between one in flight and the one before: how many failed in a row next to either (`head` first, `tail`
 * last), and whether a success lies between (`broken`); where none does, both are all that failed.
 */
interface Place {
  previous: ClosedPermit | undefined
  head: number
  tail: number
  broken: boolean
}

/** The permit of an attempt of a closed circuit. `early`: it was admitted in the first window of its epoch, counted from its first attempt. */
export interface ClosedPermit extends Permit, Place {
  readonly early: boolean
  next: Place
}

/**
 * The attempts of a closed circuit in one epoch, in the order in which they were admitted.
 *
 * Those in flight are a list. When one ends, what stands on its two sides grows together, so that each step costs the same, and there is no more to
 * keep than there are attempts in flight.
 */
export class InFlight {
  /** When the first was admitted, and how many were. */
  private since = 0
  private admitted = 0
  /** Early ones in flight, and how many of them the store knows. */
  early = 0
  reported = 0
  /** The most consecutive failures so far. */
  longest = 0
  private readonly end: Place

  /** `row`: consecutive failures right before it. */
  constructor(row: number) {
    this.end = { previous: undefined, head: 0, tail: row, broken: true }
  }

  admit(epoch: number, at: number, { windowDuration, windowSize }: Rules): ClosedPermit {
    const { admitted, end } = this
    if (admitted === 0) this.since = at
    // In the first window, fewer successes than failures may have ended only because they take longer.
    const early = windowSize > 0 ? admitted < windowSize : at - this.since < windowDuration
    const { broken, head, previous, tail } = end
    const permit: ClosedPermit = { _tag: "Permit", epoch, round: 0, at, early, previous, next: end, head, tail, broken }
    if (previous !== undefined) previous.next = permit
    end.previous = permit
    end.head = end.tail = 0
    end.broken = false
    this.admitted = admitted + 1
    if (early) this.early++
    return permit
  }

  /** Ends an attempt of this epoch; without a result it neither counts nor breaks a row. */
  settle(ended: Permit, result: Result | undefined): void {
    if (ended.round > 0) return
    const permit = ended as ClosedPermit // only `admit` gives permits of a closed circuit
    const { next, previous } = permit
    if (previous !== undefined) previous.next = next
    next.previous = previous
    if (permit.early) this.early--
    if (result !== undefined && !isFailure(result)) {
      next.head = permit.head
      next.broken = true
      return
    }
    const failed = result === undefined ? 0 : 1
    this.longest = Math.max(this.longest, permit.tail + failed + next.head)
    const head = permit.broken ? permit.head : permit.tail + failed + next.head
    if (!next.broken) next.tail += permit.tail + failed
    next.head = head
    next.broken ||= permit.broken
  }

  /** The consecutive failures that an attempt admitted now would go on with, if those in flight came to nothing. */
  get row(): number {
    let row = 0
    let place: Place | undefined = this.end
    while (place !== undefined) {
      row += place.tail
      place = place.broken ? undefined : place.previous
    }
    return row
  }
}

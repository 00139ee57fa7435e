/**
 * The pure step from one state of a circuit to the next. The in-memory store runs it, the script for Redis does the same, and a process that has lost
 * its store goes on with it alone.
 */
import type { Batch, Closed, HalfOpen, Open, Proposal, Reply, Result, Rules, Slot, State, Trial } from "./circuit.ts"
import { isFailure, isSlow } from "./inFlight.ts"
import * as Window from "./window.ts"

export const closed = (rules: Rules, now: number, epoch: number, openings: number, openMillis: number): Closed => ({
  phase: "closed",
  epoch,
  openings,
  openMillis,
  since: now,
  window: Window.emptyWindow(rules)
})

/** An epoch is never given twice, not even by a store that lost its data in between. */
const nextEpoch = (epoch: number, now: number): number => Math.max(epoch + 1, now)

/** The open state that follows. Trials that are in flight still count when a half-open circuit opens again. */
const opened = (state: State, batch: Batch, now: number): Open => {
  const { maxOpenDuration, openDuration } = batch.rules
  const isFirst = state.phase === "closed" && now - state.since >= state.openMillis
  const openings = isFirst ? 0 : state.openings
  const openMillis = Math.round(Math.min(maxOpenDuration, openDuration * 2 ** openings) * batch.openShare)
  return {
    phase: "open",
    epoch: state.phase === "closed" ? nextEpoch(state.epoch, now) : state.epoch,
    openings: openings + 1,
    openMillis,
    until: now + openMillis,
    round: state.phase === "closed" ? 0 : state.round,
    successes: 0
  }
}

const proposed = (epoch: number, proposal: Proposal, batch: Batch, now: number): State => {
  const { closedMillis, isOpen, openings, openMillis, waitMillis, window } = proposal
  if (isOpen) return { phase: "open", epoch, openings, openMillis, until: now + waitMillis, round: 0, successes: 0 }
  return {
    ...closed(batch.rules, now, epoch, openings, openMillis),
    since: now - closedMillis,
    window: Window.restored(window, batch.rules, now)
  }
}

/** The state from which a step goes on: the store's, or the one that the process proposes. */
const initial = (state: State | undefined, batch: Batch, now: number): State => {
  const { proposal } = batch
  if (state !== undefined && proposal !== undefined) {
    const isWorse = state.phase === "closed" && proposal.isOpen && proposal.waitMillis > 0
    // A store that lacks its last writes may have lost an opening.
    const isBehind = batch.epoch > state.epoch
    if (proposal.when !== "always" && !(isWorse && (isBehind || proposal.when === "ifWorse"))) return state
  }
  // A circuit that the store has lost goes on: who knows a later epoch of it knows what came after.
  const epoch = state === undefined && batch.epoch > 0 ? batch.epoch : nextEpoch(state?.epoch ?? 0, now)
  return proposal === undefined ? closed(batch.rules, now, epoch, 0, 0) : proposed(epoch, proposal, batch, now)
}

/** What a process saw itself, by which a closed circuit is not judged. */
export const counted = (state: Closed, counts: ReadonlyArray<Slot>, rules: Rules, now: number): Closed => ({
  ...state,
  window: Window.add(Window.advance(state.window, rules, now), counts, rules, now)
})

const whileClosed = (state: Closed, batch: Batch, now: number): Closed | Open => {
  const { counts, rules, tripped } = batch
  if (tripped) return opened(state, batch, now)
  const first = counts[0]
  if (first === undefined) return state
  const next = counted(state, counts, rules, now)
  return Window.trips(next.window, first.index, rules, now) ? opened(next, batch, now) : next
}

/** Whether a trial proves that the API is not back. */
const isBad = (result: Result, rules: Rules): boolean =>
  isFailure(result) || (isSlow(result) && rules.slowCallRate <= 1)

/** Where rates open no circuit, half of the trials that fail open it again. */
const halfOpenShare = ({ failureRate }: Rules): number => failureRate <= 1 ? failureRate : 0.5

/** Whether so many trials failed that the circuit opens again; those without a verdict, or not yet sent, may succeed. */
const fails = ({ failures, trials }: HalfOpen, rules: Rules): boolean =>
  failures > 0 && failures / Math.max(trials, rules.halfOpenCalls) >= halfOpenShare(rules)

/** A success of any trial since a closed circuit opened counts; a failure only while the circuit is half-open as it was when the trial began. */
const whileTrying = (state: Open | HalfOpen, { result, round }: Trial, batch: Batch, now: number): State => {
  const { rules } = batch
  if (result !== undefined && !isBad(result, rules)) {
    const { epoch, openings, openMillis } = state
    const successes = state.successes + 1
    return successes >= rules.successThreshold
      ? closed(rules, now, nextEpoch(epoch, now), openings, openMillis)
      : { ...state, successes }
  }
  if (state.phase === "open" || round < state.first || round > state.round) return state
  const isBack = result === undefined && round === state.round
  const next: HalfOpen = result === undefined
    ? {
      ...state,
      trials: Math.max(0, state.trials - 1),
      permits: isBack ? Math.min(rules.halfOpenCalls, state.permits + 1) : state.permits
    }
    : { ...state, failures: state.failures + 1 }
  return fails(next, rules) ? opened(next, batch, now) : next
}

/** What the batch says about the epoch of the state. */
const told = (state: State, batch: Batch, now: number): State => {
  if (state.phase === "closed") return whileClosed(state, batch, now)
  let next: State = state
  for (const trial of batch.trials) if (next.phase !== "closed") next = whileTrying(next, trial, batch, now)
  return next
}

/** The longest round of half-open calls. */
const maxRound = ({ halfOpenDuration, maxOpenDuration }: Rules): number => Math.max(halfOpenDuration, maxOpenDuration)

/** A round of half-open calls, of which the first is granted. Each one that ends without a verdict makes the next twice as long. */
const newRound = (state: Open | HalfOpen, { rules }: Batch, now: number): HalfOpen => {
  const { epoch, openings, openMillis, successes } = state
  const round = state.round + 1
  const [first, trials, failures] = state.phase === "halfOpen"
    ? [state.first, state.trials, state.failures]
    : [round, 0, 0]
  const until = now + Math.min(maxRound(rules), rules.halfOpenDuration * 2 ** (round - first))
  const permits = rules.halfOpenCalls - 1
  return {
    phase: "halfOpen",
    epoch,
    openings,
    openMillis,
    until,
    round,
    successes,
    first,
    permits,
    trials: trials + 1,
    failures
  }
}

/** A clock that was set back, or that of another machine, makes no wait longer than the rules do. */
const bounded = (state: Open | HalfOpen, rules: Rules, now: number): Open | HalfOpen => {
  const until = now + (state.phase === "open" ? rules.maxOpenDuration : maxRound(rules))
  return state.until <= until ? state : { ...state, until }
}

/**
 * One step of a circuit: the state that follows, and what to answer. `now` is in milliseconds since the epoch of time, by the clock of the store.
 */
export const step = (state: State | undefined, batch: Batch, now: number): readonly [State, Reply] => {
  const { rules } = batch
  let next = state === undefined || batch.proposal !== undefined ? initial(state, batch, now) : state
  next = next.phase === "closed"
    ? { ...next, window: Window.advance(next.window, rules, now) }
    : bounded(next, rules, now)
  if (batch.epoch === next.epoch) next = told(next, batch, now)
  let granted = 0
  if (batch.ask && next.phase !== "closed") {
    if (now >= next.until) {
      next = newRound(next, batch, now)
      granted = next.round
    } else if (next.phase === "halfOpen" && next.permits > 0) {
      next = { ...next, permits: next.permits - 1, trials: next.trials + 1 }
      granted = next.round
    }
  }
  const { epoch, openings, openMillis, phase } = next
  const { room, slot } = next.phase === "closed" ? Window.current(next.window, now) : { slot: 0, room: 0 }
  return [next, {
    now,
    phase,
    epoch,
    waitMillis: next.phase === "closed" ? 0 : Math.max(0, next.until - now),
    openings,
    openMillis,
    permits: next.phase === "halfOpen" ? next.permits : 0,
    granted,
    slot,
    room,
    state: next
  }]
}

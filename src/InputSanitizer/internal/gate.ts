/** Finds where phrases occur: a machine that takes one step for each symbol, whatever the symbols are. */
import { symbolI, symbolL } from "./symbols.ts"

/**
 * Finds phrases in a sequence of symbols without repetitions, in which `i` and `l` are one symbol.
 *
 * - `next`: the state after a state and a symbol, at `state * 32 + symbol`.
 * - `firstFound`: states from here on end a phrase.
 * - `bits`: the anchors that a state ends.
 */
export interface Gate {
  readonly next: Uint16Array
  readonly firstFound: number
  readonly bits: Int32Array
}

/** How the gate reads a symbol. */
export const gateSymbol = (symbol: number): number => symbol === symbolL ? symbolI : symbol

/** The most symbols that are taken at a time. */
export const maxSymbols = 12_288

/** Fewer symbols are taken one after the other. */
const minLane = 64

const lanes = 4

const states = new Uint16Array(lanes)
const counts = new Uint16Array(lanes)
/** Where phrases end in each part, and the states that say which. */
const endsAt = new Uint16Array(maxSymbols)
const endStates = new Uint16Array(maxSymbols)

/**
 * Takes the four quarters of the first `4 * size` symbols side by side: each step waits for the one before it, so that four at a time take little longer
 * than one. The first quarter goes on from `states[0]`, the others begin anew.
 */
const takeQuarters = ({ firstFound, next }: Gate, symbols: Uint8Array, size: number): void => {
  let [a, b, c, d] = [states[0]!, 0, 0, 0] // the arrays have the sizes of what is asked of them
  let [endA, endB, endC, endD] = [0, size, 2 * size, 3 * size]
  for (let at = 0; at < size; at++) {
    a = next[(a << 5) | symbols[at]!]!
    b = next[(b << 5) | symbols[at + size]!]!
    c = next[(c << 5) | symbols[at + 2 * size]!]!
    d = next[(d << 5) | symbols[at + 3 * size]!]!
    if (a >= firstFound) {
      endsAt[endA] = at
      endStates[endA++] = a
    }
    if (b >= firstFound) {
      endsAt[endB] = at + size
      endStates[endB++] = b
    }
    if (c >= firstFound) {
      endsAt[endC] = at + 2 * size
      endStates[endC++] = c
    }
    if (d >= firstFound) {
      endsAt[endD] = at + 3 * size
      endStates[endD++] = d
    }
  }
  states.set([a, b, c, d])
  counts.set([endA, endB - size, endC - 2 * size, endD - 3 * size])
}

/** Takes symbols one after the other, and answers the state after them. */
const takeEach = (
  { bits, firstFound, next }: Gate,
  symbols: Uint8Array,
  from: number,
  to: number,
  first: number,
  found: (index: number, bits: number) => void
): number => {
  let state = first
  for (let at = from; at < to; at++) {
    state = next[(state << 5) | symbols[at]!]! // rows are complete
    if (state >= firstFound) found(at, bits[state]!)
  }
  return state
}

/**
 * Takes the first `count` symbols, at most `maxSymbols`, going on from a state, and answers the state after them. `found` is called in order, with the
 * index of the symbol that a phrase ends with and the anchors that end there.
 */
export const take = (
  gate: Gate,
  symbols: Uint8Array,
  count: number,
  first: number,
  found: (index: number, bits: number) => void
): number => {
  const { bits, firstFound, next } = gate
  const size = (count / lanes) | 0
  if (size < minLane) return takeEach(gate, symbols, 0, count, first, found)
  states[0] = first
  takeQuarters(gate, symbols, size)
  let before = first
  for (let lane = 0; lane < lanes; lane++) {
    // What began in the quarter before goes on until both read the same: at most as far as the longest phrase.
    let own = 0
    let at = lane * size
    for (; before !== own && at < (lane + 1) * size && lane > 0; at++) {
      before = next[(before << 5) | symbols[at]!]!
      own = next[(own << 5) | symbols[at]!]!
      if (before >= firstFound) found(at, bits[before]!)
    }
    const end = lane * size + counts[lane]!
    for (let index = lane * size; index < end; index++) {
      if (endsAt[index]! >= at) found(endsAt[index]!, bits[endStates[index]!]!)
    }
    before = states[lane]!
  }
  return takeEach(gate, symbols, lanes * size, count, before, found)
}

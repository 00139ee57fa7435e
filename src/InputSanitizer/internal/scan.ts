/**
 * One pass over a text: what stands in it that should not, and where it is worth reading. Each character costs one step whatever it is, so that no
 * text is slower than another by much.
 */
import {
  type CharacterKind,
  characterKinds,
  Characters,
  codeAt,
  isJudged,
  kindOf,
  replacement,
  staysWithPair,
  unitsOf
} from "./characters.ts"
import { alarms } from "./concepts.ts"
import { gateSymbol, maxSymbols, take } from "./gate.ts"
import { followsOpener, isMarker, isTagOnly, markerAt } from "./markers.ts"
import { machines } from "./phrases.ts"
import {
  astralSymbol,
  classes,
  control,
  invisible,
  mark,
  opener,
  skip,
  special,
  surrogate,
  wide,
  wideSymbol
} from "./symbols.ts"

/** The most units between the first and the last phrase of one instruction. */
export const maxSpan = 160

/** The most units between two anchors that call for reading together. */
const maxApart = 120

/** How much before and after an instruction is read with it. */
export const contextBefore = 120
export const contextAfter = 60

/** Where a place has this length, another one begins, so that some of them can be read where there is no time for all. */
const maxPlace = 4_096

/** A range of units of a text. */
export interface Range {
  readonly start: number
  readonly end: number
}

export interface CharacterRun extends Range {
  readonly kind: CharacterKind
}

/** A range that is worth reading, and the anchors that were found in it. */
export interface Place extends Range {
  readonly bits: number
}

/**
 * What a pass has seen.
 *
 * - `runs`: neighboring characters of one kind that should not be sent; the first `maxRuns` of them.
 * - `runCounts`: how many there are of each kind, in the order of `characterKinds`.
 * - `wrong`: by position, the number of the kind in `characterKinds`, from 1 on, of every unit that should not be sent; undefined where there is none.
 * - `places`: where the text is worth reading, in order; one may begin in the one before it.
 * - `markers`: markers of chat templates, the first `maxMarkers` of them.
 */
export interface Sight {
  readonly runs: ReadonlyArray<CharacterRun>
  readonly runCounts: ReadonlyArray<number>
  readonly wrong: Uint8Array | undefined
  readonly places: ReadonlyArray<Place>
  readonly markers: ReadonlyArray<Range>
}

const controlKind = 1 + characterKinds.indexOf("control")
const halfKind = 1 + characterKinds.indexOf("surrogate")
const bidirectionalKind = 1 + characterKinds.indexOf("bidirectional")
const invisibleKind = 1 + characterKinds.indexOf("invisible")

/** Whether a unit is a Latin letter or a space: none of them calls for an invisible character. */
const isPlain = (text: string, at: number, table: Uint8Array): boolean => {
  if (at < 0 || at >= text.length) return false
  const unit = text.charCodeAt(at)
  return unit === 0x20 || ((unit | 0x20) >= 0x61 && (unit | 0x20) <= 0x7a) ||
    (unit >= 0xc0 && unit < 0x250 && table[unit]! < special)
}

/** Whether a surrogate is no first half of a pair. Second halves of pairs are passed with the first ones. */
const isHalf = (text: string, at: number, unit: number): boolean =>
  unit >= 0xdc00 || at + 1 >= text.length || (text.charCodeAt(at + 1) & 0xfc00) !== 0xdc00

/** The index of two units in `followsOpener`. */
const pairOf = (first: number, second: number): number => ((first & 0x7f) << 7) | (second & 0x7f)

/** The most markers that are noted in a text: more than are removed one by one. */
const maxMarkers = 201

/** The most separate runs of characters that are noted one by one. */
export const maxRuns = 1_000

/** How many anchors there are. */
const anchorBits = 15

/** What the pass remembers. */
class Scanner {
  readonly runs: Array<CharacterRun> = []
  readonly runCounts = [0, 0, 0, 0]
  wrong: Uint8Array | undefined
  readonly places: Array<{ start: number; end: number; bits: number }> = []
  readonly markers: Array<Range> = []
  /** What the character that was judged last reads as. */
  symbol = skip
  /** Whether a tag has begun: it may end. */
  private hasTag = false
  private readonly text: string
  private readonly characters: Characters
  private readonly table = classes()
  /** Where each anchor was found last. */
  private readonly lastAt = new Float64Array(anchorBits).fill(-Infinity)
  /** The last stretch of characters that should not be sent. */
  private wrongStart = 0
  private wrongEnd = -1
  private runKind = 0
  private runStart = 0
  private runEnd = 0

  constructor(text: string) {
    this.text = text
    this.characters = new Characters(text)
  }

  /** A phrase with these anchors ends at a position. */
  found(at: number, bits: number): void {
    let recent = bits
    for (let bit = 0; bit < anchorBits; bit++) {
      if ((bits & (1 << bit)) !== 0) this.lastAt[bit] = at
      else if (this.lastAt[bit]! > at - maxApart) recent |= 1 << bit // it has an entry for each
    }
    for (const alarm of alarms) {
      if ((alarm & bits) !== 0 && (alarm & recent) === alarm) return this.place(at, recent)
    }
  }

  private place(at: number, bits: number): void {
    const start = Math.max(0, at - maxSpan - contextBefore)
    const end = at + maxSpan + contextAfter
    const last = this.places.at(-1)
    if (last === undefined || start > last.end || at - last.start > maxPlace) this.places.push({ start, end, bits })
    else {
      last.end = Math.max(last.end, end)
      last.bits |= bits
    }
  }

  /** The last code point before a position that is to be sent, -1 for none. */
  private lastKept(at: number): number {
    const end = this.wrongEnd === at ? this.wrongStart : at
    if (end === 0) return -1
    const unit = this.text.charCodeAt(end - 1)
    if ((unit & 0xf800) !== 0xd800) return unit
    const code = end > 1 ? codeAt(this.text, end - 2) : 0
    return code > 0xffff ? code : replacement
  }

  /** A marker of a chat template may begin here. */
  private marker(at: number): void {
    if (this.markers.length === maxMarkers) return
    const marker = markerAt(this.text, at, this.hasTag)
    if (marker?.isTag === false) this.markers.push({ start: at, end: marker.end })
    else if (marker !== undefined) this.hasTag = true
  }

  /** Notes a character that should not be sent. */
  private isWrong(kind: number, start: number, end: number): void {
    if (kind !== this.runKind || start !== this.runEnd) this.beginRun(kind, start)
    this.runEnd = end
    // Something will stand in the place of half of a pair.
    if (kind !== halfKind) {
      if (start !== this.wrongEnd) this.wrongStart = start
      this.wrongEnd = end
    }
    const wrong = this.wrong! // a run has begun
    wrong[start] = kind
    if (end > start + 1) wrong[start + 1] = kind
  }

  /** Takes characters that need a judgment from a position on, and answers where others go on. */
  private judged(from: number, first: number): number {
    this.symbol = skip
    let at = from
    let kept = this.lastKept(from)
    for (
      let kind = first;
      isJudged(kind);
      kind = at < this.text.length ? this.table[this.text.charCodeAt(at)]! : skip
    ) {
      const judgment = this.characters.judge(at, kind, kept)
      const end = at + unitsOf(judgment)
      const wrong = kindOf(judgment)
      if (wrong !== 0) {
        this.isWrong(wrong, at, end)
        if (wrong === halfKind) kept = replacement
        at = end
        continue
      }
      kept = codeAt(this.text, Math.max(at, end - 2))
      at = end
      if (kept > 0xffff) {
        this.symbol = astralSymbol(kept)
        break
      }
    }
    return at
  }

  /** Takes the control characters from a position on. */
  private controls(from: number): number {
    let at = from
    do this.isWrong(controlKind, at, ++at)
    while (at < this.text.length && this.table[this.text.charCodeAt(at)] === control)
    return at
  }

  /** Takes what is no symbol of its own, and answers where others go on. */
  special(at: number, unit: number, kind: number): number {
    const { table, text } = this
    this.symbol = skip
    switch (kind) {
      case opener: {
        const begun = followsOpener[pairOf(text.charCodeAt(at + 1), text.charCodeAt(at + 2))]! // it has an entry for every pair
        if (at + 2 < text.length && (begun === isMarker || (begun === isTagOnly && !this.hasTag))) this.marker(at)
        return at + 1
      }
      case control:
        return this.controls(at)
      case surrogate:
        if (isHalf(text, at, unit)) {
          this.isWrong(halfKind, at, at + 1)
          return at + 1
        }
        if (!staysWithPair(unit)) break
        this.symbol = astralSymbol(codeAt(text, at))
        return at + 2
      case invisible:
        if (!isPlain(text, at - 1, table) || !isPlain(text, at + 1, table)) break
        this.isWrong(invisibleKind, at, at + 1)
        return at + 1
      default:
        if (unit !== 0x202d && unit !== 0x202e) break
        this.isWrong(bidirectionalKind, at, at + 1)
        return at + 1
    }
    return this.judged(at, kind)
  }

  private beginRun(kind: number, at: number): void {
    this.endRun()
    this.wrong ??= new Uint8Array(this.text.length)
    this.runKind = kind
    this.runStart = at
  }

  /** Notes the run that is under way. */
  endRun(): void {
    if (this.runKind === 0) return
    const index = this.runKind - 1
    this.runCounts[index]!++ // it has an entry for each kind
    if (this.runs.length >= maxRuns) return
    this.runs.push({ kind: characterKinds[index]!, start: this.runStart, end: this.runEnd })
  }
}

/** The most units that are taken at a time: each reads as three symbols at most. */
const maxUnits = maxSymbols / 3

const units = new Uint16Array(maxUnits)
const bytes = new Uint8Array(maxUnits)
const encoder = new TextEncoder()

/** Copies units of a text into `units`, where they are read several times as quickly as in a string. */
const copyUnits = (text: string, start: number, size: number): void => {
  const { read, written } = encoder.encodeInto(text.slice(start, start + size), bytes)
  // In ASCII every unit is a byte, and bytes are copied at once.
  if (read === size && written === size) units.set(bytes)
  else for (let at = 0; at < size; at++) units[at] = text.charCodeAt(start + at)
}

/** What units read as, without repetitions, and where each symbol stands among the units. */
const symbols = new Uint8Array(maxSymbols)
const positions = new Uint16Array(maxSymbols)
const filled = { count: 0, last: skip }

let gateClasses: Uint8Array | undefined

/** The class of each unit as the gate reads it. */
const classesOfGate = (): Uint8Array => gateClasses ??= classes().map((kind) => kind === mark ? skip : gateSymbol(kind))

/** The loop that nearly every character passes: takes units from a position on, up to one that needs a closer look, and answers where that is. */
const fillPlain = (table: Uint8Array, from: number, size: number): number => {
  let { count, last } = filled
  let at = from
  for (; at < size; at++) {
    const symbol = table[units[at]!]! // it has an entry for every unit
    if (symbol >= special) {
      // Most brackets begin no marker.
      if (symbol !== opener || at + 2 >= size || followsOpener[pairOf(units[at + 1]!, units[at + 2]!)] !== 0) break
      continue
    }
    if (symbol === last || symbol === skip) continue
    positions[count] = at
    symbols[count++] = last = symbol
  }
  filled.count = count
  filled.last = last
  return at
}

const fill = (symbol: number, at: number): void => {
  const read = gateSymbol(symbol)
  if (read === filled.last || read === skip) return
  positions[filled.count] = at
  symbols[filled.count++] = filled.last = read
}

/** Fills `symbols` with what the next `size` units of a text read as, and answers where others go on. */
const fillFrom = (scanner: Scanner, table: Uint8Array, start: number, size: number): number => {
  filled.count = 0
  let at = fillPlain(table, 0, size)
  while (at < size) {
    const unit = units[at]! // it has so many
    const kind = table[unit]!
    if (kind === wide) {
      fill(wideSymbol(unit, 0), at)
      fill(wideSymbol(unit, 1), at)
      fill(wideSymbol(unit, 2), at)
      at++
    } else {
      at = scanner.special(start + at, unit, kind) - start
      fill(scanner.symbol, at - 1)
    }
    at = fillPlain(table, at, size)
  }
  return start + at
}

/** Reads a whole text once. */
export const scan = (text: string): Sight => {
  const scanner = new Scanner(text)
  const { gate } = machines()
  const table = classesOfGate()
  let state = 0
  filled.last = skip
  for (let from = 0; from < text.length;) {
    const start = from
    const size = Math.min(maxUnits, text.length - from)
    copyUnits(text, from, size)
    from = fillFrom(scanner, table, start, size)
    state = take(gate, symbols, filled.count, state, (index, bits) => scanner.found(start + positions[index]!, bits))
  }
  scanner.endRun()
  return scanner
}

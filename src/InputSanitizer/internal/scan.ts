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
import { followsOpener, isMarker, isTagOnly, markerAt } from "./markers.ts"
import { type Gate, machines } from "./phrases.ts"
import {
  astralSymbol,
  classes,
  control,
  invisible,
  opener,
  skip,
  special,
  surrogate,
  wide,
  wideSymbol
} from "./symbols.ts"

/** The most units between the first and the last phrase of one instruction. */
export const maxSpan = 160

/** How much before and after an instruction is read with it. */
export const contextBefore = 120
export const contextAfter = 60

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
 * - `places`: where the text is worth reading, in order and without overlap.
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

/** The most markers that are noted in a text: more than are removed one by one. */
const maxMarkers = 201

/** The most separate runs of characters that are noted one by one. */
export const maxRuns = 1_000

/** What the pass remembers: the anchors of this stretch of the text and of the one before. */
class Scanner {
  readonly runs: Array<CharacterRun> = []
  readonly runCounts = [0, 0, 0, 0]
  wrong: Uint8Array | undefined
  readonly places: Array<{ start: number; end: number; bits: number }> = []
  readonly markers: Array<Range> = []
  /** What the character that was judged last reads as. */
  symbol = skip
  /** Whether a tag has begun: it may end. */
  hasTag = false
  private readonly text: string
  private readonly characters: Characters
  private readonly table = classes()
  private stretchEnd = 0
  private before = 0
  private current = 0
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
    if (at >= this.stretchEnd) {
      this.before = at < this.stretchEnd + maxSpan ? this.current : 0
      this.current = 0
      this.stretchEnd = at - at % maxSpan + maxSpan
    }
    if ((bits & ~this.current) === 0) return
    this.current |= bits
    const recent = this.before | this.current
    for (const alarm of alarms) {
      if ((alarm & bits) !== 0 && (alarm & recent) === alarm) return this.place(at, recent)
    }
  }

  private place(at: number, bits: number): void {
    const start = Math.max(0, at - maxSpan - contextBefore)
    const end = at + maxSpan + contextAfter
    const last = this.places.at(-1)
    if (last === undefined || start > last.end) this.places.push({ start, end, bits })
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
  marker(at: number): void {
    if (this.markers.length === maxMarkers) return
    const marker = markerAt(this.text, at, this.hasTag)
    if (marker?.isTag === false) this.markers.push({ start: at, end: marker.end })
    else if (marker !== undefined) this.hasTag = true
  }

  /** Notes a character that should not be sent. */
  isWrong(kind: number, start: number, end: number): void {
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
  judged(from: number, first: number): number {
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

/** Reads a whole text once. */
export const scan = (text: string): Sight => {
  const scanner = new Scanner(text)
  walk(text, scanner, machines().gate, classes())
  scanner.endRun()
  return scanner
}

/** The loop that every character passes. */
const walk = (text: string, scanner: Scanner, { bits, firstFound, next }: Gate, table: Uint8Array): void => {
  let state = 0
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at)
    let symbol = table[unit]! // it has an entry for every unit
    if (symbol >= special) {
      if (symbol === opener) {
        if (at + 2 >= text.length) continue
        const following = ((text.charCodeAt(at + 1) & 0x7f) << 7) | (text.charCodeAt(at + 2) & 0x7f)
        const begun = followsOpener[following]! // it has an entry for every pair
        if (begun === isMarker || (begun === isTagOnly && !scanner.hasTag)) scanner.marker(at)
        continue
      } else if (symbol === control) {
        scanner.isWrong(controlKind, at, at + 1)
        continue
      } else if (symbol === invisible && isPlain(text, at - 1, table) && isPlain(text, at + 1, table)) {
        scanner.isWrong(invisibleKind, at, at + 1)
        continue
      } else if (symbol === surrogate && isHalf(text, at, unit)) {
        scanner.isWrong(halfKind, at, at + 1)
        continue
      } else if (symbol === surrogate && staysWithPair(unit)) {
        symbol = astralSymbol(codeAt(text, at++))
      } else if (unit === 0x202d || unit === 0x202e) {
        scanner.isWrong(bidirectionalKind, at, at + 1)
        continue
      } else if (symbol === wide) {
        state = next[(state << 5) | wideSymbol(unit, 0)]!
        if (state >= firstFound) scanner.found(at, bits[state]!)
        state = next[(state << 5) | wideSymbol(unit, 1)]!
        if (state >= firstFound) scanner.found(at, bits[state]!)
        symbol = wideSymbol(unit, 2)
      } else {
        at = scanner.judged(at, symbol) - 1
        symbol = scanner.symbol
      }
    }
    state = next[(state << 5) | symbol]! // rows are complete
    if (state >= firstFound) scanner.found(at, bits[state]!)
  }
}

/** Reads a stretch of a text as concepts: one character for each phrase, word and mark of punctuation. */
import { codeAt, isJudged } from "./characters.ts"
import { childOf, machines } from "./phrases.ts"
import { placeholder } from "./placeholder.ts"
import { astralSymbol, classes, mark, opener, skip, surrogate, symbolI, symbolL, wide, wideSymbol } from "./symbols.ts"

/** What was read: the concepts, and where each begins and ends in the text. */
export interface Reading {
  readonly concepts: string
  readonly starts: ReadonlyArray<number>
  readonly ends: ReadonlyArray<number>
}

const code = (char: string): number => char.charCodeAt(0)

const filler = code("_")
const unknown = code(".")
const sentenceEnd = code(";")
const comma = code(",")
const colon = code(":")
const bracket = code("/")
const quote = code("\"")
const barrier = code("#")
const address = code("l")

/** What separates the parts of a word that was split; a longer gap ends it. */
const maxGap = 4

const listed: ReadonlyArray<readonly [chars: string, concept: number]> = [
  [".?!…", sentenceEnd],
  [",;、，؛،—–；·", comma],
  ["()[]{}<>|/（）【】", bracket],
  [":：", colon],
  ["\"'`´‘’“”„«»‹›「」『』〈〉《》", quote]
]

/** The concept of each unit that is punctuation, else 0. */
const punctuation = new Uint8Array(0x10000)
for (const [chars, concept] of listed) for (const char of chars) punctuation[code(char)] = concept

/** These end a sentence whatever follows. */
const fullStop = 1
for (const char of "。！？।؟") punctuation[code(char)] = fullStop

const isSpace = (unit: number): boolean =>
  unit === 0x20 || (unit >= 0x9 && unit <= 0xd) || unit === 0xa0 || unit === 0x3000

/** What a unit is, as bits. */
const letter = 1
const unspaced = 2
const capital = 4

const isKanaOrIdeograph = (unit: number): boolean =>
  (unit >= 0x3041 && unit <= 0x9fff) || (unit >= 0xf900 && unit <= 0xfaff) || (unit >= 0xff66 && unit <= 0xff9d)

/** Scripts in which words follow each other without spaces. */
const isUnspaced = (unit: number): boolean => isKanaOrIdeograph(unit) || (unit >= 0xe00 && unit <= 0xeff)

const isStroke = (symbol: number): boolean => symbol === symbolI || symbol === symbolL

/** How often a letter may be repeated, so that a text of one letter is not read again from each of its words. */
const maxRepeated = 6

/** A word of this length may be several without spaces between them. */
const longWord = 14

/** Reads a stretch of one text, which ends at `limit`. */
class Reader {
  readonly starts: Array<number> = []
  readonly ends: Array<number> = []
  private readonly concepts: Array<number> = []
  private readonly text: string
  /** The position before the stretch. */
  private readonly base: number
  private readonly limit: number
  private readonly shapes: Uint8Array
  private readonly table = classes()
  private readonly trie = machines().trie
  private node = 0
  private lastSymbol = 0
  private repeated = 0
  private matchEnd = 0
  private passed = 0
  /** Whether phrases may begin and end within a word. */
  private isLoose = false

  constructor(text: string, start: number, limit: number) {
    this.text = text
    this.base = start - 1
    this.limit = limit
    this.shapes = this.shapesOf()
  }

  /** What the units of the stretch are, and one on either side. */
  private shapesOf(): Uint8Array {
    const { base, limit, table, text } = this
    const shapes = new Uint8Array(limit - base + 1)
    for (let at = Math.max(0, base); at < limit; at++) {
      const unit = text.charCodeAt(at)
      const kind = table[unit]! // it has an entry for every unit
      if (kind === skip || (kind >= mark && kind !== wide && kind !== surrogate)) continue
      if (kind === surrogate) {
        const code = codeAt(text, at)
        if (code <= 0xffff || astralSymbol(code) === skip) continue
        shapes[at - base] = letter
        if (at + 1 < limit) shapes[at + 1 - base] = letter
        at++
      } else if (unit < 0x80) {
        if ((unit | 0x20) >= 0x61 && (unit | 0x20) <= 0x7a) shapes[at - base] = unit < 0x61 ? letter | capital : letter
      } else if (unit >= 0xc0) shapes[at - base] = isUnspaced(unit) ? letter | unspaced : letter
    }
    return shapes
  }

  private kindAt(at: number): number {
    return at < this.limit ? this.table[this.text.charCodeAt(at)]! : skip // it has an entry for every unit
  }

  private shapeAt(at: number): number {
    return at >= this.base ? this.shapes[at - this.base]! : 0 // it has an entry for every unit up to the limit
  }

  /** Whether the unit at a position is a letter, not only a digit or sign that stands for one. */
  private isLetter(at: number): boolean {
    return at <= this.limit && (this.shapeAt(at) & letter) !== 0
  }

  /** Whether a word may end before this position or begin at it: also within `camelCase`. */
  private isBoundary(at: number): boolean {
    const after = this.shapeAt(at)
    const before = this.shapeAt(at - 1)
    if ((before & after & letter) === 0 || this.isLoose) return true
    return ((before | after) & unspaced) !== 0 || ((after & capital) !== 0 && (before & capital) === 0)
  }

  private wordEnd(from: number): number {
    let at = from
    while (at < this.limit && (this.kindAt(at) === mark || !this.isBoundary(at))) at++
    return at
  }

  private step(symbol: number, other: number): boolean {
    if (symbol === this.lastSymbol) return ++this.repeated <= maxRepeated
    return this.follow(symbol) ||
      (other !== skip && (this.follow(other) || isStroke(this.lastSymbol)))
  }

  private follow(symbol: number): boolean {
    const next = childOf(this.trie, this.node, symbol)
    if (next === 0) return false
    this.node = next
    this.lastSymbol = symbol
    this.repeated = 0
    return true
  }

  /** The other letter that a unit may stand for: a stroke is `i` or `l`, and so are a capital `I` and an `l` that begins a word. */
  private otherSymbol(at: number, unit: number): number {
    if (unit === 0x31 || unit === 0x21 || unit === 0x7c || unit === 0x49) return symbolL
    return unit === 0x6c && !this.isLetter(at - 1) ? symbolI : skip
  }

  /** Steps through the letter at a position; the units that it has, 0 where no phrase goes on with it. */
  private letter(at: number, kind: number): number {
    const unit = this.text.charCodeAt(at)
    if (kind < mark) return this.step(kind, this.otherSymbol(at, unit)) ? 1 : 0
    if (kind === surrogate) {
      const symbol = astralSymbol(codeAt(this.text, at))
      return symbol !== skip && this.step(symbol, skip) ? 2 : 0
    }
    if (kind !== wide) return 0
    const isRead = this.step(wideSymbol(unit, 0), skip) && this.step(wideSymbol(unit, 1), skip) &&
      this.step(wideSymbol(unit, 2), skip)
    return isRead ? 1 : 0
  }

  private endsSentence(at: number): boolean {
    const unit = this.text.charCodeAt(at)
    if (punctuation[unit] === fullStop) return true
    const next = at + 1 < this.limit ? this.text.charCodeAt(at + 1) : 0x20
    if (unit === 0xa) return next === 0xa || (next === 0xd && this.text.charCodeAt(at + 2) === 0xa)
    return punctuation[unit] === sentenceEnd && (isSpace(next) || punctuation[next] === quote)
  }

  /** The concept of the longest phrase at a position, 0 for none. Sets `matchEnd`. */
  private match(from: number): number {
    this.node = 0
    this.lastSymbol = 0
    this.repeated = 0
    let found = 0
    let stem = 0
    let stemEnd = 0
    let gap = 0
    let letters = 0
    let signs = 0
    for (let at = from; at < this.limit;) {
      const kind = this.kindAt(at)
      if (kind === skip || kind === opener) {
        if (++gap > maxGap || this.endsSentence(at)) break
        at++
        continue
      }
      if (kind === mark || (isJudged(kind) && kind !== surrogate)) {
        at++
        continue
      }
      const units = this.letter(at, kind)
      if (units === 0) break
      gap = 0
      if (this.isLetter(at)) letters++
      else signs++
      at += units
      if (signs > 2 * letters) continue
      const concepts = this.trie.concepts[this.node]! // the trie has an entry for every node
      if (concepts === 0) continue
      if ((concepts & 0xff) !== 0 && this.isBoundary(at)) {
        found = concepts & 0xff
        this.matchEnd = at
      }
      if (concepts > 0xff) {
        stem = concepts >> 8
        stemEnd = at
      }
    }
    if (stem === 0) return found
    const end = this.wordEnd(stemEnd)
    if (found !== 0 && this.matchEnd >= end) return found
    this.matchEnd = end
    return stem
  }

  private push(concept: number, start: number, end: number): void {
    if (concept === filler) return
    this.concepts.push(concept)
    this.starts.push(start)
    this.ends.push(end)
  }

  /** Reads punctuation, and answers where to go on. */
  private punctuate(at: number): number {
    const unit = this.text.charCodeAt(at)
    if (unit === 0x20) return at + 1
    if (unit === placeholder.charCodeAt(0) && this.text.startsWith(placeholder, at)) {
      this.push(barrier, at, at + placeholder.length)
      return at + placeholder.length
    }
    if (unit === 0x3a && this.text.startsWith("://", at)) {
      this.push(address, at, at + 3)
      return at + 3
    }
    if (unit === 0x40 && this.isLetter(at - 1) && this.isLetter(at + 1)) this.push(address, at, at + 1)
    const isApostrophe = (unit === 0x27 || unit === 0x2019) && this.isLetter(at - 1) && this.isLetter(at + 1)
    const concept = this.endsSentence(at) ? sentenceEnd : isApostrophe ? 0 : punctuation[unit]!
    if (concept === 0 || (concept === sentenceEnd && !this.endsSentence(at))) return at + 1
    if (concept === quote || this.concepts.at(-1) !== concept) this.push(concept, at, at + 1)
    return at + 1
  }

  /** Reads a word that begins no phrase, and answers where to go on. */
  private pass(at: number): number {
    const unit = this.text.charCodeAt(at)
    if (isUnspaced(unit)) {
      if (++this.passed % 2 === 0) this.push(unknown, at, at + 1)
      return at + 1
    }
    const end = Math.max(at + 1, this.wordEnd(at + 1))
    if (end - at >= longWord) this.split(at, end)
    else if (end - at > 1) this.push(unknown, at, end)
    return end
  }

  /** Reads the phrases within a word. */
  private split(start: number, end: number): void {
    this.isLoose = true
    for (let at = start; at < end;) {
      const concept = this.match(at)
      const isShort = this.matchEnd - at < 3 && concept !== 0
      if (concept === 0 || isShort || this.matchEnd > end) at++
      else {
        this.push(concept, at, this.matchEnd)
        at = this.matchEnd
      }
    }
    this.isLoose = false
  }

  private next(at: number): number {
    const kind = this.kindAt(at)
    if (kind === skip || kind === opener) return this.punctuate(at)
    if (kind === mark || (isJudged(kind) && kind !== surrogate)) return at + 1
    if (kind === surrogate && !this.isLetter(at)) return at + (codeAt(this.text, at) > 0xffff ? 2 : 1)
    const isSign = !this.isLetter(at)
    if (isSign && (!this.isLetter(at + 1) || this.isLetter(at - 1))) return this.punctuate(at)
    const concept = this.match(at)
    if (concept !== 0) {
      this.push(concept, at, this.matchEnd)
      return this.matchEnd
    }
    return isSign ? this.punctuate(at) : this.pass(at)
  }

  read(start: number): Reading {
    let at = start
    // A word that began before the stretch is left out.
    while (at < this.limit && !this.isBoundary(at)) at++
    while (at < this.limit) at = this.next(at)
    return { concepts: String.fromCharCode(...this.concepts), starts: this.starts, ends: this.ends }
  }
}

/** Reads the units from `start` to before `end`. */
export const read = (text: string, start: number, end: number): Reading =>
  new Reader(text, start, Math.min(end, text.length)).read(start)

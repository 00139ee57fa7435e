/** Examines the texts of one request. */
import { type CharacterKind, characterKinds } from "./characters.ts"
import {
  type Bare,
  cut,
  orPlaceholder,
  replaced,
  without,
  withoutAllMarked,
  withoutCharacters,
  withoutMarked
} from "./clean.ts"
import { reversedBit, rotatedBit } from "./concepts.ts"
import { readDense, readNumbers } from "./dense.ts"
import { reversed, rot13 } from "./encodings.ts"
import { injectionsIn } from "./injections.ts"
import { lookalikesIn } from "./lookalikes.ts"
import type { Matcher } from "./ownPatterns.ts"
import type { Severity } from "./rules.ts"
import { type Place, type Range, scan, type Sight } from "./scan.ts"
import type { Secret } from "./secrets.ts"
import { settled } from "./settle.ts"

export type Kind = "tooLong" | CharacterKind | "lookalike" | "injection" | "secret" | "personal"

export type Action = "off" | "observe" | "clean" | "reject"

/** A finding before it is told: where it stands, and the text it stands in. */
export interface Found extends Range {
  readonly kind: Kind
  readonly rule: string
  readonly severity: Severity
  readonly action: Exclude<Action, "off">
  readonly path: string
  readonly text: string
}

/** Something personal in a text, in UTF-16 units. */
export interface PersonalData {
  readonly offset: number
  readonly length: number
  /** What it is, such as `"email"`. Default `"personal"`. */
  readonly rule?: string | undefined
  readonly severity?: Severity | undefined
}

export interface Settings {
  readonly actions: Readonly<Record<Kind, Action>>
  readonly maxTextLength: number
  readonly maxLength: number
  readonly maxFindings: number
  readonly disabledRules: ReadonlySet<string>
  readonly matcher: Matcher | undefined
}

/** How much of the texts of a request may be read closely, in units: some in any case, and a share of what there is. */
const freeReading = 65_536
const readingShare = 1 / 32

/** A text of at most so many units is read closely as a whole. */
const shortText = 2_048

/** The places of a text that are read closely. */
const placesOf = (text: string, places: ReadonlyArray<Place>): ReadonlyArray<Place> =>
  text.length > shortText
    ? places
    : [{ start: 0, end: text.length, bits: places.reduce((bits, place) => bits | place.bits, 0) }]

/** How much encoded text is decoded. */
const freeDecoding = 24_576
const decodingShare = 1 / 64

/** How much is looked through for the places of the user's patterns. */
const freeMatching = 32_768

/** The most instructions, credentials and personal data that are looked for in one text. Where there are more, cleaning removes the whole text. */
const maxReplaced = 200

/** How often a text is examined again after something in it was replaced; one that still changes then is replaced as a whole. */
const maxRounds = 8

/** Findings that concern what was too much to be examined. */
const unexamined = "unexamined"

/** An invisible stretch of this length hides something. */
const longRun = 8

const severityOf = (kind: CharacterKind, length: number): Severity =>
  kind === "invisible" || kind === "bidirectional" ? length >= longRun ? "high" : "medium" : "low"

/** One examination. `found` are the first findings, `total` how many there are. */
export class Examination {
  readonly found: Array<Found> = []
  total = 0
  isRejected = false
  private readonly settings: Settings
  private reading: number
  private decoding: number
  private matching: number
  private text = ""
  private path = ""
  private ranges: Array<Range> = []
  private rangeCount = 0
  /** The text that is examined as if every kind of character were cleaned, where that was made. */
  private bareText: string | undefined
  /** Whether what is read was decoded: what is encoded twice is not decoded again. */
  private isNested = false
  private readonly cleaned: ReadonlySet<CharacterKind>

  constructor(settings: Settings, length: number) {
    this.settings = settings
    this.reading = freeReading + length * readingShare
    this.decoding = Math.floor(freeDecoding + length * decodingShare)
    this.matching = freeMatching + length * readingShare
    this.cleaned = new Set(characterKinds.filter((kind) => settings.actions[kind] === "clean"))
  }

  /** Notes a finding; answers whether it is to be cleaned. */
  note(kind: Kind, rule: string, severity: Severity, start: number, end: number): boolean {
    const action = this.settings.actions[kind]
    if (action === "off" || this.settings.disabledRules.has(rule)) return false
    this.total++
    if (action === "reject") this.isRejected = true
    if (this.found.length < this.settings.maxFindings || (action === "reject" && this.hasNoReason())) {
      if (this.found.length >= this.settings.maxFindings) this.found.pop()
      this.found.push({ kind, rule, severity, action, path: this.path, start, end, text: this.text })
    }
    return action === "clean"
  }

  /** Counts findings that are not kept. */
  private count(kind: Kind, more: number): void {
    if (more === 0) return
    this.total += more
    if (this.settings.actions[kind] === "reject") this.isRejected = true
  }

  private hasNoReason(): boolean {
    return this.found.every(({ action }) => action !== "reject")
  }

  private noteRange(kind: "injection" | "secret" | "personal", rule: string, severity: Severity, range: Range): void {
    if (this.rangeCount > maxReplaced) return
    this.rangeCount++
    if (this.note(kind, rule, severity, range.start, range.end)) this.ranges.push(range)
  }

  private isOn(kind: Kind): boolean {
    return this.settings.actions[kind] !== "off"
  }

  private characters({ runCounts, runs }: Sight): boolean {
    let changes = false
    for (const { end, kind, start } of runs) {
      if (this.note(kind, kind, severityOf(kind, end - start), start, end)) changes = true
    }
    characterKinds.forEach((kind, index) => {
      const count = runCounts[index]! // it has an entry for each kind
      const noted = runs.filter((run) => run.kind === kind).length
      if (!this.isOn(kind) || count === noted) return
      this.count(kind, count - noted)
      if (this.settings.actions[kind] === "clean") changes = true
    })
    return changes
  }

  private injections(
    text: string,
    places: ReadonlyArray<Place>,
    found: (rule: string, severity: Severity, range: Range) => void
  ): void {
    let read = 0
    let left: Range | undefined
    for (const { bits, start, ...place } of places) {
      const end = Math.min(place.end, text.length)
      if (text.length > shortText || this.isNested) {
        this.reading -= end - start
        if (this.reading < 0) {
          if (left !== undefined && start > left.end) found(unexamined, "medium", left)
          left = { start: left !== undefined && start <= left.end ? left.start : start, end }
          continue
        }
      }
      for (const { rule, severity, ...range } of injectionsIn(text, { start, end })) {
        // What also stands in the place before was found there.
        if (range.end > read) found(rule, severity, range)
      }
      read = end
      if (this.isNested) continue
      if ((bits & rotatedBit) !== 0) this.decoded(rot13(text.slice(start, end)), { start, end }, "rot13")
      if ((bits & reversedBit) !== 0) this.decoded(reversed(text.slice(start, end)), { start, end }, "reversed")
    }
    if (left !== undefined) found(unexamined, "medium", left)
  }

  private decoded(text: string, range: Range, encoding: string): void {
    let first: readonly [string, Severity] | undefined
    this.isNested = true
    const { places } = scan(text)
    this.injections(text, this.reading >= text.length ? placesOf(text, places) : places, (rule, severity) => {
      first ??= [rule, severity]
    })
    this.isNested = false
    if (first !== undefined) this.noteRange("injection", `${first[0]} (${encoding})`, first[1], range)
  }

  private dense({ offset, text }: Bare): void {
    const original = (start: number, end: number): Range => ({ start: offset(start), end: offset(end - 1) + 1 })
    const handler = {
      isFull: () => this.rangeCount > maxReplaced,
      allowance: (length: number) => {
        const allowed = this.isOn("injection") ? Math.min(length, this.decoding) : 0
        this.decoding -= allowed
        return allowed
      },
      secret: ({ end, rule, severity, start }: Secret) =>
        this.noteRange("secret", rule, severity, original(start, end)),
      decoded: (decoded: string, start: number, end: number, encoding: string) =>
        this.decoded(decoded, original(start, end), encoding)
    }
    readDense(text, handler)
    if (this.isOn("injection")) readNumbers(text, handler)
    const matches = this.settings.matcher?.(text, maxReplaced, (units) => {
      this.matching -= units
      return this.matching >= 0
    })
    for (const { end, pattern, start } of matches ?? []) {
      this.noteRange(pattern.kind ?? "injection", pattern.name, pattern.severity ?? "high", original(start, end))
    }
  }

  /** Notes words of mixed scripts; the text with them in Latin letters, where they are to be cleaned. */
  private lookalikes(text: string): string {
    if (!this.isOn("lookalike")) return text
    const found = lookalikesIn(text, this.settings.maxFindings)
    if (found === undefined) return text
    for (const { end, start } of found.words) this.note("lookalike", "mixedScripts", "medium", start, end)
    this.count("lookalike", found.count - found.words.length)
    return this.settings.actions.lookalike === "clean" ? found.latin : text
  }

  /** A text without the characters that should not be in it, in which words are whole. */
  private bare(text: string, { runCounts, runs, wrong }: Sight): Bare {
    const isComplete = runCounts.reduce((sum, count) => sum + count, 0) === runs.length
    if (isComplete || wrong === undefined) return without(text, runs)
    const bare = withoutAllMarked(text, wrong)
    this.bareText = bare.text
    return bare
  }

  private withoutCharacters(text: string, wrong: Uint8Array): string {
    const isBare = this.bareText !== undefined && this.cleaned.size === characterKinds.length
    return isBare && this.bareText !== undefined ? this.bareText : withoutMarked(text, wrong, this.cleaned)
  }

  private personalData(found: ReadonlyArray<PersonalData>, max: number): void {
    for (const { length, offset, rule = "personal", severity = "medium" } of found) {
      const start = Math.max(0, offset)
      const end = Math.min(max, offset + length)
      if (start < end) this.noteRange("personal", rule, severity, { start, end })
    }
  }

  /** Looks for injections, credentials and patterns of the user. */
  private look(text: string, sight: Sight): void {
    if (this.isOn("injection")) {
      const take = (rule: string, severity: Severity, range: Range) =>
        this.noteRange("injection", rule, severity, range)
      this.injections(text, placesOf(text, sight.places), take)
      for (const marker of sight.markers) take("templateMarker", "high", marker)
    }
    if (this.isOn("injection") || this.isOn("secret") || this.settings.matcher !== undefined) {
      this.dense(this.bare(text, sight))
    }
  }

  /** A stretch of a cleaned text, cleaned of what reads otherwise than before. */
  private again(stretch: string): string {
    const other = new Examination(this.settings, stretch.length)
    const text = other.lookalikes(stretch)
    other.look(text, scan(text))
    return replaced(text, other.ranges)
  }

  private settled(text: string): string {
    let current = withoutCharacters(text, this.cleaned)
    for (let round = 0; round < maxRounds; round++) {
      const next = current.length <= shortText
        ? this.again(current)
        : settled(current, (stretch) => this.again(stretch))
      if (next === current) return current
      current = withoutCharacters(next, this.cleaned)
    }
    return ""
  }

  /**
   * Examines a text, of which at most `max` units are to be sent, and answers what is to be sent in its place. A part that is cut off, or for which the
   * call is refused, is not examined.
   */
  examine(given: string, path: string, max: number, personal: ReadonlyArray<PersonalData>): string {
    this.text = given
    this.path = path
    this.ranges = []
    this.rangeCount = 0
    this.bareText = undefined
    const first = this.found.length
    const result = this.examined(given, max, personal)
    this.found.push(...this.found.splice(first).sort((a, b) => a.start - b.start || b.end - a.end))
    return result
  }

  private examined(given: string, max: number, personal: ReadonlyArray<PersonalData>): string {
    const { actions, maxTextLength } = this.settings
    const isTooLong = given.length > maxTextLength && this.isOn("tooLong")
    if (isTooLong) this.note("tooLong", "text", "low", maxTextLength, given.length)
    const isCut = actions.tooLong === "clean" && given.length > Math.min(max, maxTextLength)
    const isPartial = isCut || (isTooLong && actions.tooLong === "reject")
    const part = isPartial ? cut(given, Math.min(max, maxTextLength)) : given
    const text = this.lookalikes(part)
    const sight = scan(text)
    const changesCharacters = this.characters(sight)
    this.look(text, sight)
    this.personalData(personal, text.length)
    if (this.ranges.length > maxReplaced) return orPlaceholder("")
    const left = replaced(text, this.ranges)
    const sent = left !== text
      ? this.settled(left)
      : changesCharacters && sight.wrong !== undefined
      ? this.withoutCharacters(text, sight.wrong)
      : text
    if (sent === part && !isCut) return given
    // What has become short is read as a whole when it is examined again.
    const isShortened = part.length > shortText && sent.length <= shortText
    return orPlaceholder(isShortened ? this.settled(sent) : sent)
  }
}

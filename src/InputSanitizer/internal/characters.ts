/** Characters that should not be sent: controls, halves of surrogate pairs, and what is invisible or reorders text without need. */
import { bidirectional, classes, control, invisible, mark, surrogate } from "./symbols.ts"

export const characterKinds = ["control", "surrogate", "invisible", "bidirectional"] as const

export type CharacterKind = typeof characterKinds[number]

/** What cleaning puts in the place of half of a surrogate pair. */
export const replacement = 0xfffd

const zeroWidthSpace = 0x200b
const zeroWidthNonJoiner = 0x200c
const zeroWidthJoiner = 0x200d
const byteOrderMark = 0xfeff
const blackFlag = 0x1f3f4
const cancelTag = 0xe007f

const rightToLeft = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u

const within = (code: number, first: number, last: number): boolean => code >= first && code <= last

const lastSymbol = 0x3299

let emojis: Uint8Array | undefined

/** 2 for pictures, 1 for other emoji such as digits, by code up to `lastSymbol`. */
const emojiTable = (): Uint8Array =>
  emojis ??= Uint8Array.from({ length: lastSymbol + 1 }, (_, code) => {
    const char = String.fromCharCode(code)
    return /\p{Extended_Pictographic}/u.test(char) ? 2 : /\p{Emoji}/u.test(char) ? 1 : 0
  })

const isPictographic = (code: number): boolean =>
  code <= lastSymbol ? emojiTable()[code] === 2 : within(code, 0x1f000, 0x1faff)

const isEmoji = (code: number): boolean =>
  code <= lastSymbol ? code >= 0 && emojiTable()[code] !== 0 : within(code, 0x1f000, 0x1faff)

const isVariationSelector = (code: number): boolean => within(code, 0xfe00, 0xfe0f) || within(code, 0xe0100, 0xe01ef)

const isIdeograph = (code: number): boolean =>
  within(code, 0x3400, 0x4dbf) || within(code, 0x4e00, 0x9fff) || within(code, 0xf900, 0xfaff) ||
  within(code, 0x20000, 0x3ffff)

/** Arabic and its relatives, the scripts of India and of Southeast Asia, Mongolian: joiners and non-joiners shape their words. */
const joins = (code: number): boolean =>
  within(code, 0x600, 0x109f) || within(code, 0x1780, 0x18af) || within(code, 0x1900, 0x1cff) ||
  within(code, 0xa800, 0xabff) || within(code, 0xfb50, 0xfefc) || within(code, 0x10d00, 0x1193f)

/** Scripts without spaces between words, in which a zero-width space says where a line may break. */
const isUnspaced = (code: number): boolean =>
  within(code, 0xe00, 0xeff) || within(code, 0x1000, 0x109f) || within(code, 0x1780, 0x17ff) ||
  within(code, 0x1950, 0x19ff) || within(code, 0x1a20, 0x1aaf) || within(code, 0x1b00, 0x1bbf) ||
  within(code, 0xa980, 0xa9ff)

const takesVariation = (base: number, selector: number): boolean => {
  if (selector >= 0xe0100) return isIdeograph(base)
  if (selector >= 0xfe0e) return isEmoji(base)
  return isIdeograph(base) || within(base, 0x2200, 0x22ff) || within(base, 0x2a00, 0x2aff) ||
    within(base, 0x1000, 0x109f) || within(base, 0xa840, 0xa87f) || within(base, 0x3000, 0x303f) || base === 0x30
}

/** The code point at a position, -1 beyond the end: `codePointAt` takes several times as long. */
export const codeAt = (text: string, at: number): number => {
  if (at >= text.length) return -1
  const unit = text.charCodeAt(at)
  if ((unit & 0xfc00) !== 0xd800 || at + 1 === text.length) return unit
  const low = text.charCodeAt(at + 1)
  return (low & 0xfc00) === 0xdc00 ? ((unit - 0xd800) << 10) + (low - 0xdc00) + 0x10000 : unit
}

/** How many units the tags of a flag such as that of Scotland have, which begin at `start`; 0 where they are none. */
const flagTags = (text: string, start: number): number => {
  for (let at = start; at <= start + 12; at += 2) {
    const code = codeAt(text, at)
    if (code === cancelTag) return at >= start + 4 ? at + 2 - start : 0
    if (!within(code, 0xe0030, 0xe0039) && !within(code, 0xe0061, 0xe007a)) return 0
  }
  return 0
}

/** Whether a class calls for the judgment of `Characters`. */
export const isJudged = (kind: number): boolean => kind >= surrogate && kind <= bidirectional

/** A judgment: 16 times the number of its kind, from 1 on, or 0 where the character stays; plus how many units it has. */
type Judgment = number

const isControl = 16 * 1 + 1
const isHalf = 16 * 2 + 1
const isInvisible = 16 * 3
const isBidirectional = 16 * 4 + 1

export const unitsOf = (judgment: Judgment): number => judgment & 15

/** The number of the kind in `characterKinds`, from 1 on; 0 where the character stays. */
export const kindOf = (judgment: Judgment): number => judgment >> 4

/** Whether every pair with this first half stays, whatever stands around it. */
export const staysWithPair = (first: number): boolean =>
  first < 0xdc00 && first !== 0xd834 && first !== 0xd82f && (first < 0xdb40 || first > 0xdb43)

/**
 * Judges the characters of one text from left to right. Every judgment depends on the last character that stays and on the next one, so that
 * what is left when the others are removed is judged the same.
 */
export class Characters {
  private readonly text: string
  private readonly table = classes()
  private hasRightToLeft: boolean | undefined

  constructor(text: string) {
    this.text = text
  }

  private isReordered(): boolean {
    return this.hasRightToLeft ??= rightToLeft.test(this.text)
  }

  /** The code point at a position, -1 for one that may be removed itself. */
  private next(at: number): number {
    const code = codeAt(this.text, at)
    return code >= 0 && code <= 0xffff && isJudged(this.table[code]!) ? -1 : code // the table has an entry for every unit
  }

  private staysInvisible(code: number, previous: number, at: number): boolean {
    if (code >= 0xfe00 && code <= 0xfe0f) return takesVariation(previous, code)
    const next = this.next(at + 1)
    switch (code) {
      case zeroWidthSpace:
        return isUnspaced(previous) || isUnspaced(next)
      case zeroWidthJoiner:
        if ((isPictographic(previous) || previous === 0xfe0f) && isPictographic(next)) return true
        return (joins(previous) || joins(next)) && previous !== zeroWidthNonJoiner
      case zeroWidthNonJoiner:
        return (joins(previous) || joins(next)) && previous !== zeroWidthJoiner && previous !== zeroWidthNonJoiner
      case byteOrderMark:
        return at === 0
      case 0x34f:
        return next >= 0 && this.table[next] === mark
      case 0x115f:
      case 0x1160:
        return within(next, 0x1100, 0x11ff) || within(previous, 0x1100, 0x115e)
      case 0x2800:
        return within(previous, 0x2801, 0x28ff) || within(next, 0x2801, 0x28ff)
    }
    return within(code, 0x180b, 0x180f) && within(previous, 0x1820, 0x18aa)
  }

  private judgeAstral(code: number, previous: number, at: number): Judgment {
    if (code < 0xe0000 || code > 0xe0fff) {
      return within(code, 0x1d173, 0x1d17a) || within(code, 0x1bca0, 0x1bca3) ? isInvisible + 2 : 2
    }
    if (code <= cancelTag) {
      const units = previous === blackFlag ? flagTags(this.text, at) : 0
      return units > 0 ? units : isInvisible + 2
    }
    return isVariationSelector(code) && takesVariation(previous, code) ? 2 : isInvisible + 2
  }

  /** Judges the character at a position, whose class `isJudged`; `previous` is the last code point that stays before it, -1 for none. */
  judge(at: number, kind: number, previous: number): Judgment {
    if (kind === control) return isControl
    if (kind === bidirectional) {
      const unit = this.text.charCodeAt(at)
      return unit === 0x202d || unit === 0x202e || !this.isReordered() ? isBidirectional : 1
    }
    if (kind === invisible) {
      const stays = this.staysInvisible(this.text.charCodeAt(at), previous, at)
      return stays ? 1 : isInvisible + 1
    }
    const code = codeAt(this.text, at)
    return code > 0xffff ? this.judgeAstral(code, previous, at) : isHalf
  }
}

/**
 * How characters read, whatever they are made of. Every letter becomes one of 26 symbols, so that case, accents, full width, look-alikes from other
 * scripts and digits in place of letters make no difference: `Ignore`, `іgnоrе`, `1gn0r3` and `ｉｇｎｏｒｅ` are the same symbols. A letter of another
 * alphabet that looks like no Latin one takes the symbol of its position in the alphabet; an ideograph, kana or Hangul syllable reads as three
 * symbols.
 */

/** Spaces, punctuation and everything else that is no letter. */
export const skip = 0

export const symbolI = 9

export const symbolL = 26

/** Accents and soft hyphens: they end no word. */
export const mark = 31

/** Classes from here on are no symbols: they need a closer look. */
export const special = 32

/** Reads as three symbols, see `wideSymbol`. */
export const wide = 32

/** Half of a surrogate pair, or a lone one. */
export const surrogate = 33

/** Invisible, unless what stands around it calls for it. */
export const invisible = 34

export const control = 35

export const bidirectional = 36

/** `<` and `[`, with which the markers of chat templates begin. */
export const opener = 37

const alphabet = 25

const symbolAt = (index: number): number => index < 11 ? index + 1 : index === 11 ? symbolL : index

const symbolOfLetter = (letter: string): number => symbolAt(letter.charCodeAt(0) - 97)

/**
 * What stands for a Latin letter. Accented, full-width, circled and mathematical letters are not listed: their decompositions say what they are.
 * A letter that is listed also stands for its capital, unless that is listed itself.
 */
const standIns: Readonly<Record<string, string>> = {
  a: "4@аαɑᴀɐæΛѦꓮᎪ",
  b: "8вьъβƀɓʙᏴꓐ",
  c: "сϲᴄ¢ҫɔƈꓚᏟ",
  d: "дԁɗđðᴅᏧꓓᎠ",
  e: "3еєэз€ҽɛεᴇǝəΣꓰᎬ",
  f: "ƒғꞙꜰɟꓝ",
  g: "69ɡցɢġƃꓖᏀ",
  h: "нһћђʜħɥΗꓧᎻ",
  i: "1!|іїιıɩɪӏլłᎥⅼ¡ǀƖꓲꓡᏞʟ",
  j: "јϳյᴊɉꓙᎫ",
  k: "кқκᴋʞƙꓗᏦ",
  m: "мɱᴍɯΜꓟᎷ",
  n: "ийпողռηπŋɲɴΝꓠ",
  o: "0оοөօσᴏøθꓳ",
  p: "рքρᴘþƿΡꓑᏢ",
  q: "ԛզɋ",
  r: "гґяᴦʀɍɹꓣᎡᏒ",
  s: "5$ßѕςꜱʂſꓢᏚ",
  t: "7тτᴛʇŧꓔᎢ",
  u: "цџսυᴜʋμµꓴ",
  v: "ѵνᴠʌꓦᏙ",
  w: "шщԝաωᴡʍꓪᎳᏔ",
  x: "хҳχ×жꓫ",
  y: "уўүұчγʏɏ¥ΥꓬᎽ",
  z: "2ζᴢʐƶꓜᏃ"
}

/** Where letters and their forms stand whose decomposition is one Latin letter. */
const decomposed = [
  [0xaa, 0x24f],
  [0x1d2c, 0x1dbf],
  [0x1e00, 0x1eff],
  [0x2071, 0x209c],
  [0x2100, 0x2188],
  [0x249c, 0x24ea],
  [0x2c7c, 0x2c7d],
  [0xfb00, 0xfb06],
  [0xff10, 0xff5a]
] as const

/** Alphabets whose letters take a symbol by position where they look like no Latin letter. */
const alphabets = [
  [0x250, 0x2af],
  [0x370, 0x52f],
  [0x531, 0x587],
  [0x5d0, 0x5ea],
  [0x620, 0x6ff],
  [0x700, 0x109f],
  [0x10a0, 0x13ff],
  [0x1780, 0x18aa],
  [0xa4d0, 0xa4fd],
  [0xfb1d, 0xfdfb],
  [0xfe70, 0xfefc]
] as const

const wides = [
  [0x3041, 0x3096],
  [0x30a1, 0x30fa],
  [0x3105, 0x312f],
  [0x3400, 0x4dbf],
  [0x4e00, 0x9fff],
  [0xac00, 0xd7a3],
  [0xf900, 0xfaff],
  [0xff66, 0xff9d]
] as const

const marks = [
  [0xad, 0xad],
  [0x300, 0x34e],
  [0x350, 0x36f],
  [0x483, 0x487],
  [0x591, 0x5c7],
  [0x610, 0x61a],
  [0x640, 0x640],
  [0x64b, 0x65f],
  [0x670, 0x670],
  [0x93c, 0x93c],
  [0x1ab0, 0x1aff],
  [0x1dc0, 0x1dff],
  [0x20d0, 0x20ff],
  [0x3099, 0x309a],
  [0xfe20, 0xfe2f]
] as const

const controls = [[0x0, 0x8], [0xb, 0xb], [0xe, 0x1f], [0x7f, 0x9f]] as const

const bidirectionals = [[0x61c, 0x61c], [0x200e, 0x200f], [0x202a, 0x202e], [0x2066, 0x2069]] as const

/** Soft hyphens are left alone: they are invisible by intent, and words read through them. */
const invisibles = [
  [0x34f, 0x34f],
  [0x115f, 0x1160],
  [0x17b4, 0x17b5],
  [0x180b, 0x180f],
  [0x200b, 0x200d],
  [0x2060, 0x2065],
  [0x206a, 0x206f],
  [0x2800, 0x2800],
  [0x3164, 0x3164],
  [0xfe00, 0xfe0f],
  [0xfeff, 0xfeff],
  [0xffa0, 0xffa0],
  [0xfff0, 0xfffb]
] as const

type Ranges = ReadonlyArray<readonly [first: number, last: number]>

const latin = (char: string): number => {
  const letters = char.normalize("NFKD").toLowerCase().replace(/[^a-z]/g, "")
  return letters.length === 0 ? skip : symbolOfLetter(letters[0]!) // it has one
}

const make = (): Uint8Array => {
  const table = new Uint8Array(0x10000)
  const each = (ranges: Ranges, classOf: (code: number) => number): void => {
    for (const [first, last] of ranges) for (let code = first; code <= last; code++) table[code] = classOf(code)
  }
  each(alphabets, (code) => {
    const char = String.fromCharCode(code)
    // Vowel signs of the scripts of India and Southeast Asia are letters in all but name.
    return /\p{L}/u.test(char) || (code >= 0x900 && /\p{M}/u.test(char))
      ? 1 + char.toLowerCase().charCodeAt(0) % alphabet
      : skip
  })
  each(decomposed, (code) => latin(String.fromCharCode(code)))
  for (let code = 97; code < 123; code++) table[code] = table[code - 32] = symbolOfLetter(String.fromCharCode(code))
  const listed = Object.entries(standIns)
  for (const [letter, chars] of listed) {
    for (const char of chars) {
      const capital = char.toUpperCase()
      if (capital.length === 1) table[capital.charCodeAt(0)] = symbolOfLetter(letter)
    }
  }
  for (const [letter, chars] of listed) {
    for (const char of chars) table[char.charCodeAt(0)] = symbolOfLetter(letter)
  }
  each(marks, () => mark)
  each(wides, () => wide)
  each([[0xd800, 0xdfff]], () => surrogate)
  each(controls, () => control)
  each(bidirectionals, () => bidirectional)
  each(invisibles, () => invisible)
  table[0x3c] = table[0x5b] = opener
  return table
}

let made: Uint8Array | undefined

/** The class of each UTF-16 unit: a symbol, or what calls for a closer look. Built once, when it is first needed. */
export const classes = (): Uint8Array => made ??= make()

/** Every symbol that a row has room for: with three of them no two ideographs read the same. */
const wideBase = 30

/** The symbol at a position from 0 to 2 of what reads as three. Katakana reads as hiragana does. */
export const wideSymbol = (code: number, position: number): number => {
  const plain = code >= 0x30a1 && code <= 0x30f6 ? code - 0x60 : code
  if (position === 0) return 1 + plain % wideBase
  return 1 + ((plain / (position === 1 ? wideBase : wideBase * wideBase)) | 0) % wideBase
}

const firstMathematical = 0x1d6a4
const lastMathematical = 0x1d7ff
const firstEnclosed = 0x1f110
const lastEnclosed = 0x1f12f

const latinFrom = (first: number, last: number): Uint8Array =>
  Uint8Array.from({ length: last - first + 1 }, (_, index) => latin(String.fromCodePoint(first + index)))

let mathematical: Uint8Array | undefined
let enclosed: Uint8Array | undefined

/** The symbol of a code point beyond the first plane: mathematical, enclosed and flag letters read as what they enclose. */
export const astralSymbol = (code: number): number => {
  if (code < 0x1d400) return skip
  if (code < firstMathematical) return symbolAt((code - 0x1d400) % 26)
  if (code <= lastMathematical) {
    mathematical ??= latinFrom(firstMathematical, lastMathematical)
    return mathematical[code - firstMathematical]! // it has an entry for each
  }
  if (code >= firstEnclosed && code <= lastEnclosed) {
    enclosed ??= latinFrom(firstEnclosed, lastEnclosed)
    return enclosed[code - firstEnclosed]! // it has an entry for each
  }
  if (code >= 0x1f130 && code <= 0x1f189) return symbolAt((code - 0x1f130) % 32 % 26)
  if (code >= 0x1f1e6 && code <= 0x1f1ff) return symbolAt(code - 0x1f1e6)
  return skip
}

/** The symbols of a phrase, each repetition of one left out. */
export const symbolsOf = (phrase: string): ReadonlyArray<number> => {
  const table = classes()
  const found: Array<number> = []
  const add = (symbol: number): void => {
    if (symbol !== skip && symbol !== found.at(-1)) found.push(symbol)
  }
  for (const char of phrase) {
    const kind = table[char.charCodeAt(0)]! // it has an entry for every unit
    if (kind === wide) {
      for (let position = 0; position < 3; position++) add(wideSymbol(char.charCodeAt(0), position))
    } else if (kind < mark) add(kind)
  }
  return found
}

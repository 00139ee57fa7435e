/** The phrases of all languages as two machines: a gate that finds where they occur, and a trie that reads them one by one. */
import * as Effect from "effect/Effect"
import {
  anchors,
  english,
  givingAway,
  hushBit,
  type Lexicon,
  obeyBit,
  reversedBit,
  rotatedBit,
  sendBit,
  strongBit,
  userBit,
  verbatimBit,
  worthReading
} from "./concepts.ts"
import { reversed, rot13 } from "./encodings.ts"
import {
  foreignForms,
  forms,
  hushWordings,
  ignoreWordings,
  strongWordings,
  userWordings,
  verbatimWordings
} from "./forms.ts"
import { type Gate, gateSymbol } from "./gate.ts"
import { languages } from "./languages.ts"
import { mark, symbolsOf } from "./symbols.ts"

/** Rows of both machines have one entry for each class below `special`. */
const width = 32

/**
 * Reads phrases by their symbols.
 *
 * - `children`: two for each node, each as its symbol and its node: `symbol << 24 | node`, 0 for none. A node with more has a row instead, `hasRow << 24 | row`.
 * - `rows`: the node after a symbol, at `row * 32 + symbol`; 0 where there is none.
 * - `concepts`: the concepts of phrases that end at a node, as character codes: of one that ends a word, and 256 times that of one that may go on in it.
 */
export interface Trie {
  readonly children: Uint32Array
  readonly rows: Uint32Array
  readonly concepts: Uint16Array
}

type Symbols = ReadonlyArray<number>

interface Phrase {
  readonly concept: string
  readonly symbols: Symbols
  readonly isStem: boolean
  /** How many symbols its first word has. */
  readonly firstWord: number
}

/** Common misspellings of a word: two letters swapped, one left out. */
const misspellings = (word: string): ReadonlyArray<string> =>
  Array.from({ length: word.length - 2 }, (_, index) => {
    const [before, first, second, after] = [
      word.slice(0, index + 1),
      word[index + 1],
      word[index + 2],
      word.slice(index + 3)
    ]
    return [before + (second ?? "") + after, before + second + first + after]
  }).flat()

const misspelled = {
  I: "ignore disregard override bypass",
  V: "previous earlier preceding",
  N: "instructions instruction directives",
  2: "guidelines",
  Q: "systemprompt",
  R: "reveal disclose",
  S: "system",
  U: "unrestricted"
}

const phraseOf = (concept: string, text: string, isStem: boolean): Phrase => {
  const symbols = symbolsOf(text)
  const space = text.indexOf(" ")
  return { concept, symbols, isStem, firstWord: space < 0 ? symbols.length : symbolsOf(text.slice(0, space)).length }
}

/** Every phrase that a form stands for: each of its words has alternatives, `the/my/` also for none. */
const expanded = (form: string): ReadonlyArray<string> => {
  if (!/[/_]/.test(form)) return [form]
  let heads: ReadonlyArray<string> = [""]
  for (const word of form.split(" ")) {
    const endings = word.replaceAll("_", " ").split("/")
    heads = heads.flatMap((head) =>
      endings.map((ending) => head === "" || ending === "" ? head + ending : `${head} ${ending}`)
    )
  }
  return heads
}

/** The phrases of one concept. */
const phrasesOf = (lexicon: Lexicon, [concept, list]: readonly [string, string]): ReadonlyArray<Phrase> =>
  list.split(",").map((form) => form.trim()).filter((form) => form !== "").flatMap(expanded).flatMap((listed) => {
    const isStem = listed.endsWith("*")
    const text = isStem ? listed.slice(0, -1) : listed
    // A star within a phrase stands for the singular and the plural.
    const forms = text.includes("*") ? [text.replace("*", ""), text.replace("*", "s")] : [text]
    return forms.map((form) => phraseOf(concept, form, isStem))
  }).filter(({ symbols }) => symbols.length > (lexicon === english ? 0 : 1)) // a letter says nothing across languages

/** Work in steps of some milliseconds each. */
type Steps<A> = Generator<undefined, A>

/** The items of a list, with a step after so many of them. */
function* inSteps<A>(items: Iterable<A>, take: (item: A, index: number) => void, size = 2_000): Steps<void> {
  let index = 0
  for (const item of items) {
    take(item, index++)
    if (index % size === 0) yield
  }
}

/** A tree of sequences of symbols; nodes are numbers, the root is 0. Each has its first child, and each child the next one; 0 is none. */
class Tree {
  readonly child: Array<number> = [0]
  readonly sibling: Array<number> = [0]
  readonly symbol: Array<number> = [0]

  /** The node at the end of a sequence; `stop` cuts it short at a node. */
  add(symbols: Symbols, stop: (node: number) => boolean = () => false): number {
    let at = 0
    for (const symbol of symbols) {
      if (stop(at)) break
      let next = this.child[at]! // nodes are positions in all three
      while (next !== 0 && this.symbol[next] !== symbol) next = this.sibling[next]!
      if (next === 0) {
        next = this.symbol.length
        this.symbol.push(symbol)
        this.child.push(0)
        this.sibling.push(this.child[at]!)
        this.child[at] = next
      }
      at = next
    }
    return at
  }
}

/** Stands for the symbol of a child where a node has a row. */
const hasRow = mark

const nodeOf = 0xff_ffff

/** The node that a symbol leads to from a node, 0 for none. */
export const childOf = ({ children, rows }: Trie, node: number, symbol: number): number => {
  const child = children[2 * node]! // the trie has entries for every node
  if (child >>> 24 === symbol) return child & nodeOf
  if (child >>> 24 === hasRow) return rows[((child & nodeOf) << 5) | symbol]!
  const other = children[2 * node + 1]!
  return other >>> 24 === symbol ? other & nodeOf : 0
}

function* trieOf(phrases: ReadonlyArray<Phrase>): Steps<Trie> {
  const tree = new Tree()
  const ends: Array<number> = []
  yield* inSteps(phrases, ({ symbols }) => ends.push(tree.add(symbols)))
  const count = tree.symbol.length
  const children = new Uint32Array(2 * count)
  const concepts = new Uint16Array(count)
  const rows: Array<number> = []
  yield* inSteps(tree.child, (first, node) => {
    const second = tree.sibling[first]! // nodes are positions in all three
    if (first !== 0) children[2 * node] = (tree.symbol[first]! << 24) | first
    if (first !== 0 && second !== 0) children[2 * node + 1] = (tree.symbol[second]! << 24) | second
    if (first === 0 || second === 0 || tree.sibling[second] === 0) return
    children[2 * node] = (hasRow << 24) | (rows.length / width)
    const row = Array.from({ length: width }, () => 0)
    for (let next = first; next !== 0; next = tree.sibling[next]!) row[tree.symbol[next]!] = next
    rows.push(...row)
  })
  yield* inSteps(phrases, ({ concept, isStem }, index) => {
    const node = ends[index]!
    const shift = isStem ? 8 : 0
    if (((concepts[node]! >> shift) & 0xff) === 0) concepts[node]! |= concept.charCodeAt(0) << shift
  })
  return { children, rows: Uint32Array.from(rows), concepts }
}

/** What the gate looks for: enough of a phrase to be rare, and more where it calls for reading by itself. */
const minAnchor = 5
const maxAnchor = 9
const pastFirstWord = 5
const maxStrong = 12
const pastFirstWordOfStrong = 7

const anchorOf = ({ firstWord, symbols }: Phrase, isStrong: boolean): Symbols =>
  symbols.slice(
    0,
    Math.max(
      isStrong ? maxStrong : maxAnchor,
      symbols.length > firstWord ? firstWord + (isStrong ? pastFirstWordOfStrong : pastFirstWord) : 0
    )
  )
    .map(gateSymbol)
    .filter((symbol, index, all) => symbol !== all[index - 1])

/** Verbs of sending and obeying are short, and count only beside what is sent or obeyed. */
const short = sendBit | obeyBit

const bitOf = (concept: string): number => anchors.find(([concepts]) => concepts.includes(concept))?.[1] ?? 0

/**
 * The transitions between all states, and the states from the root on. Adds to the bits of each those of every phrase that ends there too.
 */
function* transitionsOf(tree: Tree, bits: Int32Array): Steps<readonly [Int32Array, ReadonlyArray<number>]> {
  const next = new Int32Array(bits.length * width)
  const fallback = new Int32Array(bits.length)
  const queue = [0]
  yield* inSteps(queue, (state) => {
    const row = state * width
    if (state !== 0) next.copyWithin(row, fallback[state]! * width, (fallback[state]! + 1) * width) // it is not shorter than states
    for (let child = tree.child[state]!; child !== 0; child = tree.sibling[child]!) {
      const symbol = tree.symbol[child]!
      fallback[child] = next[row + symbol]!
      next[row + symbol] = child
      bits[child] = bits[child]! | bits[fallback[child]!]!
      queue.push(child)
    }
  })
  return [next, queue]
}

interface Anchor {
  readonly symbols: Symbols
  readonly bit: number
}

const anchored = (phrase: Phrase, bit: number): Anchor => ({ symbols: anchorOf(phrase, bit === strongBit), bit })

function* gateOf(anchors: ReadonlyArray<Anchor>): Steps<Gate> {
  const tree = new Tree()
  const bits: Array<number> = []
  const wanted = anchors.filter(({ bit, symbols }) =>
    symbols.length >= ((bit & short) === 0 ? minAnchor : minAnchor - 1) && bit > 0
  )
  // Short ones first: a longer one that begins like them needs no states of its own.
  wanted.sort((a, b) => a.symbols.length - b.symbols.length)
  yield* inSteps(wanted, ({ bit, symbols }) => {
    const node = tree.add(symbols, (at) => ((bits[at] ?? 0) & bit) !== 0)
    bits[node] = (bits[node] ?? 0) | bit
  })
  const count = tree.symbol.length
  const own = Int32Array.from({ length: count }, (_, state) => bits[state] ?? 0)
  const [next, order] = yield* transitionsOf(tree, own)
  // States near the root are visited most: they stand together, and those that end a phrase stand last.
  const quiet = order.filter((state) => own[state] === 0)
  const numbers = new Uint16Array(count)
  const numbered = [...quiet, ...order.filter((state) => own[state] !== 0)]
  numbered.forEach((state, number) => {
    numbers[state] = number
  })
  const gate = { next: new Uint16Array(count * width), firstFound: quiet.length, bits: new Int32Array(count) }
  yield* inSteps(numbered, (state, number) => {
    for (let symbol = 0; symbol < width; symbol++) {
      gate.next[number * width + symbol] = numbers[next[state * width + symbol]!]! // rows are complete
    }
    gate.bits[number] = own[state]!
  })
  return gate
}

/** More that is worth finding: bits, and phrases. */
const wordings: ReadonlyArray<readonly [bit: number, list: string]> = [
  [strongBit, strongWordings],
  [strongBit, worthReading],
  [userBit, userWordings],
  [hushBit, hushWordings],
  [1, ignoreWordings],
  [verbatimBit, verbatimWordings]
]

interface Machines {
  readonly gate: Gate
  readonly trie: Trie
}

function* make(): Steps<Machines> {
  const phrases: Array<Phrase> = []
  for (const lexicon of [english, forms, ...languages, foreignForms]) {
    for (const part of Object.entries(lexicon)) {
      for (const phrase of phrasesOf(lexicon, part)) phrases.push(phrase)
      yield
    }
  }
  for (const [concept, words] of Object.entries(misspelled)) {
    phrases.push(...words.split(" ").flatMap(misspellings).map((word) => phraseOf(concept, word, false)))
  }
  const anchors: Array<Anchor> = givingAway.split(", ").flatMap((text) => [
    anchored(phraseOf("", rot13(text), false), rotatedBit),
    anchored(phraseOf("", reversed(text), false), reversedBit)
  ])
  for (const [bit, list] of wordings) {
    for (const phrase of phrasesOf({}, ["", list])) anchors.push(anchored(phrase, bit))
  }
  yield* inSteps(phrases, (phrase) => anchors.push(anchored(phrase, bitOf(phrase.concept))))
  return { gate: yield* gateOf(anchors), trie: yield* trieOf(phrases) }
}

const making = make()
let made: Machines | undefined

/** Takes one step; answers both machines after the last one. */
const step = (): Machines | undefined => {
  if (made !== undefined) return made
  const { done, value } = making.next()
  return made = done === true ? value : undefined
}

/** Both machines, built once. */
export const machines = (): Machines => {
  let ready = step()
  while (ready === undefined) ready = step()
  return ready
}

/** Builds both machines in steps, between which others have their turn. */
export const prepare: Effect.Effect<void> = Effect.suspend(() =>
  step() === undefined ? Effect.andThen(Effect.yieldNow, prepare) : Effect.void
)

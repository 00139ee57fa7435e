/**
 * Estimates the tokens of a request before it is sent.
 *
 * The tokenizer is not public. These are rules of thumb that err on the high side: a limiter or a budget that reserves too much
 * gives it back when the call is settled; one that reserves too little is refused by the server. `ClaudeService.countTokens` asks the API
 * for the exact count.
 *
 * | part of a request | how it is counted |
 * | --- | --- |
 * | English text | about 3.5 characters a token (classic tokenizer), 2.7 (dense); code and JSON 2.6 to 2.9 (2.0 to 2.2) |
 * | other scripts | 0.8 tokens a Latin letter with an accent, 0.7 a Cyrillic, Greek, Hebrew or Arabic letter, 1.3 a character from there on |
 * | image | its pixels / 750, at most 1,600 (classic) or 4,800 (dense); the maximum if its size is unknown |
 * | PDF | 3,000 tokens a page, at least one page and at most 600: as many as it tells, in packed objects too (up to 8 MB of them), else one for 40 kB; by URL or file id 30 pages |
 * | tools | definitions by their length as JSON, plus the documented sizes of the hidden prompt and of the API's own tools |
 * | unknown blocks | by their length as JSON |
 *
 * {@link margin} is added to everything but published figures. Expect an error of up to 30 % for text and up to a factor of 3 for a PDF.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import { pixels } from "./Estimate/internal/image.ts"
import { pagesOf } from "./Estimate/internal/pdf.ts"
import * as Model from "./Model.ts"
import type { Request } from "./Request.ts"

/**
 * The most tokens that one call will use, as far as that can be known before it is sent.
 *
 * @category models
 * @since 0.1.0
 */
export interface Estimate {
  /** The whole prompt, including the part that a prompt cache may serve. */
  readonly inputTokens: number
  /** The `max_tokens` of the request. Most answers are much shorter. */
  readonly maxOutputTokens: number
  /** What the caller expects; without it, what such calls produced before is expected. */
  readonly expectedOutputTokens?: number | undefined
}

/**
 * Tokens that a caller knows better. Where the input is given, the prompt is not counted. Fractions are rounded up; a value that is negative or
 * not finite is ignored.
 *
 * @category models
 * @since 0.1.0
 */
export interface Known {
  readonly inputTokens?: number | undefined
  readonly outputTokens?: number | undefined
}

/**
 * The factor by which {@link inputTokens} exceeds its best guess.
 *
 * @category constants
 * @since 0.1.0
 */
export const margin = 1.1

const letter = 27
const digit = 50
const punctuation = 60

/** Hundredths of a token for each ASCII character. */
const asciiWeights = Uint8Array.from({ length: 128 }, (_, code) => {
  const character = String.fromCharCode(code)
  return /[A-Za-z \t]/.test(character) ? letter : /[0-9\n]/.test(character) ? digit : punctuation
})

/** A longer run of letters and digits is a key, a hash or encoded data, not a word. */
const longestWord = 16

/** Hundredths of a token of the classic tokenizer, in one pass. */
const textWeight = (text: string): number => {
  let weight = 0
  let run = 0
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code < 0x80) {
      const own = asciiWeights[code]! // the table has every code below 0x80
      run = code > 0x20 && own !== punctuation ? run + 1 : 0
      weight += run > longestWord ? punctuation : own
    } else {
      run = 0
      weight += code < 0x250 ? 80 : code < 0x800 ? 70 : 130
    }
  }
  return weight
}

/**
 * The best guess for a piece of text, without {@link margin}: for output that was received but never reported, such as the text
 * of an interrupted stream.
 *
 * - **Shape**: an integer, 0 for no text, never smaller when text is added.
 * - **Cost**: one pass, about 4 ns a character.
 *
 * **Example** (The same text for both tokenizers)
 *
 * ```ts
 * import { Estimate } from "effect-claude"
 *
 * Estimate.textTokens("The quick brown fox jumps over the lazy dog.", "classic") // => 13
 * Estimate.textTokens("The quick brown fox jumps over the lazy dog.", "dense") // => 16
 * ```
 *
 * @category getters
 * @since 0.1.0
 */
export const textTokens = (text: string, tokenizer: Model.Tokenizer): number =>
  Math.ceil(textWeight(text) * Model.tokenizers[tokenizer].density / 100)

const tokensPerMessage = 4
const tokensPerRequest = 4
const pixelsPerToken = 750
const tokensPerPage = 3_000
const bytesPerPage = 40_000
const maxPages = 600
const unknownPages = 30

/** Encoded fields that only the server can read: they count by the size of their content. */
const opaque = new Set(["signature", "encrypted_content", "encrypted_index", "encrypted_stdout"])

/** Values that are nested deeper, or contain themselves, cannot be sent. */
const maxDepth = 200

/** One request being counted. */
interface Counter {
  readonly tokenizer: Model.Tokenizer
  /** Tokens of this tokenizer, with {@link margin}, for 100 of the classic one. */
  readonly percent: number
  /** The objects that are being counted around this one. */
  readonly path: Set<object>
}

const text = ({ percent }: Counter, value: unknown): number =>
  Predicate.isString(value) ? Math.ceil(textWeight(value) / 100 * percent / 100) : 0

const encoded = ({ percent }: Counter, value: unknown): number =>
  Predicate.isString(value) ? Math.ceil(value.length / 4 * percent / 100) : 0

/** Counts the inside of a value, unless the value contains itself or is nested too deeply. */
const inside = (counter: Counter, value: object, count: () => number): number => {
  if (counter.path.has(value) || counter.path.size === maxDepth) return 0
  counter.path.add(value)
  const sum = count()
  counter.path.delete(value)
  return sum
}

const image = ({ tokenizer }: Counter, source: unknown): number => {
  const size = Predicate.hasProperty(source, "data") && Predicate.isString(source.data) ? pixels(source.data) : 0
  const most = Model.tokenizers[tokenizer].maxImageTokens
  return size === 0 ? most : Math.min(Math.ceil(size / pixelsPerToken * margin), most)
}

const document = (counter: Counter, source: unknown): number => {
  if (Predicate.hasProperty(source, "type")) {
    if (source.type === "text" && Predicate.hasProperty(source, "data")) return text(counter, source.data)
    if (source.type === "content" && Predicate.hasProperty(source, "content")) return content(counter, source.content)
  }
  const data = Predicate.hasProperty(source, "data") ? source.data : undefined
  const pages = Predicate.isString(data)
    ? pagesOf(data) ?? Math.ceil(data.length * 3 / 4 / bytesPerPage)
    : unknownPages
  return Math.ceil(Math.min(Math.max(pages, 1), maxPages) * tokensPerPage * counter.percent / 100)
}

const entries = (counter: Counter, value: object): number => {
  let sum = 1
  for (const [key, item] of Object.entries(value)) {
    sum += 3 + text(counter, key) + (opaque.has(key) ? encoded(counter, item) : json(counter, item))
  }
  return sum
}

/** Any value by its length as JSON, except that images and documents inside it count as such. */
const json = (counter: Counter, value: unknown): number => {
  if (Predicate.isString(value)) return text(counter, value)
  if (!Predicate.isObjectOrArray(value)) return value === undefined ? 0 : Math.ceil(String(value).length / 2)
  return inside(counter, value, () => {
    if (Array.isArray(value)) return value.reduce((sum: number, item) => sum + 1 + json(counter, item), 1)
    const isMedium = (value.type === "image" || value.type === "document") && Predicate.isObject(value.source)
    return isMedium ? block(counter, value) : entries(counter, value)
  })
}

const block = (counter: Counter, value: unknown): number => {
  if (!Predicate.isObject(value)) return json(counter, value)
  switch (value.type) {
    case "text":
      return text(counter, value.text)
    case "thinking":
      return text(counter, value.thinking) || encoded(counter, value.signature)
    case "redacted_thinking":
      return encoded(counter, value.data)
    case "image":
      return image(counter, value.source)
    case "document":
      return text(counter, value.title) + text(counter, value.context) + document(counter, value.source)
    default:
      return json(counter, value)
  }
}

const content = (counter: Counter, value: unknown): number =>
  Predicate.isString(value)
    ? text(counter, value)
    : Array.isArray(value)
    ? inside(counter, value, () => value.reduce((sum: number, item) => sum + block(counter, item), 0))
    : block(counter, value)

/** The hidden prompt of a request with tools, for models without a published figure: the highest. */
const highestToolPrompt = {
  auto: Math.max(...Model.catalogue.models.map(({ toolPromptTokens }) => toolPromptTokens?.auto ?? 0)),
  forced: Math.max(...Model.catalogue.models.map(({ toolPromptTokens }) => toolPromptTokens?.forced ?? 0))
}

/** The definition of a tool of the API; the text editor's where no figure was published. */
const definition = ({ tokenizer }: Counter, type: string): number =>
  type.startsWith("bash_")
    ? Model.tokenizers[tokenizer].bashToolTokens
    : type.startsWith("computer_")
    ? 4_500
    : type.startsWith("browser_")
    ? 6_600
    : 700

const tool = (counter: Counter, value: unknown): number => {
  const type = Predicate.hasProperty(value, "type") && Predicate.isString(value.type) ? value.type : "custom"
  return json(counter, value) + (type === "custom" ? 0 : definition(counter, type))
}

const tools = (
  counter: Counter,
  { tool_choice, tools = [] }: Request,
  facts: Model.Model
): number => {
  const { auto, forced } = facts.toolPromptTokens ?? highestToolPrompt
  const isForced = tool_choice?.type === "any" || tool_choice?.type === "tool"
  return tools.reduce((sum, value) => sum + tool(counter, value), isForced ? forced : auto)
}

/**
 * The tokens of a prompt: system prompt, messages, tools and output format. `facts` are those of the model; by default the built-in catalogue is
 * asked.
 *
 * - **Shape**: a positive integer, never smaller when something is added to the request, and the sum of its messages.
 * - **Errors**: none. Content of an unknown type is counted by its length as JSON.
 * - **Cost**: one pass over the text, about 4 ns a character. Of an image only the header is read; a PDF is read once, about
 *   5 ms for a megabyte.
 *
 * @category getters
 * @since 0.1.0
 */
export const inputTokens = (request: Request, facts: Model.Model = Model.lookup(request.model)): number => {
  const { tokenizer } = facts
  const percent = Math.round(Model.tokenizers[tokenizer].density * margin * 100)
  const counter: Counter = { tokenizer, percent, path: new Set() }
  const { messages, output_config, system, tools: given } = request
  let sum = tokensPerRequest + (system === undefined ? 0 : content(counter, system))
  if (Array.isArray(given) && given.length > 0) sum += tools(counter, request, facts)
  for (const message of Array.isArray(messages) ? messages : []) {
    sum += tokensPerMessage + content(counter, message?.content)
  }
  const format = output_config?.format ?? undefined
  return format === undefined ? sum : sum + json(counter, format)
}

/**
 * The most tokens that a request will use. This counts the prompt, so call it once for each call and keep the result. `facts` are those of the
 * model; by default the built-in catalogue is asked. `known` are tokens that the caller knows better.
 *
 * **Example** (Before a call)
 *
 * ```ts
 * import { Estimate } from "effect-claude"
 *
 * Estimate.make({
 *   model: "claude-sonnet-5-5",
 *   max_tokens: 1_024,
 *   messages: [{ role: "user", content: "What is the capital of France?" }]
 * }) // => { inputTokens: 21, maxOutputTokens: 1_024 }
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (request: Request, facts?: Model.Model, known: Known = {}): Estimate => {
  const output = known.outputTokens === undefined ? undefined : countOf(known.outputTokens)
  return {
    inputTokens: (known.inputTokens === undefined ? undefined : countOf(known.inputTokens)) ??
      inputTokens(request, facts),
    maxOutputTokens: Number.isFinite(request.max_tokens) ? Math.max(0, Math.ceil(request.max_tokens)) : 0,
    ...(output === undefined ? undefined : { expectedOutputTokens: output })
  }
}

const countOf = (tokens: number): number | undefined =>
  tokens >= 0 && tokens < Infinity
    ? Math.ceil(Math.min(tokens, Number.MAX_SAFE_INTEGER))
    : undefined

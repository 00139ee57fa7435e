/** Markers with which chat templates separate roles: in a text of a user they forge a turn of the system or the assistant. */

import { placeholder } from "./placeholder.ts"

const forms: Readonly<Record<string, ReadonlyArray<string>>> = {
  "<|": [
    "<|im_start|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|start_header_id|>",
    "<|begin_of_text|>",
    "<|start|>",
    "<|end_of_turn|>",
    "<|eot_id|>",
    "<|im_end|>",
    "<|endofprompt|>"
  ],
  "<<": ["<<SYS>>", "<</SYS>>"],
  "<s": ["<start_of_turn>"],
  "<e": ["<end_of_turn>"],
  "[I": ["[INST]"],
  "[/": ["[/INST]"],
  "[S": ["[SYSTEM_PROMPT]"]
}

/** Tags that prompts put around what they quote. */
const tags = [
  "instructions",
  "system",
  "system_prompt",
  "prompt",
  "user_input",
  "user_query",
  "user_message",
  "untrusted"
]

/** The forms by their second and third unit, as one number, and how tags begin. */
const byStart = new Map<number, ReadonlyArray<string>>()
/** What may begin with a bracket and the two units that follow it, each below 128, as one number: nothing, a marker, or a tag only. */
export const followsOpener = new Uint8Array(128 * 128)
const beginnings = [...tags.map((tag) => `<${tag}`), placeholder]
const endings = tags.map((tag) => `</${tag}>`)
export const isMarker = 1
export const isTagOnly = 2
for (const form of [...Object.values(forms).flat(), ...beginnings, ...endings]) {
  const [second, third] = [form.charCodeAt(1), form.charCodeAt(2)]
  const isTag = beginnings.includes(form) || endings.includes(form)
  const key = ((second & 0x7f) << 7) | (third & 0x7f)
  if (followsOpener[key] !== isMarker) followsOpener[key] = isTag ? isTagOnly : isMarker
  byStart.set(second * 256 + third, [...byStart.get(second * 256 + third) ?? [], form])
}

const none: ReadonlyArray<string> = []

const isQuote = (char: string | undefined): boolean => char !== undefined && /["'`]/.test(char)

/** What begins at a position: a marker that ends at `end`, or a tag. */
export interface Marker {
  readonly end: number
  readonly isTag: boolean
}

/**
 * The marker that begins at a position; undefined where none does, or where it is quoted. A tag that ends what never began is one too: it is forged, to
 * end the part of a prompt that it stands in. What was removed may have begun it.
 */
export const markerAt = (text: string, at: number, hasTag: boolean): Marker | undefined => {
  for (const form of byStart.get(text.charCodeAt(at + 1) * 256 + text.charCodeAt(at + 2)) ?? none) {
    if (!text.startsWith(form, at)) continue
    const end = at + form.length
    if (beginnings.includes(form)) return { end, isTag: true }
    if ((hasTag && endings.includes(form)) || (isQuote(text[at - 1]) && isQuote(text[end]))) continue
    return { end, isTag: false }
  }
  return undefined
}

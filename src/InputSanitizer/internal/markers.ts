/** Markers with which chat templates separate roles: in a text of a user they forge a turn of the system or the assistant. */

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

/** The forms by their second and third unit, as one number. */
const byStart = new Map<number, ReadonlyArray<string>>()
for (const form of Object.values(forms).flat()) {
  const key = form.charCodeAt(1) * 256 + form.charCodeAt(2)
  byStart.set(key, [...byStart.get(key) ?? [], form])
}

const none: ReadonlyArray<string> = []

const isQuote = (char: string | undefined): boolean => char !== undefined && /["'`]/.test(char)

/** Not 0 for the two units that follow the bracket of a marker, each below 128, as one number. */
export const followsOpener = new Uint8Array(128 * 128)
for (const form of Object.values(forms).flat()) followsOpener[form.charCodeAt(1) * 128 + form.charCodeAt(2)] = 1

/** The end of the marker that begins at a position; the position itself where none does, or where it is quoted. */
export const markerEnd = (text: string, at: number): number => {
  for (const form of byStart.get(text.charCodeAt(at + 1) * 256 + text.charCodeAt(at + 2)) ?? none) {
    if (!text.startsWith(form, at)) continue
    return isQuote(text[at - 1]) && isQuote(text[at + form.length]) ? at : at + form.length
  }
  return at
}

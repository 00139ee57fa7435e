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

/** The forms by their first two units, as one number, and the third. */
const byStart = new Map<number, ReadonlyArray<string>>(
  Object.values(forms).flat().map((form) => [form.charCodeAt(1) * 256 + form.charCodeAt(2), []])
)
for (const form of Object.values(forms).flat()) {
  const key = form.charCodeAt(1) * 256 + form.charCodeAt(2)
  byStart.set(key, [...byStart.get(key) ?? [], form])
}

const none: ReadonlyArray<string> = []

const isQuote = (char: string | undefined): boolean => char !== undefined && /["'`]/.test(char)

/** The end of the marker that begins at a position; the position itself where none does, or where it is quoted. */
export const markerEnd = (text: string, at: number): number => {
  const second = text.charCodeAt(at + 1)
  // Two comparisons rule out nearly every bracket.
  if (
    second !== 0x7c && second !== 0x3c && second !== 0x73 && second !== 0x65 && second !== 0x49 && second !== 0x2f &&
    second !== 0x53
  ) {
    return at
  }
  for (const form of byStart.get(second * 256 + text.charCodeAt(at + 2)) ?? none) {
    if (!text.startsWith(form, at)) continue
    return isQuote(text[at - 1]) && isQuote(text[at + form.length]) ? at : at + form.length
  }
  return at
}

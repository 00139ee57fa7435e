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

/** Whether a marker may begin with a bracket and these two units: comparisons that rule out nearly every bracket. */
const mayBegin = (second: number, third: number): boolean => {
  switch (second) {
    case 0x7c: // |
      return third >= 0x61 && third <= 0x7a
    case 0x3c: // <
      return third === 0x53 || third === 0x2f
    case 0x2f: // /
      return third === 0x49
    case 0x73: // s
      return third === 0x74
    case 0x65: // e
    case 0x49: // I
      return (third | 0x20) === 0x6e
    case 0x53: // S
      return third === 0x59
    default:
      return false
  }
}

/** The end of the marker that begins at a position; the position itself where none does, or where it is quoted. */
export const markerEnd = (text: string, at: number): number => {
  const second = text.charCodeAt(at + 1)
  const third = text.charCodeAt(at + 2)
  if (!mayBegin(second, third)) return at
  for (const form of byStart.get(second * 256 + third) ?? none) {
    if (!text.startsWith(form, at)) continue
    return isQuote(text[at - 1]) && isQuote(text[at + form.length]) ? at : at + form.length
  }
  return at
}

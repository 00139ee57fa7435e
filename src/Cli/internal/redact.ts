/** Hides what looks like a secret in texts that a command writes about itself: errors can repeat what somebody typed. */

/** Keys of the API and of OAuth, identities of age, and the password in a URL. No part of a word is a key: `task-force`. */
const secrets: ReadonlyArray<readonly [RegExp, string]> = [
  [/(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{4,}/g, "sk-..."],
  [/AGE-SECRET-KEY-[A-Za-z0-9-]+/g, "AGE-SECRET-KEY-..."],
  [/\b([a-z][a-z0-9+.-]*:\/\/[^\s:/@]*):[^\s/@]+@/gi, "$1:...@"]
]

export const redact = (text: string): string =>
  secrets.reduce((text, [pattern, replacement]) => text.replace(pattern, replacement), text)

/** Whether a URL carries a password. */
export const hasPassword = (url: string): boolean => redact(url) !== url

/** Hides what looks like a secret in texts that a command writes about itself: errors can repeat what somebody typed. */

/** Keys of the API and of OAuth, and the password in a URL. */
const secrets: ReadonlyArray<readonly [RegExp, string]> = [
  [/sk-[A-Za-z0-9_-]{4,}/g, "sk-..."],
  [/\b([a-z][a-z0-9+.-]*:\/\/[^\s:/@]*):[^\s/@]+@/gi, "$1:...@"]
]

export const redact = (text: string): string =>
  secrets.reduce((text, [pattern, replacement]) => text.replace(pattern, replacement), text)

/** Whether a URL carries a password. */
export const hasPassword = (url: string): boolean => redact(url) !== url

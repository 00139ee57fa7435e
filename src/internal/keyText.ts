/** What a key and its label look like, in words that repeat nothing of a key. */

/** Keys go into a header, so anything but visible ASCII is a mistake. */
export const isSecret = (text: string): boolean => /^[\x21-\x7e]{1,16384}$/.test(text)

/** Somebody copied a key with what stands around it in a program or a document. Taking them off could change a key. */
export const isQuoted = (text: string): boolean =>
  /^\\?["'`\u2018-\u201f\u00ab\u00bb]|["'`\u2018-\u201f\u00ab\u00bb]$/u.test(text)

export const inQuotes = "stands in quotation marks: remove them"

/** What is wrong with a label; undefined where nothing is. A key as its own label would be shown everywhere. */
export const wrongLabel = (label: string): string | undefined =>
  label.includes("sk-ant-") || label.includes("AGE-SECRET-KEY-")
    ? "a label looks like a key"
    : label === "secret"
    ? "`secret` cannot be a label"
    : !/^[^\s\p{C}](?:[^\p{C}]{0,126}[^\s\p{C}])?$/u.test(label)
    ? "a label must be 1 to 128 visible characters"
    : undefined

/** Headers of requests from several origins. */

const betas = "anthropic-beta"

/** All headers: those that come later replace those before them, whatever the case of their names, save betas, which add up. */
export const joinHeaders = (...all: ReadonlyArray<Readonly<Record<string, string>>>): Record<string, string> => {
  const headers: Record<string, string> = {}
  const asked = new Set<string>()
  for (const [name, value] of all.flatMap(Object.entries<string>)) {
    if (name.toLowerCase() !== betas) headers[name.toLowerCase()] = value
    else for (const beta of value.split(",")) if (beta.trim() !== "") asked.add(beta.trim())
  }
  return asked.size === 0 ? headers : { ...headers, [betas]: [...asked].join(",") }
}

/** What `ANTHROPIC_CUSTOM_HEADERS` says, as the SDK reads it: a header in each line. */
export const environmentHeaders = (): Record<string, string> => {
  // The globals of Node, which other runtimes may lack and whose types this package does without.
  const { process } = globalThis as {
    readonly process?: { readonly env?: Readonly<Record<string, string | undefined>> }
  }
  const lines = (process?.env?.["ANTHROPIC_CUSTOM_HEADERS"] ?? "").trim().split("\n")
  return Object.fromEntries(lines.flatMap((line) => {
    const colon = line.indexOf(":")
    return colon < 0 ? [] : [[line.slice(0, colon).trim(), line.slice(colon + 1).trim()]]
  }))
}

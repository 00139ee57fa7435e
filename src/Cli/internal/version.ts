/** The version of this package, which its package.json says. */
import { readFileSync } from "node:fs"

const manifest: {
  readonly version: string
  readonly engines: { readonly node: string }
  readonly dependencies: Readonly<Record<string, string>>
  readonly peerDependencies: Readonly<Record<string, string>>
  readonly peerDependenciesMeta: Readonly<Record<string, { readonly optional: boolean }>>
} = JSON.parse(readFileSync(new URL("../../../package.json", import.meta.url), "utf8")) // it is ours

export { manifest }

export const { version } = manifest

/** The version of this package, which its package.json says. */
import { createRequire } from "node:module"

const manifest: {
  readonly version: string
  readonly engines: { readonly node: string }
  readonly dependencies: Readonly<Record<string, string>>
  readonly peerDependencies: Readonly<Record<string, string>>
  readonly peerDependenciesMeta: Readonly<Record<string, { readonly optional: boolean }>>
} = createRequire(import.meta.url)("effect-claude/package.json") // it is ours

export { manifest }

export const { version } = manifest

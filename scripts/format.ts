/**
 * Formats the TypeScript files of the project, or the ones named: `npm run format -- src/Usage.ts`.
 *
 * The dprint plugin runs inside Node, so that no binary is needed and no download happens. An editor with dprint reads
 * the same `dprint.json`.
 */
import { createFromBuffer } from "@dprint/formatter"
import { globSync, readFileSync, writeFileSync } from "node:fs"

const { excludes, includes, plugins, typescript, ...global } = JSON.parse(
  readFileSync(new URL("../dprint.json", import.meta.url), "utf8")
)

const formatter = createFromBuffer(readFileSync(new URL(`../${plugins[0]}`, import.meta.url)))
formatter.setConfig(global, typescript)

/** Every file the formatter answers for. */
export const files = (): ReadonlyArray<string> => globSync(includes, { exclude: excludes }).sort()

/** The text as it should stand. Throws on text that does not parse. */
export const format = (filePath: string, fileText: string): string => formatter.formatText({ filePath, fileText })

/** A file that differs from its formatted text: the new text, or why the formatter could not read it. */
export interface Change {
  readonly path: string
  readonly text?: string
  readonly error?: string
}

export const changes = (paths: ReadonlyArray<string>): ReadonlyArray<Change> =>
  paths.flatMap((path): ReadonlyArray<Change> => {
    const before = readFileSync(path, "utf8")
    try {
      const text = format(path, before)
      return text === before ? [] : [{ path, text }]
    } catch (error) {
      return [{ path, error: String(error) }]
    }
  })

if (import.meta.main) {
  const named = process.argv.slice(2)
  for (const { error, path, text } of changes(named.length > 0 ? named : files())) {
    if (text !== undefined) writeFileSync(path, text)
    if (error !== undefined) process.exitCode = 1
    console.log(error === undefined ? `formatted ${path}` : `${path}: ${error}`)
  }
}

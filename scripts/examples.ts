/**
 * Turns the code samples of docstrings and Markdown pages into files that the compiler and the test runner see.
 *
 * Docstring samples become modules that are imported by one test each; those of pages are only compiled.
 */
import { globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { dirname } from "node:path"
import ts from "typescript"

/** A code sample, and the line of its first line in its file (1 for the first). */
export interface Example {
  readonly title: string
  readonly code: string
  readonly line: number
}

/** The `ts` blocks that follow an `**Example** (Title)` in the docstrings of a TypeScript file. */
export const fromDocstrings = (text: string): ReadonlyArray<Example> => {
  const found: Array<Example> = []
  const lines = text.split("\n")
  let title: string | undefined
  let start: number | undefined
  for (const [index, line] of lines.entries()) {
    const content = /^\s*\* ?(.*)$/.exec(line)?.[1]
    if (content === undefined || content === "/") title = start = undefined
    else if (start !== undefined) {
      if (content.trim() !== "```") continue
      const code = lines.slice(start, index).map((_) => _.replace(/^\s*\* ?/, "")).join("\n")
      found.push({ title: title!, code, line: start + 1 }) // a start is only set under a title
      title = start = undefined
    } else if (content.startsWith("**Example** (")) title = content.slice("**Example** (".length).replace(/\)$/, "")
    else if (content.trim() === "```ts" && title !== undefined) start = index + 1
  }
  return found
}

/** The `ts` blocks of a Markdown file. */
export const fromMarkdown = (text: string): ReadonlyArray<Example> =>
  [...text.matchAll(/^```ts\n([^]*?)^```$/gm)].map((block) => {
    const line = text.slice(0, block.index).split("\n").length + 1
    return { title: `line ${line}`, code: block[1]!, line } // the group always takes part in the match
  })

const fence = /^\s*(?:`{3,}|~{3,})\s*(?:[cm]?[jt]sx?|typescript|javascript)\b/i

/** Lines that begin code which would not be compiled: of another language, indented, or in a docstring without an `**Example** (Title)`. */
export const uncompiled = (path: string, text: string): ReadonlyArray<string> => {
  const isPage = path.endsWith(".md")
  const compiled = new Set((isPage ? fromMarkdown : fromDocstrings)(text).map(({ line }) => line - 1))
  return text.split("\n").flatMap((given, index) => {
    const line = isPage ? given : /^\s*\* ?(.*)$/.exec(given)?.[1] ?? ""
    return fence.test(line) && !compiled.has(index + 1)
      ? [`${path}:${index + 1}: ${line.trim()}: only \`\`\`ts is compiled, in docstrings under an **Example** (Title)`]
      : []
  })
}

/** The code with every expression statement that `// => value` follows made an assertion; lines stay where they are. */
export const withAssertions = (code: string): string => {
  const source = ts.createSourceFile("example.ts", code, ts.ScriptTarget.Latest, true)
  const edits: Array<{ start: number; end: number; text: string }> = []
  const visit = (node: ts.Node): void => {
    const expected = ts.isExpressionStatement(node)
      ? /^\s*\/\/ => (.*)/.exec(code.slice(node.end))?.[1]
      : undefined
    if (expected === undefined) return ts.forEachChild(node, visit)
    const text = node.getText().replace(/;$/, "")
    edits.push({ start: node.getStart(), end: node.end, text: `__assert.deepStrictEqual(${text}, ${expected})` })
  }
  visit(source)
  if (edits.length === 0) return code
  const body = edits.reduceRight((text, edit) => text.slice(0, edit.start) + edit.text + text.slice(edit.end), code)
  return `import { assert as __assert } from "@effect/vitest"; ${body}`
}

const pages = ["*.md", "docs/**/*.md", "bench/*.md"]

/** All code of the project that would not be compiled. */
export const strays = (): ReadonlyArray<string> =>
  globSync(["src/**/*.ts", ...pages]).sort().flatMap((path) => uncompiled(path, readFileSync(path, "utf8")))

/** Writes all examples of the project below `folder`, which is emptied first. Answers how many there are. */
export const write = (folder: string): number => {
  rmSync(folder, { force: true, recursive: true })
  const put = (path: string, text: string): void => {
    mkdirSync(dirname(`${folder}/${path}`), { recursive: true })
    writeFileSync(`${folder}/${path}`, text)
  }
  const tests: Array<string> = []
  for (const path of globSync("src/**/*.ts").sort()) {
    for (const example of fromDocstrings(readFileSync(path, "utf8"))) {
      const file = `${path.slice(0, -".ts".length)}.${example.line}.ts`
      put(file, withAssertions(example.code))
      tests.push(`it(${JSON.stringify(`${path}:${example.line} ${example.title}`)}, () => import("./${file}"))`)
    }
  }
  let compiled = 0
  for (const path of globSync(pages).sort()) {
    for (const example of fromMarkdown(readFileSync(path, "utf8"))) {
      put(`${path}.${example.line}.ts`, example.code)
      compiled++
    }
  }
  put("examples.test.ts", `import { it } from "@effect/vitest"\n\n${tests.join("\n")}\n`)
  return tests.length + compiled
}

/**
 * Builds the status page of `effect-claude/Http` into one document: `node scripts/page.ts` writes `src/Http/internal/page.ts`. The check `page` compares.
 */
import { build } from "esbuild"
import { createHash } from "node:crypto"
import { readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { format } from "./format.ts"

export const path = "src/Http/internal/page.ts"

const read = (name: string): string => readFileSync(new URL(`../page/${name}`, import.meta.url), "utf8")

/** A file of `page` with all that it imports. */
const bundled = async (name: string): Promise<string> => {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL(`../page/${name}`, import.meta.url))],
    bundle: true,
    minify: true,
    write: false,
    format: "esm",
    target: "es2022",
    logLevel: "silent"
  })
  return outputFiles[0]!.text.trim() // one for one entry
}

const hash = (text: string): string => `'sha256-${createHash("sha256").update(text).digest("base64")}'`

/** The licence of the library of charts stays with it. */
const licence = "uPlot (https://github.com/leeoniya/uPlot), MIT licence, copyright (c) 2022 Leon Sorokin"

/** The module that holds the page, and the policy under which nothing else runs in it. */
export const page = async (): Promise<string> => {
  const script = `/* With ${licence} */${await bundled("main.ts")}`
  const style = await bundled("style.css")
  if (/<\/script|<!--/i.test(script) || /<\/style/i.test(style)) throw new Error("it would end its own element")
  const html = read("page.html")
    .replaceAll(/^\s+/gm, "")
    .replace("/* style */", () => style)
    .replace("/* script */", () => script)
  const policy = [
    "default-src 'none'",
    `script-src ${hash(script)}`,
    `style-src ${hash(style)}`,
    "connect-src 'self'",
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'"
  ].join("; ")
  const text = [
    "/** The status page: made from `page` by scripts/page.ts. Long because it is a document. */",
    `export const html = ${JSON.stringify(html)}`,
    "",
    `export const policy = ${JSON.stringify(policy)}`,
    ""
  ].join("\n")
  return format(path, text)
}

/** What is wrong with the page that is kept. */
export const stale = async (): Promise<ReadonlyArray<string>> =>
  readFileSync(path, "utf8") === await page() ? [] : [`${path} is not what page makes: run node scripts/page.ts`]

if (import.meta.main) writeFileSync(path, await page())

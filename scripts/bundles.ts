/**
 * Bundles programs with the package in them as users do, runs the bundles where nothing is installed, and compares their size with that of
 * what they stand on.
 */
import { build } from "esbuild"
import { execFile } from "node:child_process"
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import { promisify } from "node:util"
import { gzipSync } from "node:zlib"
import { rolldown } from "rolldown"
import ts from "typescript"

type Format = "esm" | "cjs"

/** Minified files, the first of which starts the program, and the paths of the modules that went into them. */
export interface Bundle {
  readonly files: ReadonlyArray<{ readonly name: string; readonly code: string }>
  readonly modules: ReadonlyArray<string>
}

const bundlers: Record<string, (folder: string, entry: string, format: Format) => Promise<Bundle>> = {
  async esbuild(folder, entry, format) {
    const { metafile, outputFiles } = await build({
      absWorkingDir: folder,
      entryPoints: [entry],
      bundle: true,
      minify: true,
      platform: "node",
      format,
      metafile: true,
      write: false,
      logLevel: "silent",
      outdir: "."
    })
    const [output] = Object.values(metafile.outputs)
    const modules = Object.entries(output?.inputs ?? {}).flatMap(([path, { bytesInOutput }]) =>
      bytesInOutput > 0 ? [path] : []
    )
    return { files: outputFiles.map(({ text }) => ({ name: "main.js", code: text })), modules }
  },
  async rolldown(folder, entry, format) {
    const bundle = await rolldown({ cwd: folder, input: entry, platform: "node", logLevel: "silent" })
    const { output } = await bundle.generate({ format, minify: true, entryFileNames: "main.js" })
    const chunks = output.filter((file) => file.type === "chunk")
    return {
      files: chunks.map(({ code, fileName }) => ({ name: fileName, code })),
      modules: chunks.flatMap(({ moduleIds }) => moduleIds)
    }
  }
}

const bytes = ({ files }: Bundle): number => files.reduce((sum, { code }) => sum + Buffer.byteLength(code), 0)

const gzipped = ({ files }: Bundle): number => files.reduce((sum, { code }) => sum + gzipSync(code).length, 0)

/** The largest that a bundle with its own `fetch` may be, as a share of its baseline. */
const maxRatio = 1.1

/** What is wrong with a bundle that brings its own `fetch`. */
export const heavy = (name: string, bundle: Bundle, baseline: number): ReadonlyArray<string> => [
  ...(bundle.modules.some((path) => path.includes("node_modules/undici/")) ? [`${name} contains undici`] : []),
  ...(bytes(bundle) < maxRatio * baseline
    ? []
    : [`${name} has ${bytes(bundle)} bytes, ${maxRatio} times its baseline are ${Math.round(maxRatio * baseline)}`])
]

/** The modules of `effect` that files import, each with the names that are used of it. */
export const effectUsed = (texts: Iterable<string>): ReadonlyMap<string, ReadonlySet<string>> => {
  const used = new Map<string, Set<string>>()
  for (const text of texts) {
    const source = ts.createSourceFile("a.js", text, ts.ScriptTarget.Latest, true)
    const namespaces = new Map<string, Set<string>>()
    for (const statement of source.statements) {
      if (!ts.isImportDeclaration(statement) || !ts.isStringLiteral(statement.moduleSpecifier)) continue
      const bindings = statement.importClause?.namedBindings
      const name = statement.moduleSpecifier.text
      if (bindings === undefined || !name.startsWith("effect/")) continue
      const names = used.get(name) ?? new Set<string>()
      used.set(name, names)
      if (ts.isNamespaceImport(bindings)) namespaces.set(bindings.name.text, names)
      else for (const element of bindings.elements) names.add((element.propertyName ?? element.name).text)
    }
    const visit = (node: ts.Node): void => {
      if (ts.isPropertyAccessExpression(node) && ts.isIdentifier(node.expression)) {
        namespaces.get(node.expression.text)?.add(node.name.text)
      }
      ts.forEachChild(node, visit)
    }
    visit(source)
  }
  return used
}

/** A program of the SDK and `effect`: whole modules, or what is used of them. */
const baselineOf = (used: ReadonlyMap<string, ReadonlySet<string>>, whole: boolean): string => {
  const modules = [...used.keys()]
  const kept = modules.flatMap((name, index) =>
    whole ? [`m${index}`] : [...used.get(name)!].map((member) => `m${index}.${member}`) // a key of the map
  )
  return [
    `import Anthropic from "@anthropic-ai/sdk"`,
    ...modules.map((name, index) => `import * as m${index} from "${name}"`),
    `globalThis.kept = [Anthropic, ${kept.join(", ")}]`
  ].join("\n")
}

const answer = JSON.stringify({
  id: "msg_1",
  type: "message",
  role: "assistant",
  model: "claude-sonnet-5-5",
  content: [{ type: "text", text: "from the server" }],
  stop_reason: "end_turn",
  stop_sequence: null,
  usage: { input_tokens: 20, output_tokens: 10, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 }
})

const programs = [
  { name: "own fetch", path: "ownFetch.ts", says: "from its own fetch" },
  { name: "default fetch", path: "defaultFetch.ts", says: "from the server" }
]

/** Runs a bundle in an empty folder. */
const says = async (bundle: Bundle, format: Format, folder: string, baseUrl: string): Promise<string> => {
  const alone = mkdtempSync(join(folder, "bundle-"))
  writeFileSync(join(alone, "package.json"), JSON.stringify({ type: format === "esm" ? "module" : "commonjs" }))
  for (const { code, name } of bundle.files) writeFileSync(join(alone, name), code)
  const env = { PATH: process.env["PATH"], CLAUDE_BASE_URL: baseUrl }
  const { stdout } = await promisify(execFile)(process.execPath, ["main.js"], { cwd: alone, env, timeout: 30_000 })
  return stdout.trim().split("\n").at(-1) ?? ""
}

/**
 * Bundles every program by every bundler in both formats. `consumer` is a folder where the package is installed, `temporary` one with no
 * `node_modules` above it. Answers a line for each bundle, and what is wrong.
 */
export const bundles = async (consumer: string, temporary: string) => {
  const lines: Array<string> = []
  const wrong: Array<string> = []
  const server = createServer((incoming, response) =>
    incoming.resume().on("end", () => response.writeHead(200, { "content-type": "application/json" }).end(answer))
  )
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  const { port } = server.address() as AddressInfo // it listens on a port
  try {
    mkdirSync(join(consumer, "bundles"), { recursive: true })
    const entry = (name: string, text: string): string => {
      writeFileSync(join(consumer, "bundles", name), text)
      return `./bundles/${name}`
    }
    for (const [bundler, bundle] of Object.entries(bundlers)) {
      for (const format of ["esm", "cjs"] as const) {
        for (const program of programs) {
          const name = `${program.name}, ${bundler} ${format}`
          const text = readFileSync(new URL(`programs/${program.path}`, import.meta.url), "utf8")
          const made = await bundle(consumer, entry(program.path, text), format)
          const said = await says(made, format, temporary, `http://127.0.0.1:${port}`).catch((error) => String(error))
          if (said !== program.says) {
            wrong.push(`${name} does not run: ${said.split("\n").find((_) => /Error/.test(_)) ?? said}`)
          }
          let line = `${name}: ${bytes(made)} bytes, ${gzipped(made)} gzipped`
          if (program.name === "own fetch") {
            const ours = made.modules.filter((path) => path.includes("node_modules/effect-claude/"))
            const used = effectUsed(
              ours.map((path) => readFileSync(join(consumer, path.replace(consumer, "")), "utf8"))
            )
            const [whole, needed] = await Promise.all(
              [true, false].map((every) =>
                bundle(consumer, entry(`baseline-${every}.js`, baselineOf(used, every)), format)
              )
            ) as [Bundle, Bundle] // as many as were asked for
            wrong.push(...heavy(name, made, bytes(whole)))
            line +=
              `; ${(bytes(made) / bytes(whole)).toFixed(2)} times the SDK and the modules of effect that it imports, ` +
              `${(bytes(made) / bytes(needed)).toFixed(2)} times the SDK and what it uses of them`
          }
          lines.push(line)
        }
      }
    }
    return { lines, wrong }
  } finally {
    server.close()
  }
}

/**
 * Everything that must hold on every change but the tests: `npm run check`, or some of it: `npm run check -- lint format`.
 *
 * Each check is one line; what a failed one has to say follows it. All run, then the exit code tells.
 */
import { execFile } from "node:child_process"
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { gzipSync } from "node:zlib"
import { rolldown } from "rolldown"
import { catalogue } from "../src/Model.ts"
import * as Api from "./api.ts"
import { bundles } from "./bundles.ts"
import { compare } from "./catalogue.ts"
import { problems } from "./conventions.ts"
import { strays, write } from "./examples.ts"
import { cycles, type Imports, importsOf, violations } from "./floors.ts"
import { changes, files } from "./format.ts"
import * as House from "./house.ts"
import { installed } from "./installed.ts"
import { builtIn, nonLinear } from "./linear.ts"
import * as Loads from "./loads.ts"
import * as Metrics from "./metrics.ts"
import * as Page from "./page.ts"
import { stale } from "./reference.ts"

/** Throws with what is wrong; answers with what is worth a word. */
type Check = () => Promise<string | void>

/** What is known to fail, by check: lines that start so are counted and fail nothing. */
const pending: Record<string, ReadonlyArray<string>> = {}

const root = process.cwd()
const env = { ...process.env, NO_COLOR: "1" }
const temporary = mkdtempSync(join(tmpdir(), "effect-claude-check-"))

const run = async (file: string, args: ReadonlyArray<string>, cwd = root): Promise<string> => {
  try {
    return (await promisify(execFile)(file, args, { cwd, env, maxBuffer: 1 << 26 })).stdout
  } catch (error) {
    const { stderr, stdout } = error as { stderr?: string; stdout?: string } // execFile adds both to what it rejects with
    throw new Error(`${stdout ?? ""}${stderr ?? ""}`.trim() || String(error), { cause: error })
  }
}

const bin = (path: string, ...args: ReadonlyArray<string>): Promise<string> =>
  run(process.execPath, [join(root, "node_modules", path), ...args])

const tsc = (...args: ReadonlyArray<string>): Promise<string> => bin("typescript/bin/tsc", "--pretty", "false", ...args)

function fail(found: readonly [string, ...ReadonlyArray<string>]): never
function fail(found: ReadonlyArray<string>): void
function fail(found: ReadonlyArray<string>): void {
  if (found.length > 0) throw new Error(found.join("\n"))
}

const sources = globSync("src/**/*.ts").sort()

const imports = (): Imports =>
  new Map(sources.map((path) => {
    const name = path.slice("src/".length, -".ts".length)
    return [name, importsOf(name, readFileSync(path, "utf8"))]
  }))

const inEachSource = (find: (path: string, text: string) => ReadonlyArray<string>): ReadonlyArray<string> =>
  sources.flatMap((path) => find(path, readFileSync(path, "utf8")))

/** Subpaths that a user can import: `.` and one for each public module; the command is none. */
const entrypoints = sources.filter((path) => !path.includes("/internal/") && path !== "src/bin.ts").map((path) => {
  const name = path.slice("src/".length, -".ts".length)
  return name === "index" ? "." : name
})

const specifier = (entrypoint: string): string => entrypoint === "." ? "effect-claude" : `effect-claude/${entrypoint}`

/** The package as npm would publish it, packed once. */
let packed: Promise<string> | undefined
const tarball = (): Promise<string> =>
  packed ??= (async () => {
    await run("npm", ["run", "build"])
    const out = await run("npm", ["pack", "--ignore-scripts", "--json", "--pack-destination", temporary])
    return join(temporary, JSON.parse(out)[0].filename)
  })()

/** A program beside the unpacked package, its peers linked in, that imports every public module. */
let unpacked: Promise<string> | undefined
const consumer = (): Promise<string> =>
  unpacked ??= (async () => {
    const folder = join(temporary, "consumer")
    const modules = join(folder, "node_modules")
    mkdirSync(join(modules, "effect-claude"), { recursive: true })
    await run("tar", ["-xzf", await tarball(), "-C", join(modules, "effect-claude"), "--strip-components", "1"])
    for (const name of ["effect", "@effect", "@anthropic-ai", "@types", "undici", "re2js"]) {
      symlinkSync(join(root, "node_modules", name), join(modules, name), "junction")
    }
    const lines = entrypoints.map((entrypoint, index) => `export * as m${index} from "${specifier(entrypoint)}"`)
    writeFileSync(join(folder, "main.ts"), `${lines.join("\n")}\n`)
    writeFileSync(join(folder, "package.json"), `{ "type": "module" }`)
    writeFileSync(
      join(folder, "tsconfig.json"),
      JSON.stringify({
        compilerOptions: {
          strict: true,
          exactOptionalPropertyTypes: true,
          noEmit: true,
          module: "NodeNext",
          target: "ES2022",
          lib: ["ES2022", "DOM", "DOM.Iterable"],
          types: ["node"]
        },
        files: ["main.ts"]
      })
    )
    return folder
  })()

const checks: Record<string, Check> = {
  async types() {
    await tsc("-p", "tsconfig.json")
  },
  async lint() {
    await bin("oxlint/bin/oxlint", "--deny-warnings", "--format", "unix")
  },
  async format() {
    fail(changes(files()).map(({ error, path }) => error ?? `${path}: run npm run format`))
  },
  async cycles() {
    fail(cycles(imports()))
  },
  async floors() {
    fail(violations(imports()))
  },
  async layout() {
    const { exports } = JSON.parse(readFileSync("package.json", "utf8"))
    fail([...House.misplaced(imports()), ...House.exposed(imports().keys(), exports)])
  },
  async length() {
    fail(inEachSource(House.long))
  },
  async facts() {
    fail(inEachSource(House.facts))
  },
  async tables() {
    fail(inEachSource(House.attemptTables))
  },
  async conventions() {
    fail(inEachSource(problems))
  },
  async linear() {
    fail(nonLinear())
    return `${builtIn.length} patterns`
  },
  async catalogue() {
    const { ids, missing } = await compare(catalogue.models)
    fail(missing)
    return `${ids} ids in the SDK, ${catalogue.models.length} models in the catalogue`
  },
  async reference() {
    fail(stale())
  },
  async api() {
    fail(Api.stale())
  },
  async page() {
    fail(await Page.stale())
  },
  async metrics() {
    fail(Metrics.stale(readFileSync(Metrics.path, "utf8")))
    return `at most ${Metrics.bound} series`
  },
  async examples() {
    fail(strays())
    const count = write(".examples")
    await tsc("-p", "tsconfig.examples.json")
    await bin("vitest/vitest.mjs", "run", "--project", "examples", "--reporter", "dot")
    return `${count} examples`
  },
  async walk() {
    const out = await run(process.execPath, ["scripts/walk.ts"]).catch((error: Error) => error.message)
    const figures = out.match(/^\d+ files, \d+ functions; goal .*$/gm) ?? fail([out])
    fail(out.match(/^\w+ enters .*$/gm) ?? [])
    return `create: ${figures[0]}; refusal: ${figures[1]}`
  },
  async publint() {
    await bin("publint/src/cli.js", "run", await tarball(), "--strict")
  },
  async publish() {
    // The version that stands in package.json may be published already: what would be new is what is tried.
    const out = await run("npm", ["publish", await tarball(), "--provenance", "--dry-run", "--ignore-scripts"])
    return out.trim()
  },
  async attw() {
    const options = ["--profile", "esm-only", "--no-definitely-typed", "--no-emoji", "--no-color", "--format", "ascii"]
    await bin("@arethetypeswrong/cli/dist/index.js", await tarball(), ...options, "--entrypoints", ...entrypoints)
    return `${entrypoints.length} entry points`
  },
  async consumer() {
    const folder = await consumer()
    const out = await run(
      process.execPath,
      [join(root, "node_modules/typescript/bin/tsc"), "--pretty", "false"],
      folder
    )
      .catch((error: Error) => error.message)
    // Declarations of third parties are theirs to mend.
    fail(out.split("\n").filter((line) => /^(main\.ts|node_modules\/effect-claude\/)|^error/.test(line)))
    await run(process.execPath, ["main.ts"], folder)
  },
  async installed() {
    const { programs, run, wrong } = await installed(root, await tarball(), join(temporary, "installed"))
    fail(wrong)
    return `${programs} programs compiled six times, ${run} run`
  },
  async bundles() {
    const { lines, wrong } = await bundles(await consumer(), temporary)
    fail(wrong.length > 0 ? [...wrong, ...lines] : [])
    return lines.map((line) => `\n     ${line}`).join("")
  },
  async loads() {
    const folder = join(await consumer(), "node_modules/effect-claude/dist")
    const out = await run(process.execPath, ["--no-warnings", "scripts/loads.ts", folder])
    const { lines, wrong } = Loads.judge(JSON.parse(out), Loads.modulesOf(folder))
    fail(wrong.length > 0 ? [...wrong, ...lines] : [])
    return lines.map((line) => `\n     ${line}`).join("")
  },
  async size() {
    const folder = await consumer()
    const kB = (bytes: number): string => `${Math.round(bytes / 1000)} kB`
    const sizeOf = async (input: string, external: ReadonlyArray<RegExp>): Promise<string> => {
      const bundle = await rolldown({
        cwd: folder,
        input,
        external: [/^node:/, "undici", ...external],
        logLevel: "silent"
      })
      const { output } = await bundle.generate({ format: "esm", minify: true })
      const code = output.flatMap((chunk) => chunk.type === "chunk" ? [chunk.code] : []).join("")
      return `${kB(code.length)}, ${kB(gzipSync(code).length)} gzipped`
    }
    const sdk = /^@anthropic-ai\/sdk/
    const policy = specifier("RateLimiter")
    return [
      `index with effect, without the SDK: ${await sizeOf(specifier("."), [sdk])}; tarball ${
        kB(statSync(await tarball()).size)
      }`,
      `one policy, ${policy}, with effect: ${await sizeOf(policy, [sdk])}; without: ${await sizeOf(policy, [
        /^effect\//
      ])}`
    ].map((line) => `\n     ${line}`).join("")
  }
}

const named = process.argv.slice(2)
const unknown = named.filter((name) => checks[name] === undefined)
if (unknown.length > 0) {
  throw new Error(`No such check: ${unknown.join(", ")}. There are ${Object.keys(checks).join(", ")}.`)
}

let failed = 0
let passed = 0
for (const [name, check] of Object.entries(checks)) {
  if (named.length > 0 && !named.includes(name)) continue
  const start = performance.now()
  const [word, wrong] = await check().then(
    (answer) => [answer ?? "", []] as const,
    (error: Error) => ["", error.message.split("\n")] as const
  )
  const seconds = `${((performance.now() - start) / 1000).toFixed(1)} s`.padStart(7)
  const known = pending[name] ?? []
  const news = wrong.filter((line) => !known.some((start) => line.startsWith(start)))
  const mark = wrong.length === 0 ? "ok" : news.length === 0 ? "PEND" : "FAIL"
  console.log(`${mark.padEnd(4)} ${name.padEnd(18)} ${seconds}  ${word}`.trimEnd())
  for (const start of known) {
    console.log(`     pending: ${start} (${wrong.filter((line) => line.startsWith(start)).length} lines)`)
  }
  for (const line of news) console.log(`     ${line}`)
  if (mark === "FAIL") failed++
  else passed++
}
rmSync(temporary, { force: true, recursive: true })
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1

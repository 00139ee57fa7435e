/**
 * Installs the packed package into an empty folder, as a user does, then compiles and runs there every program of README and the recipes, and
 * runs the command.
 */
import { execFile, spawn } from "node:child_process"
import { copyFileSync, existsSync, globSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { promisify } from "node:util"
import { fromMarkdown } from "./examples.ts"

/**
 * A program of a page.
 *
 * - `main`: is imported, and then its `main` runs, if it exports one.
 * - `serves`: the same, and is stopped after a while. Its first line is `// serves`.
 * - `test`: a test file, for it imports vitest.
 * - `compiled`: needs more than the simulator. Its first line starts with `// compiled only`.
 */
export interface Program {
  readonly title: string
  readonly file: string
  readonly code: string
  readonly runs: "main" | "serves" | "test" | "compiled"
}

export const programsOf = (path: string, text: string): ReadonlyArray<Program> =>
  fromMarkdown(text).map(({ code, line }) => {
    const runs = code.startsWith("// compiled only")
      ? "compiled"
      : code.startsWith("// serves")
      ? "serves"
      : /from "(?:@effect\/)?vitest"/.test(code)
      ? "test"
      : "main"
    const file = `${path.replace(/\W+/g, "-")}-${line}${runs === "test" ? ".test" : ""}.ts`
    return { title: `${path}:${line}`, file, code, runs }
  })

const maxRecipe = 40

/** Recipes of more lines than a reader takes in at once. */
export const longRecipes = (programs: ReadonlyArray<Program>): ReadonlyArray<string> =>
  programs.flatMap(({ code, title }) => {
    const lines = code.trimEnd().split("\n").length
    return lines > maxRecipe ? [`${title}: the recipe has ${lines} lines, at most ${maxRecipe}`] : []
  })

/** The errors of a compiler that are about the programs or this package: declarations of others are theirs to mend. */
export const ownErrors = (output: string): ReadonlyArray<string> => {
  const found: Array<string> = []
  let isOwn = false
  for (const line of output.split("\n")) {
    // An indented line explains the one before.
    if (!/^\s/.test(line)) isOwn = /^(?:error|programs\/|node_modules\/effect-claude\/)/.test(line)
    if (isOwn) found.push(line)
  }
  return found
}

const compilers = { "TypeScript 5.9": "typescript", "TypeScript 7": "typescript-7" }

const resolutions = {
  NodeNext: { module: "NodeNext" },
  Bundler: { module: "ESNext", moduleResolution: "Bundler" },
  "without exactOptionalPropertyTypes": { module: "NodeNext", exactOptionalPropertyTypes: false }
}

/** The packages that an import specifier needs, peers included. */
const packageOf = (specifier: string): ReadonlyArray<string> => {
  const name = specifier.split("/").slice(0, specifier.startsWith("@") ? 2 : 1).join("/")
  return name === "@effect/vitest" ? [name, "vitest"] : [name]
}

const limited = async <A>(jobs: ReadonlyArray<() => Promise<A>>, concurrency = 2): Promise<ReadonlyArray<A>> => {
  const results: Array<A> = []
  let next = 0
  await Promise.all(Array.from({ length: concurrency }, async () => {
    for (let index = next++; index < jobs.length; index = next++) results[index] = await jobs[index]!() // below the length
  }))
  return results
}

/** Standard output and error of a program, and whether it ended well. */
const outcome = (args: ReadonlyArray<string>, folder: string, env: NodeJS.ProcessEnv, timeout: number) =>
  promisify(execFile)(process.execPath, args, { cwd: folder, env, timeout, maxBuffer: 1 << 26 }).then(
    ({ stdout }) => ({ ok: true, stopped: false, text: stdout }),
    (error: { stdout?: string; stderr?: string; killed?: boolean }) => ({ // execFile adds these to what it rejects with
      ok: false,
      stopped: error.killed === true,
      text: `${error.stdout ?? ""}${error.stderr ?? ""}`.trim() || String(error)
    })
  )

/** What the installed command does wrong: it finds its packages, asks, and says what it needs where that is missing. */
const command = async (folder: string, env: NodeJS.ProcessEnv): Promise<ReadonlyArray<string>> => {
  const bin = join(folder, "node_modules/.bin/effect-claude")
  const wrong: Array<string> = []
  const expect = async (args: ReadonlyArray<string>, ok: boolean, said: RegExp): Promise<void> => {
    const result = await outcome([bin, ...args], folder, env, 60_000)
    if (result.ok !== ok || !said.test(result.text)) {
      wrong.push(
        `effect-claude ${args.join(" ")} fails:`,
        ...result.text.split("\n").slice(-20).map((line) => `  ${line}`)
      )
    }
  }
  await expect(["--version"], true, /^effect-claude \d+\.\d+\.\d+\n$/)
  await expect(["doctor", "--offline", "--json"], true, /^\{"ok":true,"checks":\[.*"name":"package effect"/)
  await expect(["ask", "--json", "hello"], true, /^\{"text":".*"stopReason":"end_turn"/)
  const platform = join(folder, "node_modules/@effect/platform-node")
  renameSync(platform, `${platform}.away`)
  await expect(
    ["--version"],
    false,
    /^PeerMissingError: The effect-claude command needs @effect\/platform-node, .*: npm install @effect\/platform-node$/
  )
  renameSync(`${platform}.away`, platform)
  return wrong
}

/** Answers what was compiled and run, and what is wrong. */
export const installed = async (root: string, tarball: string, folder: string) => {
  const recipes = globSync("docs/recipes/*.md", { cwd: root }).sort().flatMap((path) =>
    programsOf(path, readFileSync(join(root, path), "utf8"))
  )
  const programs = [...programsOf("README.md", readFileSync(join(root, "README.md"), "utf8")), ...recipes]
  mkdirSync(join(folder, "programs"), { recursive: true })
  for (const { code, file } of programs) writeFileSync(join(folder, "programs", file), code)
  for (const name of ["run.ts", "simulated.ts", "simulator.ts", "undici.ts"]) {
    copyFileSync(join(root, "scripts/programs", name), join(folder, name))
  }

  const imported = programs.flatMap(({ code }) => [...code.matchAll(/from "([^."][^"]*)"/g)].map((_) => _[1]!)) // the group takes part
  const names = new Set(["effect", "@anthropic-ai/sdk", "@types/node", ...imported.flatMap(packageOf)])
  const dependencies: Record<string, string> = { "effect-claude": `file:${tarball}` }
  for (const name of names) {
    const manifest = join(root, "node_modules", name, "package.json")
    if (existsSync(manifest)) dependencies[name] = JSON.parse(readFileSync(manifest, "utf8")).version
  }
  writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true, type: "module", dependencies }))
  const install = ["install", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]
  await promisify(execFile)("npm", install, { cwd: folder })

  const compiled = Object.entries(compilers).flatMap(([compiler, module]) =>
    Object.entries(resolutions).map(([resolution, options]) => async () => {
      const config = `tsconfig.${module}.${resolution.replaceAll(" ", "-")}.json`
      writeFileSync(
        join(folder, config),
        JSON.stringify({
          compilerOptions: {
            strict: true,
            exactOptionalPropertyTypes: true,
            ...options,
            skipLibCheck: false,
            noEmit: true,
            target: "ES2022",
            types: ["node"]
          },
          include: ["programs"]
        })
      )
      const { ok, text } = await outcome(
        [join(root, "node_modules", module, "bin/tsc"), "--pretty", "false", "-p", config],
        folder,
        process.env,
        300_000
      )
      const errors = [...ownErrors(text)]
      if (!ok && errors.length === 0 && !text.includes("node_modules/")) errors.push(text)
      return errors.map((line) => `${compiler}, ${resolution}: ${line}`)
    })
  )
  const wrong = [...longRecipes(recipes), ...(await limited(compiled)).flat()]

  const server = spawn(process.execPath, ["simulator.ts"], { cwd: folder, stdio: ["ignore", "pipe", "inherit"] })
  try {
    const [SIMULATOR_URL, ANTHROPIC_API_KEY] = await new Promise<ReadonlyArray<string>>((resolve, reject) => {
      createInterface(server.stdout).once("line", (line) => resolve(line.split(" ")))
      server.once("exit", (code) => reject(new Error(`The simulator ended with ${code}`)))
    })
    const { ANTHROPIC_BASE_URL: _, CLAUDE_BASE_URL: __, ...rest } = process.env
    const env = { ...rest, NO_COLOR: "1", SIMULATOR_URL, ANTHROPIC_API_KEY }
    const runs = programs.filter(({ runs }) => runs !== "compiled").map(({ file, runs, title }) => async () => {
      const path = `programs/${file}`
      const args = runs === "test"
        ? ["node_modules/vitest/vitest.mjs", "run", path]
        : ["--import", "./simulated.ts", "run.ts", path]
      const { ok, stopped, text } = await outcome(args, folder, env, runs === "serves" ? 5_000 : 60_000)
      if (ok || (stopped && runs === "serves")) return []
      return [
        `${title} ${stopped ? "does not end" : "fails"}:`,
        ...text.split("\n").slice(-20).map((line) => `  ${line}`)
      ]
    })
    wrong.push(...(await limited(runs)).flat())
    wrong.push(...await command(folder, { ...env, ANTHROPIC_BASE_URL: SIMULATOR_URL }))
    return { programs: programs.length, run: runs.length, wrong }
  } finally {
    server.kill()
  }
}

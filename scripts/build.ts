/**
 * Makes `dist`: declarations by the compiler, and code by rolldown, which puts the insides of a module into its file, and what is always loaded together into
 * two: a program that imports the package loads a sixth of the files. Comments stay in the declarations and in `src`.
 */
import { execFileSync } from "node:child_process"
import { globSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { rolldown } from "rolldown"

/** Has no code, and its names must stay namespaces that the bundler of a user sees through. */
const index = "src/index.ts"

const modules = globSync("src/**/*.ts").filter((path) => !path.includes("/internal/") && path !== index).sort()

const external = /^[^./]/

/** What the main entry always loads. */
const [{ moduleIds }] = (await (await rolldown({ input: index, external, platform: "node" })).generate()).output
const loaded = new Set(moduleIds)

/** What stands on little of `effect` stands apart. */
const apart = /src\/(?:ClaudeConfig|Estimate|Model)[./]/

/** What stands on the SDK. */
const overSdk =
  /src\/(?:CircuitBreaker|Claude(?:Api|Service)|Conversation|Health|KeyPool|Monitor|StructuredOutput|ToolLoop)[./]/

rmSync("dist", { recursive: true, force: true })
execFileSync(process.execPath, ["node_modules/typescript/bin/tsc", "-p", "tsconfig.build.json"], { stdio: "inherit" })
const bundle = await rolldown({
  input: Object.fromEntries(modules.map((path) => [path.slice("src/".length, -".ts".length), path])),
  external,
  platform: "node",
  // A module may export more than it declares, for others of this package. The alternative is a second file for most modules.
  preserveEntrySignatures: "allow-extension"
})
await bundle.write({
  dir: "dist",
  sourcemap: true,
  comments: { jsdoc: false },
  // For each import of each file is looked up anew: what is always loaded together is two files, one for what does without the SDK.
  codeSplitting: {
    groups: [
      { name: "ground", test: (id) => loaded.has(id) && !apart.test(id) && !overSdk.test(id) },
      { name: "service", test: (id) => loaded.has(id) && overSdk.test(id) }
    ],
    includeDependenciesRecursively: false
  },
  entryFileNames: "[name].js",
  chunkFileNames: "internal/[name].js"
})
writeFileSync("dist/index.js", readFileSync(index, "utf8").replaceAll(".ts\"", ".js\""))

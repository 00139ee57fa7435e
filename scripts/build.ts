/**
 * Makes `dist`: declarations by the compiler, and code by rolldown, which puts the insides of a module into its file: a program that imports the
 * package loads a sixth of the files. Comments stay in the declarations and in `src`.
 */
import { execFileSync } from "node:child_process"
import { globSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { rolldown } from "rolldown"

/** Has no code, and its names must stay namespaces that the bundler of a user sees through. */
const index = "src/index.ts"

const modules = globSync("src/**/*.ts").filter((path) => !path.includes("/internal/") && path !== index).sort()

rmSync("dist", { recursive: true, force: true })
execFileSync(process.execPath, ["node_modules/typescript/bin/tsc", "-p", "tsconfig.build.json"], { stdio: "inherit" })
const bundle = await rolldown({
  input: Object.fromEntries(modules.map((path) => [path.slice("src/".length, -".ts".length), path])),
  external: /^[^./]/,
  platform: "node",
  // A module may export more than it declares, for others of this package. The alternative is a second file for most modules.
  preserveEntrySignatures: "allow-extension"
})
await bundle.write({
  dir: "dist",
  sourcemap: true,
  comments: { jsdoc: false },
  // What most modules stand on is one file, for each import of each file is looked up anew. The models stand on little of `effect`, and apart.
  codeSplitting: {
    groups: [{
      name: "ground",
      test:
        /src\/(?:(?:Attempt|ClaudeError|CostReport|MessageStream|PriceBook|Reconciliation|Request|Usage)[./]|internal\/)/,
      includeDependenciesRecursively: false
    }]
  },
  entryFileNames: "[name].js",
  chunkFileNames: "internal/[name].js"
})
writeFileSync("dist/index.js", readFileSync(index, "utf8").replaceAll(".ts\"", ".js\""))

import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

const src = fileURLToPath(new URL("./src", import.meta.url))

export default defineConfig({
  resolve: {
    alias: [
      { find: /^effect-claude$/, replacement: `${src}/index.ts` },
      { find: /^effect-claude\/(.*)$/, replacement: `${src}/$1.ts` }
    ]
  },
  test: {
    // Ends what hangs. What only is slow may take this long: a process of a few seconds takes a minute on a machine that is busy.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    // Tests that run at once sleep most of the time.
    maxConcurrency: 30,
    // Many files wait for servers and processes more than they compute.
    maxWorkers: 3,
    // Half of the time of a run was to load the same modules anew for each file; no test keeps state in a module.
    isolate: false,
    projects: [
      { extends: true, test: { name: "unit", include: ["test/**/*.test.ts"] } },
      { extends: true, test: { name: "examples", include: [".examples/**/*.test.ts"] } }
    ]
  }
})

#!/usr/bin/env node
// Everything else is imported once it is known that this Node can.
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number)

if (major < 22 || (major === 22 && minor < 19)) {
  process.stderr.write(
    `effect-claude needs Node 22.19 or newer, and this is ${process.versions.node}: https://nodejs.org\n`
  )
  process.exitCode = 1
} else {
  import("node:module")
    .then(({ enableCompileCache }) => enableCompileCache?.()) // the next start takes half the time
    .then(() => import("./Cli.ts"))
    .then(({ main }) => main(process.argv.slice(2)))
}

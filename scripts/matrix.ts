/**
 * Runs types and tests with every Node, Effect and SDK that the package says it works with: `npm run matrix`, or some of it:
 * `npm run matrix -- node-22 oldest`. `--quick` compiles with each set of peers and runs a few test files with each Node.
 *
 * The first Node is the oldest that `engines` allows; `oldest` has the lowest version of each peer range, `newest` the newest that is
 * published. What the lockfile has already is left out, for `npm test` and `npm run check` are about it.
 */
import { execFile, spawn } from "node:child_process"
import { constants, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { pathToFileURL } from "node:url"
import { promisify } from "node:util"

export interface Manifest {
  readonly engines: { readonly node: string }
  readonly peerDependencies: Readonly<Record<string, string>>
}

/** The lowest version that a range of the forms `>=1.2.3` and `^1.2.3` allows. */
export const lowest = (range: string): string => {
  const [, version] = /^(?:>=|\^)(\d+\.\d+\.\d+)$/.exec(range) ?? []
  if (version === undefined) throw new Error(`The range ${range} has another form than >=1.2.3 or ^1.2.3`)
  return version
}

export interface Combination {
  readonly name: string
  /** A version of the package `node`; without one it is the Node that runs this. */
  readonly node?: string
  /** The versions that replace those of the lockfile. */
  readonly peers?: Readonly<Record<string, string>>
}

/** Every combination; of peers, those that are not installed yet. */
export const combinations = (
  { engines, peerDependencies }: Manifest,
  installed: Readonly<Record<string, string>>,
  newest: Readonly<Record<string, string>>
): ReadonlyArray<Combination> => {
  const first = lowest(engines.node)
  const others = (versions: Readonly<Record<string, string>>) =>
    Object.fromEntries(Object.entries(versions).filter(([name, version]) => installed[name] !== version))
  const lowestPeers = Object.fromEntries(
    Object.entries(peerDependencies).map(([name, range]) => [name, lowest(range)])
  )
  return [
    { name: `node-${first.split(".", 1)[0]}`, node: first },
    { name: "node-24", node: "24" },
    { name: "node-26", node: "26" },
    ...[{ name: "oldest", peers: others(lowestPeers) }, { name: "newest", peers: others(newest) }].filter(({ peers }) =>
      Object.keys(peers).length > 0
    )
  ]
}

/** What a quick run takes: the path of a call, whole and streamed, over real HTTP; SQLite; and files. */
const few = ["ClaudeService", "ClaudeApi", "Sqlite", "KeyStore"].map((name) => `test/${name}.test.ts`)

const root = process.cwd()

const output = async (file: string, args: ReadonlyArray<string>, cwd: string): Promise<string> =>
  (await promisify(execFile)(file, args, { cwd, maxBuffer: 1 << 26 })).stdout

const versionOf = (name: string): string =>
  JSON.parse(readFileSync(join(root, "node_modules", name, "package.json"), "utf8")).version

const newestOf = async (name: string, range: string): Promise<string> => {
  const versions: string | ReadonlyArray<string> = JSON.parse(
    await output("npm", ["view", "--json", `${name}@${range}`, "version"], root)
  )
  return typeof versions === "string" ? versions : versions.at(-1)! // a published range has one at least
}

const npm = ["install", "--no-save", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel", "error"]

/** The path of a Node of that version, from the registry. */
const nodeOf = async (version: string, folder: string): Promise<string> => {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true, allowScripts: { node: true } }))
  await output("npm", [...npm, `node@${version}`], folder)
  return join(folder, "node_modules/node/bin/node")
}

/** A copy of the repository with other peers in it. */
const copyWith = async (peers: Readonly<Record<string, string>>, folder: string): Promise<string> => {
  const listed = await output("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], root)
  for (const path of [...listed.split("\0").filter((path) => path !== ""), "node_modules"]) {
    cpSync(join(root, path), join(folder, path), {
      recursive: true,
      verbatimSymlinks: true,
      mode: constants.COPYFILE_FICLONE
    })
  }
  await output("npm", [...npm, ...Object.entries(peers).map(([name, version]) => `${name}@${version}`)], folder)
  return folder
}

/** Whether a program ended well; what it says goes to the terminal. */
const runs = (node: string, args: ReadonlyArray<string>, cwd: string): Promise<boolean> =>
  new Promise((resolve, reject) => {
    const env = { ...process.env, PATH: `${dirname(node)}:${process.env["PATH"]}` }
    spawn(node, args, { cwd, env, stdio: ["ignore", "inherit", "inherit"] }).once("error", reject).once(
      "exit",
      (code) => resolve(code === 0)
    )
  })

const main = async (args: ReadonlyArray<string>): Promise<void> => {
  const quick = args.includes("--quick")
  const named = args.filter((arg) => arg !== "--quick")
  const manifest: Manifest = JSON.parse(readFileSync("package.json", "utf8"))
  const peers = Object.entries(manifest.peerDependencies)
  const installed = Object.fromEntries(peers.map(([name]) => [name, versionOf(name)]))
  const newest = Object.fromEntries(
    await Promise.all(peers.map(async ([name, range]) => [name, await newestOf(name, range)]))
  )
  const all = combinations(manifest, installed, newest)
  const unknown = named.filter((name) => !all.some((combination) => combination.name === name))
  if (unknown.length > 0) {
    throw new Error(`No such combination: ${unknown.join(", ")}. There are ${all.map(({ name }) => name).join(", ")}.`)
  }
  const temporary = mkdtempSync(join(tmpdir(), "effect-claude-matrix-"))
  const failed: Array<string> = []
  const asked = all.filter(({ name }) => named.length === 0 || named.includes(name))
  try {
    for (const { name, node: version, peers } of asked) {
      const start = performance.now()
      const folder = peers === undefined ? root : await copyWith(peers, join(temporary, name))
      const node = version === undefined ? process.execPath : await nodeOf(version, join(temporary, name))
      const vitest = ["node_modules/vitest/vitest.mjs", "run", "--project", "unit", ...(quick ? few : [])]
      const compiles = peers === undefined ||
        await runs(node, ["node_modules/typescript/bin/tsc", "--pretty", "false"], folder)
      const passes = (quick && peers !== undefined) || await runs(node, [...vitest, "--reporter", "dot"], folder)
      if (!compiles || !passes) failed.push(name)
      const said = (await output(node, ["--version"], root)).trim()
      const others = Object.entries(peers ?? {}).map(([name, version]) => `, ${name} ${version}`).join("")
      const seconds = Math.round((performance.now() - start) / 1000)
      console.log(`${compiles && passes ? "ok  " : "FAIL"} ${name.padEnd(8)} ${seconds} s  Node ${said}${others}`)
      rmSync(join(temporary, name), { force: true, recursive: true })
    }
  } finally {
    rmSync(temporary, { force: true, recursive: true })
  }
  console.log(`${asked.length - failed.length} passed, ${failed.length} failed`)
  process.exitCode = failed.length === 0 ? 0 : 1
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await main(process.argv.slice(2))

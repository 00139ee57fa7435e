/** The command `effect-claude` as a process. */
import { NodeFileSystem, NodeServices } from "@effect/platform-node"
import { assert } from "@effect/vitest"
import { ConfigProvider, Console, Effect, FileSystem, Layer, Stdio, Stream } from "effect"
import * as Cli from "effect-claude/Cli"
import * as Simulator from "effect-claude/testing/Simulator"
import * as SimulatorServer from "effect-claude/testing/SimulatorServer"
import { type ChildProcess, spawn } from "node:child_process"
import { openSync } from "node:fs"

/** A command that runs: what it has written so far, and how it ends. */
export interface Run {
  readonly child: ChildProcess
  readonly said: { out: string; err: string }
  readonly exit: Effect.Effect<{ readonly out: string; readonly err: string; readonly code: number | null }>
}

const program = new URL("../../src/bin.ts", import.meta.url).pathname

export interface Options {
  readonly env?: Record<string, string | undefined> | undefined
  /** What it reads; left open where it is undefined. */
  readonly stdin?: string | undefined
  /** Whether its terminal is a real one. */
  readonly terminal?: boolean | undefined
  /** A file that it writes to instead of a pipe. */
  readonly stdout?: string | undefined
}

const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`

/** The environment of a command that has a key for the simulator of the test, and nothing else. */
const environment = Effect.map(SimulatorServer.SimulatorServer, ({ url }) => ({
  PATH: process.env["PATH"],
  XDG_CONFIG_HOME: "/none",
  ANTHROPIC_API_KEY: Simulator.apiKey,
  ANTHROPIC_BASE_URL: url
}))

/** Starts the command, and kills it with the scope. */
export const start = Effect.fnUntraced(function*(args: ReadonlyArray<string>, options: Options = {}) {
  const env = { ...yield* environment, ...options.env }
  const whole = [process.execPath, program, ...args]
  const [file = "", ...rest] = options.terminal === true
    ? ["script", "-qefc", whole.map(quoted).join(" "), "/dev/null"]
    : whole
  const child = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const stdout = options.stdout === undefined ? "pipe" : openSync(options.stdout, "w")
      return spawn(file, rest, { env, stdio: ["pipe", stdout, "pipe"] })
    }),
    (child) => Effect.sync(() => void child.kill("SIGKILL"))
  )
  const said = { out: "", err: "" }
  child.stdout?.on("data", (data) => (said.out += data))
  child.stderr?.on("data", (data) => (said.err += data))
  child.stdin?.on("error", () => {}) // a command may end before it has read everything
  if (options.stdin !== undefined) child.stdin?.end(options.stdin)
  const ended = new Promise<number | null>((resolve) => child.on("close", resolve))
  const exit = Effect.map(Effect.promise(() => ended), (code) => ({ ...said, code }))
  return { child, said, exit } satisfies Run
})

export const run = (args: ReadonlyArray<string>, options: Options = {}) =>
  Effect.scoped(Effect.flatMap(start(args, { stdin: "", ...options }), ({ exit }) => exit))

/** The command without a process, for what does not depend on one: what its `Console` was given, and its exit code. */
export const here = Effect.fnUntraced(function*(args: ReadonlyArray<string>, options: Omit<Options, "terminal"> = {}) {
  const env: Record<string, string> = {}
  for (const [name, value] of Object.entries({ ...yield* environment, ...options.env })) {
    if (value !== undefined) env[name] = value
  }
  const said = { out: "", err: "" }
  const write = (to: "out" | "err") => (text: string) => {
    said[to] += `${text}\n`
  }
  const captured = Object.assign(Object.create(console), { log: write("out"), error: write("err") })
  const stdin = Stream.make(new TextEncoder().encode(options.stdin ?? ""))
  const code: number = yield* Cli.run(args).pipe(
    Effect.provideService(Console.Console, captured),
    Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromEnv({ env })),
    Effect.provide(Layer.merge(NodeServices.layer, Stdio.layerTest({ stdin })))
  )
  return { ...said, code }
})

/** What a command wrote as JSON. */
export const json = (text: string) => {
  const lines = text.split("\n")
  assert.strictEqual(lines.length, 2, `one line, not ${text}`)
  return JSON.parse(lines[0] ?? "")
}

/** Texts of the prompts that got an answer. */
export const asked: Array<string> = []

const answer: Simulator.Answerer = ({ messages, tools }) => {
  const question = String(messages[0]?.content)
  asked.push(question)
  if (question === "the weather" && tools !== undefined) {
    return { content: [{ type: "tool_use", name: "weather", input: { city: "Paris" } }] }
  }
  return `Nobody knows ${question}.`
}

/** A simulated API for commands, and files for them. */
export const Environment = Layer.mergeAll(
  NodeFileSystem.layer,
  SimulatorServer.layer().pipe(Layer.provideMerge(Simulator.layer({ answer, latency: { firstToken: "50 millis" } })))
)

/** A folder that goes away with the scope. */
export const folder = Effect.flatMap(FileSystem.FileSystem, (fs) => fs.makeTempDirectoryScoped())

export const write = (file: string, lines: ReadonlyArray<unknown>) =>
  Effect.flatMap(
    FileSystem.FileSystem,
    (fs) =>
      fs.writeFileString(file, lines.map((line) => typeof line === "string" ? line : JSON.stringify(line)).join("\n"))
  )

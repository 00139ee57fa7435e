import { NodeFileSystem } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Layer } from "effect"
import * as Simulator from "effect-claude/testing/Simulator"
import * as SimulatorServer from "effect-claude/testing/SimulatorServer"
import { type ChildProcess, spawn } from "node:child_process"

/** A program that runs: what it has said so far, and how it ended. */
interface Run {
  readonly child: ChildProcess
  readonly said: { out: string; err: string }
  readonly exit: Effect.Effect<number | null>
}

const program = new URL("../../scratch/quickstart.ts", import.meta.url).pathname

const start = (args: ReadonlyArray<string>, env: Record<string, string> = {}): Effect.Effect<Run> =>
  Effect.sync(() => {
    // Node 22 says that node:sqlite is experimental.
    const child = spawn(process.execPath, ["--no-warnings", program, ...args], {
      env,
      stdio: ["ignore", "pipe", "pipe"]
    })
    const said = { out: "", err: "" }
    child.stdout.on("data", (data) => (said.out += data))
    child.stderr.on("data", (data) => (said.err += data))
    const ended = new Promise<number | null>((resolve) => child.on("close", resolve))
    return { child, said, exit: Effect.promise(() => ended) }
  })

const run = Effect.fnUntraced(function*(args: ReadonlyArray<string>, env?: Record<string, string>) {
  const { exit, said } = yield* start(args, env)
  const code = yield* exit
  return { ...said, code }
})

const answer: Simulator.Answerer = ({ messages }) => `Nobody knows ${String(messages[0]?.content)}.`

const Server = SimulatorServer.layer().pipe(
  Layer.provideMerge(Simulator.layer({ answer, latency: { firstToken: "50 millis" } }))
)

/** The environment of a program that has a key for the simulator of the test. */
const environment = Effect.map(
  SimulatorServer.SimulatorServer,
  ({ url }): Record<string, string> => ({ ANTHROPIC_API_KEY: Simulator.apiKey, ANTHROPIC_BASE_URL: url })
)

describe("npm start", () => {
  it.live(
    "shows what can happen to a call, and provokes no failure where there is a key",
    () =>
      Effect.gen(function*() {
        const simulator = yield* Simulator.Simulator
        const [without, withKey] = yield* Effect.all([run([]), run([], yield* environment)], { concurrency: 2 })
        assert.match(without.out, /^ANTHROPIC_API_KEY is not set: the Claude API is simulated at http:\/\/127/)
        assert.match(withKey.out, /^ANTHROPIC_API_KEY is set: the first two calls go to the Claude API/)
        assert.match(withKey.out, /Nobody knows In one sentence/)
        for (const { code, err, out } of [without, withKey]) {
          assert.strictEqual(err, "")
          assert.strictEqual(code, 0)
          assert.match(
            out,
            /call (\d), attempt 1: RateLimitError \(HTTP 429\), asked to wait 1s\n {2}call \1, attempt 2: answered/
          )
          assert.match(out, /attempt 2: ServerError \(HTTP 529\)\n {2}attempt 3: answered/)
          assert.match(out, /\nAuthError: Claude did not accept the API key/)
          assert.match(out, /\nBadRequestError: Claude cannot answer this request/)
          assert.match(out, /\nAnswered: 12 in \d+\.\d\d s\. Refused by the API: 0\.\n/)
          assert.match(out, / {2}circuit: closed -> open for \d+ms\n(.+\n)+ {2}circuit: halfOpen -> closed\n/)
          assert.match(out, /\nServerError: [3-9], CircuitOpenError: \d+, answered: \d+\./)
          assert.match(out, /\noverload +answered +1 +3 +\d+ +\d+ +0\.\d{6} +\d+\.\d\d s\n/)
          assert.match(out, /\ntotal +\d+ +\d+ +\d+ +[\d,]+ +0\.\d{6} +\d+\.\d\d s\n/)
          assert.match(
            out,
            /\nWhat it cost, by model\nmodel +calls +attempts .*\nclaude-sonnet-5-5 .*\n.*\ntotal .*\n$/
          )
          assert.notInclude(out, "\u001b")
        }
        assert.deepInclude(yield* simulator.requests, { total: 2, byStatus: { 200: 2 } })
      }).pipe(Effect.provide(Server))
  )

  it.live("streams the answer to a question, and names the error that came instead", () =>
    Effect.gen(function*() {
      const env = yield* environment
      const good = yield* run(["the", "way"], env)
      assert.deepStrictEqual([good.out, good.code], ["Nobody knows the way.\n", 0])
      assert.match(good.err, /^claude-sonnet-5-5: \d+ tokens in, \d+ out, .* s, \$0\.\d+\n$/)
      const bad = yield* run(["the way"], { ...env, ANTHROPIC_API_KEY: "sk-ant-wrong" })
      assert.strictEqual(bad.code, 3)
      assert.match(bad.err, /^AuthError: Claude did not accept the API key/)
      const other = yield* run(["the way"], { ...env, CLAUDE_MODEL: "claude-opus-5-5" })
      assert.match(other.err, /^claude-opus-5-5: /)
    }).pipe(Effect.provide(Server)))

  it.live(
    "answers a file of prompts by the command, with a simulated API where there is no key",
    () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const folder = yield* fs.makeTempDirectoryScoped()
        const [file, out] = [`${folder}/prompts.jsonl`, `${folder}/answers.jsonl`]
        yield* fs.writeFileString(file, "{\"id\":1,\"prompt\":\"one\"}\n{\"id\":2,\"prompt\":\"two\"}\n")
        const { code, err, out: said } = yield* run(["--file", file, "--out", out, "--budget", "0.50"])
        assert.strictEqual(code, 0)
        assert.match(err, /^ANTHROPIC_API_KEY is not set: the Claude API is simulated at http:\/\/127/)
        assert.match(said, /answers\.jsonl: 2 prompts: 2 answered; \d+ tokens in, \d+ out; \$0\.\d{4} of \$0\.5; /)
        assert.lengthOf((yield* fs.readFileString(out)).trimEnd().split("\n"), 2)
      }).pipe(Effect.scoped, Effect.provide([Server, NodeFileSystem.layer]))
  )
})

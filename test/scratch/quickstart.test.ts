import { NodeFileSystem } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Layer, Schedule } from "effect"
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
    const child = spawn(process.execPath, [program, ...args], { env, stdio: ["ignore", "pipe", "pipe"] })
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

/** What was asked of the simulator, one text a request that got an answer. */
const asked: Array<string> = []

const answer: Simulator.Answerer = ({ messages }) => {
  const question = String(messages[0]?.content)
  asked.push(question)
  return `Nobody knows ${question}.`
}

const Server = SimulatorServer.layer().pipe(
  Layer.provideMerge(Simulator.layer({ answer, latency: { firstToken: "50 millis" } }))
)

/** The environment of a program that has a key for the simulator of the test. */
const environment = Effect.map(
  SimulatorServer.SimulatorServer,
  ({ url }): Record<string, string> => ({ ANTHROPIC_API_KEY: Simulator.apiKey, ANTHROPIC_BASE_URL: url })
)

/** A file of prompts and the place for its answers, in a folder that goes away. */
const files = Effect.fnUntraced(function*(lines: ReadonlyArray<unknown>) {
  const fs = yield* FileSystem.FileSystem
  const folder = yield* fs.makeTempDirectoryScoped()
  const [file, out] = [`${folder}/prompts.jsonl`, `${folder}/answers.jsonl`]
  yield* fs.writeFileString(
    file,
    lines.map((line) => typeof line === "string" ? line : JSON.stringify(line)).join("\n")
  )
  return {
    out,
    args: ["--file", file, "--out", out, "--concurrency", "4"],
    /** The answers so far; fails where a line is not whole. */
    answers: Effect.map(fs.readFileString(out), (text) => {
      assert.isTrue(text === "" || text.endsWith("\n"), "the last line is not whole")
      return text.split("\n").slice(0, -1).map((line): {
        readonly id: string
        readonly text?: string
        readonly error?: { readonly tag: string; readonly message: string }
        readonly attempts: number
        readonly usage?: { readonly output_tokens: number }
        readonly model?: string
      } => JSON.parse(line))
    })
  }
})

const prompts = (count: number) =>
  Array.from({ length: count }, (_, index) => ({ id: `q${index}`, prompt: `what ${index} is` }))

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
      }).pipe(Effect.provide(Server)),
    60_000
  )

  it.live("streams the answer to a question, and names the error that came instead", () =>
    Effect.gen(function*() {
      const env = yield* environment
      const good = yield* run(["the", "way"], env)
      assert.deepStrictEqual([good.out, good.code], ["Nobody knows the way.\n", 0])
      assert.match(good.err, /^claude-sonnet-5-5: \d+ tokens in, \d+ out, .* s, \$0\.\d+\n$/)
      const bad = yield* run(["the way"], { ...env, ANTHROPIC_API_KEY: "sk-ant-wrong" })
      assert.strictEqual(bad.code, 1)
      assert.match(bad.err, /^AuthError: Claude did not accept the API key/)
      const other = yield* run(["the way"], { ...env, CLAUDE_MODEL: "claude-opus-5-5" })
      assert.match(other.err, /^claude-opus-5-5: /)
    }).pipe(Effect.provide(Server)), 30_000)

  it.live(
    "answers a file of prompts, names what it cannot ask and what failed, and tries that again",
    () =>
      Effect.gen(function*() {
        const simulator = yield* Simulator.Simulator
        const env = yield* environment
        const { answers, args } = yield* files([
          ...prompts(3),
          "{oops",
          { id: "q1", prompt: "once more" },
          "",
          { id: "none" },
          { id: "fails", messages: [{ role: "user", content: "fails" }], model: "claude-haiku-5-5", max_tokens: 7 }
        ])
        yield* simulator.inject(Simulator.Fault.Status({ status: 400 }), {
          times: 1,
          request: ({ model }) => model === "claude-haiku-5-5"
        })
        const first = yield* run(args, env)
        assert.strictEqual(first.code, 1)
        assert.match(first.err, /prompts\.jsonl line 4 is not asked: /)
        assert.match(first.err, /prompts\.jsonl line 5 is not asked: the id "q1" stands on line 2 already/)
        assert.match(first.err, /prompts\.jsonl line 7 is not asked: Expected either "prompt" or "messages"/)
        assert.match(first.err, /prompts\.jsonl line 8 \(id "fails"\): BadRequestError: /)
        assert.match(first.out, /: 7 prompts: 3 answered, 1 failed \(1 BadRequestError\), 3 not asked; /)
        const written = yield* answers
        assert.lengthOf(written, 4)
        const q1 = written.find(({ id }) => id === "q1")
        assert.deepInclude(q1, { text: "Nobody knows what 1 is.", attempts: 1, model: "claude-sonnet-5-5" })
        assert.isAbove(q1?.usage?.output_tokens ?? 0, 0)
        assert.deepInclude(written.find(({ id }) => id === "fails")?.error, { tag: "BadRequestError" })

        const second = yield* run(args, env)
        assert.match(second.out, /: 7 prompts: 1 answered, 3 answered before, 3 not asked; /)
        assert.strictEqual((yield* simulator.requests).total, 5)
        assert.strictEqual((yield* answers).at(-1)?.model, "claude-haiku-5-5")
      }).pipe(Effect.scoped, Effect.provide([Server, NodeFileSystem.layer])),
    30_000
  )

  it.live(
    "stops at its budget, keeps what was done, and goes on with another one",
    () =>
      Effect.gen(function*() {
        const simulator = yield* Simulator.Simulator
        const env = yield* environment
        const { answers, args } = yield* files(prompts(60))
        const first = yield* run([...args, "--budget", "0.0125"], env)
        assert.strictEqual(first.code, 1)
        const [, answered, left, usd] =
          /: 60 prompts: (\d+) answered, (\d+) left without room in the budget; .*; \$(\S+) of \$0\.0125; /.exec(
            first.out
          ) ??
            []
        assert.notInclude(first.out, "WARN")
        assert.isAbove(Number(answered), 5)
        assert.strictEqual(Number(answered) + Number(left), 60)
        assert.isAtMost(Number(usd), 0.0125)
        assert.lengthOf(yield* answers, Number(answered))
        const billed = (yield* simulator.bill).totals.nanoUsd
        assert.approximately(billed / 1e9, Number(usd), 0.00005)

        const second = yield* run([...args, "--budget", "1"], env)
        assert.strictEqual(second.code, 0)
        assert.match(second.out, new RegExp(`: 60 prompts: ${left} answered, ${answered} answered before; `))
        const wrong = yield* run([...args, "--budget", "-1"], env)
        assert.match(wrong.err, /must be more than 0/)
      }).pipe(Effect.scoped, Effect.provide([Server, NodeFileSystem.layer])),
    60_000
  )

  it.live(
    "leaves whole lines behind on Ctrl-C, and then asks nothing twice that was answered",
    () =>
      Effect.gen(function*() {
        const env = yield* environment
        const { answers, args } = yield* files(prompts(100))
        asked.length = 0
        const { child, exit, said } = yield* start(args, env)
        yield* answers.pipe(
          Effect.filterOrFail((written) => written.length >= 8),
          Effect.retry(Schedule.spaced("10 millis"))
        )
        child.kill("SIGINT")
        assert.strictEqual(yield* exit, 130)
        assert.match(said.out, /^Stopped\. The same command goes on from here\.\n.*: 100 prompts: \d+ answered; /)
        const before = yield* answers
        assert.isAtLeast(before.length, 8)
        assert.isBelow(before.length, 100)

        const second = yield* run(args, env)
        assert.strictEqual(second.code, 0)
        assert.match(
          second.out,
          new RegExp(`: 100 prompts: ${100 - before.length} answered, ${before.length} answered before; `)
        )
        const after = yield* answers
        assert.deepStrictEqual(after.map(({ id }) => id).sort(), prompts(100).map(({ id }) => id).sort())
        for (const { id } of before) {
          assert.lengthOf(asked.filter((question) => question === `what ${id.slice(1)} is`), 1)
        }
      }).pipe(Effect.scoped, Effect.provide([Server, NodeFileSystem.layer])),
    30_000
  )

  it.live(
    "cuts off the line that a killed run left unfinished, and keeps its hands off other files",
    () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const env = yield* environment
        const { answers, args, out } = yield* files(prompts(3))
        yield* fs.writeFileString(out, "{\"id\":\"q0\",\"text\":\"known\"}\n{\"id\":\"q1\",\"te")
        assert.strictEqual((yield* run(args, env)).code, 0)
        assert.deepStrictEqual((yield* answers).map(({ id }) => id).sort(), ["q0", "q1", "q2"])

        yield* fs.writeFileString(out, "{\"id\":\"q0\",\"text\":\"whole, without its newline\"}")
        assert.strictEqual((yield* run(args, env)).code, 0)
        assert.deepStrictEqual((yield* answers).map(({ id }) => id).sort(), ["q0", "q1", "q2"])

        for (const foreign of ["not\nanswers", "not answers\n", "{\"id\":\"q0\",\"te\n{\"id\":\"q0\",\"text\":\"\"}"]) {
          yield* fs.writeFileString(out, foreign)
          const refused = yield* run(args, env)
          assert.strictEqual(refused.code, 1)
          assert.match(refused.err, /holds something else than answers: look at line 1/)
          assert.strictEqual(yield* fs.readFileString(out), foreign)
        }
      }).pipe(Effect.scoped, Effect.provide([Server, NodeFileSystem.layer])),
    30_000
  )
})

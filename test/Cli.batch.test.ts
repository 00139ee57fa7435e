/** The command `batch` as a process: what it asks, what it leaves behind, and how it goes on. */
import { NodeFileSystem } from "@effect/platform-node"
import { assert, describe, it, layer } from "@effect/vitest"
import { Effect, FileSystem } from "effect"
import * as Simulator from "effect-claude/testing/Simulator"
import { execFileSync, spawn } from "node:child_process"
import { writeFileSync } from "node:fs"
import * as Answers from "../src/Cli/internal/batch/answers.ts"
import { asked, Environment, folder, here, json, run, start, write } from "./utils/command.ts"
import { eventually } from "./utils/eventually.ts"

interface Answer {
  readonly id: string | number
  readonly text?: string
  readonly content?: ReadonlyArray<object>
  readonly attempts: number
  readonly model?: string
}

/** A file of prompts and the place for its answers, in a folder that goes away. */
const files = Effect.fnUntraced(function*(lines: ReadonlyArray<unknown>) {
  const fs = yield* FileSystem.FileSystem
  const place = yield* folder
  const [file, out] = [`${place}/prompts.jsonl`, `${place}/answers.jsonl`]
  yield* write(file, lines)
  return {
    file,
    out,
    args: ["batch", file, "--out", out, "--concurrency", "4", "--json"],
    /** The answers so far; fails where a line is not whole. */
    answers: Effect.map(fs.readFileString(out), (text) => {
      assert.isTrue(text === "" || text.endsWith("\n"), "the last line is not whole")
      return text.split("\n").slice(0, -1).map((line): Answer => JSON.parse(line))
    }),
    /** How many answers there are, whole or not. */
    count: fs.readFileString(out).pipe(
      Effect.map((text) => text.split("\n").length - 1),
      Effect.orElseSucceed(() => 0)
    ),
    left: Effect.map(fs.readDirectory(place), (names) => names.filter((name) => !name.endsWith(".jsonl")))
  }
})

const prompts = (count: number) =>
  Array.from({ length: count }, (_, index) => ({ id: `q${index}`, prompt: `what ${index} is` }))

/** Prompts of which the last has no answer until it is released, so that a run with it does not end. */
const endless = Effect.fnUntraced(function*(count: number) {
  const simulator = yield* Simulator.Simulator
  const model = "claude-opus-5-5"
  yield* simulator.inject(Simulator.Fault.Stall({ after: "nothing" }), { request: (seen) => seen.model === model })
  const all = [...prompts(count - 1), { id: "last", prompt: "what comes last", model }]
  return { ...yield* files(all), all, release: simulator.clearFaults }
})

const ids = (answers: ReadonlyArray<Answer>) => answers.map(({ id }) => id).sort()

layer(Environment, { excludeTestServices: true })("effect-claude batch", (it) => {
  it.effect("asks what it can, names what it cannot and what failed, and tries that again", () =>
    Effect.gen(function*() {
      const simulator = yield* Simulator.Simulator
      const weather = { name: "weather", input_schema: { type: "object" } }
      const { answers, args, file, out } = yield* files([
        "\uFEFF{\"id\":\"one\",\"prompt\":\"one\",\"temperature\":0.5,\"model\":\"claude-haiku-4-5\"}",
        { id: 2, prompt: "the weather", system: "Be brief.", tools: [weather], tool_choice: { type: "auto" } },
        "{oops",
        { id: "one", prompt: "once more" },
        "",
        { id: "none" },
        { id: "typo", prompt: "hi", temprature: 0, maxTokens: 1 },
        { id: "fails", messages: [{ role: "user", content: "fails" }], model: "claude-haiku-5-5", max_tokens: 7 }
      ])
      yield* simulator.inject(Simulator.Fault.Status({ status: 400 }), {
        times: 1,
        request: ({ model }) => model === "claude-haiku-5-5"
      })
      const first = yield* run(args.slice(0, -1))
      assert.strictEqual(first.code, 1)
      assert.match(first.err, /line 3 is not asked: it is not JSON\n/)
      assert.match(first.err, /line 4 is not asked: the id "one" stands on line 1 already\n/)
      assert.match(first.err, /line 6 is not asked: Expected either "prompt" or "messages"/)
      assert.match(first.err, /line 7 is not asked: unknown fields "temprature", "maxTokens"; known are id, prompt, /)
      assert.match(first.err, /line 8 \(id "fails"\): BadRequestError: /)
      assert.match(first.out, /: 7 prompts: 2 answered, 1 failed \(1 BadRequestError\), 4 not asked; /)
      const written = yield* answers
      assert.lengthOf(written, 3)
      assert.deepInclude(written.find(({ id }) => id === "one"), { text: "Nobody knows one.", attempts: 1 })
      assert.deepInclude(written.find(({ id }) => id === 2)?.content?.[0], {
        type: "tool_use",
        input: { city: "Paris" }
      })

      const fs = yield* FileSystem.FileSystem
      const second = yield* run(["batch", "-", "--out", out, "--json"], { stdin: yield* fs.readFileString(file) })
      assert.strictEqual(second.code, 1)
      assert.deepInclude(json(second.out), {
        prompts: 7,
        answered: 1,
        answeredBefore: 2,
        failed: 0,
        malformed: 4,
        left: 0
      })
      assert.strictEqual((yield* answers).at(-1)?.model, "claude-haiku-5-5")
    }))

  it.effect("stops at its budget or at a wrong key, keeps what was done, and goes on with another", () =>
    Effect.gen(function*() {
      const simulator = yield* Simulator.Simulator
      const { answers, args: flags } = yield* files(prompts(24))
      const args = [...flags, "--max-tokens", "256"]
      const wrong = yield* run(args, { env: { ANTHROPIC_API_KEY: "sk-ant-nobody-has-it" } })
      assert.strictEqual(wrong.code, 3)
      assert.match(
        JSON.parse(wrong.err.split("\n")[0] ?? "").log.message,
        /^AuthError: .* No further prompt is asked\.$/
      )
      assert.deepInclude(json(wrong.out), { answered: 0, failed: 0, left: 24, stopped: "keys" })

      const before = (yield* simulator.bill).totals.nanoUsd
      const first = yield* run([...args, "--budget", "0.0045"])
      assert.strictEqual(first.code, 4)
      const end = json(first.out)
      assert.deepInclude(end, { stopped: "budget", failed: 0 })
      assert.isAbove(end.answered, 5)
      assert.strictEqual(end.answered + end.left, 24)
      assert.isAtMost(end.costUsd, 0.0045)
      assert.lengthOf(yield* answers, end.answered)
      assert.strictEqual((yield* simulator.bill).totals.nanoUsd - before, end.costNanoUsd)

      const second = yield* run([...args, "--budget", "1"])
      assert.deepInclude(second, { code: 0, err: "" })
      assert.deepInclude(json(second.out), { answered: end.left, answeredBefore: end.answered, stopped: null })
    }))

  it.effect("leaves whole lines behind on Ctrl-C, and then asks nothing twice that was answered", () =>
    Effect.gen(function*() {
      const { all, answers, args, count, left, release } = yield* endless(20)
      asked.length = 0
      const { child, exit } = yield* start(args)
      yield* eventually(count, (count) => count >= 8)
      child.kill("SIGINT")
      const stopped = yield* exit
      assert.strictEqual(stopped.code, 130)
      assert.strictEqual(json(stopped.err).log.message, "Stopped. The same command goes on from here.")
      const before = yield* answers
      assert.deepInclude(json(stopped.out), { stopped: "interrupted", answered: before.length })
      assert.isBelow(before.length, all.length)
      assert.deepStrictEqual(yield* left, [])

      yield* release
      const second = yield* run(args)
      assert.strictEqual(second.code, 0)
      assert.deepInclude(json(second.out), { answered: 20 - before.length, answeredBefore: before.length })
      const after = yield* answers
      assert.isTrue(after.every(({ text }) => text !== undefined))
      assert.deepStrictEqual(ids(after), all.map(({ id }) => id).sort())
      for (const { id } of before) {
        const { prompt } = all.find((line) => line.id === id)!
        assert.lengthOf(asked.filter((question) => question === prompt), 1)
      }
    }))

  it.effect("reads prompts from a pipe that has a name, once", () =>
    Effect.gen(function*() {
      const { answers, file, out } = yield* files(prompts(3))
      const pipe = `${file}.pipe`
      yield* Effect.sync(() => execFileSync("mkfifo", [pipe]))
      for (const before of [0, 3]) {
        const writing = spawn("sh", ["-c", `cat '${file}' > '${pipe}'`])
        const { code, out: said } = yield* run(["batch", pipe, "--out", out, "--json"])
        writing.kill("SIGKILL")
        assert.strictEqual(code, 0)
        assert.deepInclude(json(said), { prompts: 3, answered: 3 - before, answeredBefore: before })
      }
      assert.lengthOf(yield* answers, 3)
    }))

  it.effect("holds no line in memory that is longer than a request can be", () =>
    Effect.gen(function*() {
      const { args, file, left } = yield* files([])
      yield* Effect.sync(() => writeFileSync(file, Buffer.alloc(33 * 1024 * 1024, "x")))
      const { code, err } = yield* here(args)
      assert.strictEqual(code, 1)
      assert.match(json(err).error.message, /has a line of more than 32 MiB/)
      assert.deepStrictEqual(yield* left, [])
    }))

  it.effect("keeps a second run off the file of the first, and takes over from one that was killed", () =>
    Effect.gen(function*() {
      const { all, answers, args, count, left, out, release } = yield* endless(20)
      const first = yield* start(args)
      yield* eventually(count, (count) => count >= 4)
      const second = yield* run(args)
      assert.deepInclude(second, { code: 1, out: "" })
      assert.strictEqual(
        json(second.err).error.message,
        `Another run (process ${first.child.pid}) is writing ${out}. Wait until it ends, or give another file as --out.`
      )
      first.child.kill("SIGKILL")
      yield* first.exit
      assert.include(yield* left, "answers.jsonl.lock")
      yield* release
      const third = yield* run(args)
      assert.strictEqual(third.code, 0)
      assert.isAtLeast(json(third.out).answeredBefore, 3)
      assert.deepStrictEqual(ids(yield* answers), all.map(({ id }) => id).sort())
      assert.deepStrictEqual(yield* left, [])
    }))
})

describe("a file of answers", () => {
  const opened = Effect.fnUntraced(function*(text: string) {
    const fs = yield* FileSystem.FileSystem
    const path = `${yield* folder}/answers.jsonl`
    yield* fs.writeFileString(path, text)
    const done = yield* Effect.scoped(Effect.map(Answers.open(path), ({ done }) => [...done]))
    return [done, yield* fs.readFileString(path)]
  })

  it.effect("loses the line that a killed run left unfinished, and no other", () =>
    Effect.gen(function*() {
      const whole = "{\"id\":\"q0\",\"text\":\"known\"}\n{\"id\":1,\"error\":{\"tag\":\"X\"}}\n"
      assert.deepStrictEqual(yield* opened(`${whole}{"id":"q1","te`), [["q0"], whole])
      assert.deepStrictEqual(yield* opened(whole.trimEnd()), [["q0"], whole])
    }).pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer)))

  it.effect("is nothing else", () =>
    Effect.gen(function*() {
      for (
        const foreign of [
          "not\nanswers",
          "not answers\n",
          "not answers",
          "{\"prompt\":1}",
          "{\"id\":\"q0\",\"te\n{\"id\":\"q0\",\"text\":\"\"}"
        ]
      ) {
        const error = yield* Effect.flip(opened(foreign))
        assert.match(error.message, /holds something else than answers: look at line 1/)
      }
    }).pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer)))
})

/** The command as a process: what it writes where, and how it ends. */
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import * as Simulator from "effect-claude/testing/Simulator"
import * as SimulatorServer from "effect-claude/testing/SimulatorServer"
import { Environment, folder, here, json, run, start, write } from "./utils/command.ts"
import { eventually } from "./utils/eventually.ts"

const all = { concurrency: "unbounded" } as const

layer(Environment, { excludeTestServices: true })("effect-claude", (it) => {
  it.effect("explains itself, completes itself, and refuses what makes no sense", () =>
    Effect.gen(function*() {
      const [help, completions, nothing, flag, group] = yield* Effect.all([
        // Node 22 warns where both are set.
        run(["batch", "--help"], { env: { FORCE_COLOR: "1", NO_COLOR: "1", NODE_NO_WARNINGS: "1" } }),
        run(["--completions", "bash"]),
        here([]),
        run(["ask", "--temprature", "1", "hi", "--json"]),
        here(["cost", "report", "--by", "colour"])
      ], all)
      assert.deepInclude(help, { code: 0, err: "" })
      assert.include(help.out, "--concurrency")
      assert.notInclude(help.out, "\u001b")
      assert.match(completions.out, /complete .*effect-claude/)
      assert.deepInclude(nothing, { code: 2, out: "" })
      assert.include(nothing.err, "SUBCOMMANDS")
      assert.deepInclude(flag, { code: 2, out: "" })
      assert.deepInclude(json(flag.err).error, { tag: "UsageError", exitCode: 2 })
      assert.match(json(flag.err).error.message, /--temprature.*--temperature/s)
      assert.deepInclude(group, { code: 2, out: "" })
      assert.match(group.err, /expected model, user, .*\nSee effect-claude cost report --help\n/)
    }))

  it.effect("asks, streams the answer and keeps the books; says what is wrong where there is none", () =>
    Effect.gen(function*() {
      const simulator = yield* Simulator.Simulator
      const costs = `${yield* folder}/costs.db`
      const env = { CLAUDE_LEDGER: costs }
      const [piped, asJson, cut, wrong, empty, missing] = yield* Effect.all([
        run(["ask", "the way", "--file", "-", "--tenant", "acme"], { env, stdin: "to the\nstation\n" }),
        run(["ask", "--json", "--system", "Be brief.", "--tag", "team=a", "the way"], { env }),
        here(["ask", "the way", "--max-tokens", "2", "--json"]),
        run(["ask", "the way"], { env: { ANTHROPIC_API_KEY: "sk-ant-nobody-has-it" } }),
        here(["ask", "--json"]),
        here(["ask", "the way"], { env: { ANTHROPIC_API_KEY: undefined } })
      ], all)
      assert.deepInclude(piped, { code: 0, out: "Nobody knows the way\n\nto the\nstation.\n" })
      assert.match(piped.err, /^claude-sonnet-5-5: \d+ tokens in, \d+ out, .* s, \$0\.\d+\n$/)
      assert.deepInclude(asJson, { code: 0, err: "" })
      assert.deepInclude(json(asJson.out), { text: "Nobody knows the way.", stopReason: "end_turn", attempts: 1 })
      assert.strictEqual(cut.code, 1)
      assert.deepInclude(json(cut.out), { text: "Nobody", stopReason: "max_tokens" })
      assert.deepInclude(json(cut.err).error, { tag: "IncompleteAnswerError", exitCode: 1 })
      assert.deepInclude(wrong, { code: 3, out: "" })
      assert.match(wrong.err, /^AuthError: Claude did not accept the API key/)
      assert.notInclude(wrong.err, "nobody")
      assert.deepInclude(empty, { code: 2, out: "" })
      assert.strictEqual(json(empty.err).error.message, "The prompt is empty.")
      assert.deepInclude(missing, { code: 3, out: "" })

      const billed = (yield* simulator.bill).rows.length
      const [report, budget, none, secret] = yield* Effect.all([
        run(["cost", "report", "--by", "tenant", "--last", "1 hour", "--json"], { env }),
        here(["cost", "budget", "--limit", "0.000001", "--per", "tag:team", "--ledger", costs]),
        here(["cost", "report", "--ledger", `${costs}.none`]),
        here(["cost", "report", "--ledger", "postgres://me:hunter2@localhost/x"])
      ], all)
      assert.strictEqual(report.code, 0)
      assert.deepInclude(json(report.out), { by: "tenant", missingRows: 0 })
      assert.deepStrictEqual(
        json(report.out).groups.map(({ attempts, key }: { attempts: number; key: string | null }) => [key, attempts])
          .sort(),
        [["acme", 1], [null, 1]].sort()
      )
      assert.isAbove(billed, 1)
      assert.strictEqual(budget.code, 4)
      assert.match(budget.out, /^tag team .*\n(?:.*\n)*a .* over\n/)
      assert.deepInclude(none, { code: 1, out: "" })
      assert.match(none.err, /^CommandError: There is no ledger .*--ledger or CLAUDE_LEDGER/)
      assert.strictEqual(secret.code, 2)
      assert.notInclude(secret.err, "hunter2")
    }))

  it.effect("writes nothing but JSON to the standard error where that is asked for, and the error last", () =>
    Effect.gen(function*() {
      const path = yield* folder
      yield* write(`${path}/prompts.jsonl`, [{ id: 1, prompt: "the way" }, { id: 2, question: "the way" }])
      const warns = `data:text/javascript,setTimeout(() => process.emitWarning("planted by Node"), 100)`
      const [key, batch, node] = yield* Effect.all([
        here(["ask", "hi", "--json"], { env: { ANTHROPIC_API_KEY: `"${Simulator.apiKey}"` } }),
        run(["batch", `${path}/prompts.jsonl`, "--out", `${path}/answers.jsonl`, "--json"]),
        run(["ask", "hi", "--json"], {
          env: {
            NODE_OPTIONS: `--import="${warns.replaceAll(/[ "]/g, encodeURIComponent)}"`,
            ANTHROPIC_API_KEY: "sk-ant-x"
          }
        })
      ], all)
      const lines = ({ err }: { readonly err: string }) => err.trimEnd().split("\n").map((line) => JSON.parse(line))
      const [warning, error, ...others] = lines(key)
      assert.deepStrictEqual(others, [])
      assert.strictEqual(warning.log.level, "warn")
      assert.match(warning.log.message, /^KeyStore: .* stands in quotation marks: remove them/)
      assert.deepInclude(error.error, { tag: "KeyStoreError", exitCode: 3 })
      assert.notInclude(key.err, Simulator.apiKey)
      assert.strictEqual(batch.code, 1)
      assert.match(lines(batch)[0].log.message, /line 2 is not asked: unknown field/)
      assert.deepInclude(lines(node)[0].log, { level: "warn", message: "planted by Node" })
      assert.strictEqual(lines(node).at(-1).error.tag, "AuthError")
    }))

  it.effect("ends quietly when nobody reads what it writes, and at Ctrl-C", () =>
    Effect.gen(function*() {
      const simulator = yield* Simulator.Simulator
      const of = (wanted: string) => ({ request: ({ model }: Simulator.Seen) => model === wanted })
      yield* simulator.inject(Simulator.Fault.Drip({ bytes: 60, every: "50 millis" }), of("claude-haiku-5-5"))
      yield* simulator.inject(Simulator.Fault.Stall({ after: { events: 4 } }), of("claude-opus-5-5"))
      const [closed, stopped] = yield* Effect.all([
        start(["ask", "--model", "claude-haiku-5-5", "the way ".repeat(50)]),
        start(["ask", "--model", "claude-opus-5-5", "the way home"])
      ], all)
      yield* eventually(Effect.sync(() => closed.said.out), (out) => out.includes("Nobody"))
      closed.child.stdout?.destroy()
      yield* eventually(Effect.sync(() => stopped.said.out), (out) => out.includes("Nobody"))
      stopped.child.kill("SIGINT")
      assert.deepInclude(yield* closed.exit, { code: 141, err: "" })
      assert.deepInclude(yield* stopped.exit, { code: 130, err: "" })
      yield* simulator.clearFaults
    }))

  it.effect("says that its output cannot be written, and that a folder is no file", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const [full, ask, batch] = yield* Effect.all([
        run(["keys", "list"], { stdout: "/dev/full" }),
        here(["ask", "--file", path]),
        here(["batch", path, "--out", `${path}/answers.jsonl`])
      ], all)
      assert.deepInclude(full, { code: 1, err: "CommandError: The output cannot be written (ENOSPC).\n" })
      assert.strictEqual(
        json((yield* run(["keys", "list", "--json"], { stdout: "/dev/full" })).err).error.message,
        "The output cannot be written (ENOSPC)."
      )
      for (const { code, err } of [ask, batch]) {
        assert.strictEqual(code, 2)
        assert.include(err, `${path} is a folder`)
      }
    }))

  it.effect("serves a simulated API with faults until it is stopped", () =>
    Effect.gen(function*() {
      const [served, wrong] = yield* Effect.all([
        start(["simulate", "--json", "--fault", "418,times=1,retry-after=9", "--answer", "Hello."]),
        here(["simulate", "--fault", "529,probability=2"])
      ], all)
      const unread = yield* here(["simulate", "--replay", "package.json"])
      assert.deepInclude(unread, { code: 2, out: "" })
      assert.match(unread.err, /The recording cannot be read/)
      assert.deepInclude(wrong, { code: 2, out: "" })
      assert.match(wrong.err, /--fault 529,probability=2: probability is from 0 to 1/)
      yield* eventually(Effect.sync(() => served.said.out), (out) => out.includes("\n"))
      const { apiKey, baseUrl } = json(served.said.out)
      const taken = yield* here(["simulate", "--port", new URL(baseUrl).port])
      assert.deepInclude(taken, { code: 1, out: "" })
      assert.match(taken.err, /Port \d+ is taken/)
      const env = { ANTHROPIC_API_KEY: apiKey, ANTHROPIC_BASE_URL: baseUrl }
      const first = yield* here(["ask", "hi", "--json"], { env })
      assert.deepInclude(json(first.err).error, { tag: "BadRequestError", status: 418 })
      assert.strictEqual(json((yield* here(["ask", "hi", "--json"], { env })).out).text, "Hello.")
      served.child.kill("SIGTERM")
      assert.strictEqual((yield* served.exit).code, 143)
    }))

  it.effect("finds what is wrong, and says what to do", () =>
    Effect.gen(function*() {
      const { refusedUrl } = yield* SimulatorServer.SimulatorServer
      const costs = `${yield* folder}/costs.db`
      yield* here(["ask", "hi", "--ledger", costs, "--json"])
      const [good, bad, offline] = yield* Effect.all([
        run(["doctor", "--json", "--ledger", costs]),
        here(["doctor", "--redis", "redis://127.0.0.1:1"], {
          env: {
            ANTHROPIC_BASE_URL: refusedUrl,
            HTTPS_PROXY: "http://me:hunter2@proxy:8080",
            CLAUDE_LEDGER: "/none.db"
          }
        }),
        here(["doctor", "--offline", "--model", "claude-opus-4-20250514"], { env: { CLAUDE_RETRIES: "many" } })
      ], all)
      assert.deepInclude(good, { code: 0, err: "" })
      const { checks, ok } = json(good.out)
      assert.isTrue(ok)
      const of = (name: string) => checks.find((check: { readonly name: string }) => check.name === name)
      assert.strictEqual(of("api").status, "ok")
      assert.strictEqual(of("clock").status, "ok")
      assert.match(of("ledger").message, /1 attempts in 30 days/)
      assert.match(of("models").message, /^1 model in use, none deprecated/)
      assert.strictEqual(bad.code, 5)
      assert.match(bad.out, /fail +api +http:.*: the connection is refused: check ANTHROPIC_BASE_URL/)
      assert.match(bad.out, /warn +proxies +HTTPS_PROXY=http:\/\/me:\.\.\.@proxy:8080: /)
      assert.match(bad.out, /fail +ledger +There is no ledger \/none\.db/)
      assert.match(bad.out, /fail +redis +connect ECONNREFUSED/)
      assert.strictEqual(bad.err, "")
      assert.notInclude(bad.out, "hunter2")
      assert.strictEqual(offline.code, 1)
      assert.match(offline.out, /fail +environment +CLAUDE_RETRIES in the environment: /)
      assert.match(offline.out, /fail +model claude-opus-4-20250514 +.* is retired/)
    }))
})

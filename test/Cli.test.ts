/** The command as a process: what it writes where, and how it ends. */
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import * as Simulator from "effect-claude/testing/Simulator"
import * as SimulatorServer from "effect-claude/testing/SimulatorServer"
import { Environment, folder, json, run, start } from "./utils/command.ts"
import { eventually } from "./utils/eventually.ts"

const all = { concurrency: "unbounded" } as const

layer(Environment, { excludeTestServices: true })("effect-claude", (it) => {
  it.effect("explains itself, completes itself, and refuses what makes no sense", () =>
    Effect.gen(function*() {
      const [help, completions, nothing, flag, group] = yield* Effect.all([
        run(["batch", "--help"], { env: { FORCE_COLOR: "1", NO_COLOR: "1" } }),
        run(["--completions", "bash"]),
        run([]),
        run(["ask", "--temprature", "1", "hi", "--json"]),
        run(["cost", "report", "--by", "colour"])
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
        run(["ask", "the way", "--max-tokens", "2"]),
        run(["ask", "the way"], { env: { ANTHROPIC_API_KEY: "sk-ant-nobody-has-it" } }),
        run(["ask", "--json"]),
        run(["ask", "the way"], { env: { ANTHROPIC_API_KEY: undefined } })
      ], all)
      assert.deepInclude(piped, { code: 0, out: "Nobody knows the way\n\nto the\nstation.\n" })
      assert.match(piped.err, /^claude-sonnet-5-5: \d+ tokens in, \d+ out, .* s, \$0\.\d+\n$/)
      assert.deepInclude(asJson, { code: 0, err: "" })
      assert.deepInclude(json(asJson.out), { text: "Nobody knows the way.", stopReason: "end_turn", attempts: 1 })
      assert.strictEqual(cut.code, 1)
      assert.match(cut.err, /IncompleteAnswerError: .*max_tokens/)
      assert.deepInclude(wrong, { code: 3, out: "" })
      assert.match(wrong.err, /^AuthError: Claude did not accept the API key/)
      assert.notInclude(wrong.err, "nobody")
      assert.deepInclude(empty, { code: 2, out: "" })
      assert.strictEqual(json(empty.err).error.message, "The prompt is empty.")
      assert.deepInclude(missing, { code: 3, out: "" })

      const billed = (yield* simulator.bill).rows.length
      const [report, budget, none, secret] = yield* Effect.all([
        run(["cost", "report", "--by", "tenant", "--last", "1 hour", "--json"], { env }),
        run(["cost", "budget", "--limit", "0.000001", "--per", "tag:team", "--ledger", costs]),
        run(["cost", "report", "--ledger", `${costs}.none`]),
        run(["cost", "report", "--ledger", "postgres://me:hunter2@localhost/x"])
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

  it.effect("ends quietly when nobody reads what it writes, and at Ctrl-C", () =>
    Effect.gen(function*() {
      const simulator = yield* Simulator.Simulator
      yield* simulator.inject(Simulator.Fault.Drip({ bytes: 40, every: "20 millis" }), {
        request: ({ model }) => model === "claude-haiku-5-5"
      })
      const slow = ["ask", "--model", "claude-haiku-5-5", "the way home"]
      const [closed, stopped] = yield* Effect.all([start(slow), start(slow)], all)
      yield* eventually(Effect.sync(() => closed.said.out), (out) => out.includes("Nobody"))
      closed.child.stdout?.destroy()
      yield* eventually(Effect.sync(() => stopped.said.out), (out) => out.includes("Nobody"))
      stopped.child.kill("SIGINT")
      assert.deepInclude(yield* closed.exit, { code: 141, err: "" })
      assert.deepInclude(yield* stopped.exit, { code: 130, err: "" })
      yield* simulator.clearFaults
    }))

  it.effect("serves a simulated API with faults until it is stopped", () =>
    Effect.gen(function*() {
      const [served, wrong] = yield* Effect.all([
        start(["simulate", "--json", "--fault", "418,times=1,retry-after=9", "--answer", "Hello."]),
        run(["simulate", "--fault", "529,probability=2"])
      ], all)
      assert.deepInclude(wrong, { code: 2, out: "" })
      assert.match(wrong.err, /--fault 529,probability=2: probability is from 0 to 1/)
      yield* eventually(Effect.sync(() => served.said.out), (out) => out.includes("\n"))
      const { apiKey, baseUrl } = json(served.said.out)
      const taken = yield* run(["simulate", "--port", new URL(baseUrl).port])
      assert.deepInclude(taken, { code: 1, out: "" })
      assert.match(taken.err, /Port \d+ is taken/)
      const env = { ANTHROPIC_API_KEY: apiKey, ANTHROPIC_BASE_URL: baseUrl }
      const first = yield* run(["ask", "hi", "--json"], { env })
      assert.deepInclude(json(first.err).error, { tag: "BadRequestError", status: 418 })
      assert.strictEqual((yield* run(["ask", "hi"], { env })).out, "Hello.\n")
      served.child.kill("SIGTERM")
      assert.strictEqual((yield* served.exit).code, 143)
    }))

  it.effect("finds what is wrong, and says what to do", () =>
    Effect.gen(function*() {
      const { refusedUrl } = yield* SimulatorServer.SimulatorServer
      const costs = `${yield* folder}/costs.db`
      yield* run(["ask", "hi", "--ledger", costs])
      const [good, bad, offline] = yield* Effect.all([
        run(["doctor", "--json", "--ledger", costs]),
        run(["doctor"], {
          env: {
            ANTHROPIC_BASE_URL: refusedUrl,
            HTTPS_PROXY: "http://me:hunter2@proxy:8080",
            CLAUDE_LEDGER: "/none.db"
          }
        }),
        run(["doctor", "--offline", "--model", "claude-opus-4-20250514"], { env: { CLAUDE_RETRIES: "many" } })
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
      assert.notInclude(bad.out, "hunter2")
      assert.strictEqual(offline.code, 1)
      assert.match(offline.out, /fail +environment +CLAUDE_RETRIES in the environment: /)
      assert.match(offline.out, /fail +model claude-opus-4-20250514 +.* is retired/)
    }))
})

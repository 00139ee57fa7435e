/** What is wrong stands in one line that names it and says what to do. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer } from "effect"
import * as ClaudeService from "effect-claude/ClaudeService"
import { spawnSync } from "node:child_process"
import { writeFileSync } from "node:fs"
import { folder as folderOf } from "./utils/folders.ts"
import { driven, fetchOf, hello, json, keys, message } from "./utils/http.ts"

const failing = (model: string, parts: ClaudeService.Parts) =>
  Effect.gen(function*() {
    const { fetch, state } = fetchOf(() => json(message))
    const call = Effect.flip(ClaudeService.create({ ...hello, model }))
    // What the parts need and fail with does not matter here.
    const layer = ClaudeService.layer({ ...parts, api: { fetch }, keys }) as Layer.Layer<ClaudeService.ClaudeService>
    const exit = yield* driven(Effect.provide(call, layer))
    const error = Exit.isSuccess(exit) ? exit.value : assert.fail(String(exit))
    assert.strictEqual(state.requests, 0)
    assert.notInclude(error.message, "\n")
    return error
  })

const all = { name: "all", limit: 1 }

describe("one line", () => {
  it.effect("for a misspelt model under a budget, with the one that is meant", () =>
    Effect.gen(function*() {
      const meant = {
        "claude-sonet-5-5": "claude-sonnet-5-5",
        "claude_haiku_5.5": "claude-haiku-5-5",
        "Claude-Opus-5-5": "claude-opus-5-5",
        "gpt-9": undefined,
        ["x".repeat(100_000)]: undefined
      }
      for (const [model, nearest] of Object.entries(meant)) {
        const error = yield* failing(model, { budget: { budgets: [all] } })
        assert.deepInclude(error, { _tag: "UnpricedModelError", nearest })
        if (nearest !== undefined) assert.include(error.message, `Is ${nearest} meant?`)
        else assert.notInclude(error.message, "meant")
      }
    }))

  it.effect("for a circuit that somebody holds open", () =>
    Effect.gen(function*() {
      const error = yield* failing("claude-opus-4-6", { breaker: { mode: "forcedOpen" } })
      assert.deepInclude(error, { _tag: "CircuitOpenError", isForced: true })
      assert.include(error.message, "forcedOpen")
      assert.notInclude(error.message, "failures")
    }))

  it.effect("for two budgets of one name, which it says", () =>
    Effect.gen(function*() {
      const budgets = [all, { ...all, name: "team" }, { ...all, name: "team" }]
      const exit = yield* Effect.exit(Effect.scoped(Layer.build(ClaudeService.layer({ keys, budget: { budgets } }))))
      const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
      assert.strictEqual(String(error), "RangeError: Budget: two budgets have the name team; give each its own")
    }))

  it.effect("for an --out that is a folder, or whose folder is not there", () =>
    Effect.gen(function*() {
      const folder = yield* folderOf
      const prompts = `${folder}/prompts.jsonl`
      writeFileSync(prompts, `{"id":"a","prompt":"hello"}\n`)
      const said = {
        [folder]: `UsageError: ${folder} is no file to append answers to: give another --out.\n`,
        [`${folder}/none/out.jsonl`]: `UsageError: There is no folder ${folder}/none for --out.\n`
      }
      for (const [out, line] of Object.entries(said)) {
        const { status, stderr } = spawnSync(process.execPath, ["src/bin.ts", "batch", prompts, "--out", out], {
          encoding: "utf8",
          env: { PATH: process.env["PATH"], ANTHROPIC_API_KEY: "sk-ant-test" }
        })
        assert.deepStrictEqual([stderr, status], [line, 2])
      }
    }).pipe(Effect.scoped))

  it("for a Node that is too old", () => {
    for (const version of ["18.20.4", "20.20.2", "22.18.9"]) {
      const old = `Object.defineProperty(process.versions, "node", { value: "${version}" })`
      const { status, stderr, stdout } = spawnSync(
        process.execPath,
        ["--import", `data:text/javascript,${encodeURIComponent(old)}`, "src/bin.ts", "ask", "hello"],
        { encoding: "utf8" }
      )
      assert.strictEqual(
        stderr,
        `effect-claude needs Node 22.19 or newer, and this is ${version}: https://nodejs.org\n`
      )
      assert.deepStrictEqual([status, stdout], [1, ""])
    }
  })
})

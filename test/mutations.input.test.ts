/** Configuration of the environment and files of prompts as nobody means them: used, or refused in words that name what is wrong. */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Cause, ConfigProvider, Effect, Exit, Layer, Stream } from "effect"
import * as ClaudeConfig from "effect-claude/ClaudeConfig"
import * as ClaudeService from "effect-claude/ClaudeService"
import { writeFileSync } from "node:fs"
import * as Prompts from "../src/Cli/internal/batch/prompts.ts"
import { folder } from "./utils/folders.ts"
import { fetchOf, json, message } from "./utils/http.ts"
import * as Mutate from "./utils/mutate.ts"

const environment: Readonly<Record<string, string>> = {
  ANTHROPIC_API_KEY: "sk-ant-a,sk-ant-b",
  ANTHROPIC_API_KEYS: "[{\"label\":\"a\",\"group\":\"org\",\"secret\":\"sk-ant-c\",\"weight\":2}]",
  ANTHROPIC_BASE_URL: "https://gateway.example.com/v1",
  CLAUDE_TIMEOUT_HEADERS: "10 minutes",
  CLAUDE_TIMEOUT_FIRST_CONTENT: "30 seconds",
  CLAUDE_TIMEOUT_IDLE: "2 minutes",
  CLAUDE_TIMEOUT_CALL: "1 hour",
  CLAUDE_RETRIES: "3",
  CLAUDE_RETRY_BASE: "500 millis",
  CLAUDE_RETRY_CAP: "30 seconds",
  CLAUDE_RETRY_THROTTLED_BASE: "1 second",
  CLAUDE_RETRY_MAX_RETRY_AFTER: "1 minute",
  CLAUDE_RETRY_CIRCUIT_WAIT: "15 seconds",
  CLAUDE_TIER: "build",
  CLAUDE_REQUESTS_PER_MINUTE: "50",
  CLAUDE_INPUT_TOKENS_PER_MINUTE: "30000",
  CLAUDE_OUTPUT_TOKENS_PER_MINUTE: "8000",
  CLAUDE_TOKENS_PER_MINUTE: "40000",
  CLAUDE_LIMIT_QUEUE: "1000",
  CLAUDE_LOG_SAMPLE: "0.5",
  CLAUDE_BUDGET_USD_PER_DAY: "10",
  CLAUDE_BUDGET_USD_PER_MONTH: "200.5",
  CLAUDE_KEY_STRATEGY: "weighted",
  CLAUDE_BREAKER: "normal",
  CLAUDE_BREAKER_WINDOW: "1 minute",
  CLAUDE_BREAKER_FAILURE_RATE: "0.5",
  CLAUDE_BREAKER_SLOW_CALL: "1 minute",
  CLAUDE_BREAKER_OPEN_FOR: "10 seconds",
  CLAUDE_BREAKER_MAX_OPEN_FOR: "5 minutes"
}

const prompts = [
  { id: "a", prompt: "Hello", model: "claude-haiku-5-5", max_tokens: 64, system: "Be brief.", stop_sequences: ["END"] },
  { id: 2, messages: [{ role: "user", content: [{ type: "text", text: "Zürich 🌦" }] }], temperature: 0.5 },
  {
    id: "c",
    prompt: "Weather?",
    tools: [{ name: "f", input_schema: { type: "object" } }],
    tool_choice: { type: "any" }
  }
].map((line) => JSON.stringify(line)).join("\n")

const one: Mutate.Mutator<string> = (chance, text) =>
  chance.next() < 0.3
    ? chance.one([
      "0",
      "-1",
      "0 seconds",
      "-1 minute",
      "1e20",
      "Infinity",
      "NaN",
      " ",
      "",
      "1e-9 millis",
      "999999999 weeks"
    ])
    : Mutate.text(chance, text)

describe("what users write", () => {
  it.effect("is a configuration, or refused by the name of its variable", () =>
    Effect.gen(function*() {
      const { fetch } = fetchOf(() => json(message))
      yield* Mutate.each(
        [environment],
        (chance, good) => {
          const changed: Record<string, string> = { ...good }
          for (let left = 1 + chance.below(3); left > 0; left--) {
            const name = chance.one(Object.keys(good))
            if (chance.next() < 0.2) delete changed[name]
            else changed[name] = one(chance, good[name] ?? "")
          }
          return changed
        },
        (environment) =>
          Effect.gen(function*() {
            const provider = ConfigProvider.layer(ConfigProvider.fromUnknown(environment))
            const built = Effect.gen(function*() {
              const options = yield* ClaudeConfig.config
              const layer = ClaudeService.layer({ ...options, api: { ...options.api, fetch } })
              yield* Effect.asVoid(Effect.scoped(Layer.build(layer)))
            })
            const exit = yield* Effect.exit(Effect.provide(built, provider))
            if (Exit.isSuccess(exit)) return
            const error = exit.cause.reasons.find(Cause.isFailReason)?.error
            if (error === undefined) throw new Error(Cause.pretty(exit.cause))
            assert.isAtMost(String(error).length, 20_000)
            assert.notInclude(String(error), "sk-ant-")
            assert.match(String(error), /CLAUDE_|ANTHROPIC_|base URL|two keys have the label/)
          })
      )
    }), 3_600_000)

  it.effect("is a file of prompts, or says which of its lines is none", () =>
    Effect.gen(function*() {
      const file = `${yield* folder}/prompts.jsonl`
      const defaults = { model: "claude-haiku-5-5", maxTokens: 64, system: undefined, temperature: undefined }
      const mutate: Mutate.Mutator<Uint8Array> = (chance, input) => {
        if (chance.next() < 0.5) return Mutate.bytes(chance, input)
        const lines = new TextDecoder().decode(input).split("\n")
        return new TextEncoder().encode(lines.map((line) => Mutate.jsonText(chance, line)).join("\n"))
      }
      yield* Mutate.each([new TextEncoder().encode(prompts)], mutate, (bytes) =>
        Effect.gen(function*() {
          writeFileSync(file, bytes)
          const exit = yield* Effect.exit(Stream.runCollect(Prompts.read(file, defaults)))
          if (Exit.isFailure(exit)) {
            const error = exit.cause.reasons.find(Cause.isFailReason)?.error
            if (error === undefined) throw new Error(Cause.pretty(exit.cause))
            return assert.isAtMost(String(error).length, 20_000)
          }
          for (const line of exit.value) {
            assert.isAbove(line.number, 0)
            if ("problem" in line) {
              assert.isTrue(line.problem !== "" && line.problem.length < 40_000 && !line.problem.includes("\n"))
            } else assert.isTrue(line.request.messages.length > 0 && line.request.max_tokens > 0)
          }
        }))
    }).pipe(Effect.provide(NodeServices.layer), Effect.scoped), 3_600_000)
})

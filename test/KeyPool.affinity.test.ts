/** Prefix affinity under the whole service, over a simulated API: what its workspaces read from their caches. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as CostOptimizer from "effect-claude/CostOptimizer"
import type * as KeyPool from "effect-claude/KeyPool"
import type { Request } from "effect-claude/Request"
import * as Simulator from "effect-claude/testing/Simulator"
import { TestClock } from "effect/testing"
import { driven } from "./utils/http.ts"

const keys = ["a", "b", "c", "d"].map((label): Simulator.Key => ({
  key: `sk-ant-${label}`,
  label,
  organization: `org-${label}`,
  workspace: `wrkspc-${label}`
}))

const words = (n: number): string => "word ".repeat(n).trim()

/** So many turns of a conversation; its newest message has a breakpoint, unless the optimizer sets it. */
const conversation = (id: number, turns: number, isMarked: boolean): Request => ({
  model: "claude-sonnet-5-5",
  max_tokens: 16,
  messages: Array.from({ length: 2 * turns - 1 }, (_, index) => ({
    role: index % 2 === 0 ? "user" as const : "assistant" as const,
    content: [{
      type: "text" as const,
      text: `${id} ${index} ${words(500)}`,
      ...(isMarked && index === 2 * turns - 2 ? { cache_control: { type: "ephemeral" as const } } : undefined)
    }]
  }))
})

/** Ten conversations of six turns each, half a minute apart; what their prompts cost, and the workspaces of each of them. */
const six = (isMarked: boolean) =>
  Effect.gen(function*() {
    let cost = 0
    const used = Array.from({ length: 10 }, () => new Set<string | undefined>())
    for (let turn = 1; turn <= 6; turn++) {
      for (let id = 0; id < 10; id++) {
        const { keyLabel, usage } = yield* ClaudeService.createWithReport(conversation(id, turn, isMarked))
        cost += usage.inputTokens + 1.25 * usage.cacheWrite5mTokens + 0.1 * usage.cacheReadTokens
        used[id]!.add(keyLabel)
      }
      yield* TestClock.adjust("30 seconds")
    }
    return { cost, used: used.map(({ size }) => size) }
  })

const over = (
  count: number,
  strategy: KeyPool.StrategyName | undefined,
  optimizer?: CostOptimizer.Options
) =>
<A, E>(effect: Effect.Effect<A, E, ClaudeService.ClaudeService>) =>
  Effect.flatMap(driven(effect, 1_200), (exit) => exit).pipe(
    Effect.provide(
      Simulator.layerClaude({ keys: keys.slice(0, count) }, { keys: { strategy }, ...(optimizer && { optimizer }) })
    )
  )

describe("prefix affinity", () => {
  it.effect("is what several workspaces have, and keeps conversations in theirs", () =>
    Effect.gen(function*() {
      const one = yield* six(true).pipe(over(1, undefined))
      const four = yield* six(true).pipe(over(4, undefined))
      const turns = yield* six(true).pipe(over(4, "roundRobin"))
      assert.deepStrictEqual(four.used, Array.from({ length: 10 }, () => 1))
      assert.strictEqual(four.cost, one.cost)
      assert.isAbove(turns.cost, 1.5 * one.cost)
    }))

  it.effect("finds the prompts that the optimizer marks", () =>
    Effect.gen(function*() {
      const optimizer = { rules: [CostOptimizer.cacheBreakpoints()] }
      const one = yield* six(false).pipe(over(1, undefined, optimizer))
      const four = yield* six(false).pipe(over(4, undefined, optimizer))
      const none = yield* six(false).pipe(over(4, undefined))
      assert.isBelow(one.cost, 0.6 * none.cost)
      assert.isAtMost(four.cost, 1.01 * one.cost)
    }))
})

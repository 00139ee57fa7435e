/**
 * What prefix affinity and the rule for cache breakpoints save, on traces of real traffic: `npm run bench -- keys [folder]`. The folder has
 * `mooncake-conversation.jsonl.gz` and `mooncake-synthetic.jsonl.gz` (FAST 2025 release of kvcache-ai/Mooncake); without them only a pick is measured.
 *
 * - `input_cost`: of all prompts over several workspaces, relative to one workspace, or to no caching where the case says so.
 * - `imbalance`: the most loaded workspace relative to the mean, in tokens of prompts, and in requests.
 * - `breakpoints_cost`: of all prompts in one workspace by rules that decide what is written, relative to no caching.
 * - `pick_cpu`, `hash_cpu`: processor time of a pick with 100,000 prefixes known, and of hashing a text at first sight.
 * - `memory`: what these prefixes take.
 */
import { join } from "node:path"
import { affinity, replay, roundRobin } from "./keys/affinity.ts"
import { costs } from "./keys/breakpoints.ts"
import { picks } from "./keys/picks.ts"
import { read } from "./keys/traces.ts"
import type { Row, Run } from "./run.ts"

const ours = "effect-claude"
const workspaces = [2, 4, 8]
const traces = ["conversation", "synthetic"]

export const run: Run = async (report) => {
  const folder = process.argv[3] ?? join(import.meta.dirname, "../../shared/traces")
  for (const name of traces) {
    const trace = read(folder, `mooncake-${name}`)
    if (trace === undefined) {
      console.error(`No mooncake-${name}.jsonl.gz in ${folder}: skipped.`)
      continue
    }
    const row = (metric: string, varied: string, value: number, peer: string, unit = "ratio"): void =>
      report({ metric, case: `${name}, ${varied}`, value, unit, peer, n: trace.length } satisfies Row)

    const one = replay(trace, 1, () => 0)
    for (const count of workspaces) {
      const spread = replay(trace, count, affinity(count))
      row("input_cost", `${count} workspaces`, spread.cost / one.cost, ours)
      row("input_cost", `${count} workspaces`, replay(trace, count, roundRobin(count)).cost / one.cost, "round robin")
      row("imbalance", `tokens, ${count} workspaces`, spread.tokens, ours)
      row("imbalance", `requests, ${count} workspaces`, spread.requests, ours)
    }
    const apart = replay(trace, 4, affinity(4, 4))
    row("input_cost", "4 workspaces, 4 processes", apart.cost / one.cost, ours)
    for (const count of [1, 4, 8]) {
      const turns = replay(trace, count, roundRobin(count))
      row(
        "input_cost",
        `${count} ${count === 1 ? "workspace" : "workspaces"}, to no caching`,
        turns.cost,
        "round robin"
      )
    }

    const { all, learnt, oracle, seenBefore } = costs(trace)
    row("breakpoints_cost", "one workspace", learnt, ours)
    row("breakpoints_cost", "one workspace", all, "write all")
    row("breakpoints_cost", "one workspace", seenBefore, "write what was seen before")
    row("breakpoints_cost", "one workspace", oracle, "oracle")
    row("breakpoints_cost_ratio", "one workspace", learnt / oracle, "oracle")
  }
  picks(report)
}

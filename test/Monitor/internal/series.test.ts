/** What the snapshot is made of has a size that calls do not change. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Metric } from "effect"
import { Model, type Monitor, Usage } from "effect-claude"
import { Series } from "../../../src/Monitor/internal/series.ts"

/** How many values an object holds, however deep; a typed array holds its elements. */
const sizeOf = (root: unknown): number => {
  const seen = new Set<unknown>()
  const todo = [root]
  let size = 0
  for (let value = todo.pop(); value !== undefined || todo.length > 0; value = todo.pop()) {
    size++
    if (typeof value === "string") size += value.length
    if (typeof value !== "object" || value === null || seen.has(value)) continue
    seen.add(value)
    if (ArrayBuffer.isView(value)) size += value.byteLength
    else if (value instanceof Map) { for (const entry of value) todo.push(...entry) }
    else if (value instanceof Set) todo.push(...value)
    else todo.push(...Object.values(value))
  }
  return size
}

const record = (i: number): Monitor.CallRecord => ({
  callId: `call-${i}`,
  at: i,
  operation: "chat",
  stream: true,
  model: `claude-${i}`,
  servedModel: `claude-${i}`,
  requestId: `req-${i}`,
  status: (["success", "error", "cancelled"] as const)[i % 3]!,
  error: i % 3 === 1 ? "ServerError" : undefined,
  fault: i % 3 === 1 ? "provider" : undefined,
  message: `text ${i}`,
  httpStatus: undefined,
  stopReason: "end_turn",
  latencyMillis: 1 + i * 7_919 % 4_000_000,
  firstTokenMillis: 1 + i * 104_729 % 400_000,
  overheadMillis: i % 50,
  waits: [],
  attempts: 1 + i % 2,
  retries: i % 2,
  moves: 0,
  fallbacks: [],
  hedges: 0,
  keyLabel: `key-${i}`,
  usage: Usage.make({ inputTokens: i, outputTokens: i }),
  costNanoUsd: i,
  changes: [],
  user: `user-${i}`,
  tenant: `tenant-${i}`,
  requestType: `type-${i}`,
  priority: "standard",
  metadata: { [`tag-${i}`]: `value-${i}` }
})

describe("the sums of the snapshot", () => {
  it("hold as much after 100,000 calls over months as after 10,000", () => {
    const services = Context.make(Metric.MetricRegistry, new Map())
    const series = new Series(Model.catalogue.find, () => "other", services, "current", "https://api.anthropic.com")
    const known = Model.catalogue.models
    const add = (i: number) => {
      const call = record(i)
      // Some names have a megabyte.
      const names = [known[i % known.length]!.id, call.model, i % 500 === 2 ? "x".repeat(1_000_000) + i : "claude"]
      series.of(names[i % 3]!).ended(call, i * 60_000, services)
    }
    for (let i = 0; i < 10_000; i++) add(i)
    const before = sizeOf(series)
    assert.isBelow(before, 2_000_000)
    for (let i = 10_000; i < 100_000; i++) add(i)
    assert.isAtMost(sizeOf(series), before * 1.001)
  })
})

import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { zero } from "../../../src/RateLimiter/internal/Amounts.ts"
import { weights } from "../../../src/RateLimiter/internal/classes.ts"
import { flowOf } from "../../../src/RateLimiter/internal/flows.ts"
import { Queue } from "../../../src/RateLimiter/internal/Queue.ts"
import { between } from "../../utils/between.ts"
import { runs } from "../../utils/thorough.ts"

const Priority = Schema.Literals(["interactive", "standard", "bulk"])

interface One {
  readonly id: number
  readonly priority: typeof Priority.Type
  readonly flow: string
  readonly weight: number
  readonly need: typeof zero
  readonly cost: number
}

const Step = Schema.Union([
  Schema.Struct({
    do: Schema.Literal("add"),
    priority: Priority,
    flow: Schema.Literals(["a", "b", "c", "__proto__"]),
    cost: between(1, 50)
  }),
  Schema.Struct({ do: Schema.Literals(["serve", "serve", "leave", "correct", "displace"]), which: between(0, 50) })
])

const weightOf = (flow: string) => flow === "a" ? 2 : 1

/** Everything in one list, and the progress of each flow since somebody began to wait. */
class Reference {
  waiting: Array<One> = []
  private readonly passes = new Map<string, number>()
  private readonly clocks = new Map<string, number>()
  private readonly lanes = new Map<string, number>()

  private static keyOf({ flow, priority }: One): string {
    return `${priority} ${flow}`
  }

  passOf(one: One): number {
    return this.passes.get(Reference.keyOf(one)) ?? 0
  }

  add(one: One) {
    const same = this.waiting.filter(({ priority }) => priority === one.priority)
    if (same.length === 0) {
      const others = this.waiting.map(({ priority }) => this.lanes.get(priority) ?? 0)
      const own = this.lanes.get(one.priority) ?? 0
      this.lanes.set(one.priority, others.length === 0 ? own : Math.max(own, Math.min(...others)))
    }
    if (!same.some(({ flow }) => flow === one.flow)) {
      this.passes.set(Reference.keyOf(one), Math.max(this.passOf(one), this.clocks.get(one.priority) ?? 0))
    }
    this.waiting.push(one)
  }

  head(priority: One["priority"]): One | undefined {
    return this.waiting
      .filter((one) => one.priority === priority)
      // The sort is stable, and they stand in the order in which they came.
      .sort((a, b) => this.passOf(a) - this.passOf(b))[0]
  }

  get heads(): ReadonlyArray<One> {
    return (["interactive", "standard", "bulk"] as const)
      .flatMap((priority) => this.head(priority) ?? [])
      .sort((a, b) => (this.lanes.get(a.priority) ?? 0) - (this.lanes.get(b.priority) ?? 0))
  }

  served(one: One) {
    this.lanes.set(one.priority, (this.lanes.get(one.priority) ?? 0) + one.cost / weights[one.priority])
    this.clocks.set(one.priority, this.passOf(one))
    this.move(one, one.cost)
  }

  move(one: One, cost: number) {
    this.passes.set(Reference.keyOf(one), this.passOf(one) + cost / one.weight)
  }

  remove(one: One) {
    this.waiting = this.waiting.filter((other) => other !== one)
    if (this.waiting.length > 0) return
    this.passes.clear()
    this.clocks.clear()
    this.lanes.clear()
  }
}

describe("the queue of the limiter", () => {
  it.effect.prop(
    "has the same first of each class, in the same order, as one that looks at everybody",
    { steps: Schema.Array(Step) },
    ({ steps }) =>
      Effect.sync(() => {
        const queue = new Queue<One>()
        const reference = new Reference()
        /** Those that were served while somebody has been waiting ever since. */
        let served: Array<{ readonly one: One; readonly used: (cost: number) => void }> = []
        let id = 0
        const remove = (one: One) => {
          assert.isTrue(queue.remove(one))
          reference.remove(one)
          if (reference.waiting.length === 0) served = []
        }
        for (const step of steps) {
          switch (step.do) {
            case "add": {
              const { cost, flow, priority } = step
              const one: One = {
                id: id++,
                priority,
                flow,
                weight: weightOf(flow),
                need: { ...zero, requests: 1 },
                cost
              }
              queue.add(one)
              reference.add(one)
              break
            }
            case "serve": {
              const { heads } = queue
              const one = heads[step.which % Math.max(1, heads.length)]
              if (one === undefined) break
              const used = queue.served(one, one.cost)
              reference.served(one)
              served.push({ one, used })
              remove(one)
              break
            }
            case "leave": {
              const one = reference.waiting[step.which % Math.max(1, reference.waiting.length)]
              if (one !== undefined) remove(one)
              break
            }
            case "correct": {
              const last = served.pop()
              // Only a flow with somebody waiting is known for sure.
              if (last === undefined) break
              last.used(step.which)
              reference.move(last.one, step.which - last.one.cost)
              break
            }
            case "displace": {
              const flow = step.which % 2 === 0 ? "a" : "b"
              const comer = { priority: "standard" as const, flow, weight: weightOf(flow), need: zero }
              const victim = queue.displaced(comer)
              const bulk = reference.waiting.filter(({ priority }) => priority === "bulk")
              if (bulk.length > 0) assert.strictEqual(victim, bulk.at(-1))
              else if (victim !== undefined) {
                const sizeOf = (name: string) =>
                  reference.waiting.filter(({ flow, priority }) => flow === name && priority === "standard").length
                assert.strictEqual(victim.priority, "standard")
                assert.isAbove(sizeOf(victim.flow) / victim.weight, (sizeOf(flow) + 1) / comer.weight)
              }
              break
            }
          }
          assert.deepStrictEqual(queue.heads.map(({ id }) => id), reference.heads.map(({ id }) => id))
          assert.strictEqual(queue.size, reference.waiting.length)
          const { all, own } = queue.ahead({ priority: "standard", flow: "a", weight: 2, need: zero })
          assert.strictEqual(all.requests, reference.waiting.length)
          assert.strictEqual(
            own.requests,
            reference.waiting.filter(({ flow, priority }) => priority === "standard" && flow === "a").length
          )
        }
      }),
    { arbitrary: { runs: runs(2_000), size: 60 } }
  )

  it.effect.prop(
    "keeps flows that always wait within one request of each other, by weight",
    { costs: Schema.Array(between(1, 100)) },
    ({ costs }) =>
      Effect.sync(() => {
        const queue = new Queue<One>()
        const used = new Map<string, number>()
        let id = 0
        const add = (flow: string) =>
          queue.add({
            id: id++,
            priority: "standard",
            flow,
            weight: weightOf(flow),
            need: zero,
            cost: costs[id % costs.length] ?? 1
          })
        for (const flow of ["a", "b", "c"]) {
          add(flow)
          add(flow)
        }
        for (let round = 0; round < 200; round++) {
          const [one] = queue.heads
          queue.served(one!, one!.cost)
          queue.remove(one!)
          used.set(one!.flow, (used.get(one!.flow) ?? 0) + one!.cost / one!.weight)
          add(one!.flow)
          const all = ["a", "b", "c"].map((flow) => used.get(flow) ?? 0)
          assert.isAtMost(Math.max(...all) - Math.min(...all), 100)
        }
      })
  )

  it("tells tenants, users and request types apart, and keeps no long names", () => {
    const of = (context: Partial<Parameters<typeof flowOf>[0]>) =>
      flowOf({ tenant: undefined, user: undefined, requestType: undefined, ...context } as Parameters<typeof flowOf>[0])
    const names = [
      of({ tenant: "x", user: "y" }),
      of({ user: "x" }),
      of({ requestType: "x" }),
      of({}),
      of({ tenant: "" }),
      of({ tenant: "x".repeat(1_000_000) }),
      of({ tenant: "x".repeat(999_999) + "y" })
    ]
    assert.strictEqual(new Set(names).size, names.length)
    assert.isTrue(names.every((name) => name.length < 60))
    assert.strictEqual(of({ tenant: "x", user: "y" }), of({ tenant: "x", user: "z" }))
  })
})

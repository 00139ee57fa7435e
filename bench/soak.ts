/**
 * Processes that share limits, circuits, ledger and budgets, among all faults at once, and a watcher outside of them:
 * `npm run bench -- soak [--minutes 4] [--seed 1]`. A third of the time they share one Redis, a third a primary with a replica that takes over, a third a
 * cluster of three; and one PostgreSQL.
 *
 * - `survived`: how often each thing happened, and how calls ended.
 * - `violations`: of each invariant, among `n` looks at it. One is told on standard error, and the exit code is 1.
 */
import { Effect, Exit, Layer, Scope } from "effect"
import { availableParallelism, loadavg } from "node:os"
import { parseArgs } from "node:util"
import * as Simulator from "../src/testing/Simulator.ts"
import * as SimulatorServer from "../src/testing/SimulatorServer.ts"
import { chance } from "./limits/workload.ts"
import type { Run } from "./run.ts"
import { audit } from "./soak/audit.ts"
import { postgres as makePostgres } from "./soak/postgres.ts"
import { kinds, type Shared } from "./soak/redis.ts"
import { deadlineMillis, type Rest, start, tightModel, tightUsd, type Worker } from "./soak/worker.ts"

const processes = 3

/** What it takes to start, to come to rest twice and to end. */
const aroundMillis = 45_000

/** The longest that the event loop may be busy: an answer of thirty megabytes is parsed in one go, by anybody. More where others need the machine. */
const busyMillis = () => 1_000 * Math.max(1, loadavg()[0]! / availableParallelism())
const { Fault } = Simulator

/** What the API does wrong by itself. */
const faults = [
  Fault.Status({ status: 500 }),
  Fault.Status({ status: 502, body: "<html>Bad gateway</html>", headers: { "content-type": "text/html" } }),
  Fault.Status({ status: 529 }),
  Fault.Refused(),
  Fault.ResetBeforeHeaders(),
  Fault.ResetMidStream({ after: { events: 4 } }),
  Fault.ErrorEvent({ type: "overloaded_error", after: { events: 4 } }),
  Fault.Stall({ after: "nothing" }),
  Fault.Stall({ after: { events: 3 } }),
  Fault.Truncate({ after: { events: 4 } }),
  Fault.Garbage({ after: { events: 2 } }),
  Fault.Drip({ bytes: 50, every: "1 millis" })
]

const limitsOf = (requestsPerMinute: number): Simulator.Limits => ({
  requestsPerMinute,
  inputTokensPerMinute: requestsPerMinute * 100,
  outputTokensPerMinute: requestsPerMinute * 200,
  burstMinutes: 0.1
})

/** A prompt that asks for an answer of thirty megabytes, or of very many small events. */
const answer: Simulator.Options["answer"] = ({ messages }) => {
  const said = JSON.stringify(messages.at(-1)?.content)
  if (said.includes("tiny")) return "a b ".repeat(64_000)
  if (!said.includes("huge")) return "An answer of some words, as they come."
  // A fetch costs nothing beside its tokens; a search would cost more than was reserved for a call without tools.
  const source = { type: "text" as const, media_type: "text/plain" as const, data: "x".repeat(30_000_000) }
  return {
    content: [
      { type: "server_tool_use", id: "srvtoolu_1", name: "web_fetch", input: { url: "https://example.org" } },
      {
        type: "web_fetch_tool_result",
        tool_use_id: "srvtoolu_1",
        caller: { type: "direct" },
        content: {
          type: "web_fetch_result",
          url: "https://example.org",
          retrieved_at: null,
          content: { type: "document", title: null, citations: null, source }
        }
      },
      { type: "text", text: "It is large." }
    ],
    outputTokens: 20
  }
}

/** Counts what happens, and looks at what must hold. */
class Book {
  readonly happened = new Map<string, number>()
  readonly looks = new Map<string, { looks: number; violations: number }>()

  note(what: string, times = 1): void {
    this.happened.set(what, (this.happened.get(what) ?? 0) + times)
  }

  holds(invariant: string, isTrue: boolean, otherwise: () => string): void {
    const seen = this.looks.get(invariant) ?? { looks: 0, violations: 0 }
    this.looks.set(invariant, seen)
    seen.looks++
    if (isTrue) return
    if (seen.violations++ < 5) console.error(`violated: ${invariant}: ${otherwise()}`)
  }
}

const sleep = (millis: number) => new Promise<void>((resolve) => setTimeout(resolve, millis))

const until = async (millis: number, holds: () => boolean): Promise<boolean> => {
  for (const end = performance.now() + millis; performance.now() < end;) {
    if (holds()) return true
    await sleep(100)
  }
  return holds()
}

/** More than it was, beyond what caches may still take. */
const grown = (before: Rest, after: Rest): ReadonlyArray<string> => {
  const grew: Array<string> = []
  if (after.heap > before.heap * 1.25 + 8e6) grew.push("heap")
  if (after.descriptors > before.descriptors + 20) grew.push("descriptors")
  if (after.timers > before.timers + 10) grew.push("timers")
  if (after.fibers > before.fibers + 20) grew.push("fibers")
  return grew
}

export const run: Run = async (report) => {
  const { values } = parseArgs({
    args: process.argv.slice(3),
    options: { minutes: { type: "string", default: "4" }, seed: { type: "string", default: "1" } }
  })
  const seed = Number(values.seed)
  const phaseMillis = Math.min(30, Number(values.minutes)) * 60_000 / kinds.length
  const dice = chance(seed)
  const below = (count: number) => Math.floor(dice.next() * count)
  const book = new Book()
  const scope = Scope.makeUnsafe()
  const secrets: Array<string> = []
  const kills: Array<number> = []
  const newKey = () => {
    const key = `sk-ant-soak-${seed}-${secrets.length}-${below(1e9).toString(36)}`
    secrets.push(key)
    return { key, label: `key ${secrets.length}`, organization: "org", workspace: "wrkspc" }
  }
  const first = newKey()
  const world = await Effect.runPromise(Scope.provide(
    Effect.gen(function*() {
      const services = yield* Layer.build(
        SimulatorServer.layer().pipe(Layer.provideMerge(Simulator.layer({
          keys: [first],
          answer,
          seed: String(seed),
          limits: limitsOf(3_000),
          latency: { firstToken: { median: "30 millis", sigma: 0.5 } },
          billRows: 1_000_000,
          faults: faults.map((fault) => ({ fault, when: { probability: 0.04 / faults.length } }))
        })))
      )
      const simulator = yield* Effect.provide(Simulator.Simulator, services)
      const { url } = yield* Effect.provide(SimulatorServer.SimulatorServer, services)
      return { simulator, url, postgres: yield* makePostgres }
    }),
    scope
  ))
  const { postgres, simulator, url } = world
  let key = first
  let started = 0

  /** One kind of Redis for its part of the time. */
  const phase = async (shared: Shared) => {
    const workers: Array<Worker> = []
    const said: Array<() => string> = []
    /** Starts a process, and again where it did not start because a store was away, as whoever supervises it does. */
    const add = async (): Promise<Worker> => {
      while (true) {
        const worker = start({
          name: `process ${started}`,
          seed: seed * 1_000 + started++,
          api: url,
          redis: shared.redis,
          postgres: postgres.url,
          key: key.key
        })
        said.push(worker.said)
        let hasEnded = false
        void worker.exited.then(() => (hasEnded = true))
        await until(180_000, () => hasEnded || worker.vitals !== undefined)
        if (!hasEnded) {
          // It may have been told of one that was there before it.
          worker.tell({ _tag: "Key", key: key.key })
          return worker
        }
        book.note("processes that did not start while a store was away")
        await sleep(500)
      }
    }
    const counted = (worker: Worker) => {
      for (const [name, times] of Object.entries(worker.vitals?.counts ?? {})) book.note(`calls: ${name}`, times)
    }
    const rest = async (what: string) => {
      for (const worker of workers) {
        worker.rest = undefined
        worker.tell({ _tag: "Rest" })
      }
      const rested = await until(deadlineMillis + 20_000, () => workers.every((worker) => worker.rest !== undefined))
      book.holds(
        "no stuck waiter",
        rested,
        () => `${what} over ${shared.name}: ${JSON.stringify(workers.map((w) => w.vitals))}`
      )
      for (const { rest } of workers) {
        if (rest === undefined) continue
        const { inFlight, waiting } = rest
        book.holds("permits given back", inFlight === 0 && waiting === 0, () => JSON.stringify(rest))
      }
      const { open } = await Effect.runPromise(simulator.requests)
      book.holds("no open request at rest", open === 0, () => `${open}`)
    }
    workers.push(...await Promise.all(Array.from({ length: processes }, add)))
    const ready = await until(30_000, () => workers.every(({ vitals }) => (vitals?.counts["answered"] ?? 0) > 20))
    book.holds(
      "calls are answered",
      ready,
      () => `at the start over ${shared.name}: ${said.map((text) => text().slice(-2_000)).join("\n")}`
    )
    await sleep(5_000)
    await rest("before")
    const before = workers[0]!.rest
    for (const worker of workers) worker.tell({ _tag: "Go" })

    let isOver = false
    const watching = (async () => {
      while (!isOver) {
        await sleep(1_000)
        const { rows } = await Effect.runPromise(simulator.bill)
        const tight = rows.reduce((sum, { model, nanoUsd }) => model === tightModel ? sum + (nanoUsd ?? 0) : sum, 0)
        book.holds("the API bills no more than the budget", tight <= tightUsd * 1e9, () => `${tight} nano-dollars`)
        for (const { child, reportedAt, task, vitals } of workers) {
          const hasEnded = child.exitCode !== null || child.signalCode !== null
          if (vitals === undefined || hasEnded) continue
          const late = performance.now() - reportedAt
          book.holds(
            "no stuck waiter",
            vitals.oldestMillis < deadlineMillis + 10_000,
            () => `${task.name}: ${JSON.stringify(vitals)}`
          )
          book.holds(
            "event loop is free",
            late < 10_000 && vitals.delayMillis < busyMillis(),
            () => `${task.name}: ${late} ms, p99 ${vitals.delayMillis} ms`
          )
        }
      }
    })()

    const others = () => 1 + below(processes - 1)
    const happenings: Record<string, () => Promise<unknown>> = {
      ...Object.fromEntries(
        Object.entries(shared.faults).map(([name, fault]) => [name, () => Effect.runPromise(fault)])
      ),
      "PostgreSQL crashed": () => Effect.runPromise(postgres.crash(500 + below(1_500))),
      "PostgreSQL out of reach": () => Effect.runPromise(postgres.hang(500 + below(1_500))),
      "key rotated": async () => {
        const old = key
        key = newKey()
        await Effect.runPromise(simulator.addKey(key))
        for (const worker of workers) worker.tell({ _tag: "Key", key: key.key })
        await sleep(below(1_500))
        await Effect.runPromise(simulator.revoke(old.label))
      },
      "limits changed": async () => {
        await Effect.runPromise(simulator.setLimits(limitsOf(1_500)))
        await sleep(3_000)
        await Effect.runPromise(simulator.setLimits(limitsOf(3_000)))
      },
      "clock stepped": async () => {
        const millis = [-3_600_000, -90_000, -5_000, 5_000, 90_000, 3_600_000][below(6)]!
        const worker = workers[below(processes)]!
        worker.tell({ _tag: "Clock", millis })
        await sleep(3_000)
        worker.tell({ _tag: "Clock", millis: -millis })
      },
      "process killed": async () => {
        const at = others()
        const worker = workers[at]!
        kills.push(Date.now())
        worker.child.kill("SIGKILL")
        await worker.exited
        counted(worker)
        workers[at] = await add()
      },
      "API overloaded": async () => {
        await Effect.runPromise(simulator.inject(Fault.Status({ status: 529 }), {}))
        await sleep(500 + below(2_000))
        await Effect.runPromise(simulator.clearFaults)
      }
    }
    const names = Object.keys(happenings)
    const end = performance.now() + Math.max(10_000, phaseMillis - aroundMillis)
    const lane = async (mine: ReadonlyArray<string>) => {
      // Each at least once, as far as there is time, then by chance.
      const order = [...mine].sort(() => dice.next() - 0.5)
      for (let i = 0; performance.now() < end; i++) {
        const name = order[i] ?? mine[below(mine.length)]!
        await happenings[name]!()
        book.note(`${name} (${shared.name})`)
        await sleep(500 + below(1_000))
      }
    }
    // Faults of one server follow one another; those of different ones meet.
    const ofRedis = Object.keys(shared.faults)
    const ofPostgres = names.filter((name) => name.startsWith("PostgreSQL"))
    const ofAll = names.filter((name) => !ofRedis.includes(name) && !ofPostgres.includes(name))
    await Promise.all([lane(ofRedis), lane(ofPostgres), lane(ofAll)])

    const seen = workers.map(({ vitals }) => vitals?.counts["answered"] ?? 0)
    const answered = await until(
      30_000,
      () => workers.every(({ vitals }, index) => (vitals?.counts["answered"] ?? 0) > seen[index]! + 20)
    )
    book.holds(
      "calls are answered",
      answered,
      () => `after the faults over ${shared.name}: ${JSON.stringify(workers.map(({ vitals }) => vitals))}`
    )
    await sleep(3_000)
    await rest("after")
    const after = workers[0]!.rest
    if (before !== undefined && after !== undefined) {
      const grew = grown(before, after)
      book.holds(
        "memory, descriptors, timers and fibers are flat",
        grew.length === 0,
        () => `${grew.join()} over ${shared.name}: ${JSON.stringify({ before, after })}`
      )
    }
    isOver = true
    await watching
    for (const worker of workers) {
      counted(worker)
      worker.tell({ _tag: "End" })
      const code = await Promise.race([worker.exited, sleep(30_000).then(() => "no exit")])
      book.holds("processes end well", code === 0, () => `${code}: ${worker.said().slice(-2_000)}`)
      worker.child.kill("SIGKILL")
    }
    const text = said.map((text) => text()).join("\n")
    book.holds("no defect", !text.includes("defect:"), () => text.slice(text.indexOf("defect:")).slice(0, 2_000))
    const kept = text + (await Effect.runPromise(shared.contents))
    book.holds(
      "no secret in what is printed or in Redis",
      !secrets.some((secret) => kept.includes(secret)),
      () => shared.name
    )
  }

  try {
    for (const kind of kinds) {
      const own = Scope.makeUnsafe()
      try {
        await phase(await Effect.runPromise(Scope.provide(kind, own)))
      } finally {
        await Effect.runPromise(Scope.close(own, Exit.void))
      }
    }
    await audit({ postgres: postgres.url, bill: await Effect.runPromise(simulator.bill), kills, secrets, book })
    const { byStatus, total, unanswered } = await Effect.runPromise(simulator.requests)
    const refused = byStatus[429] ?? 0
    book.holds("the API's limits", refused < 0.05 * total, () => `${refused} of ${total} requests were refused`)
    for (const [status, times] of Object.entries(byStatus)) book.note(`answers ${status}`, times)
    book.note("requests without an answer", unanswered)
    for (const [name, times] of [...book.happened].sort()) {
      report({ metric: "survived", case: name, value: times, unit: "times", peer: "effect-claude", n: times })
    }
    for (const [name, { looks, violations }] of book.looks) {
      report({ metric: "violations", case: name, value: violations, unit: "times", peer: "effect-claude", n: looks })
      if (violations > 0) process.exitCode = 1
    }
  } finally {
    await Effect.runPromise(Scope.close(scope, Exit.void))
  }
}

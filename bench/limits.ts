/**
 * How much of the API's limits a limiter uses, and how often it is refused, against the simulator in virtual time and over HTTP with time compressed.
 *
 * - `goodput`: work that was answered, as a part of what the server's buckets let through at best.
 * - `refused_per_100`: answers 429 for each hundred requests that were sent.
 * - `fairness`: work that was answered to the slowest worker, each a user of its own, as a part of the mean.
 * - `fairness_tenants`: calls that were answered to the tenant that lost most beside one with most of the demand, as a part of those answered without it.
 * - `wait_p99`: of interactive calls beside bulk ones, as a part of that of bulk.
 */
import { Context, Effect, Exit, Layer, Scope } from "effect"
import * as Simulator from "../src/testing/Simulator.ts"
import * as SimulatorServer from "../src/testing/SimulatorServer.ts"
import { best, limits, work } from "./limits/best.ts"
import * as Sides from "./limits/sides.ts"
import { inVirtualTime } from "./limits/virtualTime.ts"
import { answer, chance, draw, latency, minute, type Rates, rates } from "./limits/workload.ts"
import type { Row, Run } from "./run.ts"

const workers = 64
const minutes = 10

/** How many times faster than real time the run over HTTP is. The API asks for whole seconds: the faster the run, the more of it one refusal costs. */
const compress = 10

interface Counted {
  readonly answered: number
  /** Of each worker. */
  readonly work: ReadonlyArray<number>
  readonly refused: number
  readonly sent: number
  readonly failed: number
}

const simulated = async (rates: Rates, compress: number, http: boolean) => {
  const scope = Scope.makeUnsafe()
  const simulator = Simulator.layer({
    answer,
    limits: limits(rates, compress),
    latency: {
      firstToken: { median: latency.firstToken.median / compress, sigma: latency.firstToken.sigma },
      perToken: latency.perToken / compress
    },
    billRows: 1
  })
  const build = <A>(layer: Layer.Layer<A>) => Effect.runPromise(Layer.buildWithScope(layer, scope))
  const close = () => Effect.runPromise(Scope.close(scope, Exit.void))
  if (!http) {
    const context = await build(simulator)
    const { fetch, requests } = Context.get(context, Simulator.Simulator)
    return { target: { baseUrl: "http://simulator.test", fetch, compress }, requests, close }
  }
  const context = await build(Layer.provideMerge(SimulatorServer.layer(), simulator))
  const { url } = Context.get(context, SimulatorServer.SimulatorServer)
  const { requests } = Context.get(context, Simulator.Simulator)
  return { target: { baseUrl: url, fetch: undefined, compress }, requests, close }
}

/** Lets all workers work for so long. */
const measure = async (
  side: (target: Sides.Target) => Sides.Side,
  compress: number,
  http: boolean
): Promise<Counted & { readonly name: string }> => {
  const { close, requests, target } = await simulated(rates, compress, http)
  // The buckets of a real server were there before.
  await Sides.bare(target).call({ input: 40, output: 5 }, { type: "chat", priority: "standard" })
  const one = side(target)
  const began = Date.now()
  const end = began + minutes * minute / compress
  const done = Array.from({ length: workers }, () => 0)
  let answered = 0
  let failed = 0
  const worker = async (index: number) => {
    const dice = chance(index + 1)
    while (Date.now() < end) {
      const { type, ...sizes } = draw(dice, (Date.now() - began) * compress / minute)
      const options = { type, priority: "standard", user: `worker-${index}` } as const
      const isAnswered = await one.call(sizes, options).then(() => true, () => false)
      if (Date.now() > end) return
      if (isAnswered) {
        answered++
        done[index]! += work(sizes, rates)
      } else failed++
    }
  }
  const all = Promise.all(done.map((_, index) => worker(index)))
  await Promise.race([all, new Promise((resolve) => setTimeout(resolve, end - began + 1))])
  const counted = await Effect.runPromise(requests)
  await one.close().catch(() => {})
  await close()
  return {
    name: one.name,
    answered,
    work: done,
    failed,
    refused: counted.byStatus[429] ?? 0,
    sent: counted.total
  }
}

const percentile = (values: ReadonlyArray<number>, part: number): number =>
  [...values].sort((a, b) => a - b)[Math.floor((values.length - 1) * part)] ?? NaN

/** Bulk without end beside interactive calls with pauses between them, at limits of a tenth. */
const classes = async (): Promise<
  { readonly interactive: ReadonlyArray<number>; readonly bulk: ReadonlyArray<number> }
> => {
  const tight: Rates = { requests: 60, input: 120_000, output: 24_000 }
  const { close, target } = await simulated(tight, 1, false)
  const one = Sides.ours(target, tight)
  const end = Date.now() + minutes * minute
  const waits = { interactive: new Array<number>(), bulk: new Array<number>() }
  const worker = async (index: number, priority: "interactive" | "bulk") => {
    const dice = chance(index + 1)
    while (Date.now() < end) {
      const { type, ...sizes } = draw(dice, 0)
      if (priority === "interactive") await new Promise((resolve) => setTimeout(resolve, dice.lognormal(20_000, 0.5)))
      const waited = await one.call(sizes, { type, priority })
      if (Date.now() < end) waits[priority].push(waited)
    }
  }
  const all = Array.from({ length: 48 }, (_, index) => worker(index, index < 8 ? "interactive" : "bulk"))
  await Promise.race([Promise.allSettled(all), new Promise((resolve) => setTimeout(resolve, end - Date.now() + 1))])
  await one.close()
  await close()
  return waits
}

const tenants = 5

/** How many calls of each tenant are answered that come by chance, one and a half times as many as there is room for; the first has this part of them. */
const crowd = async (
  part: number,
  first: number
): Promise<{ readonly calls: ReadonlyArray<number>; readonly work: number }> => {
  const { close, target } = await simulated(rates, 1, false)
  const one = Sides.ours(target, rates)
  const began = Date.now()
  const end = began + minutes * minute
  const calls = Array.from({ length: tenants }, () => 0)
  let done = 0
  const pause = (millis: number) => new Promise((resolve) => setTimeout(resolve, millis))
  const tenant = async (index: number) => {
    const dice = chance(index + 1)
    const perMinute = 1.5 * rates.requests * (index === 0 ? part : (1 - part) / (tenants - 1))
    // What comes in the last seconds has its turn after the end.
    while (Date.now() < end - minute / 10) {
      await pause(-Math.log(1 - dice.next()) * minute / perMinute)
      const { type, ...sizes } = draw(dice, 0)
      one.call(sizes, { type, priority: "standard", tenant: `tenant-${index}` }).then(() => {
        if (Date.now() > end) return
        calls[index]!++
        done += work(sizes, rates)
      }, () => {})
    }
  }
  for (let index = first; index < tenants; index++) void tenant(index)
  await pause(end - Date.now() + 1)
  await one.close()
  await close()
  return { calls, work: done }
}

export const run: Run = async (report) => {
  const reached = best(workers, minutes, rates)
  const rows = (name: string, { answered, refused, sent, work }: Counted, peer: string) => {
    const row = (metric: string, value: number, unit: string, n: number): Row => ({
      metric,
      case: name,
      value,
      unit,
      peer,
      n
    })
    const all = work.reduce((sum, one) => sum + one, 0)
    report(row("goodput", all / reached.work, "ratio", answered))
    report(row("refused_per_100", 100 * refused / Math.max(1, sent), "1/100", sent))
    report(row("fairness", Math.min(...work) / (all / workers), "ratio", workers))
  }

  const start = Date.parse("2026-11-22T12:00:00Z")
  const virtually = (side: (target: Sides.Target) => Sides.Side) => inVirtualTime(start, () => measure(side, 1, false))

  const known = (target: Sides.Target) => Sides.ours(target, rates)
  const unknown = (target: Sides.Target) => Sides.ours(target, undefined)
  const peers = [Sides.bare, Sides.bottleneck, Sides.persistence, Sides.slidingWindow]

  for (const side of [known, ...peers]) {
    const counted = await virtually((target) => side(target, rates))
    rows("known limits, virtual time", counted, counted.name)
  }
  rows("limits from headers, virtual time", await virtually(unknown), "effect-claude")

  const { bulk, interactive } = await inVirtualTime(start, classes)
  report({
    metric: "wait_p99",
    case: "interactive beside bulk, tight limits, virtual time",
    value: percentile(interactive, 0.99) / percentile(bulk, 0.99),
    unit: "ratio",
    peer: "effect-claude bulk",
    n: interactive.length
  })

  for (const part of [0.68, 0.95]) {
    const beside = await inVirtualTime(start, () => crowd(part, 0))
    const alone = await inVirtualTime(start, () => crowd(part, 1))
    const kept = beside.calls.map((calls, index) => calls / alone.calls[index]!).slice(1)
    const row = { case: `one of ${tenants} tenants has ${100 * part} % of the demand`, unit: "ratio", n: tenants }
    report({ ...row, metric: "fairness_tenants", value: Math.min(...kept), peer: "without it" })
    // The bucket and its refill.
    report({ ...row, metric: "goodput", value: beside.work / (minutes + 1), peer: "the limit" })
  }

  for (const [name, side] of [["known limits", known], ["limits from headers", unknown]] as const) {
    rows(`${name}, HTTP, time x${compress}`, await measure(side, compress, true), "effect-claude")
  }
}

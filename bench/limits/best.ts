/**
 * What the server's buckets let through at best: a server that keeps requests waiting instead of refusing them, first come first served, and
 * knows the true size of each. Nobody outside can do better, and what a client loses against it, it waited without need.
 */
import type * as Simulator from "../../src/testing/Simulator.ts"
import { chance, draw, latency, minute, type Rates, type Sizes } from "./workload.ts"

/** How many minutes of refill a call takes of what is the scarcest for it. */
export const work = ({ input, output }: Sizes, rates: Rates): number =>
  Math.max(1 / rates.requests, input / rates.input, output / rates.output)

export const limits = (rates: Rates, compress: number): Simulator.Limits => ({
  requestsPerMinute: rates.requests * compress,
  inputTokensPerMinute: rates.input * compress,
  outputTokensPerMinute: rates.output * compress,
  burstMinutes: 1 / compress
})

/** A bucket in units of a token times the milliseconds of a minute, so that its arithmetic is exact. */
const bucketOf = (perMinute: number) => {
  const capacity = perMinute * minute
  let level = capacity
  let at = 0
  return {
    has: (tokens: number, now: number) => {
      level = Math.min(capacity, level + (now - at) * perMinute)
      at = now
      return level >= tokens * minute
    },
    take: (tokens: number) => {
      level -= tokens * minute
    }
  }
}

const parts = 10

export const best = (
  workers: number,
  minutes: number,
  rates: Rates
): { readonly calls: number; readonly work: number } => {
  const requests = bucketOf(rates.requests)
  const input = bucketOf(rates.input)
  const output = bucketOf(rates.output)
  const chances = Array.from({ length: workers }, (_, worker) => chance(worker + 1))
  const pace = chance(0)
  const queue: Array<{ readonly worker: number; readonly sizes: Sizes }> = []
  const due = new Map<number, Array<() => void>>()
  const at = (time: number, run: () => void) => due.set(time, [...due.get(time) ?? [], run])
  const done = { calls: 0, work: 0 }
  const ask = (worker: number, now: number) => queue.push({ worker, sizes: draw(chances[worker]!, now / minute) })

  for (let worker = 0; worker < workers; worker++) ask(worker, 0)
  for (let now = 0; now < minutes * minute; now++) {
    for (const run of due.get(now) ?? []) run()
    due.delete(now)
    for (let next = queue[0]; next !== undefined; next = queue[0]) {
      const { sizes, worker } = next
      if (!requests.has(1, now) || !input.has(sizes.input, now) || !output.has(0, now)) break
      requests.take(1)
      input.take(sizes.input)
      queue.shift()
      const first = Math.round(pace.lognormal(latency.firstToken.median, latency.firstToken.sigma))
      for (let part = 1; part <= parts; part++) {
        const tokens = Math.floor(sizes.output * part / parts) - Math.floor(sizes.output * (part - 1) / parts)
        const time = now + first + Math.round(latency.perToken * sizes.output * part / parts) + 1
        at(time, () => {
          output.has(0, time)
          output.take(tokens)
          if (part < parts) return
          done.calls++
          done.work += work(sizes, rates)
          ask(worker, time)
        })
      }
    }
  }
  return done
}

/**
 * What the server's buckets let through at best: a server that keeps requests waiting instead of refusing them, first come first served, and
 * knows the true size of each. Nobody outside can do better, and what a client loses against it, it waited without need.
 */
import * as Buckets from "../../src/internal/simulator/Buckets.ts"
import { chance, draw, latency, minute, type Rates, type Sizes } from "./workload.ts"

/** How many minutes of refill a call takes of what is the scarcest for it. */
export const work = ({ input, output }: Sizes, rates: Rates): number =>
  Math.max(1 / rates.requests, input / rates.input, output / rates.output)

export const limits = (rates: Rates, compress: number): Buckets.Limits => ({
  requestsPerMinute: rates.requests * compress,
  inputTokensPerMinute: rates.input * compress,
  outputTokensPerMinute: rates.output * compress,
  burstMinutes: 1 / compress
})

export const best = (
  workers: number,
  minutes: number,
  rates: Rates
): { readonly calls: number; readonly work: number } => {
  const buckets = Buckets.make(() => limits(rates, 1), undefined)
  const chances = Array.from({ length: workers }, (_, worker) => chance(worker + 1))
  const pace = chance(0)
  const queue: Array<{ readonly worker: number; readonly sizes: Sizes }> = []
  const due = new Map<number, Array<() => void>>()
  const at = (time: number, run: () => void) => due.set(time, [...due.get(time) ?? [], run])
  const done = { calls: 0, work: 0 }
  const ask = (worker: number, now: number) => queue.push({ worker, sizes: draw(chances[worker]!, now / minute) })

  const parts = 10
  for (let worker = 0; worker < workers; worker++) ask(worker, 0)
  for (let now = 0, blocked = 0; now < minutes * minute; now++) {
    for (const run of due.get(now) ?? []) run()
    due.delete(now)
    while (queue[0] !== undefined && now >= blocked) {
      const { sizes, worker } = queue[0]
      const account = buckets.admit("", "opus-5-5", sizes.input, now)
      if ("status" in account) {
        blocked = now + 1
        break
      }
      queue.shift()
      const first = Math.round(pace.lognormal(latency.firstToken.median, latency.firstToken.sigma))
      for (let part = 1; part <= parts; part++) {
        const tokens = Math.floor(sizes.output * part / parts) - Math.floor(sizes.output * (part - 1) / parts)
        const time = now + first + Math.round(latency.perToken * sizes.output * part / parts) + 1
        at(time, () => {
          account.output(tokens, time)
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

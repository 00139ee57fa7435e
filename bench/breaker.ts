/**
 * What breakers cost and save in ten minutes of 50 calls a second, in virtual time.
 *
 * All open at the same thresholds and for the same time: at ten failures in a row (`inARow`), or when half of the calls of ten seconds failed
 * (`rate`), for five seconds. What peers lack stays as it is by default: in `rate` ours also opens after its 15 failures in a row, and while it
 * is half-open it lets another trial go each second until one has a verdict. `defaults` is ours as it comes, beside the peers of `rate`.
 * There are many outages, from 57.5 to 62.5 seconds long, so that they end anywhere in the time that a breaker is open: figures are
 * means, and `recovery_delay` no luck.
 *
 * - `outage`: for a minute, calls fail after about 0.1 seconds. `wasted_calls` were sent while it was down; `recovery_delay` is from its end
 *   until calls flow again; `product` is both multiplied, the less the better. Calls take about 2 seconds when it answers.
 * - `hang`: the same, but calls fail after 30 seconds.
 * - `slow`: for a minute, calls are answered after about 20 seconds. Peers have no notion of that and are given a time limit instead:
 *   `lost_answers` are those that they gave up although they came; `openings` is how often one began to refuse.
 * - `errors=30%`: no outage, but three calls of ten fail. `openings` should be none. In `fast` they fail after about 0.1 seconds, else as late as
 *   answers come.
 */
import * as Sides from "./breaker/sides.ts"
import { inVirtualTime } from "./limits/virtualTime.ts"
import type { Row, Run } from "./run.ts"

const seconds = 600
const everyMillis = 20
const callsOfRun = seconds * 1_000 / everyMillis
const runs = { outage: 25, hang: 6, slow: 6 }

interface Api {
  /** How long the call sent at `now` takes, and whether it is answered. */
  readonly answer: (now: number, lot: Lot) => { readonly millis: number; readonly ok: boolean }
}

/** Two numbers by lot for each call, the same for all sides. */
interface Lot {
  readonly uniform: number
  readonly normal: number
}

const lots = (seed: number): () => Lot => {
  let state = seed
  const next = () => {
    state = (state * 48_271) % 2_147_483_647
    return state / 2_147_483_647
  }
  return () => ({
    uniform: next(),
    normal: Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next())
  })
}

const about = (median: number, { normal }: Lot): number => median * Math.exp(0.5 * normal)

interface Span {
  readonly from: number
  readonly to: number
}

const during = (span: Span, now: number): boolean => now >= span.from && now < span.to

const outage = (span: Span): Api => ({
  answer: (now, lot) =>
    during(span, now) ? { millis: about(100, lot), ok: false } : { millis: about(2_000, lot), ok: true }
})

const hang = (span: Span): Api => ({
  answer: (now, lot) => during(span, now) ? { millis: 30_000, ok: false } : { millis: about(2_000, lot), ok: true }
})

const slow = (span: Span): Api => ({
  answer: (now, lot) => ({ millis: about(during(span, now) ? 20_000 : 2_000, lot), ok: true })
})

const flaky = (failMillis: number): Api => ({
  answer: (_, lot) =>
    lot.uniform < 0.3 ? { millis: about(failMillis, lot), ok: false } : { millis: about(2_000, lot), ok: true }
})

interface Seen {
  /** When each call was sent. */
  readonly sent: ReadonlyArray<number>
  /** When each was refused. */
  readonly refused: ReadonlyArray<number>
  /** Calls whose answer came and was not waited for. */
  readonly lost: number
}

const simulate = (make: () => Sides.Side, api: Api, seed: number): Promise<Seen> =>
  inVirtualTime(0, async () => {
    const side = make()
    const lot = lots(seed)
    const sent: Array<number> = []
    const refused: Array<number> = []
    let answers = 0
    let answered = 0
    const calls: Array<Promise<void>> = []
    const fire = () => {
      const drawn = lot()
      const at = Date.now()
      const send = () =>
        new Promise<void>((resolve, reject) => {
          const now = Date.now()
          sent.push(now)
          const { millis, ok } = api.answer(now, drawn)
          setTimeout(() => {
            if (ok) answers++
            if (ok) resolve()
            else reject(new Error("down"))
          }, millis)
        })
      calls.push(
        side.call(send).then((end) => {
          if (end === "answered") answered++
          if (end === "refused") refused.push(at)
        })
      )
    }
    for (let left = callsOfRun; left > 0; left--) {
      fire()
      await new Promise((resolve) => setTimeout(resolve, everyMillis))
    }
    await Promise.all(calls)
    // Answers that nobody waits for come too.
    await new Promise((resolve) => setTimeout(resolve, 300_000))
    await side.close()
    return { sent, refused, lost: answers - answered }
  })

const wasted = ({ sent }: Seen, span: Span): number => sent.filter((at) => during(span, at)).length

/** Until half as many calls go out in a second as there are. */
const recovery = ({ sent }: Seen, { to }: Span): number => {
  const half = 500 / everyMillis
  const after = sent.filter((at) => at >= to)
  const index = after.findIndex((at, index) => (after[index + half] ?? Infinity) - at <= 1_000)
  return (after[index]! - to) / 1_000
}

const openings = ({ refused }: Seen): number =>
  refused.filter((at, index) => index === 0 || at - refused[index - 1]! > 1_000).length

const spans = (count: number): ReadonlyArray<Span> =>
  Array.from({ length: count }, (_, index) => {
    const from = 120_000
    return { from, to: from + 60_000 + Sides.openMillis * ((index + 0.5) / count - 0.5) }
  })

const mean = (values: ReadonlyArray<number>): number => values.reduce((sum, value) => sum + value, 0) / values.length

interface Costs {
  readonly name: string
  readonly wasted: number
  readonly delay: number
  readonly lost: number
  readonly openings: number
  /** Calls that it rests on. */
  readonly n: number
}

const apis = { outage, hang, slow }

const costs = async (make: () => Sides.Side, api: keyof typeof apis): Promise<Costs> => {
  const all: Array<Pick<Costs, "wasted" | "delay" | "lost" | "openings">> = []
  for (const [seed, span] of spans(runs[api]).entries()) {
    const seen = await simulate(make, apis[api](span), 17 + seed)
    all.push({
      wasted: wasted(seen, span),
      delay: recovery(seen, span),
      lost: seen.lost,
      openings: openings(seen)
    })
  }
  return {
    name: make().name,
    n: runs[api] * callsOfRun,
    wasted: mean(all.map(({ wasted }) => wasted)),
    delay: mean(all.map(({ delay }) => delay)),
    lost: mean(all.map(({ lost }) => lost)),
    openings: mean(all.map(({ openings }) => openings))
  }
}

const compared = (report: (row: Row) => void, name: string, all: ReadonlyArray<Costs>): void => {
  for (const { delay, n, name: peer, wasted } of all) {
    report({ metric: "wasted_calls", case: name, value: wasted, unit: "calls", peer, n })
    report({ metric: "recovery_delay", case: name, value: delay, unit: "s", peer, n })
    report({ metric: "product", case: name, value: wasted * delay, unit: "calls*s", peer, n })
  }
  const [ours, ...peers] = all
  const figures = {
    wasted_ratio: ({ wasted }: Costs) => wasted,
    recovery_ratio: ({ delay }: Costs) => delay,
    product_ratio: ({ delay, wasted }: Costs) => wasted * delay
  }
  for (const [metric, of] of Object.entries(figures)) {
    const best = peers.reduce((best, peer) => of(peer) < of(best) ? peer : best)
    report({ metric, case: name, value: of(ours!) / of(best), unit: "ratio", peer: best.name, n: best.n })
  }
}

const makers = [Sides.ours, Sides.cockatiel, Sides.opossum, Sides.effect]

export const run: Run = async (report) => {
  for (const trip of ["inARow", "rate"] as const) {
    for (const api of ["outage", "hang"] as const) {
      const all = []
      for (const make of makers) all.push(await costs(() => make(trip, false), api))
      compared(report, `${api},${trip}`, all)
      if (trip === "rate" && api === "outage") {
        compared(report, "outage,defaults", [await costs(Sides.defaults, api), ...all.slice(1)])
      }
    }
  }

  for (const make of makers) {
    const { lost, n, name: peer, openings, wasted } = await costs(() => make("rate", true), "slow")
    report({ metric: "slow_calls", case: "slow", value: wasted, unit: "calls", peer, n })
    report({ metric: "openings", case: "slow", value: openings, unit: "openings", peer, n })
    report({ metric: "lost_answers", case: "slow", value: lost, unit: "calls", peer, n })
  }

  const sides = {
    defaults: [Sides.defaults],
    rate: makers.map((make) => () => make("rate", false)),
    inARow: makers.map((make) => () => make("inARow", false))
  }
  for (const [how, failMillis] of [["", 2_000], [",fast", 100]] as const) {
    for (const [name, makes] of Object.entries(sides)) {
      for (const make of makes) {
        const seen = await simulate(make, flaky(failMillis), 5)
        const row = { case: `errors=30%${how},${name}`, unit: "openings", peer: make().name, n: callsOfRun }
        report({ ...row, metric: "openings", value: openings(seen) })
      }
    }
  }
}

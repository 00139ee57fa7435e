/**
 * What breakers cost and save in minutes of 50 calls a second, in virtual time.
 *
 * All open at the same thresholds and for the same time: at ten failures in a row (`inARow`), or when half of the calls of ten seconds failed
 * (`rate`), for five seconds. What peers lack stays as it is by default: in `rate` ours also opens after its 15 failures in a row, and while it
 * is half-open it lets further trials go, after one, two, four and five seconds, until one has a verdict. `defaults` is ours as it comes, beside
 * the peers of `rate`. There are many outages, from 57.5 to 62.5 seconds long, so that they end anywhere in the time that a breaker is open: figures are
 * means, and `recovery_delay` no luck.
 *
 * - `outage`: for a minute, calls fail after about 0.1 seconds. `wasted_calls` were sent while it was down; `recovery_delay` is from its end
 *   until calls flow again; `product` is both multiplied, the less the better. Calls take about 2 seconds when it answers.
 * - `hang`: the same, but calls fail after 30 seconds.
 * - `slow`: for a minute, calls are answered after about 20 seconds. Peers have no notion of that and are given a time limit instead:
 *   `lost_answers` are those that they gave up although they came; `openings` is how often one began to refuse.
 * - `errors=30%`: no outage, but three calls of ten fail. `openings` should be none. In `fast` they fail after about 0.1 seconds, else as late as
 *   answers come.
 *
 * Weather in which a breaker may do harm: `lost_calls` were refused or failed, `lost_ratio` is ours to the best peer's.
 *
 * - `slow recovery`: after an outage of about ten seconds, calls are answered after a minute, and one in ten fails. Callers of cockatiel wait for the
 *   verdict of a trial, however long that takes; with `waiting`, ours wait up to 90 seconds by the rule of the retry policy.
 * - `brownout`: for three minutes, three calls of ten fail, and the others are answered after ten seconds.
 * - `surge`: three calls of ten fail at once, and the others are answered after a minute; one call a second, then 20.
 * - `callers`: 64 callers, who pause between calls, at 90 % of what the API lets in, before and after an outage of a minute; ours is the whole service,
 *   peers are the vendor SDK, alone and inside a breaker. `goodput_after` is the rate of answers from ten seconds after the outage on, of that before
 *   it, `amplification` are requests for each call.
 * - `impatient`: seven callers of ten leave after one second, and calls are answered after about two. Their calls are lost whatever a breaker does.
 */
import * as Callers from "./breaker/callers.ts"
import * as Sides from "./breaker/sides.ts"
import { inVirtualTime } from "./limits/virtualTime.ts"
import type { Row, Run } from "./run.ts"

/** How long a run is, and the calls of one at 50 a second. */
const seconds = 300
const everyMillis = 20
const callsOfRun = seconds * 1_000 / everyMillis
const runs = { outage: 9, hang: 2, slow: 2 }

interface Api {
  /** How long the call sent at `now` takes, and whether it is answered, or its caller has left. */
  readonly answer: (now: number, lot: Lot) => { readonly millis: number; readonly ok: boolean; readonly left?: boolean }
  /** The time between two calls, where it is not that of all. */
  readonly everyMillis?: ((now: number) => number) | undefined
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

/** Three calls of ten fail, and the others take so long. */
const failing = (share: number, answerMillis: number, lot: Lot) =>
  lot.uniform < share ? { millis: about(100, lot), ok: false } : { millis: answerMillis, ok: true }

/** Where a breaker may do harm: how often each is run, and the API of one run, from 0 to 1 of them. */
const weathers: Readonly<Record<string, readonly [runs: number, api: (part: number) => Api]>> = {
  "slow recovery": [6, (part) => {
    const end = 70_000 + Sides.openMillis * (part - 0.5)
    return {
      answer: (now, lot) =>
        now >= end
          ? failing(0.1, 60_000, lot)
          : { millis: about(now < 60_000 ? 2_000 : 100, lot), ok: now < 60_000 }
    }
  }],
  brownout: [2, () => ({
    answer: (now, lot) =>
      now >= 60_000 && now < 240_000 ? failing(0.3, 10_000, lot) : { millis: about(2_000, lot), ok: true }
  })],
  surge: [2, () => ({
    everyMillis: (now) => now < 120_000 ? 1_000 : 50,
    answer: (_, lot) => failing(0.3, 60_000, lot)
  })],
  impatient: [2, () => ({
    answer: (_, lot) => {
      const millis = about(2_000, lot)
      return lot.uniform < 0.7 && millis > 1_000 ? { millis: 1_000, ok: false, left: true } : { millis, ok: true }
    }
  })]
}

interface Seen {
  /** When each call was sent. */
  readonly sent: ReadonlyArray<number>
  /** When each was refused. */
  readonly refused: ReadonlyArray<number>
  readonly calls: number
  readonly answered: number
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
          const { left, millis, ok } = api.answer(now, drawn)
          setTimeout(() => {
            if (ok) answers++
            if (ok) resolve()
            else reject(left === true ? new Sides.LeftError("left") : new Error("down"))
          }, millis)
        })
      calls.push(
        side.call(send).then((end) => {
          if (end === "answered") answered++
          if (end === "refused") refused.push(at)
        })
      )
    }
    const end = seconds * 1_000
    while (Date.now() < end) {
      fire()
      const wait = api.everyMillis?.(Date.now()) ?? everyMillis
      await new Promise((resolve) => setTimeout(resolve, wait))
    }
    await Promise.all(calls)
    // Answers that nobody waits for come too.
    await new Promise((resolve) => setTimeout(resolve, 300_000))
    await side.close()
    return { sent, refused, calls: calls.length, answered, lost: answers - answered }
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

/** Calls lost in one weather, of ours and the peers under the same thresholds, and of ours by default. */
const lost = async (
  report: (row: Row) => void,
  name: string,
  [runs, apiOf]: readonly [number, (part: number) => Api]
): Promise<void> => {
  const losses: Array<{ readonly peer: string; readonly lost: number; readonly n: number }> = []
  const own = { ...(name === "slow recovery" ? { waiting: Sides.waiting } : undefined), defaults: Sides.defaults }
  for (const make of [...Object.values(own), ...makers.map((make) => () => make("rate", false))]) {
    const seen: Array<Seen> = []
    for (let run = 0; run < runs; run++) seen.push(await simulate(make, apiOf((run + 0.5) / runs), 11 + run))
    losses.push({
      peer: make().name,
      lost: mean(seen.map(({ answered, calls }) => calls - answered)),
      n: seen.reduce((sum, { calls }) => sum + calls, 0)
    })
  }
  const names = [...Object.keys(own).map((name) => `,${name}`), ""]
  const peers = losses.slice(names.length)
  const best = peers.reduce((best, peer) => peer.lost < best.lost ? peer : best)
  for (const [index, suffix] of names.entries()) {
    const own = losses[index]!
    for (const { lost, n, peer } of [own, ...peers]) {
      report({ metric: "lost_calls", case: `${name}${suffix}`, value: lost, unit: "calls", peer, n })
    }
    report({
      metric: "lost_ratio",
      case: `${name}${suffix}`,
      value: own.lost / best.lost,
      unit: "ratio",
      peer: best.peer,
      n: best.n
    })
  }
}

const makers = [Sides.ours, Sides.cockatiel, Sides.opossum, Sides.effect]

export const run: Run = async (report) => {
  for (const [name, weather] of Object.entries(weathers)) await lost(report, name, weather)

  for (const side of Callers.sides) {
    const all = []
    for (const seed of [1, 2, 3, 4, 5]) all.push(await Callers.measured(side, seed))
    const row = { case: "callers", peer: side.name, n: all.reduce((sum, { calls }) => sum + calls, 0) }
    report({ ...row, metric: "goodput_after", value: mean(all.map(({ goodput }) => goodput)), unit: "ratio" })
    report({ ...row, metric: "amplification", value: mean(all.map((one) => one.amplification)), unit: "/call" })
    report({ ...row, metric: "wasted_calls", value: mean(all.map((one) => one.wasted)), unit: "calls" })
  }

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

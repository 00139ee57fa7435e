import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { CallContext, ClaudeService } from "effect-claude"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import { some } from "./utils/thorough.ts"
import {
  about,
  closedAfter,
  create,
  type Fate,
  isLost,
  isRefused,
  openings,
  overloaded,
  readALittle,
  type Seen,
  sentWithin,
  watched,
  type Weather
} from "./utils/weather.ts"

const seeds = some([1, 2, 3, 4, 5])

/** What each seed shows. */
const each = (weather: Omit<Weather, "seed">, check: (seen: Seen, seed: number) => void) =>
  Effect.forEach(seeds, (seed) => Effect.map(watched({ ...weather, seed }), (seen) => check(seen, seed)), {
    discard: true
  })

const constantly = (rate: number) => () => rate

describe("a recovery", () => {
  for (
    const [failing, answerSeconds, within] of [[0.1, 60, 90], [0.05, 60, 90], [0.3, 10, 30]] as const
  ) {
    it.effect(
      `closes the circuit within ${within} s when answers take ${answerSeconds} s and ${failing * 100} % fail`,
      () =>
        each({
          seconds: 240,
          perSecond: constantly(3),
          fate: (now, lot) =>
            now >= 20_000 && now < 30_000
              ? { millis: about(100, lot), error: overloaded }
              : now < 20_000
              ? { millis: about(2_000, lot) }
              : lot() < failing
              ? { millis: about(100, lot), error: overloaded }
              : { millis: about(answerSeconds * 1_000, lot, 0.1) }
        }, (seen) => {
          const closed = closedAfter(seen, 30_000)
          assert.isAtLeast(openings(seen), 1)
          assert.isAtMost(closed, within * 1_000)
          const after = seen.calls.filter(({ at }) => at > 30_000 + closed)
          assert.isAtMost(after.filter(isRefused).length / after.length, 0.02)
        })
    )
  }
})

describe("streams", () => {
  it.effect("whose readers stop early are successes from their first content on", () =>
    each({
      seconds: 100,
      perSecond: constantly(10),
      options: { retry: { retries: 0 } },
      call: () => readALittle,
      fate: (_, lot) =>
        lot() < 0.04
          ? { millis: 100, error: overloaded }
          : { millis: about(1_000, lot), streamMillis: about(10_000, lot) }
    }, (seen) => {
      assert.strictEqual(openings(seen), 0)
      assert.strictEqual(seen.calls.filter(isRefused).length, 0)
    }))

  it.effect("that the API breaks after their first content open the circuit", () =>
    each({
      seconds: 40,
      perSecond: constantly(10),
      options: { retry: { retries: 0 } },
      call: () => Stream.runDrain(ClaudeService.stream(ClaudeTest.hello)),
      fate: (_, lot) => ({ millis: about(200, lot), streamMillis: about(1_000, lot), breaksWith: overloaded })
    }, (seen) => assert.isAtLeast(openings(seen), 1)))
})

/** The API is down for a while; else answers take about two seconds. */
const outageAt = (from: number, to: number, failing: (lot: () => number) => Fate): Weather["fate"] => (now, lot) =>
  now >= from && now < to ? failing(lot) : { millis: about(2_000, lot) }

const outage = (failing: (lot: () => number) => Fate): Weather["fate"] => outageAt(30_000, 90_000, failing)

/** Attempts that were sent in vain. */
const wasted = (seen: Seen): number => sentWithin(seen, 30_000, 90_000)

const failFast = (lot: () => number): Fate => ({ millis: about(100, lot), error: overloaded })

const hang = (): Fate => ({ millis: 3_600_000 })

describe("impatient callers", () => {
  for (const [deadline, answerSeconds] of [["1 second", 2], ["3 seconds", 5], ["20 seconds", 40]] as const) {
    it.effect(`with ${deadline} open no circuit when answers take ${answerSeconds} s`, () =>
      each({
        seconds: 200,
        perSecond: constantly(3),
        call: (lot) => lot() < 0.7 ? CallContext.withDeadline(create, deadline) : create,
        fate: (_, lot) => ({ millis: about(answerSeconds * 1_000, lot, 0.3) })
      }, (seen) => assert.strictEqual(openings(seen), 0)))
  }

  it.effect("open no circuit before anything is known about such calls", () =>
    each({
      seconds: 60,
      perSecond: constantly(1),
      call: () => CallContext.withDeadline(create, "1 second"),
      fate: () => ({ millis: 2_000 })
    }, (seen) => assert.strictEqual(openings(seen), 0)))

  const hurried = (seconds: number) => () => CallContext.withDeadline(create, seconds * 1_000)

  const leaving = () => Effect.timeoutOrElse(create, { duration: "10 seconds", orElse: () => Effect.void })

  for (
    const [how, call, rates] of [
      ["a deadline of 10 s", hurried(10), [1, 3, 5]],
      ["a deadline of 30 s", hurried(30), [1, 5]],
      ["an interruption", leaving, [1]]
    ] as const
  ) {
    it.effect(
      `open it by ${how} where calls hang, and waste little more than an outage that fails`,
      () =>
        Effect.gen(function*() {
          for (const seed of seeds) {
            for (const rate of rates) {
              const weather = { seed, seconds: 90, perSecond: constantly(rate), call }
              const failing = yield* watched({ ...weather, fate: outage(failFast) })
              const hanging = yield* watched({ ...weather, fate: outage(hang) })
              assert.isAtLeast(openings(hanging), 1)
              assert.isAtMost(wasted(hanging) / wasted(failing), 1.5)
            }
          }
        })
    )
  }

  for (const types of [5, 1_000]) {
    it.effect(`open it where calls of ${types} request types hang`, () =>
      each({
        seconds: 90,
        perSecond: constantly(4),
        call: (lot) => CallContext.annotate(hurried(10)(), { requestType: `type ${Math.floor(lot() * types)}` }),
        fate: outage(hang)
      }, (seen) => {
        assert.isAtLeast(openings(seen), 1)
        assert.isAtMost(wasted(seen), 60)
      }))
  }

  it.effect("of a slow kind open no circuit beside those of a quick one, whose times are known", () =>
    each({
      seconds: 90,
      perSecond: constantly(4),
      call: (lot) => {
        const isSlow = lot() < 0.7
        return CallContext.annotate(isSlow ? hurried(2)() : create, { requestType: isSlow ? "slow" : "quick" })
      },
      fate: (_, lot, { context }) => ({ millis: about(context.requestType === "slow" ? 3_000 : 1_000, lot, 0.3) })
    }, (seen) => assert.strictEqual(openings(seen), 0)))

  for (const [seconds, answerSeconds] of [[10, 4], [10, 6], [30, 20]] as const) {
    it.effect(`with ${seconds} s lose nothing by a circuit when answers suddenly take ${answerSeconds} s`, () =>
      Effect.gen(function*() {
        for (const seed of seeds) {
          const weather: Weather = {
            seed,
            seconds: 90,
            perSecond: constantly(8),
            call: hurried(seconds),
            fate: (now, lot) => ({ millis: about(now < 30_000 ? 2_000 : answerSeconds * 1_000, lot) })
          }
          const lost = ({ calls }: Seen) => calls.filter(isLost).length
          const without = yield* watched({ ...weather, options: { breaker: { mode: "disabled" } } })
          // What the two send is not the same by lot.
          assert.isAtMost(lost(yield* watched(weather)), lost(without) * 1.2 + 10)
        }
      }))
  }
})

it.effect("counts of tokens say nothing about an API that answers no messages", () =>
  Effect.gen(function*() {
    const weather = (counting: boolean): Omit<Weather, "seed"> => ({
      seconds: 90,
      perSecond: constantly(10),
      call: (lot) => counting && lot() < 0.5 ? ClaudeService.countTokens(ClaudeTest.hello) : create,
      fate: (now, lot, attempt) =>
        attempt.endpoint === "messages" ? outage(failFast)(now, lot, attempt) : { millis: 100 }
    })
    for (const seed of seeds) {
      const mixed = yield* watched({ ...weather(true), seed })
      const plain = yield* watched({ ...weather(false), seed })
      assert.isAtMost(wasted(mixed), wasted(plain) * 1.1 + 5)
      assert.strictEqual(mixed.calls.filter((call) => isLost(call)).length > 0, true)
    }
  }))

describe("rates", () => {
  const fails = (share: number, failMillis: number, answerMillis: number): Weather["fate"] => (_, lot) =>
    lot() < share ? { millis: about(failMillis, lot), error: overloaded } : { millis: about(answerMillis, lot, 0.2) }
  const surge = (before: number, after: number) => (second: number) => second < 60 ? before : after
  const options = { retry: { retries: 0 } }

  it.effect(
    "are of attempts sent: failures that come first open nothing in a surge",
    () =>
      each(
        { seconds: 140, perSecond: surge(1, 20), options, fate: fails(0.3, 100, 60_000) },
        (seen) => assert.strictEqual(openings(seen), 0)
      )
  )

  it.effect(
    "are of attempts sent: failures that come last open nothing when a surge is over",
    () =>
      each(
        { seconds: 140, perSecond: surge(20, 1), options, fate: fails(0.3, 40_000, 200) },
        (seen) => assert.strictEqual(openings(seen), 0)
      )
  )

  it.effect("are not diluted for ever by attempts that hang", () =>
    each({
      seconds: 200,
      perSecond: constantly(3),
      options,
      fate: (_, lot) => lot() < 0.4 ? { millis: 100, error: overloaded } : { millis: 3_600_000 }
    }, (seen) => {
      const opened = seen.transitions.find(({ to }) => to === "open")
      assert.isAtMost(opened?.at ?? Infinity, 200_000)
    }))
})

describe("a blip of three seconds", () => {
  const blip = (lot: () => number): Fate => ({ millis: about(100, lot), error: overloaded })
  const weather: Omit<Weather, "seed"> = {
    seconds: 30,
    perSecond: constantly(10),
    fate: outageAt(10_000, 13_000, blip)
  }

  it.effect("loses next to no calls", () =>
    each(weather, (seen) => {
      assert.isAtLeast(openings(seen), 1)
      assert.isAtMost(seen.calls.filter(isLost).length, 5)
    }))

  it.effect("lets interactive callers fail at once where they are told to", () =>
    each({
      ...weather,
      options: { retry: { circuitWait: { interactive: 0 } } },
      call: () => CallContext.annotate(create, { priority: "interactive" })
    }, (seen) => {
      const refused = seen.calls.filter(isRefused)
      assert.isAtLeast(refused.length, 10)
      assert.isTrue(refused.some(({ at, endedAt }) => endedAt === at))
    }))
})

it.effect(
  "after an outage of a minute under 90 % load all is as before within 10 s, and little was sent twice",
  () =>
    Effect.gen(function*() {
      const limits = { requestsPerMinute: 60 * 64 / (1 + 1) / 0.9 }
      const ratios: Array<number> = []
      for (const seed of seeds) {
        const seen = yield* watched({
          seed,
          seconds: 170,
          // A call takes a second, and its caller pauses for another.
          perSecond: { callers: 64, pauseMillis: 1_000 },
          options: { limiter: { limits } },
          fate: (now, lot) =>
            now >= 60_000 && now < 120_000 ? { millis: 100, error: overloaded } : { millis: about(1_000, lot, 0.3) }
        })
        const goodput = (from: number, to: number) =>
          seen.calls.filter((call) => !isLost(call) && call.endedAt >= from && call.endedAt < to).length / (to - from)
        ratios.push(goodput(130_000, 170_000) / goodput(20_000, 60_000))
        assert.isAtMost(seen.sent.length / seen.calls.length, 1.1)
        assert.isAtMost(sentWithin(seen, 60_000, 120_000), 200)
      }
      // Within a single run some 1,300 calls are answered, by chance one in a hundred more or fewer.
      assert.isAtLeast(Math.min(...ratios), 0.97)
      assert.isAtLeast(ratios.reduce((sum, ratio) => sum + ratio, 0) / ratios.length, 0.99)
    })
)

import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { type Candidate, Recurrence, worthCaching } from "../../../src/CostOptimizer/internal/recurrence.ts"
import { between } from "../../utils/between.ts"

const ttl = 300_000
const rates = { read: 0.1, write: 1.25 }

/** Prefixes of a prompt: 1,000 tokens for each name. */
const prompt = (...names: ReadonlyArray<number>): ReadonlyArray<Candidate> =>
  names.map((name, index) => ({ name, tokens: (index + 1) * 1_000, part: "messages" }))

const likelihoods = (judged: ReturnType<Recurrence["see"]>) => judged.map(({ likelihood }) => likelihood)

describe("Recurrence", () => {
  it("expects what came again in time to come once more, and nothing new", () => {
    const one = new Recurrence(ttl, 100, 0)
    const stop = (now: number, ...names: ReadonlyArray<number>) =>
      worthCaching(prompt(...names), one.see(prompt(...names), 0, now), 0, rates)
    assert.strictEqual(stop(0, 1, 2, 3), 0)
    assert.strictEqual(stop(1_000, 5, 6), 0)
    assert.strictEqual(stop(1_000, 1, 2, 4), 3) // it goes on with most of what was there
    assert.strictEqual(stop(1_000 + ttl, 1, 2), 0)
  })

  it("learns that new prompts come again, and after the time to live that they do not", () => {
    const learnt = (again: boolean) => {
      const one = new Recurrence(ttl, 10_000, 0)
      for (let call = 0; call < 60; call++) {
        const names = [call * 10, call * 10 + 1]
        one.see(prompt(...names), 0, call * 20_000)
        if (again) one.see(prompt(...names), 0, call * 20_000 + 5_000)
      }
      return likelihoods(one.see(prompt(-1, -2), 0, 1_200_000))
    }
    assert.isAbove(Math.min(...learnt(true)), 0.8)
    assert.isBelow(Math.max(...learnt(false)), 0.1)
  })

  it("tells kinds of calls apart once it knows them", () => {
    const one = new Recurrence(ttl, 10_000, 0)
    for (let call = 0; call < 200; call++) {
      const kind = call % 2
      one.see(prompt(call * 10), kind, call * 10_000)
      if (kind === 1) one.see(prompt(call * 10), kind, call * 10_000 + 5_000)
    }
    const [never = 0, always = 0, unknown = 0] = [0, 1, 2].map((kind) =>
      likelihoods(one.see(prompt(-kind - 1), kind, 2_000_000))[0]!
    )
    assert.isBelow(never, 0.2)
    assert.isAbove(always, 0.7)
    // What is known of all holds for a kind that is new.
    assert.isAbove(unknown, never)
    assert.isBelow(unknown, always)
  })

  it("forgets old evidence in favour of new", () => {
    const one = new Recurrence(ttl, 10_000, 0)
    let now = 0
    const see = (again: boolean) => {
      one.see(prompt(now), 0, now)
      if (again) one.see(prompt(now), 0, now + 1_000)
      now += 20_000
    }
    for (let call = 0; call < 500; call++) see(false)
    for (let call = 0; call < 300; call++) see(true)
    assert.isAbove(likelihoods(one.see(prompt(-1), 0, now))[0]!, 0.6)
  })

  it("says what is in the cache for as long as it lives there", () => {
    const one = new Recurrence(ttl, 100, 0)
    one.see(prompt(1, 2), 0, 0)
    one.cached([1], 0)
    const cached = (now: number) => one.see(prompt(1, 2), 0, now).map(({ isCached }) => isCached)
    assert.deepStrictEqual(cached(ttl - 1), [true, false])
    assert.deepStrictEqual(cached(ttl), [false, false])
    one.cached([1, 2], ttl)
    assert.deepStrictEqual(cached(ttl + 1), [true, true])
  })

  it.effect.prop(
    "remembers no more prefixes than it may, is the same for the same calls, and its likelihoods are parts of one",
    {
      calls: Schema.Array(Schema.Struct({ name: between(0, 30), length: between(1, 6), wait: between(0, 400_000) }))
        .check(Schema.isMaxLength(60)),
      capacity: between(1, 40)
    },
    ({ calls, capacity }) =>
      Effect.sync(() => {
        const one = new Recurrence(ttl, capacity, 0)
        const other = new Recurrence(ttl, capacity, 0)
        let now = 0
        for (const { length, name, wait } of calls) {
          now += wait
          const candidates = prompt(...Array.from({ length }, (_, index) => name * 10 + index))
          const judged = one.see(candidates, 0, now)
          assert.deepStrictEqual(other.see(candidates, 0, now), judged)
          one.cached([name * 10], now)
          other.cached([name * 10], now)
          assert.isAtMost(one.size, capacity)
          for (const likelihood of likelihoods(judged)) {
            assert.isTrue(likelihood >= 0 && likelihood <= 1, `${likelihood}`)
          }
        }
      })
  )
})

describe("worthCaching", () => {
  const judged = (...likelihoods: ReadonlyArray<number>) =>
    likelihoods.map((likelihood) => ({ likelihood, isRecent: false, isCached: false }))

  it("writes as far as reads pay for it, also over a part that does not", () => {
    const stop = (from: number, ...likelihoods: ReadonlyArray<number>) =>
      worthCaching(prompt(...likelihoods.map((_, index) => index)), judged(...likelihoods), from, rates)
    assert.strictEqual(stop(0, 0.2, 0.1), 0)
    assert.strictEqual(stop(0, 0.25, 0.1), 1)
    assert.strictEqual(stop(0, 0.9, 0.2, 0.1), 1)
    assert.strictEqual(stop(0, 0.1, 0.9), 2)
    assert.strictEqual(stop(1, 0.1, 0.1), 1)
    assert.strictEqual(stop(2, 0, 0), 2)
  })

  it("asks for more where a write costs more", () => {
    const candidates = prompt(1)
    assert.strictEqual(worthCaching(candidates, judged(0.5), 0, rates), 1)
    assert.strictEqual(worthCaching(candidates, judged(0.5), 0, { read: 0.1, write: 2 }), 0)
    assert.strictEqual(worthCaching(candidates, judged(0.55), 0, { read: 0.1, write: 2 }), 1)
  })
})

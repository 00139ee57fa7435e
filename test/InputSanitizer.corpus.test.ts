import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { InputSanitizer } from "effect-claude"
import { freshHarmless, freshInjections } from "./fixtures/sanitizer/fresh.ts"
import { harmless } from "./fixtures/sanitizer/harmless.ts"
import {
  heldOutHarmless,
  heldOutInjections,
  heldOutToDisguise,
  oddHarmless,
  oddInjections
} from "./fixtures/sanitizer/heldOut.ts"
import { plain, toDisguise, translated } from "./fixtures/sanitizer/injections.ts"
import { disguises } from "./utils/disguises.ts"

const disguised = (texts: ReadonlyArray<string>): ReadonlyArray<string> =>
  disguises.flatMap(({ apply }) => texts.map(apply))

const injections = [...plain, ...Object.values(translated).flat(), ...disguised(toDisguise)]

const harmlessTexts = harmless.map(({ text }) => text)

/** Those of some texts in which anything is found, with every kind on. */
const found = (texts: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const { examine } = yield* InputSanitizer.InputSanitizer
    return yield* Effect.filter(texts, (text) => Effect.map(examine(text), ({ total }) => total > 0))
  }).pipe(Effect.provide(InputSanitizer.layer({ actions: { lookalike: "observe" } })))

describe("the corpus", () => {
  it("is large, and no text is in it twice", () => {
    assert.isAtLeast(injections.length, 300)
    assert.isAtLeast(harmlessTexts.length, 1_000)
    assert.strictEqual(new Set(harmlessTexts).size, harmlessTexts.length)
    assert.strictEqual(new Set(injections).size, injections.length)
  })

  it.effect("at least 97 of 100 injections and hidden texts are found", () =>
    Effect.gen(function*() {
      const seen = new Set(yield* found(injections))
      const missed = injections.filter((text) => !seen.has(text))
      assert.isAtMost(missed.length, injections.length * 0.03, missed.join("\n"))
    }))

  it.effect("at most 3 of 1,000 harmless texts are taken for something else", () =>
    Effect.gen(function*() {
      const wrong = yield* found(harmlessTexts)
      assert.isAtMost(wrong.length, harmlessTexts.length * 0.003, wrong.join("\n"))
    }))

  it.effect("holds for texts that were written after the rules", () =>
    Effect.gen(function*() {
      const unknown = [...heldOutInjections, ...oddInjections, ...disguised(heldOutToDisguise)]
      assert.isAtLeast((yield* found(unknown)).length, unknown.length * 0.95)
      assert.deepStrictEqual(yield* found([...heldOutHarmless, ...oddHarmless]), [])
    }))

  it.effect("holds for wordings of every kind, and for near misses", () =>
    Effect.gen(function*() {
      const seen = new Set(yield* found(freshInjections))
      const missed = freshInjections.filter((text) => !seen.has(text))
      assert.isAtMost(missed.length, freshInjections.length * 0.07, missed.join("\n"))
      const wrong = yield* found(freshHarmless)
      assert.isAtMost(wrong.length, freshHarmless.length * 0.02, wrong.join("\n"))
    }))

  it.effect("holds for injections within long texts", () =>
    Effect.gen(function*() {
      const filling = "The weather was fine on Tuesday, and we went to the lake with the children. ".repeat(40)
      const all = [...plain, ...Object.values(translated).flat(), ...heldOutInjections, ...oddInjections]
      const missed = all.length - (yield* found(all.map((text) => `${filling}\n\n${text}\n\n${filling}`))).length
      assert.isAtMost(missed, all.length * 0.01)
      const fresh = yield* found(freshInjections.map((text) => `${filling}\n\n${text}\n\n${filling}`))
      assert.isAtLeast(fresh.length, freshInjections.length * 0.88)
      assert.deepStrictEqual(yield* found([filling]), [])
    }))
})

/** How much the sanitizer finds, and how much of what it says is wrong, on texts written for this test. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { InputSanitizer } from "effect-claude"
import { harmless } from "./fixtures/sanitizer/harmless.ts"
import { heldOutHarmless, heldOutInjections, heldOutToDisguise } from "./fixtures/sanitizer/holdout.ts"
import { plain, toDisguise, translated } from "./fixtures/sanitizer/injections.ts"
import { disguises } from "./utils/disguises.ts"

const disguised = (texts: ReadonlyArray<string>) =>
  disguises.flatMap(({ apply, name }) => texts.map((text) => ({ group: name, text: apply(text) })))

const grouped = (group: string, texts: ReadonlyArray<string>) => texts.map((text) => ({ group, text }))

/** The texts in which something was found, or in which nothing was. */
const examined = (texts: ReadonlyArray<{ readonly group: string; readonly text: string }>, isFound: boolean) =>
  Effect.gen(function*() {
    const { examine } = yield* InputSanitizer.InputSanitizer
    return yield* Effect.filter(texts, ({ text }) => Effect.map(examine(text), ({ total }) => (total > 0) === isFound))
  }).pipe(Effect.provide(InputSanitizer.layer()))

const missedAtMost = (texts: ReadonlyArray<{ readonly group: string; readonly text: string }>, share: number) =>
  Effect.map(examined(texts, false), (missed) =>
    assert.isAtMost(
      missed.length,
      texts.length * share,
      missed.slice(0, 20).map(({ group, text }) => `${group}: ${text}`).join("\n")
    ))

const falseAlarmsAtMost = (texts: ReadonlyArray<{ readonly group: string; readonly text: string }>, share: number) =>
  Effect.map(
    examined(texts, true),
    (alarms) =>
      assert.isAtMost(alarms.length, texts.length * share, alarms.slice(0, 20).map(({ text }) => text).join("\n"))
  )

const injections = [
  ...grouped("English", plain),
  ...Object.entries(translated).flatMap(([language, texts]) => grouped(language, texts)),
  ...disguised(toDisguise)
]

describe("the sanitizer finds", () => {
  it.effect("at least 97 % of injections and hidden texts", () => {
    assert.isAtLeast(injections.length, 300)
    return missedAtMost(injections, 0.03)
  }, 60_000)

  it.effect("nothing in 99.7 % of harmless texts", () => {
    assert.isAtLeast(harmless.length, 1_000)
    return falseAlarmsAtMost(harmless, 0.003)
  }, 60_000)
})

describe("of texts that no rule was made for, the sanitizer finds", () => {
  it.effect(
    "at least 97 % of injections, plain and disguised",
    () => missedAtMost([...grouped("English", heldOutInjections), ...disguised(heldOutToDisguise)], 0.03),
    60_000
  )

  it.effect(
    "no more than one false alarm",
    () => falseAlarmsAtMost(grouped("harmless", heldOutHarmless), 1 / heldOutHarmless.length),
    60_000
  )
})

import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Schema, Stream } from "effect"
import * as Attempt from "effect-claude/Attempt"
import { CallContext } from "effect-claude/CallContext"

const attemptOf = (): Attempt.Attempt => ({
  callId: "call-1",
  number: 1,
  endpoint: "messages",
  model: "m",
  context: Context.get(Context.empty(), CallContext),
  estimate: { inputTokens: 0, maxOutputTokens: 0 },
  key: undefined,
  outcome: Attempt.Outcome.NotSent()
})

/** Writes down what happens to it; refuses, waits or dies as it is told. */
const recording = (
  log: Array<string>,
  name: string,
  behaviour: "admits" | "refuses" | "waits" | "dies" | "diesLate"
) => {
  const policy: Attempt.Policy<string> = {
    admit: () =>
      Effect.suspend((): Effect.Effect<void, string> => {
        if (behaviour === "refuses") return Effect.fail(name)
        if (behaviour === "dies") return Effect.die(name)
        if (behaviour === "waits") return Effect.interruptible(Effect.never)
        log.push(`+${name}`)
        return Effect.void
      }),
    settle: () =>
      Effect.suspend(() => {
        log.push(`-${name}`)
        return behaviour === "diesLate" ? Effect.die(name) : Effect.void
      })
  }
  return policy
}

const Behaviour = Schema.Literals(["admits", "admits", "refuses", "waits", "dies", "diesLate"])
const Use = Schema.Literals(["succeeds", "fails", "dies", "hangs"])

const uses = {
  succeeds: Effect.succeed(1),
  fails: Effect.fail("use"),
  dies: Effect.die("use"),
  hangs: Effect.never
}

describe("policies", () => {
  for (const kind of ["guard", "guardStream"] as const) {
    it.effect.prop(
      `${kind} settles in reverse exactly those that were admitted, whatever happens`,
      { behaviours: Schema.Array(Behaviour).check(Schema.isMinLength(1), Schema.isMaxLength(5)), use: Use },
      ({ behaviours, use }) =>
        Effect.gen(function*() {
          const log: Array<string> = []
          const [first, ...rest] = behaviours.map((behaviour, i) => recording(log, String(i), behaviour))
          if (first === undefined) return
          const policy = rest.reduceRight<Attempt.Policy<string> | undefined>(
            (all, one) => all === undefined ? one : Attempt.both(one, all),
            undefined
          )
          const both = policy === undefined ? first : Attempt.both(first, policy)
          const run = kind === "guard"
            ? Attempt.guard(both, attemptOf(), uses[use])
            : Stream.runDrain(Attempt.guardStream(both, attemptOf(), Stream.fromEffect(uses[use])))
          const fiber = yield* Effect.forkChild(run)
          yield* Effect.yieldNow
          yield* Fiber.interrupt(fiber)
          const admitted = log.filter((entry) => entry.startsWith("+")).map((entry) => entry.slice(1))
          const settled = log.filter((entry) => entry.startsWith("-")).map((entry) => entry.slice(1))
          assert.deepStrictEqual(settled, [...admitted].reverse())
        })
    )
  }

  it.effect("settle when the reader of a stream stops early", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const stream = Attempt.guardStream(recording(log, "a", "admits"), attemptOf(), Stream.make(1, 2, 3))
      yield* Stream.runDrain(Stream.take(stream, 1))
      assert.deepStrictEqual(log, ["+a", "-a"])
    }))

  it.effect("refuse with their own error", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Attempt.guard(recording([], "full", "refuses"), attemptOf(), Effect.void))
      assert.deepStrictEqual(exit, Exit.fail("full"))
    }))
})

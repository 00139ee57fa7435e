import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as CallContext from "effect-claude/CallContext"
import { TestClock } from "effect/testing"

describe("CallContext", () => {
  it.effect("says nothing by default", () =>
    Effect.map(CallContext.current, (context) =>
      assert.deepStrictEqual(context, {
        user: undefined,
        tenant: undefined,
        requestType: undefined,
        tags: {},
        priority: "standard",
        deadline: undefined,
        headers: {}
      })))

  it.effect("is what the regions around say, the inner one last", () =>
    Effect.map(CallContext.current, (context) => {
      assert.deepInclude(context, { user: "inner", tenant: "t", tags: { a: "1", b: "2" }, headers: { x: "1" } })
    }).pipe(
      CallContext.annotate({ user: "inner", tags: { b: "2" } }),
      CallContext.annotate({ user: "outer", tenant: "t", tags: { a: "1", b: "1" }, headers: { x: "1" } })
    ))

  it.effect("ends with its region", () =>
    Effect.gen(function*() {
      yield* CallContext.annotate(Effect.void, { user: "inside" })
      assert.isUndefined((yield* CallContext.current).user)
    }))

  it.effect("has the earliest deadline around", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(1000)
      const deadline = Effect.map(CallContext.current, (context) => context.deadline)
      assert.strictEqual(yield* CallContext.withDeadline(deadline, "5 seconds"), 6000)
      assert.strictEqual(
        yield* deadline.pipe(CallContext.withDeadline("2 seconds"), CallContext.withDeadline("5 seconds")),
        3000
      )
      assert.strictEqual(
        yield* deadline.pipe(CallContext.withDeadline("5 seconds"), CallContext.withDeadline("2 seconds")),
        3000
      )
    }))

  it.effect("reaches into streams", () =>
    Effect.gen(function*() {
      const [context] = yield* Stream.fromEffect(CallContext.current).pipe(
        CallContext.annotateStream({ user: "s" }),
        CallContext.withDeadlineStream("1 second"),
        Stream.runCollect
      )
      assert.deepInclude(context, { user: "s", deadline: 1000 })
    }))
})

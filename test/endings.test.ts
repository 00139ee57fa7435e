import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import * as Endings from "./utils/endings.ts"

const prompt = "Say hello. ".repeat(9_100)

describe.each(["call", "stream"] as const)("a %s that ends before its answer is whole", (kind) => {
  it.effect("leaves nothing, however it ends and however long its prompt is", () =>
    Effect.gen(function*() {
      const open = Endings.open()
      const grown = yield* Effect.scoped(Effect.gen(function*() {
        const { end } = yield* Endings.make
        const some = (n: number) =>
          Effect.forEach(Endings.endings, (ending) =>
            Effect.forEach(Array.from({ length: n }), (_, i) =>
              end(kind, ending, `${i} ${prompt}`), {
              concurrency: 20,
              discard: true
            }))
        yield* some(20)
        const before = yield* Endings.heapUsed
        yield* some(40)
        return (yield* Endings.heapUsed) - before
      }))
      // One prompt that stays for each of them would be 24 MB.
      assert.isAtMost(grown, 5_000_000)
      while (Endings.open().sockets > open.sockets || Endings.open().timers > open.timers) {
        yield* Effect.sleep(20)
      }
    }).pipe(TestClock.withLive))
})

/**
 * What calls and streams leave behind that end before their answer is whole: heap, sockets, timers and fibers after 10,000 of each way to end, with prompts of
 * 100 kB: `node scripts/endings.ts`, with `1000` for fewer and `stream` for some. A heap that grew by more than 5 MB, or anything that is still open, is an error.
 */
import { Effect } from "effect"
import * as Endings from "../test/utils/endings.ts"

const [, , count = "10000", only = ""] = process.argv

/** The most that the heap may grow, in bytes. */
const maxGrowth = 5_000_000

/** The most fibers that there may be more; one that each left behind would be thousands. */
const maxFibers = 100

/**
 * Seconds for connections to close. Those whose request was given up before it was sent wait for others until the server closes them: Node does after 60 seconds,
 * for which it looks every 30.
 */
const maxQuiet = 150

const prompt = "Say hello. ".repeat(9_100)

await Effect.gen(function*() {
  const { end } = yield* Endings.make
  const open = Endings.open()
  for (const kind of ["call", "stream"] as const) {
    for (const ending of Endings.endings.filter((ending) => `${kind}, ${ending}`.includes(only))) {
      const some = (n: number) =>
        Effect.forEach(Array.from({ length: n }), (_, i) => end(kind, ending, `${i} ${prompt}`), {
          concurrency: 64,
          discard: true
        })
      yield* some(500)
      const before = yield* Endings.heapUsed
      const fibersBefore = yield* Endings.fibers
      yield* some(Number(count))
      for (let i = 0; i < maxQuiet && Endings.open().sockets > open.sockets; i++) yield* Effect.sleep("1 second")
      const grown = (yield* Endings.heapUsed) - before
      const { sockets, timers } = Endings.open()
      const fibers = (yield* Endings.fibers) - fibersBefore
      console.log(JSON.stringify({ kind, ending, count: Number(count), before, grown, sockets, timers, fibers }))
      if (grown > maxGrowth || fibers > maxFibers || sockets > open.sockets || timers > open.timers) {
        process.exitCode = 1
      }
    }
  }
}).pipe(Effect.scoped, Effect.runPromise)

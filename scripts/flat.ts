/**
 * What calls and streams that end early leave behind: heap, sockets and timers before and after 10,000 of each way to end, with prompts of 100 kB:
 * `node scripts/flat.ts`, with `-- 1000` for fewer.
 */
import { Effect } from "effect"
import * as Endings from "../test/utils/endings.ts"

const count = Number(process.argv[2] ?? 10_000)
const only = process.argv[3]
const prompt = "Say hello. ".repeat(9_100)

await Effect.gen(function*() {
  const { end } = yield* Endings.make
  for (const kind of ["call", "stream"] as const) {
    for (const ending of Endings.endings) {
      if (only && !`${kind}, ${ending}`.includes(only)) continue
      const some = (n: number) =>
        Effect.forEach(Array.from({ length: n }), (_, i) => end(kind, ending, `${i} ${prompt}`), {
          concurrency: 64,
          discard: true
        })
      yield* some(Math.min(500, count / 2))
      const before = yield* Endings.heapUsed
      yield* some(count)
      const after = yield* Endings.heapUsed
      for (let i = 0; i < 8; i++) {
        yield* Effect.sleep(1000)
        console.log(JSON.stringify(Endings.open()))
      }
      const open = Endings.open()
      console.log(JSON.stringify({ kind, ending, count, before, grownMb: (after - before) / 1e6, ...open }))
    }
  }
}).pipe(Effect.scoped, Effect.runPromise)

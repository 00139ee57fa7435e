/**
 * One side of the bench `peers`, in a process of its own: `run.ts NAME URL`. It runs the slices that its parent asks for, and answers what each took.
 */
import type { Measured, Side, Slice } from "./side.ts"

const measure = async (side: Side, { concurrency, count, kind }: Slice): Promise<Measured> => {
  const millis: Array<number> = []
  let pieces = 0
  let left = count
  const elsewhere = await side.elsewhere?.() ?? 0
  const cpu = process.cpuUsage()
  const began = performance.now()
  await Promise.all(Array.from({ length: concurrency }, async () => {
    while (left-- > 0) {
      const start = performance.now()
      if (kind === "call") await side.call()
      else {
        const more = await side.stream()
        pieces += more // other streams have counted in the meantime
      }
      millis.push(performance.now() - start)
    }
  }))
  const micros = (performance.now() - began) * 1_000
  const used = process.cpuUsage(cpu)
  const more = (await side.elsewhere?.() ?? 0) - elsewhere
  return { micros, cpuMicros: used.user + used.system + more, millis, pieces }
}

const [, , name, url = ""] = process.argv
const { make }: { make: (url: string) => Promise<Side> } = await import(`./sides/${name}.ts`)
const side = await make(url)
process.on("message", async (slice: Slice) => process.send?.(await measure(side, slice)))
process.on("disconnect", () => {
  side.stop?.()
  process.exit()
})
process.send?.("ready")

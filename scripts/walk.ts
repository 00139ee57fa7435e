/**
 * How many files and functions of `src` one warm call enters, by the precise coverage of V8: `npm run walk`, with
 * `-- --functions` to name them, with `-- --json` to read by a program.
 *
 * Two calls of `ClaudeService.create` are counted, with a rate limiter and one budget: one that is answered, over the default transport and a
 * server on loopback, and one that the budget refuses. What the call leaves to the background (such as ledger rows) counts too;
 * the top level of modules and `src/testing` do not.
 */
import { Effect, Exit, Layer, ManagedRuntime, Redacted, References } from "effect"
import { readFileSync } from "node:fs"
import { createServer } from "node:http"
import { type Profiler, Session } from "node:inspector"
import type { AddressInfo } from "node:net"
import { ClaudeService } from "../src/index.ts"

/** The functions of one file that were entered, by name; one without a name by its position, such as `(1024)`. */
export interface File {
  readonly file: string
  readonly functions: ReadonlyArray<string>
}

export type Walk = ReadonlyArray<File>

/** How far a call goes: files, and functions where they count. */
interface Extent {
  readonly files: number
  readonly functions?: number
}

/**
 * How far each call may go, and how far it should: `goal` held until the monitor and the rules for hard hours came, and `limit` keeps it from growing
 * until it holds again. Nothing raises a limit.
 */
export const targets: Record<string, { readonly goal: Extent; readonly limit: Extent }> = {
  create: { goal: { files: 25, functions: 180 }, limit: { files: 31, functions: 238 } },
  refusal: { goal: { files: 12 }, limit: { files: 20 } }
}

/** The functions below `folder` (a file URL that ends with a slash) that coverage saw entered. */
export const entered = (scripts: ReadonlyArray<Profiler.ScriptCoverage>, folder: string): Walk =>
  scripts.filter(({ url }) => url.startsWith(folder) && !url.startsWith(`${folder}testing/`)).flatMap(
    ({ functions, url }): Walk => {
      const names = functions.flatMap(({ functionName, ranges: [whole] }) =>
        // The top level of a module is a function that starts at 0.
        whole === undefined || whole.count === 0 || whole.startOffset === 0
          ? []
          : [functionName === "" ? `(${whole.startOffset})` : functionName]
      )
      return names.length === 0 ? [] : [{ file: url.slice(folder.length), functions: names }]
    }
  ).sort((a, b) => a.file < b.file ? -1 : 1)

const functionsOf = (walk: Walk): number => walk.reduce((sum, { functions }) => sum + functions.length, 0)

/** One sentence for each target that a walk misses. */
export const tooFar = (name: string, walk: Walk): ReadonlyArray<string> => {
  const { goal, limit: { files, functions = Infinity } } = targets[name]!
  return [
    ...(walk.length > files ? [`${name} enters ${walk.length} files, at most ${files} (goal ${goal.files})`] : []),
    ...(functionsOf(walk) > functions
      ? [`${name} enters ${functionsOf(walk)} functions, at most ${functions} (goal ${goal.functions})`]
      : [])
  ]
}

const answer = JSON.stringify({
  id: "msg_1",
  type: "message",
  role: "assistant",
  model: "claude-sonnet-5-5",
  content: [{ type: "text", text: "Air scatters blue light more than red." }],
  stop_reason: "end_turn",
  stop_sequence: null,
  usage: { input_tokens: 20, output_tokens: 10, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 }
})

const request = {
  model: "claude-sonnet-5-5",
  max_tokens: 1_024,
  messages: [{ role: "user" as const, content: "Why is the sky blue?" }]
}

const service = (baseUrl: string, usd: number) =>
  ClaudeService.layer({
    api: { baseUrl },
    keys: Redacted.make("sk-ant-walk"),
    limiter: { limits: "build" },
    budget: { budgets: [{ name: "month", limit: usd, window: { calendar: "month" } }] }
  }).pipe(Layer.provideMerge(Layer.succeed(References.MinimumLogLevel, "None")))

/** Until the background has done what it does after a call. */
const settled = Effect.sleep("2.5 seconds")

/** Counts one call after twenty that fill every cache: the shortest of three, since now and then a call begins a new second or minute of some sum. */
const walk = async (baseUrl: string, usd: number): Promise<Walk> => {
  const session = new Session()
  session.connect()
  session.post("Profiler.enable")
  session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: false })
  /** What ran since it was last asked. */
  const take = (): Walk => {
    let found: Walk = []
    session.post("Profiler.takePreciseCoverage", (error, { result }) => {
      if (error !== null) throw error
      found = entered(result, new URL("../src/", import.meta.url).href)
    })
    return found
  }
  const runtime = ManagedRuntime.make(service(baseUrl, usd))
  const call = Effect.exit(ClaudeService.create(request))
  await runtime.runPromise(Effect.andThen(Effect.replicateEffect(call, 20, { discard: true }), settled))
  take()
  const walks: Array<Walk> = []
  while (walks.length < 3) {
    const exit = await runtime.runPromise(call)
    await runtime.runPromise(settled)
    walks.push(take())
    if (Exit.isSuccess(exit) !== usd > 1) throw new Error(`Not the call that was meant: ${JSON.stringify(exit)}`)
  }
  await runtime.dispose()
  session.disconnect()
  return walks.reduce((least, found) => functionsOf(found) < functionsOf(least) ? found : least)
}

if (import.meta.main) {
  const server = createServer((incoming, response) =>
    incoming.resume().on(
      "end",
      () => response.writeHead(200, { "content-type": "application/json", "request-id": "req_1" }).end(answer)
    )
  )
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  const { port } = server.address() as AddressInfo // it listens on a port
  const url = `http://127.0.0.1:${port}`
  const walks = { create: await walk(url, 1_000), refusal: await walk(url, 1e-9) }
  server.close()
  if (process.argv.includes("--json")) console.log(JSON.stringify(walks))
  else {
    for (const [name, found] of Object.entries(walks)) {
      console.log(name)
      for (const { file, functions } of found) {
        console.log(`${functions.length}`.padStart(5), file)
        if (!process.argv.includes("--functions")) continue
        const text = readFileSync(new URL(`../src/${file}`, import.meta.url), "utf8")
        const lineOf = (_: string, offset: string): string => `line ${text.slice(0, +offset).split("\n").length}`
        console.log(`      ${functions.map((name) => name.replace(/^\((\d+)\)$/, lineOf)).join(", ")}`)
      }
      const { files, functions } = targets[name]!.goal
      const goal = `${files} files${functions === undefined ? "" : `, ${functions} functions`}`
      console.log(`${found.length} files, ${functionsOf(found)} functions; goal ${goal}\n`)
    }
  }
  const missed = Object.entries(walks).flatMap(([name, found]) => tooFar(name, found))
  for (const line of missed) console.error(line)
  if (missed.length > 0) process.exitCode = 1
}

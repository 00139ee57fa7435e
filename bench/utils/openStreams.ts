/**
 * Opens streams that stay open, and says how many bytes they take of this process: `node openStreams.ts SIDE URL COUNT`, for a process of its own. Each
 * stream has shown its first content; what is left of opening it is collected before the second look.
 */
import { Deferred, Effect, Stream } from "effect"
import { fork } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"
import * as ClaudeService from "../../src/ClaudeService.ts"
import { sdk, service } from "./sideBySide.ts"

export type Side = "ours" | "theirs"

const request = {
  model: "claude-sonnet-5-5",
  max_tokens: 1_024,
  messages: [{ role: "user" as const, content: "Take your time." }]
}

/** Opens a stream, and is done when its first content has come. It stays open as long as this process. */
export const opening: Record<Side, (url: string) => (count: number) => Promise<unknown>> = {
  theirs: (url) => {
    const client = sdk(url)
    // What nobody holds is collected, and its request with it.
    const held: Array<unknown> = []
    const open = async () => {
      const events = (await client.messages.create({ ...request, stream: true }))[Symbol.asyncIterator]()
      for (let type = ""; type !== "content_block_delta";) type = (await events.next()).value?.type ?? ""
      held.push([events, events.next()])
    }
    return (count) => Promise.all(Array.from({ length: count }, open))
  },
  ours: (url) => {
    const runtime = service(url, { limits: "scale" })
    const open = Effect.gen(function*() {
      const shown = yield* Deferred.make<void>()
      const read = Stream.runForEach(
        ClaudeService.stream(request),
        (event) => event.type === "content_block_delta" ? Deferred.succeed(shown, undefined) : Effect.void
      )
      yield* Effect.forkDetach(read)
      yield* Deferred.await(shown)
    })
    return (count) => runtime.runPromise(Effect.replicateEffect(open, count, { concurrency: count, discard: true }))
  }
}

const bytes = async (): Promise<number> => {
  for (let pass = 0; pass < 4; pass++) {
    await new Promise((resolve) => setTimeout(resolve, 250))
    globalThis.gc?.()
  }
  const { arrayBuffers, external, heapUsed } = process.memoryUsage()
  return heapUsed + external + arrayBuffers
}

const measure = async (side: Side, url: string, count: number): Promise<void> => {
  const open = opening[side](url)
  await open(10)
  const before = await bytes()
  await open(count)
  process.send?.(await bytes() - before)
}

/** The bytes that `count` open streams take of a process of their own. */
export const openStreams = async (side: Side, url: string, count: number): Promise<number> => {
  const child = fork(fileURLToPath(import.meta.url), [side, url, String(count)], { execArgv: ["--expose-gc"] })
  const [value] = await once(child, "message")
  child.kill()
  return value
}

const [, script, side, url, count] = process.argv
if (script === fileURLToPath(import.meta.url)) await measure(side as Side, url!, Number(count))

/** Ways in which calls and streams end early, at a server of this process, and what they leave behind. */
import { Cause, Context, Effect, Exit, Fiber, Layer, Redacted, References, type Scope, Stream } from "effect"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { queryObjects, setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as CallContext from "../../src/CallContext.ts"
import * as ClaudeService from "../../src/ClaudeService.ts"
import * as CostLedger from "../../src/CostLedger.ts"
import * as RateLimiter from "../../src/RateLimiter.ts"

setFlagsFromString("--expose-gc")
const collect: () => void = runInNewContext("gc")

const millis = (n: number) => new Promise((resolve) => setTimeout(resolve, n))

/** Bytes in use after everything that can go has gone. */
export const heapUsed = Effect.promise(async () => {
  for (let i = 0; i < 6; i++) {
    collect()
    await millis(20)
  }
  return process.memoryUsage().heapUsed
})

/** The class of all fibers. */
const FiberClass = Effect.runFork(Effect.void).constructor as new() => unknown // nobody makes one with it

/** How many fibers something still refers to. */
export const fibers = Effect.sync(() => queryObjects(FiberClass, { format: "count" }))

/** What is open in this process. */
export const open = () => {
  const resources = process.getActiveResourcesInfo()
  const count = (prefix: string) => resources.filter((name) => name.startsWith(prefix)).length
  return { timers: count("Timeout"), sockets: count("TCP") }
}

const event = (value: { readonly type: string }) => `event: ${value.type}\ndata: ${JSON.stringify(value)}\n\n`

const started = event({
  type: "message_start",
  message: {
    id: "msg_1",
    type: "message",
    role: "assistant",
    model: "claude-opus-4-6",
    content: [],
    stop_reason: null,
    stop_sequence: null,
    usage: { input_tokens: 9, output_tokens: 1 }
  }
} as { readonly type: string }) +
  event({ type: "content_block_start", index: 0, content_block: { type: "text", text: "" } } as {
    readonly type: string
  }) +
  event({ type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "Hello" } } as {
    readonly type: string
  })

/** Begins the answer that was asked for and leaves it so, or breaks the connection. */
const begin = (request: IncomingMessage, response: ServerResponse): void => {
  let body = ""
  request.setEncoding("latin1").on("data", (text: string) => {
    body = text.slice(-100)
  }).on("end", () => {
    const isStream = body.includes("\"stream\":true")
    response.writeHead(200, { "content-type": isStream ? "text/event-stream" : "application/json" })
    response.write(isStream ? started : "{\"type\":\"message\",")
    if (request.headers["x-ending"] === "reset") setImmediate(() => request.socket.resetAndDestroy())
  })
}

/** How a call or a stream ends before its answer is whole. */
export const endings = ["deadline", "reader throws", "reader leaves", "interruption", "reset", "stall"] as const
export type Ending = typeof endings[number]

export interface Endings {
  /** Ends one call or stream that way. */
  readonly end: (kind: "call" | "stream", ending: Ending, prompt: string) => Effect.Effect<void>
}

/** A service over its own transport, at a server of this process that finishes no answer. */
export const make: Effect.Effect<Endings, never, Scope.Scope> = Effect.gen(function*() {
  const port = yield* Effect.acquireRelease(
    Effect.callback<readonly [number, () => void]>((resume) => {
      // Connections without a request, because it was given up before it was sent, are closed by the server.
      const server = createServer({ headersTimeout: 5_000, connectionsCheckingInterval: 500 }, begin)
      server.listen(0, "127.0.0.1", () =>
        resume(Effect.succeed([
          (server.address() as AddressInfo).port, // a TCP server has one
          () => {
            server.close()
            server.closeAllConnections()
          }
        ])))
    }),
    ([, close]) => Effect.sync(close)
  )
  const layer = (idle: number) =>
    Effect.map(
      Layer.build(ClaudeService.layer({
        api: { baseUrl: `http://127.0.0.1:${port[0]}`, timeouts: { idle } },
        keys: Redacted.make("sk-ant-test"),
        limiter: RateLimiter.layerOff,
        retry: { retries: 0 },
        breaker: { mode: "disabled" },
        ledger: CostLedger.layerOff
      })),
      (context) => Context.get(context, ClaudeService.ClaudeService)
    ).pipe(Effect.orDie)
  const [patient, impatient] = [yield* layer(60_000), yield* layer(20)]

  const end: Endings["end"] = (kind, ending, prompt) => {
    const claude = ending === "stall" ? impatient : patient
    const request = {
      model: "claude-opus-4-6",
      max_tokens: 64,
      messages: [{ role: "user" as const, content: prompt }]
    }
    const read: Effect.Effect<unknown, unknown> = kind === "call"
      ? claude.create(request)
      : ending === "reader leaves"
      ? Stream.runDrain(Stream.take(claude.stream(request), 1))
      : Stream.runForEach(claude.stream(request), () =>
        ending === "reader throws"
          ? Effect.sync(() => {
            throw new Error("the reader")
          })
          : Effect.void)
    const ended: Effect.Effect<unknown, unknown> = ending === "deadline"
      ? CallContext.withDeadline(read, 50)
      : ending === "interruption" || (kind === "call" && ending.startsWith("reader"))
      ? Effect.flatMap(Effect.forkChild(read), (fiber) => Effect.delay(Fiber.interrupt(fiber), 20))
      : read
    return ended.pipe(
      CallContext.annotate({ headers: { "x-ending": ending } }),
      Effect.provideService(References.MinimumLogLevel, "None"),
      Effect.exit,
      Effect.flatMap((exit) =>
        ending === "reset" || ending === "stall" || ending === "deadline"
          ? Exit.isSuccess(exit) || Cause.hasDies(exit.cause)
            ? Effect.die(new Error(`${kind}, ${ending}: ended as ${String(exit)}`))
            : Effect.void
          : Effect.void
      )
    )
  }
  return { end }
})

/**
 * A server that answers every request at once with the same message: whole, or as a stream of 2,000 events written 1 KiB at a time. Below `/open` its streams
 * stay open.
 * `start` runs it in a process of its own.
 */
import { fork } from "node:child_process"
import { once } from "node:events"
import { createServer, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { fileURLToPath } from "node:url"

export interface Server {
  readonly url: string
  /** How many connections it has accepted so far. */
  readonly connections: () => Promise<number>
  readonly stop: () => void
}

/** Events of a streamed answer that a reader sees: pings are not among them. */
export const events = 2_000

const bytesPerWrite = 1_024

const model = "claude-sonnet-5-5"

const words =
  ("the of a policy decides what may happen and mechanism how it does so that either can change without the other which " +
    "is why a scheduler asks for priorities but knows nothing about queues, or users, or the price of a request; \"quoted\" naïve 工具 ")
    .split(" ")

/** Between one and eight words, by position, so that every answer is the same. */
const fragment = (index: number): string =>
  Array.from({ length: 1 + (index * 7) % 8 }, (_, word) => words[(index * 13 + word) % words.length]).join(" ") + " "

const usage = {
  input_tokens: 412,
  cache_creation_input_tokens: 0,
  cache_read_input_tokens: 2_048,
  cache_creation: { ephemeral_5m_input_tokens: 0, ephemeral_1h_input_tokens: 0 },
  output_tokens: 3,
  server_tool_use: null,
  service_tier: "standard",
  inference_geo: "global"
}

const message = {
  id: "msg_01Q8uVvX7y3cKd5hJb2nWzRt",
  type: "message",
  role: "assistant",
  model,
  content: [],
  stop_reason: null,
  stop_sequence: null,
  stop_details: null,
  container: null,
  usage
}

const whole = Buffer.from(JSON.stringify({
  ...message,
  content: [{
    type: "text",
    text: Array.from({ length: 60 }, (_, index) => fragment(index)).join(""),
    citations: null
  }],
  stop_reason: "end_turn",
  usage: { ...usage, output_tokens: 350 }
}))

const sse = (event: { readonly type: string; readonly [key: string]: unknown }): string =>
  `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`

const deltas = events - 5

const streamed = Buffer.from([
  sse({ type: "message_start", message }),
  sse({ type: "content_block_start", index: 0, content_block: { type: "text", text: "" } }),
  sse({ type: "ping" }),
  ...Array.from(
    { length: deltas },
    (_, index) =>
      sse({ type: "content_block_delta", index: 0, delta: { type: "text_delta", text: fragment(index) } }) +
      (index % 250 === 249 ? sse({ type: "ping" }) : "")
  ),
  sse({ type: "content_block_stop", index: 0 }),
  sse({
    type: "message_delta",
    delta: { stop_reason: "end_turn", stop_sequence: null, stop_details: null, container: null },
    usage: { output_tokens: 9_000, input_tokens: 412, cache_creation_input_tokens: 0, cache_read_input_tokens: 2_048 }
  }),
  sse({ type: "message_stop" })
].join(""))

const buckets = ["requests", "tokens", "input-tokens", "output-tokens"]

const headers = {
  "request-id": "req_011CSHoEeqs5C35K2UUqR7Fy",
  "anthropic-organization-id": "0b6a2d7e-4a43-4b1c-8f6e-2f9a7d5c1e30",
  "anthropic-workspace-id": "wrkspc_01JwQvzr7rXLA5AGx3HKfFUJ",
  ...Object.fromEntries(buckets.flatMap((bucket) => [
    [`anthropic-ratelimit-${bucket}-limit`, "2000000"],
    [`anthropic-ratelimit-${bucket}-remaining`, "1999000"],
    [`anthropic-ratelimit-${bucket}-reset`, "2026-11-22T12:00:01Z"]
  ]))
}

const stream = async (response: ServerResponse): Promise<void> => {
  response.writeHead(200, {
    ...headers,
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache"
  })
  for (let at = 0; at < streamed.length; at += bytesPerWrite) {
    if (response.destroyed) return
    if (!response.write(streamed.subarray(at, at + bytesPerWrite))) await once(response, "drain")
  }
  response.end()
}

/** Some of the stream, and then nothing. */
const open = (response: ServerResponse): void => {
  response.writeHead(200, { ...headers, "content-type": "text/event-stream; charset=utf-8" })
  response.write(streamed.subarray(0, 4 * bytesPerWrite))
}

const serve = () => {
  let connections = 0
  const server = createServer(async (request, response) => {
    if (request.url === "/open/v1/messages") return open(response)
    // A collector of telemetry, which takes whatever comes.
    if (request.url?.startsWith("/v1/messages") !== true) {
      request.resume()
      return response.end()
    }
    let body = ""
    for await (const chunk of request.setEncoding("utf8")) body += chunk
    if (JSON.parse(body).stream === true) return stream(response)
    response.writeHead(200, { ...headers, "content-type": "application/json", "content-length": whole.length })
    response.end(whole)
  })
  server.on("connection", () => connections++)
  process.on("message", () => process.send?.(connections))
  process.on("disconnect", () => process.exit())
  server.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port))
}

export const start = async (): Promise<Server> => {
  const child = fork(fileURLToPath(import.meta.url), { execArgv: [] })
  const [port] = await once(child, "message")
  return {
    url: `http://127.0.0.1:${port}`,
    connections: async () => {
      child.send("connections")
      const [count] = await once(child, "message")
      return count
    },
    stop: () => child.kill()
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) serve()

/**
 * How many plain calls a second the simulated API serves over HTTP, against a bare `node:http` server that answers the same bytes. Each
 * server is a process of its own, and has answered for two seconds before. The load is raw sockets that send one request at a time; a call takes
 * them less processor time than it takes either server, so that the servers are what is measured.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { fork } from "node:child_process"
import { once } from "node:events"
import { createServer } from "node:http"
import { type AddressInfo, connect } from "node:net"
import { fileURLToPath } from "node:url"
import * as Simulator from "../src/testing/Simulator.ts"
import * as SimulatorServer from "../src/testing/SimulatorServer.ts"

type Report = (
  row: { metric: string; case: string; value: number; unit: string; peer: string; n: number }
) => void

const body = JSON.stringify({
  model: "claude-opus-5-5",
  max_tokens: 256,
  system: "You are a helpful assistant who answers in one paragraph.",
  messages: [{ role: "user", content: "What is the difference between a policy and a mechanism?" }]
})

const head = [
  "POST /v1/messages HTTP/1.1",
  "host: 127.0.0.1",
  `authorization: Bearer ${Simulator.apiKey}`,
  "anthropic-version: 2026-10-21",
  "content-type: application/json",
  `content-length: ${Buffer.byteLength(body)}`
]
const wire = `${head.join("\r\n")}\r\n\r\n${body}`

const serveSimulated = SimulatorServer.SimulatorServer.use(({ url }) =>
  Effect.andThen(Effect.sync(() => process.send?.({ port: Number(new URL(url).port) })), Effect.never)
).pipe(Effect.provide(SimulatorServer.layer().pipe(Layer.provide(Simulator.layer()))))

const serveBare = () =>
  process.once("message", (answer: { headers: Record<string, string>; body: string }) => {
    const server = createServer((request, response) => {
      request.resume()
      request.on("end", () => {
        response.writeHead(200, answer.headers)
        response.end(answer.body)
      })
    })
    server.listen(0, "127.0.0.1", () => process.send?.({ port: (server.address() as AddressInfo).port }))
  })

const child = (kind: "simulated" | "bare") => fork(fileURLToPath(import.meta.url), [kind])

const portOf = async (process: ReturnType<typeof child>): Promise<number> => {
  const [message] = await once(process, "message")
  return message.port
}

/** Calls answered in `millis` by `sockets` sockets that each send the next request when the answer is complete. */
const load = async (
  port: number,
  sockets: number,
  bytes: number,
  millis: number
): Promise<{ n: number; rate: number }> => {
  let n = 0
  let stopped = false
  const started = performance.now()
  await Promise.all(Array.from({ length: sockets }, () =>
    new Promise<void>((resolve, reject) => {
      const socket = connect({ port, host: "127.0.0.1", noDelay: true }, () => socket.write(wire))
      let received = 0
      socket.on("error", reject)
      socket.on("data", (chunk) => {
        received += chunk.length
        if (received < bytes) return
        if (received > bytes) return reject(new Error("an answer had another length"))
        received = 0
        n++
        if (!stopped) return socket.write(wire)
        socket.destroy()
        resolve()
      })
      setTimeout(() => {
        stopped = true
      }, millis)
    })))
  return { n, rate: n / (performance.now() - started) * 1_000 }
}

const lengthOf = (port: number): Promise<number> =>
  new Promise((resolve) => {
    let length = 0
    const socket = connect(port, "127.0.0.1", () => socket.write(wire.replace("\r\n", "\r\nconnection: close\r\n")))
    socket.on("data", (chunk) => length += chunk.length)
    socket.on("close", () =>
      resolve(length - "connection: close".length + "Connection: keep-alive\r\nKeep-Alive: timeout=5".length))
  })

export const run = async (report: Report): Promise<void> => {
  const simulated = child("simulated")
  const bare = child("bare")
  try {
    const simulatedPort = await portOf(simulated)
    const first = await fetch(`http://127.0.0.1:${simulatedPort}/v1/messages`, {
      method: "POST",
      headers: Object.fromEntries(head.slice(2, -1).map((line) => line.split(": ") as [string, string])),
      body
    })
    const same = new Set(["date", "connection", "keep-alive"])
    bare.send({
      headers: Object.fromEntries([...first.headers].filter(([name]) => !same.has(name))),
      body: await first.text()
    })
    const barePort = await portOf(bare)
    const bytes = await lengthOf(simulatedPort)
    for (const port of [simulatedPort, barePort]) await load(port, 64, bytes, 2_000)
    for (const sockets of [1, 16, 64]) {
      const rates = { simulated: [] as Array<number>, bare: [] as Array<number> }
      let n = 0
      await load(simulatedPort, sockets, bytes, 300)
      await load(barePort, sockets, bytes, 300)
      for (let round = 0; round < 5; round++) {
        const ours = await load(simulatedPort, sockets, bytes, 500)
        const theirs = await load(barePort, sockets, bytes, 500)
        rates.simulated.push(ours.rate)
        rates.bare.push(theirs.rate)
        n += ours.n + theirs.n
      }
      const mean = (values: Array<number>) => values.reduce((sum, value) => sum + value, 0) / values.length
      const row = { case: `c=${sockets}`, n }
      report({ ...row, metric: "calls_per_second", value: mean(rates.simulated), unit: "1/s", peer: "effect-claude" })
      report({ ...row, metric: "calls_per_second", value: mean(rates.bare), unit: "1/s", peer: "node:http" })
      report({
        ...row,
        metric: "throughput_ratio",
        value: mean(rates.simulated) / mean(rates.bare),
        unit: "ratio",
        peer: "node:http"
      })
    }
  } finally {
    simulated.kill()
    bare.kill()
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv[2] === "bare") serveBare()
  else NodeRuntime.runMain(serveSimulated)
}

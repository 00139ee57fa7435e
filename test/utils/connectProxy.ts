/** An HTTP proxy on loopback that tunnels and forwards, and writes down what it sees. */
import { Effect, type Scope } from "effect"
import { createServer, request as send } from "node:http"
import { type AddressInfo, connect, type Socket } from "node:net"

export interface ConnectProxy {
  /** Without user and password. */
  readonly url: URL
  /** The head of each request: its method, its target and its headers. */
  readonly heads: Array<{ readonly method: string; readonly target: string; readonly headers: NodeJS.Dict<unknown> }>
  /** All bytes that went through, in both directions, as latin1. */
  readonly bytes: () => string
}

/** A proxy that answers each `CONNECT` with a status, and tunnels where that is 200. */
export const connectProxy = (status = 200): Effect.Effect<ConnectProxy, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<readonly [ConnectProxy, () => void]>((resume) => {
      const heads: ConnectProxy["heads"] = []
      const sockets = new Set<Socket>()
      let bytes = ""
      const see = (piece: Buffer) => {
        bytes += piece.toString("latin1")
      }
      const server = createServer((request, response) => {
        heads.push({ method: request.method ?? "", target: request.url ?? "", headers: request.headers })
        const { host: _, ...headers } = request.headers
        const upstream = send(request.url ?? "", { method: request.method, headers }, (answer) => {
          response.writeHead(answer.statusCode ?? 502, answer.headers)
          answer.on("data", see).pipe(response)
        })
        upstream.on("error", () => response.destroy())
        request.on("data", see).pipe(upstream)
      })
      server.on("connect", (request, socket: Socket) => {
        heads.push({ method: "CONNECT", target: request.url ?? "", headers: request.headers })
        if (status !== 200) return void socket.end(`HTTP/1.1 ${status} No\r\ncontent-length: 0\r\n\r\n`)
        const { hostname, port } = new URL(`http://${request.url}`)
        const upstream = connect(Number(port || 80), hostname, () => socket.write("HTTP/1.1 200 OK\r\n\r\n"))
        for (const [from, to] of [[socket, upstream], [upstream, socket]] as const) {
          sockets.add(from)
          from.on("data", see).on("error", () => to.destroy()).on("close", () => to.destroy())
          from.pipe(to)
        }
      })
      server.listen(0, "127.0.0.1", () => {
        const { port } = server.address() as AddressInfo // a TCP server has one
        const close = () => {
          sockets.forEach((socket) => socket.destroy())
          server.close()
          server.closeAllConnections()
        }
        resume(Effect.succeed([{ url: new URL(`http://127.0.0.1:${port}`), heads, bytes: () => bytes }, close]))
      })
    }),
    ([, close]) => Effect.sync(close)
  ).pipe(Effect.map(([proxy]) => proxy))

/** A wire to a server that can break and hang. */
import { Effect, type Scope } from "effect"
import { connect, createServer, type Socket } from "node:net"

export interface Proxy {
  readonly port: number
  /** Breaks all connections, and makes no new one until `mend`. */
  readonly cut: Effect.Effect<void>
  /** Lets nothing pass and keeps all connections, until `mend`. */
  readonly hang: Effect.Effect<void>
  /** The same, from the moment that a client says this. */
  readonly hangAt: (text: string) => Effect.Effect<void>
  readonly mend: Effect.Effect<void>
  /** Breaks all connections; new ones lead to this port. */
  readonly leadTo: (port: number) => Effect.Effect<void>
}

export const proxy = (target: URL): Effect.Effect<Proxy, never, Scope.Scope> =>
  Effect.gen(function*() {
    const sockets = new Set<Socket>()
    let isCut = false
    let hangs = false
    let last: string | undefined
    let port = Number(target.port || 5432)
    const server = createServer((socket) => {
      if (isCut) return void socket.destroy()
      const upstream = connect(port, target.hostname)
      for (const [from, to] of [[socket, upstream], [upstream, socket]] as const) {
        sockets.add(from)
        from.on("data", (bytes: Buffer) => {
          if (from === socket && last !== undefined && bytes.includes(last)) hang()
          else to.write(bytes)
        })
        from.on("error", () => {})
        from.on("close", () => {
          sockets.delete(from)
          // A wire that hangs does not tell of the end of a process, either.
          if (!hangs) to.destroy()
        })
        if (hangs) from.pause()
      }
    })
    const hang = () => {
      hangs = true
      last = undefined
      sockets.forEach((socket) => socket.pause())
    }
    const destroy = () => sockets.forEach((socket) => socket.destroy())
    yield* Effect.acquireRelease(
      Effect.promise(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))),
      () =>
        Effect.promise(() => {
          destroy()
          return new Promise((resolve) => server.close(resolve))
        })
    )
    const address = server.address()
    return {
      port: typeof address === "object" && address !== null ? address.port : 0,
      cut: Effect.sync(() => {
        isCut = true
        destroy()
      }),
      hang: Effect.sync(hang),
      hangAt: (text) =>
        Effect.sync(() => {
          last = text
        }),
      mend: Effect.sync(() => {
        isCut = false
        hangs = false
        sockets.forEach((socket) => socket.resume())
      }),
      leadTo: (other) =>
        Effect.sync(() => {
          port = other
          destroy()
        })
    }
  })

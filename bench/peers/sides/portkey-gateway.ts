/** The SDK through a gateway in a process of its own on the same machine; the processor time is that of both. */
import { fork } from "node:child_process"
import { once } from "node:events"
import { type AddressInfo, createServer } from "node:net"
import { fileURLToPath } from "node:url"
import type { Side } from "../side.ts"
import { using } from "./sdk.ts"

const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const { port } = server.address() as AddressInfo // it listens on a port
  server.close()
  return port
}

export const make = async (url: string): Promise<Side> => {
  const port = await freePort()
  const gateway = fork(fileURLToPath(new URL("../gateway.ts", import.meta.url)), [`--port=${port}`, "--headless"], {
    stdio: ["ignore", "ignore", "inherit", "ipc"]
  })
  const spent = async (): Promise<number> => {
    gateway.send("spent")
    const [micros] = await once(gateway, "message")
    return micros
  }
  const baseURL = `http://127.0.0.1:${port}`
  while (!await fetch(baseURL).then(() => true, () => false)) await new Promise((resolve) => setTimeout(resolve, 50))
  const defaultHeaders = { "x-portkey-provider": "anthropic", "x-portkey-custom-host": `${url}/v1` }
  return { ...using({ baseURL, defaultHeaders }), elsewhere: spent, stop: () => gateway.kill() }
}

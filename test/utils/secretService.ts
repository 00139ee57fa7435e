/** A session bus with GNOME Keyring on it, for this process or one of its own. */
import { Effect, type Scope } from "effect"
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { eventually } from "./eventually.ts"

const tools = ["dbus-daemon", "dbus-send", "gnome-keyring-daemon", "secret-tool"]

const missing = tools.filter((tool) => spawnSync(tool, ["--version"]).error !== undefined)
export const isInstalled = missing.length === 0
if (!isInstalled && process.env["CI"] === "true") throw new Error(`${missing.join(", ")} is not installed`)
if (!isInstalled) console.warn(`skipped: ${missing.join(", ")} is not installed`)

export interface Service {
  /** The environment of a process that uses it. */
  readonly env: Readonly<Record<string, string>>
  /** Stores an entry as another program does. */
  readonly store: (service: string, account: string, text: string) => void
  readonly clear: (service: string) => void
  readonly lock: () => void
}

const firstLine = (child: ChildProcess): Promise<string> =>
  new Promise((resolve, reject) => {
    let text = ""
    child.on("error", reject)
    child.stdout!.on("data", (chunk) => {
      text += chunk
      if (text.includes("\n")) resolve(text.slice(0, text.indexOf("\n")))
    })
  })

/** `password` unlocks the keyring; without one, or with a wrong one, it stays locked and nobody can be asked. */
export const start = (home: string, password: string | undefined): Effect.Effect<Service, never, Scope.Scope> =>
  Effect.gen(function*() {
    const child = (command: string, args: ReadonlyArray<string>, env: Record<string, string>) =>
      Effect.acquireRelease(
        Effect.sync(() => spawn(command, args, { env, stdio: ["pipe", "pipe", "ignore"] })),
        (child) => Effect.sync(() => child.kill("SIGKILL"))
      )
    const base = { PATH: process.env["PATH"] ?? "", HOME: home, XDG_DATA_HOME: home, XDG_RUNTIME_DIR: home }
    const bus = yield* child("dbus-daemon", ["--session", "--nofork", "--print-address=1"], base)
    const env = { ...base, DBUS_SESSION_BUS_ADDRESS: yield* Effect.promise(() => firstLine(bus)) }
    const unlocking = password === undefined ? [] : ["--unlock"]
    const daemon = yield* child("gnome-keyring-daemon", ["--foreground", "--components=secrets", ...unlocking], env)
    daemon.stdin.end(password ?? "")
    const hasOwner = Effect.sync(() =>
      spawnSync("dbus-send", [
        "--print-reply",
        "--dest=org.freedesktop.DBus",
        "/",
        "org.freedesktop.DBus.NameHasOwner",
        "string:org.freedesktop.secrets"
      ], { env, encoding: "utf8" }).stdout.includes("true")
    )
    yield* eventually(hasOwner, (is) => is)
    const run = (args: ReadonlyArray<string>, input?: string): void => {
      const { status, stderr } = spawnSync("secret-tool", args, { env, encoding: "utf8", input: input ?? "" })
      if (status !== 0 && stderr !== "") throw new Error(stderr)
    }
    return {
      env,
      store: (service, account, text) => run(["store", "--label=test", "service", service, "username", account], text),
      clear: (service) => run(["clear", "service", service]),
      lock: () => run(["lock"])
    }
  })

export const home = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-claude-keyring-"))),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
)

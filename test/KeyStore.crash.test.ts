import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { KeyStore } from "effect-claude"
import * as AgeFile from "effect-claude/KeyStore/AgeFile"
import { spawn } from "node:child_process"
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { planted } from "./suites/KeyStore.ts"
import { folder } from "./utils/folders.ts"
import { nowhere, showing } from "./utils/leaks.ts"

const script = fileURLToPath(new URL("./utils/leakingProcess.ts", import.meta.url))

const outputOf = (args: ReadonlyArray<string>, env: Readonly<Record<string, string>>) =>
  Effect.promise(() =>
    new Promise<{ readonly output: string; readonly failed: boolean }>((resolve) => {
      const child = spawn(process.execPath, [script, ...args], { env: { PATH: process.env["PATH"] ?? "", ...env } })
      let output = ""
      for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += chunk))
      child.on("close", (code) => resolve({ output, failed: code !== 0 }))
    })
  )

describe("a process that crashes", () => {
  it.live("shows no key, whatever it prints and however it ends", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const [file, passphrase] = [join(path, "keys.age"), "correct horse battery staple"]
      mkdirSync(join(path, "mounted"))
      writeFileSync(join(path, "mounted", "team-f"), planted("f"))
      const store = yield* KeyStore.make([
        AgeFile.source({ path: file, passphrase: Redacted.make(passphrase), workFactor: 10 })
      ])
      yield* store.set({ label: "team-a", group: "org-a", secret: Redacted.make(planted("a")) })
      const env = {
        HOME: path,
        CLAUDE_KEYS_FILE: file,
        CLAUDE_KEYS_PASSPHRASE: passphrase,
        ANTHROPIC_API_KEYS: JSON.stringify({ "team-e": { secret: planted("e"), group: "org-e" } })
      }
      const runs = yield* Effect.forEach(
        ["defect", "error", "throw", "abort"],
        (crash) => outputOf([join(path, "mounted"), crash], env),
        { concurrency: 2 }
      )
      for (const { failed, output } of runs) {
        assert.isTrue(failed)
        for (const label of ["team-f", "team-e", "team-a"]) assert.include(output, label)
        nowhere([output], planted("a"), planted("e"), planted("f"), passphrase)
      }
    }).pipe(Effect.scoped))
})

describe("the search for secrets", () => {
  const secret = planted("s")

  it.live.each([
    ["a message", Effect.fail(new Error(`no ${secret}`))],
    ["a cause", Effect.fail(new Error("no", { cause: { deep: { secret } } }))],
    ["a defect", Effect.die({ secret })],
    ["a value", Effect.succeed([{ secret }])],
    ["a trace log", Effect.logTrace("x", { secret })],
    ["an annotation of a log", Effect.annotateLogs(Effect.logDebug("x"), { secret })],
    ["a span", Effect.withSpan(Effect.void, "inner", { attributes: { secret } })],
    ["a hidden property", Effect.succeed(Object.defineProperty({}, "secret", { value: secret }))]
  ])("finds one in %s", ([, effect]) =>
    Effect.gen(function*() {
      const { lines } = yield* showing(effect as Effect.Effect<unknown, unknown>)
      assert.throws(() => nowhere(lines, secret))
    }))
})

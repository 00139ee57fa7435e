import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Logger, Redacted } from "effect"
import { KeyStore } from "effect-claude"
import * as Folder from "effect-claude/KeyStore/Folder"
import { execFileSync } from "node:child_process"
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { planted, suite } from "../suites/KeyStore.ts"
import { folder } from "../utils/folders.ts"
import { nowhere, showing } from "../utils/leaks.ts"

type Texts = Readonly<Record<string, string>>

/** A folder that kubelet writes: files are links into a folder behind the link `..data`, and an update exchanges that link. */
const mounted = (path: string) => {
  let version = 0
  let last: string | undefined
  return (texts: Texts): void => {
    const name = `..2026_11_26_03_00_00.${++version}`
    mkdirSync(join(path, name))
    for (const [file, text] of Object.entries(texts)) {
      writeFileSync(join(path, name, file), text)
      rmSync(join(path, file), { force: true })
      symlinkSync(join("..data", file), join(path, file))
    }
    symlinkSync(name, join(path, "..data_tmp"))
    renameSync(join(path, "..data_tmp"), join(path, "..data"))
    if (last !== undefined) rmSync(join(path, last), { recursive: true })
    last = name
  }
}

const place = (write: (path: string) => (texts: Texts) => void) =>
  Effect.gen(function*() {
    const path = yield* folder
    const put = write(path)
    return {
      source: Folder.source({ path, pollInterval: 5 }),
      names: ["one", "two"] as const,
      put: (texts: Texts) => Effect.sync(() => put(texts))
    }
  })

describe("Folder, as kubelet mounts it", () => {
  suite(place(mounted), { isWritable: false, isChanging: true })
})

describe("Folder, plain", () => {
  suite(
    place((path) => (texts) => {
      rmSync(path, { recursive: true })
      mkdirSync(path)
      for (const [file, text] of Object.entries(texts)) {
        writeFileSync(join(path, `.${file}`), text)
        renameSync(join(path, `.${file}`), join(path, file))
      }
    }),
    { isWritable: false, isChanging: true }
  )
})

const secretsOf = (keys: Effect.Success<KeyStore.KeyStore["Service"]["keys"]>) =>
  keys.map((key) => Redacted.value(key.secret))

describe("Folder", () => {
  it.live("never gives files of two versions", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const put = mounted(path)
      put({ a: planted("a0"), b: planted("b0") })
      const store = yield* KeyStore.make([Folder.source({ path })])
      let isDone = false
      let version = 0
      const swapping = Effect.suspend(() => {
        put({ a: planted(`a${++version}`), b: planted(`b${version}`) })
        return Effect.sleep(5)
      }).pipe(Effect.repeat({ until: () => isDone }))
      yield* Effect.forkChild(swapping)
      let read = 0
      for (let left = 100; left > 0; left--) {
        const exit = yield* Effect.exit(store.keys)
        if (Exit.isFailure(exit)) continue
        read++
        const versions = secretsOf(exit.value).map((secret) => /[ab](\d+)AA$/.exec(secret)?.[1])
        assert.match(versions[0]!, /^\d+$/)
        assert.strictEqual(versions[0], versions[1])
      }
      isDone = true
      assert.isAtLeast(read, 50)
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))))

  it.live("shows the version that a key is from", () =>
    Effect.gen(function*() {
      const path = yield* folder
      mounted(path)({ a: planted("a") })
      const [listed] = yield* (yield* KeyStore.make([Folder.source({ path })])).list()
      assert.strictEqual(listed?.version, "..2026_11_26_03_00_00.1")
    }).pipe(Effect.scoped))

  it.live("reads the files that are named, and no others", () =>
    Effect.gen(function*() {
      const path = yield* folder
      mounted(path)({ key: planted("a"), "tls.crt": "-----BEGIN CERTIFICATE-----\nno key" })
      const store = yield* KeyStore.make([Folder.source({ path, files: ["key"] })])
      assert.deepStrictEqual(secretsOf(yield* store.keys), [planted("a")])
    }).pipe(Effect.scoped))

  it.live("waits for no pipe", () =>
    Effect.gen(function*() {
      const path = yield* folder
      execFileSync("mkfifo", [join(path, "key")])
      const store = yield* KeyStore.make([Folder.source({ path })])
      assert.include((yield* Effect.flip(store.keys)).message, "key is not a file")
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))))

  it.live("says what it cannot read, and shows nothing of it", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const errorOf = (name: string) =>
        Effect.flatMap(KeyStore.make([Folder.source({ path: join(path, name) })]), (store) =>
          Effect.gen(function*() {
            const { exit, lines } = yield* showing(Effect.flip(store.keys))
            nowhere(lines, planted("x"))
            return yield* exit
          }))
      assert.strictEqual((yield* errorOf("missing")).kind, "absent")
      mkdirSync(join(path, "large"))
      writeFileSync(join(path, "large", "key"), planted("x").padEnd(1024 * 1024 + 1))
      assert.strictEqual((yield* errorOf("large")).kind, "invalid")
      mkdirSync(join(path, "binary"))
      writeFileSync(join(path, "binary", "key"), new Uint8Array([0, 255, 254, 10]))
      assert.strictEqual((yield* errorOf("binary")).kind, "invalid")
      mkdirSync(join(path, "link"))
      symlinkSync(path, join(path, "link", "key"))
      assert.strictEqual((yield* errorOf("link")).kind, "invalid")
      writeFileSync(join(path, "file"), planted("x"))
      assert.strictEqual((yield* errorOf("file")).kind, "absent")
    }).pipe(Effect.scoped))
})

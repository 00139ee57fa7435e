import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Redacted } from "effect"
import { KeyStore } from "effect-claude"
import * as AgeFile from "effect-claude/KeyStore/AgeFile"
import { TestClock } from "effect/testing"
import { execFileSync, spawnSync } from "node:child_process"
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { dirname, join } from "node:path"
import { planted, suite } from "../suites/KeyStore.ts"
import { folder } from "../utils/folders.ts"
import { nowhere, showing } from "../utils/leaks.ts"
import { holding } from "../utils/lockProcess.ts"

const isInstalled = spawnSync("age", ["--version"]).status === 0 && spawnSync("script", ["--version"]).status === 0
if (!isInstalled && process.env["CI"] === "true") throw new Error("age and script are not installed")
if (!isInstalled) console.warn("skipped: age and script are not installed")

const passphrase = "correct horse battery staple"

const workFactor = 10

/** A new identity and its recipient, as `age-keygen` makes them. */
const keygen = () => {
  const text = execFileSync("age-keygen", { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] })
  return { text, identity: /^AGE-SECRET-KEY-1\w+$/m.exec(text)![0], recipient: /age1\w+/.exec(text)![0] }
}

/** `age` asks for a passphrase on a terminal alone. */
const typed = (command: string, ...lines: ReadonlyArray<string>): string =>
  execFileSync("script", ["-qec", command, "/dev/null"], {
    encoding: "utf8",
    input: lines.map((line) => `${line}\n`).join("")
  })

const key = { label: "team-a", group: "org-a", secret: Redacted.make(planted("a")), weight: 2 }

const secretsOf = (keys: Effect.Success<KeyStore.KeyStore["Service"]["keys"]>) =>
  keys.map((key) => [key.label, Redacted.value(key.secret)])

const withPassphrase = (path: string, text = passphrase): AgeFile.Options => ({
  path,
  passphrase: Redacted.make(text),
  workFactor,
  pollInterval: 5
})

/** The error of reading a file, which shows neither a key nor a passphrase. */
const errorOf = (options: AgeFile.Options, ...secrets: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const store = yield* KeyStore.make([AgeFile.source(options)])
    const { exit, lines } = yield* showing(Effect.flip(store.keys))
    nowhere(lines, planted("a"), passphrase, ...secrets)
    return yield* exit
  })

/** A file with one key. */
const stored = (path: string, options = withPassphrase(path)) =>
  Effect.gen(function*() {
    yield* (yield* KeyStore.make([AgeFile.source(options)])).set(key)
    return readFileSync(path)
  })

const write = (path: string, bytes: Uint8Array | string): void => writeFileSync(path, bytes, { mode: 0o600 })

describe.skipIf(!isInstalled)("AgeFile", () => {
  const { identity, recipient } = isInstalled ? keygen() : { identity: "", recipient: "" }

  suite(
    Effect.gen(function*() {
      const path = join(yield* folder, "keys.age")
      return {
        source: AgeFile.source({ path, identity: Redacted.make(identity), pollInterval: 5 }),
        names: ["one", "two"] as const,
        put: (texts) =>
          Effect.sync(() => {
            if (Object.keys(texts).length === 0) return rmSync(path, { force: true })
            const input = JSON.stringify(texts)
            execFileSync("age", ["--encrypt", "--recipient", recipient, "--output", `${path}.new`], { input })
            chmodSync(`${path}.new`, 0o600)
            renameSync(`${path}.new`, path)
          })
      }
    }),
    { isWritable: true, isChanging: true }
  )

  it.live("writes what age opens with the passphrase, as JSON that a person can read", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "keys.age")
      const store = yield* KeyStore.make([AgeFile.source(withPassphrase(path))])
      yield* store.set(key)
      yield* store.set({ label: "team-b", group: "default", secret: Redacted.make(planted("b")) })
      const shown = typed(`age --decrypt ${path}`, passphrase)
      assert.deepStrictEqual(JSON.parse(shown.slice(shown.indexOf("{"))), {
        "team-a": { secret: planted("a"), group: "org-a", weight: 2 },
        "team-b": planted("b")
      })
    }).pipe(Effect.scoped))

  it.live("writes what age opens with the identity of each recipient", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "keys.age")
      const other = keygen()
      yield* stored(path, { path, identity: Redacted.make(identity), recipients: [other.recipient] })
      const text = execFileSync("age", ["--decrypt", "--identity", "-", path], { input: other.text, encoding: "utf8" })
      assert.deepStrictEqual(Object.keys(JSON.parse(text)), ["team-a"])
    }).pipe(Effect.scoped))

  it.live("opens what age wrote, with a passphrase or an identity, armored too, with one key or several", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const file = (name: string) => join(path, name)
      write(file("plain"), planted("a"))
      typed(`age --passphrase --output ${file("passphrase.age")} ${file("plain")}`, passphrase, passphrase)
      const recipients = ["--recipient", recipient, "--recipient", keygen().recipient]
      const input = JSON.stringify([{ label: "team-a", secret: planted("a") }, {
        label: "team-b",
        secret: planted("b")
      }])
      execFileSync("age", ["--armor", ...recipients, "--output", file("armored.age")], { input })
      for (const name of ["passphrase.age", "armored.age"]) chmodSync(file(name), 0o600)
      const one = yield* KeyStore.make([AgeFile.source(withPassphrase(file("passphrase.age")))])
      assert.deepStrictEqual(secretsOf(yield* one.keys), [["anthropic-api-key", planted("a")]])
      const two = yield* KeyStore.make([
        AgeFile.source({ path: file("armored.age"), identity: Redacted.make(`# mine\n${identity}\n`) })
      ])
      assert.deepStrictEqual(secretsOf(yield* two.keys), [["team-a", planted("a")], ["team-b", planted("b")]])
      yield* one.set({ ...key, label: "team-c" })
      assert.deepStrictEqual(secretsOf(yield* one.keys), [["anthropic-api-key", planted("a")], [
        "team-c",
        planted("a")
      ]])
    }).pipe(Effect.scoped))

  it.live("is written for its owner alone, in one step, and a link stays one", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "deep", "er")
      yield* stored(join(path, "keys.age"))
      assert.deepStrictEqual(readdirSync(path), ["keys.age"])
      assert.strictEqual(statSync(join(path, "keys.age")).mode & 0o777, 0o600)
      assert.strictEqual(statSync(path).mode & 0o777, 0o700)
      symlinkSync(join(path, "keys.age"), join(path, "link.age"))
      const store = yield* KeyStore.make([AgeFile.source(withPassphrase(join(path, "link.age")))])
      yield* store.set({ ...key, label: "team-b" })
      assert.deepStrictEqual(readdirSync(path).sort(), ["keys.age", "link.age"])
      const same = yield* KeyStore.make([AgeFile.source(withPassphrase(join(path, "keys.age")))])
      assert.deepStrictEqual(secretsOf(yield* same.keys).map(([label]) => label), ["team-a", "team-b"])
    }).pipe(Effect.scoped))

  it.live("loses no key where several write at the same time", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "keys.age")
      const stores = yield* Effect.forEach([1, 2], () => KeyStore.make([AgeFile.source(withPassphrase(path))]))
      const labels = Array.from({ length: 6 }, (_, n) => `key-${n}`)
      yield* Effect.forEach(
        labels,
        (label, n) => stores[n % 2]!.set({ ...key, label }),
        { concurrency: "unbounded" }
      )
      assert.sameMembers((yield* stores[0]!.list()).map(({ label }) => label), labels)
      assert.deepStrictEqual(readdirSync(dirname(path)), ["keys.age"])
    }).pipe(Effect.scoped))

  it.live("loses no key where one program writes through a link", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "keys.age")
      const link = `${path}.link`
      yield* stored(path)
      symlinkSync(path, link)
      const stores = yield* Effect.forEach(
        [path, link],
        (path) => KeyStore.make([AgeFile.source(withPassphrase(path))])
      )
      const labels = Array.from({ length: 6 }, (_, n) => `key-${n}`)
      yield* Effect.forEach(
        labels,
        (label, n) => stores[n % 2]!.set({ ...key, label }),
        { concurrency: "unbounded" }
      )
      assert.sameMembers((yield* stores[0]!.list()).map(({ label }) => label), [key.label, ...labels])
    }).pipe(Effect.scoped))

  it.live("leaves no lock behind, whenever it is interrupted", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "keys.age")
      const store = yield* KeyStore.make([AgeFile.source(withPassphrase(path))])
      yield* Effect.forEach(Array.from({ length: 40 }, (_, n) => n), (n) =>
        Effect.gen(function*() {
          const setting = yield* Effect.forkChild(store.set({ ...key, label: `key-${n}` }))
          for (let turn = 0; turn < n; turn++) {
            yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
          }
          yield* Fiber.interrupt(setting)
        }))
      yield* store.set(key)
      assert.deepStrictEqual(readdirSync(dirname(path)), ["keys.age"])
    }).pipe(Effect.scoped))

  it.live("takes nothing for a key that is none, and repeats no key that stands where a label belongs", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "keys.age")
      const store = yield* KeyStore.make([AgeFile.source({ path, identity: Redacted.make(identity) })])
      for (const content of [{ a: 5 }, { a: null }, { a: true }, { [planted("a")]: "team-a" }]) {
        rmSync(path, { force: true })
        execFileSync("age", ["--encrypt", "--recipient", recipient, "--output", path], {
          input: JSON.stringify(content)
        })
        chmodSync(path, 0o600)
        const error = yield* Effect.flip(store.keys)
        assert.strictEqual(error.kind, "invalid")
        assert.notInclude(error.message, planted("a"))
      }
    }).pipe(Effect.scoped))

  it.effect("waits for another program that stores a key, and says how to go on where it never ends", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "keys.age")
      const store = yield* KeyStore.make([AgeFile.source(withPassphrase(path))], { timeout: Infinity })
      const outcome = (end: Effect.Effect<void>, after: number) =>
        Effect.gen(function*() {
          const setting = yield* Effect.forkChild(Effect.exit(store.set(key)), { startImmediately: true })
          for (let turn = 0; setting.pollUnsafe() === undefined; turn++) {
            if (turn === after) yield* end
            yield* TestClock.adjust("50 millis")
            yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
          }
          return yield* yield* Fiber.join(setting)
        })
      const holder = yield* holding(path)
      const error = yield* Effect.flip(outcome(Effect.void, Infinity))
      assert.strictEqual(
        error.message,
        `The API keys cannot be accessed (encrypted file): another program (process ${holder.pid}) holds the lock ${path}.lock. ` +
          "Wait until it ends, or end it."
      )
      assert.strictEqual(yield* outcome(holder.kill, 20), "encrypted file")
      assert.deepStrictEqual(readdirSync(dirname(path)), ["keys.age"])
    }).pipe(Effect.scoped))

  it.live("stores a key after a program was killed while it stored one", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "keys.age")
      const store = yield* KeyStore.make([AgeFile.source(withPassphrase(path))])
      yield* (yield* holding(path)).kill
      yield* store.set(key)
      write(`${path}.lock`, "") // as earlier versions left it
      yield* store.set({ ...key, label: "team-b" })
      assert.lengthOf(yield* store.keys, 2)
    }).pipe(Effect.scoped))

  it.live("says that the passphrase or the identity is another one", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const [one, two] = [join(path, "one.age"), join(path, "two.age")]
      yield* stored(one)
      yield* stored(two, { path: two, identity: Redacted.make(identity) })
      const wrong = "a wrong passphrase of some length"
      const error = yield* errorOf(withPassphrase(one, wrong), wrong)
      assert.strictEqual(error.kind, "passphrase")
      assert.include(error.message, `the passphrase does not open ${one}`)
      const other = keygen().identity
      assert.strictEqual((yield* errorOf({ path: two, identity: Redacted.make(other) }, other)).kind, "passphrase")
      assert.strictEqual(
        (yield* errorOf({ path: one, identity: Redacted.make(identity) }, identity)).kind,
        "passphrase"
      )
      assert.strictEqual((yield* errorOf(withPassphrase(two))).kind, "passphrase")
      assert.strictEqual(
        (yield* errorOf({ path: two, identity: Redacted.make(planted("x")) }, planted("x"))).kind,
        "invalid"
      )
      assert.strictEqual((yield* errorOf({ path: two, identity: Redacted.make("# none\n") })).kind, "invalid")
      assert.strictEqual((yield* errorOf({ path: two })).kind, "unavailable")
      assert.strictEqual(
        (yield* errorOf({ path: two, identity: Redacted.make(identity), passphrase: Redacted.make("x") })).kind,
        "invalid"
      )
      assert.strictEqual(
        (yield* errorOf({ path: two, passphrase: Effect.fail(new Error(passphrase)) })).kind,
        "unreachable"
      )
    }).pipe(Effect.scoped))

  it.live("says that the file was truncated, wherever it was cut", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "keys.age")
      const options: AgeFile.Options = { path, identity: Redacted.make(identity) }
      const whole = yield* stored(path, options)
      for (let length = 0; length < whole.length; length += 7) {
        write(path, whole.subarray(0, length))
        assert.strictEqual((yield* errorOf(options)).kind, "corrupt", `at ${length}`)
      }
    }).pipe(Effect.scoped))

  it.live("says that a bit was flipped, whichever, and never gives another key", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "keys.age")
      const options: AgeFile.Options = { path, identity: Redacted.make(identity) }
      const whole = yield* stored(path, options)
      for (let bit = 0; bit < whole.length * 8; bit += 29) {
        const bytes = new Uint8Array(whole)
        bytes[bit >> 3]! ^= 1 << (bit & 7)
        write(path, bytes)
        // What opens the file stands in its header: where that was altered, nothing tells it from another file.
        assert.include(["corrupt", "passphrase"], (yield* errorOf(options)).kind, `bit ${bit}`)
      }
      write(path, planted("a"))
      assert.strictEqual((yield* errorOf(options)).kind, "corrupt")
    }).pipe(Effect.scoped))

  it.live("refuses a file that other users can access", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "keys.age")
      yield* stored(path)
      for (const mode of [0o644, 0o640, 0o604, 0o620, 0o602]) {
        chmodSync(path, mode)
        const error = yield* errorOf(withPassphrase(path))
        assert.strictEqual(error.kind, "permissions")
        assert.include(error.message, `chmod 600 ${path}`)
      }
      const store = yield* KeyStore.make([AgeFile.source(withPassphrase(path))])
      assert.strictEqual((yield* Effect.flip(store.set(key))).kind, "permissions")
      chmodSync(path, 0o400)
      assert.strictEqual((yield* (yield* KeyStore.make([AgeFile.source(withPassphrase(path))])).keys).length, 1)
    }).pipe(Effect.scoped))

  it.live("takes the identity from a private file in another folder", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const [file, beside, apart] = [join(path, "keys.age"), join(path, "identity"), join(path, "apart", "identity")]
      yield* stored(file, { path: file, identity: Redacted.make(identity) })
      mkdirSync(join(path, "apart"))
      for (const name of [beside, apart]) write(name, `# created\n${identity}\n`)
      const store = yield* KeyStore.make([AgeFile.source({ path: file, identityFile: apart })])
      assert.deepStrictEqual(secretsOf(yield* store.keys), [["team-a", planted("a")]])
      const error = yield* errorOf({ path: file, identityFile: beside }, identity)
      assert.include(error.message, "keep them apart")
      chmodSync(apart, 0o644)
      assert.strictEqual((yield* errorOf({ path: file, identityFile: apart }, identity)).kind, "permissions")
      assert.strictEqual((yield* errorOf({ path: file, identityFile: `${apart}-x` })).kind, "unavailable")
    }).pipe(Effect.scoped))

  it.live("opens a version once, also one that it cannot open", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "keys.age")
      let asked = 0
      const prompt = Effect.sync(() => (asked++, Redacted.make(passphrase)))
      yield* stored(path)
      const store = yield* KeyStore.make([AgeFile.source({ ...withPassphrase(path), passphrase: prompt })])
      yield* store.keys
      yield* store.keys
      assert.strictEqual(asked, 1)
      yield* store.set({ ...key, label: "team-b" })
      yield* store.keys
      assert.strictEqual(asked, 2)
      assert.strictEqual((yield* errorOf(withPassphrase(join(path, "not-a-folder")))).kind, "absent")
    }).pipe(Effect.scoped))
})

import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope } from "effect"
import { TestClock } from "effect/testing"
import { execFile } from "node:child_process"
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs"
import { join, relative } from "node:path"
import { acquire, canonical } from "../../src/internal/fileLock.ts"
import { folder } from "../utils/folders.ts"
import { holding } from "../utils/lockProcess.ts"

const tried = (file: string) => Effect.flip(Effect.scoped(acquire(file, 0)))

const once = (file: string) => Effect.scoped(acquire(file, 0))

/** What becomes of a fiber within so much of the test's time; undefined where it goes on. */
const within = <A, E>(fiber: Fiber.Fiber<A, E>, millis: number) =>
  Effect.gen(function*() {
    for (let elapsed = 0; elapsed <= millis; elapsed += 50) {
      // Which file is meant is found out in real time.
      for (let turn = 0; turn < 20; turn++) {
        yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      }
      if (fiber.pollUnsafe() !== undefined || elapsed === millis) break
      yield* TestClock.adjust(50)
    }
    return fiber.pollUnsafe()
  })

describe("fileLock", () => {
  it.effect("keeps another process off, says which one has it, and leaves nothing behind", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const file = join(path, "file")
      const holder = yield* holding(file)
      assert.deepInclude(yield* tried(file), { lock: `${file}.lock`, isHeld: true, process: holder.pid })
      yield* holder.kill
      assert.deepStrictEqual(readdirSync(path), ["file.lock"])
      yield* once(file)
      assert.deepStrictEqual(readdirSync(path), [])
    }))

  it.effect("is given up when the process that has it is killed, also while another one waits", () =>
    Effect.gen(function*() {
      const file = join(yield* folder, "file")
      const holder = yield* holding(file)
      const waiting = yield* Effect.forkChild(Effect.scoped(acquire(file, Infinity)))
      assert.isUndefined(yield* within(waiting, 60_000))
      yield* holder.kill
      assert.isTrue(Exit.isSuccess((yield* within(waiting, 50))!))
    }))

  it.effect("waits as long as it is told and no longer", () =>
    Effect.gen(function*() {
      const file = join(yield* folder, "file")
      yield* acquire(file, 0)
      for (const wait of [0, 10_000]) {
        const waiting = yield* Effect.forkChild(Effect.scoped(acquire(file, wait)))
        assert.strictEqual(yield* within(waiting, wait - 50), undefined)
        assert.isTrue(Exit.isFailure((yield* within(waiting, 50))!))
      }
    }))

  it.effect("is one for all paths that lead to a file, also before it is there", () =>
    Effect.gen(function*() {
      const path = yield* folder
      mkdirSync(join(path, "real"))
      symlinkSync("real", join(path, "linked"))
      const file = join(path, "real", "file")
      symlinkSync("real/file", join(path, "link"))
      symlinkSync(join(path, "link"), join(path, "link-to-link"))
      const paths = [
        file,
        join(path, "linked", "file"),
        join(path, "link"),
        join(path, "link-to-link"),
        relative(process.cwd(), file),
        `${path}/real/../real//file`
      ]
      for (const isThere of [false, true]) {
        if (isThere) writeFileSync(file, "")
        for (const one of paths) {
          yield* Effect.scoped(Effect.gen(function*() {
            yield* acquire(one, 0)
            for (const other of paths) assert.include(yield* tried(other), { isHeld: true }, `${one} and ${other}`)
          }))
        }
      }
      assert.isFalse(existsSync(`${file}.lock`))
      symlinkSync("circle", join(path, "circle"))
      assert.deepInclude(yield* Effect.flip(canonical(join(path, "circle"))), { code: "ELOOP" })
    }))

  it.effect("fails where the file beside it cannot be a lock", () =>
    Effect.gen(function*() {
      const path = yield* folder
      writeFileSync(join(path, "foreign.lock"), "not a database ".repeat(100))
      mkdirSync(join(path, "taken.lock"))
      for (const file of ["foreign", "taken", "no-folder/file", "foreign.lock/file"]) {
        assert.include(yield* tried(join(path, file)), { isHeld: false }, file)
      }
      assert.deepStrictEqual(readdirSync(path), ["foreign.lock", "taken.lock"])
    }))

  it.effect("leaves no lock behind, whenever it is interrupted", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const file = join(path, "file")
      for (let turns = 0; turns < 40; turns++) {
        const held = yield* Scope.make()
        if (turns % 2 === 1) yield* Scope.provide(acquire(file, 0), held)
        const locking = yield* Effect.forkChild(
          Effect.scoped(Effect.andThen(acquire(file, 60_000), Effect.never)),
          { startImmediately: true }
        )
        for (let turn = 0; turn < turns; turn++) {
          yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
        }
        yield* Fiber.interrupt(locking)
        yield* Scope.close(held, Exit.void)
        assert.deepStrictEqual(readdirSync(path), [])
      }
      yield* once(file)
    }))

  it.live("lets one process in at a time, however many come and go", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const [file, shared] = [join(path, "file"), join(path, "shared")]
      const program = `
        import { Effect } from "effect"
        import { existsSync, rmSync, writeFileSync } from "node:fs"
        import { acquire } from ${JSON.stringify(new URL("../../src/internal/fileLock.ts", import.meta.url).href)}
        const shared = ${JSON.stringify(shared)}
        const turn = Effect.scoped(Effect.gen(function*() {
          // Tried without a pause, so that a lock file is often removed while somebody opens it.
          yield* Effect.eventually(acquire(${JSON.stringify(file)}, 0))
          if (existsSync(shared)) throw new Error("two at a time")
          writeFileSync(shared, "")
          yield* Effect.yieldNow
          rmSync(shared)
        }))
        await Effect.runPromise(Effect.repeat(turn, { times: 500 }))
      `
      const worker = Effect.promise(() =>
        new Promise<string>((resolve) =>
          execFile(process.execPath, ["--input-type=module", "--eval", program], {
            cwd: new URL("../..", import.meta.url).pathname
          }, (error, _, said) => resolve(error === null ? "" : said))
        )
      )
      assert.deepStrictEqual(yield* Effect.all([worker, worker, worker], { concurrency: "unbounded" }), ["", "", ""])
      assert.deepStrictEqual(readdirSync(path), [])
    }))
})

import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Failure from "../../../src/Cli/internal/failure.ts"
import { load } from "../../../src/Cli/internal/peer.ts"
import { hasPassword, redact } from "../../../src/Cli/internal/redact.ts"

describe("what a command says about itself", () => {
  it("has no key and no password", () => {
    assert.strictEqual(redact("no flag sk-ant-api03-abc_DEF-123, please"), "no flag sk-..., please")
    assert.strictEqual(redact("task-force of the risk-team"), "task-force of the risk-team")
    assert.strictEqual(redact("key=sk-ant-abc, AGE-SECRET-KEY-1QQQ."), "key=sk-..., AGE-SECRET-KEY-....")
    assert.strictEqual(redact("postgres://me:hunter2@db:5432/x"), "postgres://me:...@db:5432/x")
    assert.strictEqual(redact("redis://:hunter2@cache"), "redis://:...@cache")
    assert.strictEqual(redact("https://api.example.com:8080/v1"), "https://api.example.com:8080/v1")
    assert.deepStrictEqual(["postgres://me@db/x", "postgres://me:p@db/x"].map(hasPassword), [false, true])
    assert.strictEqual(Failure.of(new Error("bad sk-ant-secret-1")).message, "bad sk-...")
  })

  it.effect("names the package that it lacks", () =>
    Effect.gen(function*() {
      const name = "a-package-that-nobody-has"
      const error = yield* Effect.flip(load(name, "A ledger on paper", () => import(/* @vite-ignore */ name)))
      assert.strictEqual(
        error.message,
        `A ledger on paper needs ${name}, which is not installed: npm install ${name}`
      )
    }))
})

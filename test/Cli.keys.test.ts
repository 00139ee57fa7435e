/** The command `keys` as a process: what it stores and shows, and that it shows no key unasked. */
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import * as Simulator from "effect-claude/testing/Simulator"
import { Environment, json, run, start } from "./utils/command.ts"
import { eventually } from "./utils/eventually.ts"

const all = { concurrency: "unbounded" } as const

const secret = "sk-ant-planted-0123456789"

layer(Environment, { excludeTestServices: true })("effect-claude keys", (it) => {
  it.effect("lists, describes and checks keys, and shows one only where that is asked for", () =>
    Effect.gen(function*() {
      const env = { ANTHROPIC_API_KEY: `${Simulator.apiKey},${secret}` }
      const [list, get, revealed, check, none, missing] = yield* Effect.all([
        run(["keys", "list", "--fingerprint", "--json"], { env }),
        run(["keys", "get", "env-2"], { env }),
        run(["keys", "get", "env-2", "--reveal"], { env }),
        run(["keys", "check", "--json"], { env }),
        run(["keys", "check"], { env: { ANTHROPIC_API_KEY: undefined } }),
        run(["keys", "get", "env-3"], { env })
      ], all)
      assert.deepInclude(list, { code: 0, err: "" })
      assert.deepInclude(json(list.out).keys[1], {
        label: "env-2",
        group: "default",
        source: "environment",
        isUsed: true
      })
      assert.match(json(list.out).keys[1].fingerprint, /^[0-9a-f]{12}$/)
      assert.deepInclude(get, { code: 0, err: "" })
      assert.match(get.out, /^label: env-2\ngroup: default\n/)
      assert.deepStrictEqual(revealed, { code: 0, err: "", out: `${secret}\n` })
      assert.strictEqual(check.code, 3)
      assert.deepStrictEqual(
        json(check.out).keys.map(({ label, verdict }: Record<string, string>) => [label, verdict]),
        [["env-1", "accepted"], ["env-2", "refused"]]
      )
      assert.deepInclude(none, { code: 3, out: "" })
      assert.match(none.err, /^KeyStoreError: No API key was found .*ANTHROPIC_API_KEY/)
      assert.deepInclude(missing, { code: 3, out: "" })
      for (const { err, out } of [list, get, check, none, missing]) assert.notInclude(out + err, secret)
    }))

  it.effect("takes a key from the standard input or without an echo, and from no argument", () =>
    Effect.gen(function*() {
      const [piped, argument, label, empty, words, typed, stopped] = yield* Effect.all([
        run(["keys", "set", "team-a"], { stdin: `${secret}\n` }),
        run(["keys", "set", "team-a", secret], { stdin: "" }),
        run(["keys", "set", secret, "--json"], { stdin: "" }),
        run(["keys", "set", "team-a"], { stdin: "\n" }),
        run(["keys", "set", "team-a"], { stdin: `${secret} ${secret}` }),
        start(["keys", "set", "team-a"], { terminal: true }),
        start(["keys", "set", "team-a"], { terminal: true })
      ], all)
      yield* eventually(Effect.sync(() => typed.said.out), (out) => out.includes("Key for team-a: "))
      typed.child.stdin?.write(`oops\u0015${secret}X\u007f\r`)
      yield* eventually(Effect.sync(() => stopped.said.out), (out) => out.includes("Key for team-a: "))
      stopped.child.stdin?.write("\u0003")
      const [byHand, interrupted] = yield* Effect.all([typed.exit, stopped.exit], all)
      // The environment is no place to store a key in.
      for (const { code, err, out } of [piped, byHand]) {
        assert.strictEqual(code, 3)
        assert.match(out + err, /KeyStoreError:.* The API key cannot be stored/)
      }
      for (const { code, err } of [argument, label, empty, words]) {
        assert.strictEqual(code, 2)
        assert.match(err, /revoke it|secret is empty|not one word/)
      }
      assert.strictEqual(interrupted.code, 130)
      for (const { err, out } of [piped, argument, label, empty, words, byHand, interrupted]) {
        assert.notInclude(out + err, "planted")
      }
    }))
})

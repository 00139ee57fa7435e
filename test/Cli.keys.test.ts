/** The command `keys` as a process: what it stores and shows, and that it shows no key unasked. */
import { assert, layer } from "@effect/vitest"
import { generateIdentity } from "age-encryption"
import { Effect, FileSystem } from "effect"
import type { ListedKey } from "effect-claude/KeyStore"
import * as Simulator from "effect-claude/testing/Simulator"
import { Environment, folder, here, json, run, start } from "./utils/command.ts"
import { eventually } from "./utils/eventually.ts"

const all = { concurrency: "unbounded" } as const

const secret = "sk-ant-planted-0123456789"

layer(Environment, { excludeTestServices: true })("effect-claude keys", (it) => {
  it.effect("lists, describes and checks keys, and shows one only where that is asked for", () =>
    Effect.gen(function*() {
      const env = { ANTHROPIC_API_KEY: `${Simulator.apiKey},${secret}` }
      const [list, get, revealed, check, none, missing] = yield* Effect.all([
        run(["keys", "list", "--fingerprint", "--json"], { env }),
        here(["keys", "get", "env-2"], { env }),
        run(["keys", "get", "env-2", "--reveal"], { env }),
        run(["keys", "check", "--json"], { env }),
        here(["keys", "check"], { env: { ANTHROPIC_API_KEY: undefined } }),
        here(["keys", "get", "env-3"], { env })
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
      const CLAUDE_KEYS_FILE = `${yield* folder}/keys.age`
      const CLAUDE_KEYS_IDENTITY = yield* Effect.promise(() => generateIdentity())
      const env = { ANTHROPIC_API_KEY: undefined, CLAUDE_KEYS_FILE, CLAUDE_KEYS_IDENTITY }
      const set = ["keys", "set", "--source", "file"]
      const [piped, argument, label, empty, words, keyring, typed, stopped] = yield* Effect.all([
        run([...set, "piped", "--group", "g", "--weight", "0.5"], { env, stdin: `${Simulator.apiKey}\n` }),
        here([...set, "team-a", secret], { env }),
        here([...set, secret, "--json"], { env }),
        here([...set, "team-a"], { env, stdin: "\n" }),
        here([...set, "team-a"], { env, stdin: `${secret} ${secret}` }),
        here(["keys", "set", "team-a"], { env, stdin: secret }),
        start([...set, "typed"], { env, terminal: true }),
        start([...set, "stopped"], { env, terminal: true })
      ], all)
      yield* eventually(Effect.sync(() => typed.said.out), (out) => out.includes("Key for typed: "))
      typed.child.stdin?.write(`oops\u0015${secret}X\u007f\r`)
      yield* eventually(Effect.sync(() => stopped.said.out), (out) => out.includes("Key for stopped: "))
      stopped.child.stdin?.write("\u0003")
      const [byHand, interrupted] = yield* Effect.all([typed.exit, stopped.exit], all)
      assert.deepInclude(piped, { code: 0, err: "", out: "Stored piped in encrypted file.\n" })
      assert.strictEqual(byHand.code, 0)
      for (const { code, err } of [argument, label, empty, words]) {
        assert.strictEqual(code, 2)
        assert.match(err, /revoke it|secret is empty|not one word/)
      }
      const odd = yield* Effect.all([
        here([...set, "a\nb", "--json"], { env, stdin: secret }),
        here([...set, "", "--json"], { env, stdin: secret }),
        here([...set, "x".repeat(10_000), "--json"], { env, stdin: secret }),
        here([...set, "a", "--group", "\u001b[31m", "--json"], { env, stdin: secret }),
        here([...set, "a", "--group", secret, "--json"], { env, stdin: secret }),
        here([...set, "a", "--weight", "2e6", "--json"], { env, stdin: secret }),
        here([...set, "a", "--json"], { env, stdin: `"${secret}"` }),
        here([...set, "a", "--json"], { env, stdin: `${secret},${secret}` }),
        here([...set, "a", "--json"], { env, stdin: `{"secret":"${secret}"}` })
      ], all)
      const reasons = [
        "That is not a label: ",
        "That is not a label: ",
        "That is not a label: ",
        "--group is",
        "--group is"
      ]
      const wrong = [...reasons, "must be from 0", "stands in quotation marks", "a list or JSON", "a list or JSON"]
      for (const [index, { code, err, out }] of odd.entries()) {
        assert.deepStrictEqual([code, out], [2, ""], err)
        assert.include(json(err).error.message, wrong[index])
        assert.notInclude(err, "planted")
      }
      assert.deepInclude(keyring, { code: 3, out: "" })
      assert.match(keyring.err, /there is no Secret Service: .* by --source file/)
      assert.strictEqual(interrupted.code, 130)
      for (const { err, out } of [piped, argument, label, empty, words, keyring, byHand, interrupted]) {
        assert.notInclude(out + err, "planted")
      }

      const [asked, list, revealed, stored] = yield* Effect.all([
        here(["ask", "the way", "--json"], { env }),
        here(["keys", "list", "--json"], { env }),
        here(["keys", "get", "typed", "--reveal", "--json"], { env }),
        Effect.flatMap(FileSystem.FileSystem, (fs) => fs.readFileString(CLAUDE_KEYS_FILE))
      ], all)
      assert.strictEqual(json(asked.out).text, "Nobody knows the way.")
      assert.deepStrictEqual(
        json(list.out).keys.map(({ group, label, weight }: ListedKey) => [label, group, weight]).sort(),
        [["piped", "g", 0.5], ["typed", "default", 1]]
      )
      assert.deepInclude(json(revealed.out), { label: "typed", source: "encrypted file", secret })
      assert.notInclude(stored, "planted")
      const [removed, nobody] = yield* Effect.all([
        run(["keys", "remove", "typed", "--source", "file", "--json"], { env }),
        here(["keys", "remove", "nobody", "--source", "file"], { env })
      ])
      assert.deepStrictEqual(json(removed.out), { label: "typed", sources: ["encrypted file"] })
      assert.deepInclude(nobody, { code: 3, out: "" })
    }))

  it.effect("asks for the passphrase of the file, twice where it creates it", () =>
    Effect.gen(function*() {
      const CLAUDE_KEYS_FILE = `${yield* folder}/keys.age`
      const env = { ANTHROPIC_API_KEY: undefined, CLAUDE_KEYS_FILE }
      const { child, exit, said } = yield* start(["keys", "set", "team-a", "--source", "file"], { env, terminal: true })
      for (
        const [prompt, answer] of [["Key for team-a: ", secret], [
          `New passphrase for ${CLAUDE_KEYS_FILE}: `,
          "planted"
        ], ["The same again: ", "planted"]]
      ) {
        yield* eventually(Effect.sync(() => said.out), (out) => out.includes(prompt ?? ""))
        child.stdin?.write(`${answer}\r`)
      }
      const set = yield* exit
      assert.strictEqual(set.code, 0)
      assert.notInclude(set.out, "planted")
      const open = yield* here(["keys", "get", "team-a", "--reveal"], {
        env: { ...env, CLAUDE_KEYS_PASSPHRASE: "planted" }
      })
      assert.strictEqual(open.out, `${secret}\n`)
    }))
})

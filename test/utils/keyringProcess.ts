/**
 * A process that uses the keyring: a process sees one session bus in its life. As a script it answers each line of its input, a request as JSON,
 * with a line, and ends with its input.
 */
import { Effect, Exit, Redacted, Schema, type Scope } from "effect"
import { spawn } from "node:child_process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { KeyStoreError, type Secret, type Source } from "../../src/KeyStore.ts"
import * as Keyring from "../../src/KeyStore/Keyring.ts"

const path = fileURLToPath(import.meta.url)

interface Request {
  readonly options: Keyring.Options
  readonly run: "all" | "read" | "set" | "remove"
  readonly label?: string
  readonly secret?: string
}

const Answer = Schema.Union([
  Schema.Struct({ ok: Schema.Unknown }),
  Schema.Struct({ error: Schema.toCodecJson(KeyStoreError) }),
  Schema.Struct({ defect: Schema.String })
])

const plain = (secret: Secret | undefined) => secret === undefined ? null : Redacted.value(secret.secret)

const answer = ({ label = "", options, run, secret = "" }: Request): Effect.Effect<unknown, unknown> => {
  const source = Keyring.source(options)
  if (run === "set") return source.set!(label, Redacted.make(secret))
  if (run === "remove") return source.remove!(label)
  if (run === "read") return Effect.map(source.read(label), plain)
  return Effect.map(
    source.all!,
    (all) => Object.fromEntries(Object.entries(all).map(([name, secret]) => [name, plain(secret)]))
  )
}

if (process.argv[1] === path) {
  for await (const line of createInterface({ input: process.stdin })) {
    const exit = await Effect.runPromise(Effect.exit(answer(JSON.parse(line) as Request)))
    const error = Exit.isFailure(exit) ? exit.cause.reasons.find((reason) => reason._tag === "Fail")?.error : undefined
    const text = Exit.isSuccess(exit)
      ? { ok: exit.value ?? null }
      : error instanceof KeyStoreError
      ? { error }
      : { defect: String(exit.cause) }
    process.stdout.write(`${JSON.stringify(Schema.encodeSync(Answer)(text as typeof Answer.Type))}\n`)
  }
}

/** The keyring as a process with this environment has it. */
export const sourceIn = (
  env: Readonly<Record<string, string>>,
  options: Keyring.Options = {}
): Effect.Effect<Source, never, Scope.Scope> =>
  Effect.gen(function*() {
    const child = yield* Effect.acquireRelease(
      Effect.sync(() => spawn(process.execPath, [path], { env, stdio: ["pipe", "pipe", "inherit"] })),
      (child) => Effect.sync(() => child.kill("SIGKILL"))
    )
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    const ask = (request: Omit<Request, "options">): Effect.Effect<unknown, KeyStoreError> =>
      Effect.gen(function*() {
        child.stdin.write(`${JSON.stringify({ ...request, options })}\n`)
        const line = yield* Effect.promise(() => lines.next())
        const answer = Schema.decodeUnknownSync(Schema.fromJsonString(Answer))(line.value)
        if ("error" in answer) return yield* answer.error
        return "ok" in answer ? answer.ok : yield* Effect.die(answer.defect)
      })
    const secret = (text: unknown): Secret | undefined =>
      typeof text === "string" ? { secret: Redacted.make(text), version: undefined } : undefined
    return {
      ...Keyring.source(options),
      read: (label) => Effect.map(ask({ run: "read", label }), secret),
      all: Effect.map(ask({ run: "all" }), (all) =>
        Object.fromEntries(
          Object.entries(all as Record<string, string>).map(([label, text]) => [label, secret(text)!])
        )),
      set: (label, text) => Effect.asVoid(ask({ run: "set", label, secret: Redacted.value(text) })),
      remove: (label) => Effect.asVoid(ask({ run: "remove", label }))
    }
  })

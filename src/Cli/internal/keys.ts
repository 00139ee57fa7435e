/** Stores, lists and checks API keys. Only `get --reveal` writes one. */
import * as Console from "effect/Console"
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as ClaudeApi from "../../ClaudeApi.ts"
import * as ClaudeConfig from "../../ClaudeConfig.ts"
import { wrongLabel } from "../../internal/keyText.ts"
import * as KeyStore from "../../KeyStore.ts"
import { checkKey, type Verdict } from "./checkKey.ts"
import { ExitCode } from "./exitCode.ts"
import { CommandError, Ended, UsageError } from "./failure.ts"
import { readSecret } from "./input.ts"
import * as Keys from "./keyStore.ts"
import { Json, printable, result, styles, table } from "./output.ts"
import { redact } from "./redact.ts"

const withStore = <A, E, R>(use: (store: KeyStore.KeyStore["Service"]) => Effect.Effect<A, E, R>) =>
  Effect.provide(Effect.flatMap(KeyStore.KeyStore, use), Keys.layer)

type Source = keyof typeof Keys.names

/** A label is shown everywhere, so it must not be the key. */
const assertLabel = Effect.fnUntraced(function*(label: string) {
  if (redact(label) !== label) {
    return yield* new UsageError({
      message:
        "That is not a label. A key on the command line can be seen by others and stays in the history of the shell: " +
        "revoke it, then run keys set LABEL and type the new one."
    })
  }
  const wrong = wrongLabel(label)
  if (wrong !== undefined) return yield* new UsageError({ message: `That is not a label: ${wrong}.` })
})

export const set = Effect.fnUntraced(function*(input: {
  readonly words: ReadonlyArray<string>
  readonly group: string
  readonly weight: number
  readonly source: Source | undefined
}) {
  const [label = "", ...others] = input.words
  yield* assertLabel(label)
  if (others.length > 0) {
    return yield* new UsageError({
      message:
        "keys set takes a label, and the key from a prompt or the standard input. If a key was among the arguments: they can be seen " +
        "by others and stay in the history of the shell, so revoke it."
    })
  }
  const { group, source, weight } = input
  if (redact(group) !== group || wrongLabel(group) !== undefined) {
    return yield* new UsageError({ message: "--group is not a name of 1 to 128 visible characters." })
  }
  const secret = yield* readSecret(`Key for ${printable(label)}: `)
  const stored = yield* withStore((store) =>
    Effect.mapError(
      store.set({ label, group, weight, secret }, { source: source === undefined ? undefined : Keys.names[source] }),
      (error) =>
        source === undefined && error.kind === "unavailable"
          ? new KeyStore.KeyStoreError({
            ...error,
            remedy: "Start one, or store the key in an encrypted file by --source file."
          })
          : error
    )
  )
  yield* result({ label, group, weight, source: stored }, `Stored ${printable(label)} in ${stored}.`)
})

const shown = ({ expiresAt, version, ...key }: KeyStore.ListedKey) => ({
  ...key,
  version: version ?? null,
  expiresAt: expiresAt === undefined ? null : DateTime.formatIso(DateTime.makeUnsafe(expiresAt))
})

/** The key with a label, and what lists show of it. */
const find = Effect.fnUntraced(function*(
  store: KeyStore.KeyStore["Service"],
  label: string,
  list: ReturnType<KeyStore.KeyStore["Service"]["list"]>
) {
  const key = yield* store.get(label)
  const listed = (yield* list).find((listed) => listed.label === label)
  if (listed === undefined) return yield* new CommandError({ message: `${printable(label)} was removed meanwhile.` })
  return { key, listed }
})

export const get = Effect.fnUntraced(
  function*({ label, reveal }: { readonly label: string; readonly reveal: boolean }) {
    yield* assertLabel(label)
    const { key, listed } = yield* withStore((store) => find(store, label, store.list()))
    const facts = shown(listed)
    if (!reveal) {
      const text = Object.entries(facts).filter(([, value]) => value !== null)
        .map(([name, value]) => `${name}: ${printable(String(value))}`).join("\n")
      return yield* result(facts, text)
    }
    const secret = Redacted.value(key.secret)
    yield* Console.log((yield* Json) ? JSON.stringify({ ...facts, secret }) : secret)
  }
)

export const list = Effect.fnUntraced(function*({ fingerprint }: { readonly fingerprint: boolean }) {
  const [keys, reports] = yield* withStore((store) => Effect.all([store.list({ fingerprint }), store.report]))
  const { dim } = yield* styles
  const rows = keys.map((key) => [
    printable(key.label),
    printable(key.group),
    String(key.weight),
    key.source,
    key.isUsed ? "yes" : "no",
    ...(fingerprint ? [key.fingerprint ?? ""] : [])
  ])
  const head = ["label", "group", "weight", "source", "used", ...(fingerprint ? ["fingerprint"] : [])]
  const sources = reports.map(({ error, isWritable, keys, source }) => ({
    source,
    isWritable,
    keys: keys.length,
    error: error === undefined
      ? null
      : redact([error.reason, ...(error.remedy === undefined ? [] : [error.remedy])].join(". "))
  }))
  const reasons = sources.flatMap(({ error, source }) => error === null ? [] : [dim(`${source}: ${error}`)])
  yield* result(
    { keys: keys.map(shown), sources },
    [rows.length === 0 ? "No keys." : table([head, ...rows]), ...reasons].join("\n")
  )
})

export const remove = Effect.fnUntraced(
  function*({ label, source }: { readonly label: string; readonly source: Source | undefined }) {
    yield* assertLabel(label)
    const sources = yield* withStore((store) =>
      store.remove(label, { source: source === undefined ? undefined : Keys.names[source] })
    )
    yield* result({ label, sources }, `Removed ${printable(label)} from ${sources.join(", ")}.`)
  }
)

const codes: Readonly<Record<Verdict, number>> = {
  refused: ExitCode.keys,
  limited: ExitCode.limit,
  unknown: ExitCode.api,
  accepted: ExitCode.ok
}

/** The worst verdict decides. */
const worst: ReadonlyArray<Verdict> = ["refused", "limited", "unknown", "accepted"]

/** The API of the environment. */
export const apiLayer = Layer.unwrap(Effect.map(ClaudeConfig.config, ({ api }) => ClaudeApi.layer(api)))

export const check = Effect.fnUntraced(
  function*({ labels, timeout }: { readonly labels: ReadonlyArray<string>; readonly timeout: Duration.Duration }) {
    yield* Effect.forEach(labels, assertLabel)
    const checked = yield* withStore((store) =>
      Effect.gen(function*() {
        const all = yield* store.list()
        const named = labels.length > 0 ? labels : [...new Set(all.map((key) => key.label))]
        return yield* Effect.forEach(named, (label) =>
          Effect.flatMap(find(store, label, Effect.succeed(all)), ({ key, listed: { group, source } }) =>
            Effect.map(checkKey(key, timeout), (checked) => ({ label, group, source, ...checked }))), {
          concurrency: 4
        })
      })
    ).pipe(Effect.provide(apiLayer))
    if (checked.length === 0) {
      return yield* new KeyStore.KeyStoreError({
        store: "all sources",
        kind: "none",
        reason: "there is nothing to check",
        remedy: "Set ANTHROPIC_API_KEY, or store a key by keys set."
      })
    }
    const { green, red, yellow } = yield* styles
    const paint = { accepted: green, refused: red, limited: yellow, unknown: yellow }
    const verdict = worst.find((verdict) => checked.some((key) => key.verdict === verdict)) ?? "accepted"
    const rows = checked.map(({ label, message, source, verdict }) => [
      paint[verdict](verdict.padEnd("accepted".length)),
      printable(label),
      source,
      verdict === "accepted" ? "" : printable(message)
    ])
    yield* result({ ok: verdict === "accepted", keys: checked }, table(rows))
    if (verdict !== "accepted") return yield* new Ended({ code: codes[verdict] })
  }
)

/** Looks for a secret in everything that a program shows of itself. */
import { assert } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Logger, References, Tracer } from "effect"
import { inspect } from "node:util"
import { tracing } from "./tracing.ts"

const text = (render: () => unknown): string => {
  try {
    return String(render())
  } catch (error) {
    return String(error)
  }
}

/** A value as it may come to be printed. */
export const renderings = (value: unknown): ReadonlyArray<string> => [
  text(() => value),
  text(() => JSON.stringify(value)),
  text(() => inspect(value, { depth: 20, showHidden: true, getters: true, maxStringLength: null })),
  ...(value instanceof Error ? [value.message, value.stack ?? "", ...renderings(value.cause)] : []),
  ...(Cause.isCause(value) ? [Cause.pretty(value), ...renderings(Cause.squash(value))] : []),
  ...(Exit.isExit(value) && Exit.isFailure(value) ? renderings(value.cause) : []),
  ...(typeof value === "object" && value !== null && !Array.isArray(value)
    ? [text(() => JSON.stringify(Object.getOwnPropertyDescriptors(value)))]
    : [])
]

/** What a program printed. */
export interface Shown {
  readonly lines: Array<string>
}

const loggers = (lines: Array<string>) => {
  const into = (line: unknown): void => void lines.push(...renderings(line))
  return [
    Logger.map(Logger.formatJson, into),
    Logger.map(Logger.formatLogFmt, into),
    Logger.map(Logger.formatSimple, into),
    Logger.map(Logger.formatStructured, into)
  ]
}

/** Runs an effect with every log record and span written down, and gives its exit with them. */
export const showing = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const lines: Array<string> = []
    const { spans, tracer } = tracing()
    const exit = yield* effect.pipe(
      Effect.withSpan("test"),
      Effect.exit,
      Effect.provideService(Tracer.Tracer, tracer),
      Effect.provide(Layer.mergeAll(Logger.layer(loggers(lines)), Layer.succeed(References.MinimumLogLevel, "All")))
    )
    lines.push(...renderings(exit), ...spans.flatMap((span) => renderings(span)))
    return { exit, lines }
  })

/** Fails where one of the secrets stands in what was shown; a long piece of one counts too. */
export const nowhere = (shown: ReadonlyArray<string>, ...secrets: ReadonlyArray<string>): void => {
  for (const secret of secrets) {
    const pieces = [
      secret.slice(0, 24),
      secret.slice(-24),
      secret.slice(secret.length / 2 - 12, secret.length / 2 + 12)
    ]
    for (const line of shown) {
      for (const piece of pieces) {
        const at = line.indexOf(piece)
        assert.isTrue(at < 0, `a secret is shown: ${line.slice(Math.max(0, at - 200), at + 8)}...`)
      }
    }
  }
}

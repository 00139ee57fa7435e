import * as Schema from "effect/Schema"
import type { Row } from "./row.ts"

const Sum = Schema.Int

/**
 * What rows add up to. Every figure is a sum, so figures of parts add up to those of the whole.
 *
 * - `attempts`: rows; `calls`: those whose first attempt is among them.
 * - `completed`, `failed`, `aborted`: attempts by how they ended.
 * - `unpriced`: attempts whose model has no price. They are in no sum of money.
 * - `nanoUsd`: integer nano-dollars, the sum of `exactNanoUsd`, `derivedNanoUsd` and `estimatedNanoUsd`.
 * - `retriesNanoUsd`, `failedNanoUsd`, `abortedNanoUsd`: the part of it that went into attempts after the first, attempts that failed, and
 *   attempts whose end nobody waited for. A retry may have failed too, so they overlap.
 * - `cacheSavedNanoUsd`: saved by prompt caching; `optimizerSavedNanoUsd`: probably saved by the optimizer.
 */
export const Figures = Schema.Struct({
  attempts: Sum,
  calls: Sum,
  completed: Sum,
  failed: Sum,
  aborted: Sum,
  unpriced: Sum,
  nanoUsd: Sum,
  exactNanoUsd: Sum,
  derivedNanoUsd: Sum,
  estimatedNanoUsd: Sum,
  retriesNanoUsd: Sum,
  failedNanoUsd: Sum,
  abortedNanoUsd: Sum,
  cacheSavedNanoUsd: Sum,
  optimizerSavedNanoUsd: Sum,
  inputTokens: Sum,
  outputTokens: Sum,
  cacheReadTokens: Sum,
  cacheWrite5mTokens: Sum,
  cacheWrite1hTokens: Sum,
  thinkingTokens: Sum,
  webSearchRequests: Sum
})

export interface Figures extends Schema.Schema.Type<typeof Figures> {}

/** The names of all figures. */
export const names = Object.keys(Figures.fields) as ReadonlyArray<keyof Figures> // the keys are those of its type

export type Sums = { -readonly [Name in keyof Figures]: Figures[Name] }

// Every name is there.
export const zero = (): Sums => Object.fromEntries(names.map((name) => [name, 0])) as Sums

export const add = (sums: Sums, more: Figures): void => {
  for (const name of names) sums[name] += more[name]
}

/** Whether no sum passed what a number holds exactly. */
export const isExact = (figures: Figures): boolean => names.every((name) => Number.isSafeInteger(figures[name]))

/** Adds what one row says. */
export const count = (sums: Sums, row: Row): void => {
  const { attempt, confidence, outcome, usage } = row
  const nanoUsd = row.nanoUsd ?? 0
  sums.attempts++
  if (attempt === 1) sums.calls++
  else sums.retriesNanoUsd += nanoUsd
  sums[outcome]++
  if (row.nanoUsd === null) sums.unpriced++
  sums.nanoUsd += nanoUsd
  sums[`${confidence}NanoUsd`] += nanoUsd
  if (outcome !== "completed") sums[`${outcome}NanoUsd`] += nanoUsd
  sums.cacheSavedNanoUsd += row.cacheSavedNanoUsd ?? 0
  sums.optimizerSavedNanoUsd += row.optimizerSavedNanoUsd ?? 0
  sums.inputTokens += usage.inputTokens
  sums.outputTokens += usage.outputTokens
  sums.cacheReadTokens += usage.cacheReadTokens
  sums.cacheWrite5mTokens += usage.cacheWrite5mTokens
  sums.cacheWrite1hTokens += usage.cacheWrite1hTokens
  sums.thinkingTokens += usage.thinkingTokens
  sums.webSearchRequests += usage.webSearchRequests
}

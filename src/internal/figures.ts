import * as Schema from "effect/Schema"

const Sum = Schema.Int

/**
 * Sums over ledger rows. Every figure is a sum, so the figures of parts add up to those of the whole.
 *
 * - `attempts`: rows; `calls`: rows of first attempts.
 * - `completed`, `failed`, `aborted`: attempts by outcome.
 * - `unpriced`: attempts whose model has no price. No sum of money includes them.
 * - `nanoUsd`: integer nano-dollars, the sum of `exactNanoUsd`, `derivedNanoUsd` and `estimatedNanoUsd`.
 * - `retriesNanoUsd`, `failedNanoUsd`, `abortedNanoUsd`: the part of `nanoUsd` spent on attempts after the first, on failed attempts and on
 *   aborted ones. A retry may have failed too, so they overlap.
 * - `doubtfulNanoUsd`: the part of `nanoUsd` of which nobody knows whether the API charges for it (`billed: "unknown"`); the bill will say.
 * - `cacheSavedNanoUsd`: saved by prompt caching; `optimizerSavedNanoUsd`: the optimizer's estimate of what it saved.
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
  doubtfulNanoUsd: Sum,
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

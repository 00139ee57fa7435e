/** Requests and tokens, dimension by dimension. */

/** The dimensions, named like the header families in `Attempt.Limits`; `tokens` is input and output together. */
export const dimensions = ["requests", "inputTokens", "outputTokens", "tokens"] as const

export type Dimension = typeof dimensions[number]

/**
 * Requests or tokens in each dimension.
 *
 * @category models
 * @since 0.1.0
 */
export interface Amounts {
  readonly requests: number
  readonly inputTokens: number
  readonly outputTokens: number
  /** Input and output together. */
  readonly tokens: number
}

export type MutableAmounts = { -readonly [K in keyof Amounts]: number }

export const zero: Amounts = { requests: 0, inputTokens: 0, outputTokens: 0, tokens: 0 }

export const plus = (a: Amounts, b: Amounts): Amounts => ({
  requests: a.requests + b.requests,
  inputTokens: a.inputTokens + b.inputTokens,
  outputTokens: a.outputTokens + b.outputTokens,
  tokens: a.tokens + b.tokens
})

export const minus = (a: Amounts, b: Amounts): Amounts => ({
  requests: a.requests - b.requests,
  inputTokens: a.inputTokens - b.inputTokens,
  outputTokens: a.outputTokens - b.outputTokens,
  tokens: a.tokens - b.tokens
})

/** Adds in place. */
export const add = (to: MutableAmounts, amounts: Amounts): void => {
  for (const dimension of dimensions) to[dimension] += amounts[dimension]
}

/** Subtracts in place. */
export const subtract = (from: MutableAmounts, amounts: Amounts): void => {
  for (const dimension of dimensions) from[dimension] -= amounts[dimension]
}

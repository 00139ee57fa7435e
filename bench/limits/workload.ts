/**
 * Sixty-four workers, each with one call after the other. What binds changes: two minutes of small calls, where the requests bind, two of long prompts, two of
 * long answers.
 */
import type { MessageCreateParamsNonStreaming } from "@anthropic-ai/sdk/resources/messages"

export const minute = 60_000

/** What is limited, per minute. */
export interface Rates {
  readonly requests: number
  readonly input: number
  readonly output: number
}

export const rates: Rates = { requests: 600, input: 800_000, output: 160_000 }

export const model = "claude-opus-5-5"

/** Tokens of one call, by the simulator's count. */
export interface Sizes {
  readonly input: number
  readonly output: number
}

/** A small generator of chance that is the same in each run. */
export const chance = (seed: number) => {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let x = Math.imul(state ^ (state >>> 15), state | 1)
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32
  }
  const normal = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next())
  return { next, lognormal: (median: number, sigma: number) => median * Math.exp(sigma * normal()) }
}

const phases = [
  { type: "chat", input: 400, output: 120 },
  { type: "extract", input: 2_600, output: 80 },
  { type: "write", input: 300, output: 550 }
]

export type Chance = ReturnType<typeof chance>

const bounded = (tokens: number, least: number, most: number) => Math.max(least, Math.min(most, Math.round(tokens)))

/** The next call of a worker, by the minutes since the start. */
export const draw = (chance: Chance, minutes: number): Sizes & { readonly type: string } => {
  const phase = phases[Math.floor(minutes / 2) % phases.length]!
  return {
    type: phase.type,
    input: bounded(chance.lognormal(phase.input, 0.6), 40, 20_000),
    output: bounded(chance.lognormal(phase.output, 0.6), 5, 4_000)
  }
}

export const maxTokens = 4_096

/** What the average call produces: nobody knows it before, but the peers are told. */
export const meanOutput = 300

/** Milliseconds until the first token, and for each. */
export const latency = { firstToken: { median: 600, sigma: 0.3 }, perToken: 8 }

const filler = "the river carries stones and lamps and maps through quiet afternoons while nobody counts the words "
  .repeat(700)

/** Characters that the simulator counts as one token of this model. */
const charactersPerToken = 1 / 0.325

export const request = ({ input, output }: Sizes): MessageCreateParamsNonStreaming => {
  const head = `Answer in ${output} tokens. `
  const length = Math.floor((input - 4) * charactersPerToken)
  return {
    model,
    max_tokens: maxTokens,
    messages: [{ role: "user", content: (head + filler).slice(0, Math.max(head.length, length)) }]
  }
}

const pieces = "0123456789abcdef".repeat(10)

/** What the simulated model says: as long as it was asked to, in ten pieces. */
export const answer = ({ messages }: { readonly messages: ReadonlyArray<{ readonly content: unknown }> }) => ({
  content: pieces,
  outputTokens: Number(/^Answer in (\d+) tokens/.exec(String(messages[0]?.content))?.[1] ?? 1)
})

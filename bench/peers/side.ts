/** What a side of the bench `peers` is, and what all of them ask for. */

export interface Side {
  /** Makes one call and waits for its text. */
  readonly call: () => Promise<void>
  /** Reads one streamed answer to its end, and answers how many pieces of text it had. */
  readonly stream: () => Promise<number>
  /** Processor time in microseconds that is spent outside this process. */
  readonly elsewhere?: () => Promise<number>
  readonly stop?: () => void
}

export interface Slice {
  readonly kind: "call" | "stream"
  readonly concurrency: number
  readonly count: number
}

export interface Measured {
  readonly micros: number
  readonly cpuMicros: number
  /** What each call took, in milliseconds. */
  readonly millis: ReadonlyArray<number>
  readonly pieces: number
}

export const request = {
  model: "claude-sonnet-5-5",
  max_tokens: 16_384,
  system: "You are a helpful assistant who answers in one paragraph.",
  messages: [{ role: "user" as const, content: "What is the difference between a policy and a mechanism?" }]
}

export const question = "What is the difference between a policy and a mechanism?"

export const apiKey = "sk-ant-bench"

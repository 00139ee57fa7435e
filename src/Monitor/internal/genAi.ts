/**
 * The names of OpenTelemetry's conventions for generative AI, by version: those of 1.41, which packages and dashboards know, and those that replace
 * them, as they stand in the repository of these conventions. Nothing else in this package names one that differs between the two.
 *
 * Sources: `docs/gen-ai/gen-ai-metrics.md` of open-telemetry/semantic-conventions at 1.41, and `docs/gen-ai/client-inference.md` of
 * open-telemetry/semantic-conventions-genai as of October 2026 (its changes 374 and 521).
 */

/**
 * Which version of the conventions is used: `current`, or `latest`, the one that will replace it.
 *
 * @category models
 * @since 0.1.0
 */
export type Conventions = "current" | "latest"

export interface Instrument {
  readonly name: string
  readonly type: "counter" | "histogram"
  readonly unit: "s" | "{token}"
  readonly description: string
}

const duration = { type: "histogram", unit: "s", description: "GenAI operation duration" } as const
const firstChunk = {
  type: "histogram",
  unit: "s",
  description: "Time to receive the first chunk of a streamed answer"
} as const

const tokens = { type: "counter", unit: "{token}" } as const

const perOperation = { type: "histogram", unit: "{token}" } as const

/** The metrics of both versions, and the one attribute of spans that differs. */
export const conventions = {
  current: {
    metrics: {
      duration: { ...duration, name: "gen_ai.client.operation.duration" },
      firstChunk: { ...firstChunk, name: "gen_ai.client.operation.time_to_first_chunk" },
      usage: {
        name: "gen_ai.client.token.usage",
        type: "histogram",
        unit: "{token}",
        description: "Number of input and output tokens used"
      }
    },
    cacheWrite: "gen_ai.usage.cache_creation.input_tokens"
  },
  latest: {
    metrics: {
      duration: { ...duration, name: "gen_ai.client.inference.duration" },
      firstChunk: { ...firstChunk, name: "gen_ai.client.inference.time_to_first_chunk" },
      input: {
        ...tokens,
        name: "gen_ai.client.inference.usage.input_tokens",
        description: "The number of input (prompt) tokens used, including cached tokens"
      },
      output: {
        ...tokens,
        name: "gen_ai.client.inference.usage.output_tokens",
        description: "The number of output (completion) tokens used, including reasoning tokens"
      },
      cacheRead: {
        ...tokens,
        name: "gen_ai.client.inference.usage.cache_read.input_tokens",
        description: "The number of input tokens served from a cache of the provider"
      },
      cacheWrite: {
        ...tokens,
        name: "gen_ai.client.inference.usage.cache_write.input_tokens",
        description: "The number of input tokens written to a cache of the provider"
      },
      reasoning: {
        ...tokens,
        name: "gen_ai.client.inference.usage.reasoning.output_tokens",
        description: "The number of output tokens used for reasoning"
      },
      inputSize: {
        ...perOperation,
        name: "gen_ai.client.inference.operation.input_tokens",
        description: "Number of input tokens used per inference operation"
      },
      outputSize: {
        ...perOperation,
        name: "gen_ai.client.inference.operation.output_tokens",
        description: "Number of output tokens used per inference operation"
      }
    },
    cacheWrite: "gen_ai.usage.cache_write.input_tokens"
  }
} as const satisfies Record<
  Conventions,
  { readonly metrics: Readonly<Record<string, Instrument>>; readonly cacheWrite: string }
>

/** As the conventions ask for, by unit. */
export const boundaries = {
  s: [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92],
  "{token}": [1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216, 67_108_864]
} as const

/** The attributes that say where calls go. The port is that of the scheme where the base URL names none. */
export const serverOf = (baseUrl: string): { readonly address: string; readonly port: number } | undefined => {
  if (!URL.canParse(baseUrl)) return undefined
  const { hostname, port, protocol } = new URL(baseUrl)
  return { address: hostname, port: port !== "" ? Number(port) : protocol === "http:" ? 80 : 443 }
}

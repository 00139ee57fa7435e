/**
 * The names of OpenTelemetry's conventions for generative AI, by version: those of 1.41, which packages and dashboards know, and those that replace
 * them, as they stand in the repository of these conventions. Nothing else in this package names one that differs between the two.
 *
 * Sources: `docs/gen-ai/gen-ai-metrics.md` of open-telemetry/semantic-conventions at 1.41, and `docs/gen-ai/client-inference.md` of
 * open-telemetry/semantic-conventions-genai as of October 2026 (its changes 374 and 521).
 */
import type * as Context from "effect/Context"
import * as Metric from "effect/Metric"
import { promptTokens, type Usage } from "../../Usage.ts"
import type { CallRecord } from "./events.ts"

/**
 * Which version of the conventions is used: `current`, or `latest`, the one that will replace it.
 *
 * @category models
 * @since 0.1.0
 */
export type Conventions = "current" | "latest"

interface Instrument {
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

type Attributes = Readonly<Record<string, string>>

/** Effect's exporters take the unit from an attribute of this name. */
const series = (
  { description, name, type, unit }: Instrument,
  attributes: Attributes
): Metric.Metric<number, unknown> =>
  type === "counter"
    ? Metric.counter(name, { description, incremental: true, attributes: { ...attributes, unit } })
    : Metric.histogram(name, { description, boundaries: boundaries[unit], attributes: { ...attributes, unit } })

/** What a call adds to the metrics of the conventions. */
type Recording = (record: CallRecord, services: Context.Context<never>) => void

const known = (usage: Usage): boolean => promptTokens(usage) + usage.outputTokens > 0

const byVersion: Readonly<Record<Conventions, (attributes: Attributes, ended: Attributes) => Recording>> = {
  current: (attributes, ended) => {
    const { metrics } = conventions.current
    const seconds = series(metrics.duration, ended)
    const chunk = series(metrics.firstChunk, attributes)
    const input = series(metrics.usage, { ...attributes, "gen_ai.token.type": "input" })
    const output = series(metrics.usage, { ...attributes, "gen_ai.token.type": "output" })
    return ({ firstTokenMillis, latencyMillis, usage }, services) => {
      seconds.updateUnsafe(latencyMillis / 1_000, services)
      if (firstTokenMillis !== undefined) chunk.updateUnsafe(firstTokenMillis / 1_000, services)
      if (!known(usage)) return
      input.updateUnsafe(promptTokens(usage), services)
      output.updateUnsafe(usage.outputTokens, services)
    }
  },
  latest: (attributes, ended) => {
    const { metrics } = conventions.latest
    const seconds = series(metrics.duration, ended)
    const chunk = series(metrics.firstChunk, attributes)
    // The API does not say what each kind of content took.
    const counted = { ...attributes, "gen_ai.token.modality": "unknown" }
    const input = series(metrics.input, counted)
    const output = series(metrics.output, counted)
    const cacheRead = series(metrics.cacheRead, counted)
    const cacheWrite = series(metrics.cacheWrite, counted)
    const reasoning = series(metrics.reasoning, counted)
    const inputSize = series(metrics.inputSize, attributes)
    const outputSize = series(metrics.outputSize, attributes)
    return ({ firstTokenMillis, latencyMillis, usage }, services) => {
      seconds.updateUnsafe(latencyMillis / 1_000, services)
      if (firstTokenMillis !== undefined) chunk.updateUnsafe(firstTokenMillis / 1_000, services)
      // Failed operations are recorded with 0.
      input.updateUnsafe(promptTokens(usage), services)
      output.updateUnsafe(usage.outputTokens, services)
      cacheRead.updateUnsafe(usage.cacheReadTokens, services)
      cacheWrite.updateUnsafe(usage.cacheWrite5mTokens + usage.cacheWrite1hTokens, services)
      reasoning.updateUnsafe(usage.thinkingTokens, services)
      inputSize.updateUnsafe(promptTokens(usage), services)
      outputSize.updateUnsafe(usage.outputTokens, services)
    }
  }
}

/** The most sets of attributes; a call beyond them counts as one of other models. */
const maxSets = 500

/** The attributes that say where calls go. The port is that of the scheme where the base URL names none. */
export const serverOf = (baseUrl: string): { readonly address: string; readonly port: number } | undefined => {
  if (!URL.canParse(baseUrl)) return undefined
  const { hostname, port, protocol } = new URL(baseUrl)
  return { address: hostname, port: port !== "" ? Number(port) : protocol === "http:" ? 80 : 443 }
}

export class GenAi {
  private readonly version: Conventions
  private readonly server: Attributes
  private readonly sets = new Map<string, Recording>()

  constructor(version: Conventions, baseUrl: string) {
    this.version = version
    const server = serverOf(baseUrl)
    this.server = server === undefined
      ? {}
      : { "server.address": server.address, "server.port": String(server.port) }
  }

  /** Records a call for a message. `model` and `served` are labels of the closed set; `served` is undefined where nothing was. */
  record(
    record: CallRecord,
    model: string,
    served: string | undefined,
    services: Context.Context<never>
  ): void {
    const { error } = record
    const recording = this.sets.get(`${model} ${served} ${error}`) ??
      (this.sets.size < maxSets ? this.add(model, served, error) : this.other(error))
    recording(record, services)
  }

  private other(error: string | undefined): Recording {
    const named = error === undefined ? undefined : "other"
    return this.sets.get(`other other ${named}`) ?? this.add("other", "other", named)
  }

  private add(model: string, served: string | undefined, error: string | undefined): Recording {
    const attributes: Attributes = {
      "gen_ai.operation.name": "chat",
      "gen_ai.provider.name": "anthropic",
      "gen_ai.request.model": model,
      ...(served === undefined ? undefined : { "gen_ai.response.model": served }),
      ...this.server
    }
    const recording = byVersion[this.version](
      attributes,
      error === undefined ? attributes : { ...attributes, "error.type": error === "other" ? "_OTHER" : error }
    )
    this.sets.set(`${model} ${served} ${error}`, recording)
    return recording
  }
}

/**
 * The models of the API, one row for each: every fact that is known about a model stands here, and nowhere else.
 */
import type { Trust } from "../../internal/price.ts"
import { type Limits, make, type Model, type ModelPrice, type Tier, type Tokenizer } from "./model.ts"

/** The day (UTC) on which the catalogue was last compared with the API's documentation and the SDK. */
export const asOf = "2026-11-25"

/** The id of the model for those who name none. */
export const standard = "claude-sonnet-5-5"

const messages = (requests: number, input: number, output: number): Limits => ({
  requestsPerMinute: requests,
  inputTokensPerMinute: input,
  outputTokensPerMinute: output
})

const usual = {
  start: messages(1_000, 2_000_000, 400_000),
  build: messages(5_000, 5_000_000, 1_000_000),
  scale: messages(10_000, 10_000_000, 2_000_000)
}

/**
 * The limits of each group by usage tier, as published in autumn 2026; undefined where none were published. The figures of Opus 5.5 and
 * Sonnet 5.5 above the first tier are not confirmed by the documentation.
 */
export const groupLimits = {
  "fable-5": {
    start: messages(1_000, 500_000, 100_000),
    build: messages(2_000, 1_500_000, 300_000),
    scale: messages(4_000, 4_000_000, 800_000)
  },
  "mythos-5": undefined,
  "mythos-preview": undefined,
  "opus-5-5": usual,
  "opus-5": usual,
  "opus-4": usual,
  "sonnet-5-5": usual,
  "sonnet-5": usual,
  "sonnet-4": usual,
  "haiku-5-5": usual,
  "haiku-4-5": usual,
  "haiku-3-5": {
    start: messages(1_000, 100_000, 20_000),
    build: messages(2_000, 200_000, 40_000),
    scale: messages(4_000, 400_000, 80_000)
  }
} satisfies Readonly<Record<string, Readonly<Record<Tier, Limits>> | undefined>>

/** Requests to count tokens for each minute, all models together. Not confirmed by the documentation. */
export const countTokensPerMinute: Readonly<Record<Tier, number>> = { start: 5_000, build: 10_000, scale: 20_000 }

/** For each tokenizer: tokens for one of the classic tokenizer, the most tokens of an image, and the definition of the bash tool. */
export const tokenizers = {
  classic: { density: 1, maxImageTokens: 1_600, bashToolTokens: 244 },
  dense: { density: 1.3, maxImageTokens: 4_800, bashToolTokens: 325 }
} satisfies Readonly<Record<Tokenizer, Readonly<Record<"density" | "maxImageTokens" | "bashToolTokens", number>>>>

const page = (day: string): string => `https://platform.claude.com/docs/en/about-claude/pricing, ${day}`

const price = (from: string | undefined, readOn: string, price: ModelPrice): ModelPrice => ({
  ...(from === undefined ? undefined : { from }),
  webSearch: 10,
  trust: "documented",
  source: page(readOn),
  ...price
})

const cacheOf = (trust: Trust) => ({ cacheRead: trust, cacheWrite5m: trust, cacheWrite1h: trust })

const fable52 = { input: 8, output: 40, cacheWrite5m: 10, cacheWrite1h: 16, cacheRead: 0.2 }
const fable51 = { input: 10, output: 50, cacheWrite5m: 12.5, cacheWrite1h: 20, cacheRead: 0.25 }
const fable5 = { input: 10, output: 50, cacheWrite5m: 12.5, cacheWrite1h: 20, cacheRead: 1 }
const opus55 = { input: 4, output: 20, cacheWrite5m: 5, cacheWrite1h: 8, cacheRead: 0.2 }
const opus5 = { input: 5, output: 25, cacheWrite5m: 6.25, cacheWrite1h: 10, cacheRead: 0.5 }
const opus4 = { input: 15, output: 75, cacheWrite5m: 18.75, cacheWrite1h: 30, cacheRead: 1.5 }
const sonnet5 = { input: 2, output: 10, cacheWrite5m: 2.5, cacheWrite1h: 4, cacheRead: 0.2 }
const sonnet4 = { input: 3, output: 15, cacheWrite5m: 3.75, cacheWrite1h: 6, cacheRead: 0.3 }

/** Twice the standard price: the page gives input and output, the factors of caching do the rest. */
const fastOpus5 = {
  speed: "fast",
  input: 10,
  output: 50,
  cacheWrite5m: 12.5,
  cacheWrite1h: 20,
  cacheRead: 1,
  trustOf: cacheOf("computed")
} as const

/** A model of the API: what is common to the current ones is left out. */
const model = (
  fields: Parameters<typeof make>[0] & Pick<Model, "name" | "line" | "tokenizer"> & {
    readonly group: keyof typeof groupLimits
  }
): Model => make({ contextTokens: 1_000_000, maxOutputTokens: 128_000, minCacheableTokens: 512, ...fields })

/** Every known model, the newest of each line first. */
export const models: ReadonlyArray<Model> = [
  model({
    id: "claude-fable-5-2",
    name: "Claude Fable 5.2",
    line: "fable",
    group: "fable-5",
    tokenizer: "dense",
    releasedOn: "2026-11-09",
    retiresNotBefore: "2027-11-09",
    rejects: ["forcedToolChoice", "disabledThinking", "thinkingBudget", "prefill", "sampling", "editedThinking"],
    fastMode: "available",
    prices: [
      price("2026-11-09", "2026-11", { ...fable52, trustOf: cacheOf("secondary") }),
      price("2026-11-09", "2026-11", {
        speed: "fast",
        input: 16,
        output: 80,
        cacheWrite5m: 20,
        cacheWrite1h: 32,
        cacheRead: 0.4,
        trust: "secondary",
        trustOf: { webSearch: "documented" }
      })
    ],
    unverified: ["fastMode", "group", "minCacheableTokens", "retiresNotBefore"]
  }),
  model({
    id: "claude-fable-5-1",
    name: "Claude Fable 5.1",
    line: "fable",
    group: "fable-5",
    tokenizer: "dense",
    releasedOn: "2026-09-01",
    retiresNotBefore: "2027-09-01",
    rejects: ["forcedToolChoice", "disabledThinking", "thinkingBudget", "prefill", "sampling", "editedThinking"],
    prices: [price("2026-09-01", "2026-10-08", fable51)]
  }),
  model({
    id: "claude-fable-5",
    name: "Claude Fable 5",
    line: "fable",
    group: "fable-5",
    tokenizer: "dense",
    releasedOn: "2026-06-09",
    retiresNotBefore: "2027-06-09",
    rejects: ["disabledThinking", "thinkingBudget", "prefill", "sampling"],
    prices: [price("2026-06-09", "2026-10-09", fable5)],
    unverified: ["releasedOn"]
  }),
  model({
    id: "claude-mythos-5-2",
    name: "Claude Mythos 5.2",
    line: "mythos",
    group: "mythos-5",
    tokenizer: "dense",
    releasedOn: "2026-11-09",
    // the documentation says it of Fable alone, its twin
    rejects: ["forcedToolChoice", "prefill", "sampling", "editedThinking"],
    prices: [price("2026-11-09", "2026-11", { ...fable52, trustOf: cacheOf("secondary") })],
    unverified: ["group", "minCacheableTokens", "retiresNotBefore", "rejects"]
  }),
  model({
    id: "claude-mythos-5-1",
    name: "Claude Mythos 5.1",
    line: "mythos",
    group: "mythos-5",
    tokenizer: "dense",
    releasedOn: "2026-09-01",
    // the documentation says it of Fable alone, its twin
    rejects: ["forcedToolChoice", "prefill", "sampling", "editedThinking"],
    prices: [price("2026-09-01", "2026-10-08", fable51)],
    unverified: ["retiresNotBefore", "rejects"]
  }),
  model({
    id: "claude-mythos-5",
    name: "Claude Mythos 5",
    line: "mythos",
    group: "mythos-5",
    tokenizer: "dense",
    rejects: ["prefill", "sampling"],
    prices: [price(undefined, "2026-10-09", fable5)],
    unverified: ["releasedOn", "retiresNotBefore"]
  }),
  model({
    id: "claude-mythos-preview",
    name: "Claude Mythos Preview",
    line: "mythos",
    group: "mythos-preview",
    tokenizer: "dense",
    contextTokens: undefined,
    maxOutputTokens: undefined,
    minCacheableTokens: 2_048,
    // the SDK's list of deprecated models names this day as its end; nobody says when it was announced
    deprecatedOn: "2026-06-30",
    retiresOn: "2026-06-30",
    rejects: ["prefill", "sampling"],
    unverified: [
      "group",
      "contextTokens",
      "maxOutputTokens",
      "releasedOn",
      "deprecatedOn",
      "retiresOn",
      "retiresNotBefore",
      "rejects"
    ]
  }),
  model({
    id: "claude-opus-5-5",
    name: "Claude Opus 5.5",
    line: "opus",
    group: "opus-5-5",
    tokenizer: "dense",
    releasedOn: "2026-09-22",
    retiresNotBefore: "2027-09-22",
    rejects: ["forcedToolChoice", "disabledThinking", "thinkingBudget", "prefill", "sampling", "editedThinking"],
    fastMode: "available",
    // it refuses a forced tool, and has the figure of Opus 5
    toolPromptTokens: { auto: 286, forced: 406 },
    prices: [
      price("2026-09-22", "2026-10-09", opus55),
      price("2026-09-22", "2026-10-09", {
        speed: "fast",
        input: 8,
        output: 40,
        cacheWrite5m: 10,
        cacheWrite1h: 16,
        cacheRead: 0.4,
        trust: "secondary",
        trustOf: { webSearch: "documented" }
      })
    ]
  }),
  model({
    id: "claude-opus-5",
    name: "Claude Opus 5",
    line: "opus",
    group: "opus-5",
    tokenizer: "dense",
    releasedOn: "2026-07-24",
    retiresNotBefore: "2027-07-24",
    rejects: ["prefill", "sampling", "fastModeWithoutBeta"],
    fastMode: "available",
    toolPromptTokens: { auto: 286, forced: 406 },
    prices: [
      price("2026-07-24", "2026-10-09", opus5),
      price("2026-07-24", "2026-10-09", fastOpus5)
    ]
  }),
  model({
    id: "claude-opus-4-8",
    name: "Claude Opus 4.8",
    line: "opus",
    group: "opus-4",
    tokenizer: "dense",
    minCacheableTokens: 1_024,
    releasedOn: "2026-05-28",
    retiresNotBefore: "2027-05-28",
    rejects: ["prefill", "sampling", "fastModeWithoutBeta"],
    fastMode: "available",
    thinksByDefault: false,
    toolPromptTokens: { auto: 290, forced: 410 },
    prices: [
      price("2026-05-28", "2026-10-09", opus5),
      price("2026-05-28", "2026-10-09", { ...fastOpus5, until: "2026-11-30" })
    ],
    unverified: ["releasedOn"]
  }),
  model({
    id: "claude-opus-4-7",
    name: "Claude Opus 4.7",
    line: "opus",
    group: "opus-4",
    tokenizer: "dense",
    minCacheableTokens: 2_048,
    releasedOn: "2026-04-16",
    retiresNotBefore: "2027-04-16",
    rejects: ["prefill", "sampling"],
    thinksByDefault: false,
    toolPromptTokens: { auto: 675, forced: 804 },
    prices: [price("2026-04-16", "2026-10-09", opus5)],
    unverified: ["releasedOn"]
  }),
  model({
    id: "claude-opus-4-6",
    name: "Claude Opus 4.6",
    line: "opus",
    group: "opus-4",
    tokenizer: "classic",
    minCacheableTokens: 4_096,
    releasedOn: "2026-02-05",
    retiresNotBefore: "2027-02-05",
    rejects: ["prefill"],
    fastMode: "ignored",
    thinksByDefault: false,
    toolPromptTokens: { auto: 497, forced: 589 },
    prices: [price("2026-02-05", "2026-09", opus5)],
    unverified: ["releasedOn"]
  }),
  model({
    id: "claude-opus-4-5-20251101",
    aliases: ["claude-opus-4-5"],
    name: "Claude Opus 4.5",
    line: "opus",
    group: "opus-4",
    tokenizer: "classic",
    contextTokens: 200_000,
    maxOutputTokens: 64_000,
    minCacheableTokens: 4_096,
    releasedOn: "2025-11-24",
    deprecatedOn: "2026-11-23",
    retiresOn: "2027-01-22",
    rejects: ["inferenceGeo"],
    thinksByDefault: false,
    toolPromptTokens: { auto: 496, forced: 588 },
    prices: [price("2025-11-24", "2026-09", opus5)],
    unverified: ["releasedOn"]
  }),
  model({
    id: "claude-opus-4-1-20250805",
    name: "Claude Opus 4.1",
    line: "opus",
    group: "opus-4",
    tokenizer: "classic",
    contextTokens: 200_000,
    maxOutputTokens: 32_000,
    minCacheableTokens: 1_024,
    releasedOn: "2025-08-05",
    retiresOn: "2026-08-05",
    rejects: ["inferenceGeo"],
    thinksByDefault: false,
    prices: [price("2025-08-05", "2026-09", opus4)],
    unverified: ["group", "maxOutputTokens", "releasedOn"]
  }),
  model({
    id: "claude-opus-4-20250514",
    name: "Claude Opus 4",
    line: "opus",
    group: "opus-4",
    tokenizer: "classic",
    contextTokens: 200_000,
    maxOutputTokens: undefined,
    minCacheableTokens: 1_024,
    retiresOn: "2026-06-15",
    rejects: ["inferenceGeo"],
    thinksByDefault: false,
    prices: [price(undefined, "2026-09", opus4)],
    unverified: ["group", "contextTokens", "maxOutputTokens", "releasedOn"]
  }),
  model({
    id: "claude-sonnet-5-5",
    name: "Claude Sonnet 5.5",
    line: "sonnet",
    group: "sonnet-5-5",
    tokenizer: "dense",
    releasedOn: "2026-09-28",
    retiresNotBefore: "2027-09-28",
    rejects: [
      "forcedToolChoice",
      "disabledThinking",
      "prefill",
      "sampling",
      "highEffortBetweenTools",
      "editedThinking"
    ],
    prices: [
      price("2026-09-28", "2026-10-09", sonnet5),
      price("2026-10-07", "2026-10-09", { ...sonnet5, cacheRead: 0.1 })
    ]
  }),
  model({
    id: "claude-sonnet-5",
    name: "Claude Sonnet 5",
    line: "sonnet",
    group: "sonnet-5",
    tokenizer: "dense",
    minCacheableTokens: 1_024,
    releasedOn: "2026-06-30",
    retiresNotBefore: "2027-06-30",
    rejects: ["prefill", "sampling"],
    toolPromptTokens: { auto: 354, forced: 474 },
    prices: [price("2026-06-30", "2026-09", sonnet5)],
    unverified: ["releasedOn"]
  }),
  model({
    id: "claude-sonnet-4-6",
    name: "Claude Sonnet 4.6",
    line: "sonnet",
    group: "sonnet-4",
    tokenizer: "classic",
    minCacheableTokens: 1_024,
    releasedOn: "2026-02-17",
    retiresNotBefore: "2027-02-17",
    rejects: ["prefill"],
    thinksByDefault: false,
    toolPromptTokens: { auto: 497, forced: 589 },
    prices: [price("2026-02-17", "2026-09", sonnet4)],
    unverified: ["releasedOn"]
  }),
  model({
    id: "claude-sonnet-4-5-20250929",
    aliases: ["claude-sonnet-4-5"],
    name: "Claude Sonnet 4.5",
    line: "sonnet",
    group: "sonnet-4",
    tokenizer: "classic",
    contextTokens: 200_000,
    maxOutputTokens: 64_000,
    minCacheableTokens: 1_024,
    releasedOn: "2025-09-29",
    deprecatedOn: "2026-09-30",
    retiresOn: "2026-11-30",
    rejects: ["inferenceGeo"],
    thinksByDefault: false,
    toolPromptTokens: { auto: 496, forced: 588 },
    prices: [price("2025-09-29", "2026-09", sonnet4)],
    unverified: ["releasedOn", "deprecatedOn"]
  }),
  model({
    id: "claude-sonnet-4-20250514",
    name: "Claude Sonnet 4",
    line: "sonnet",
    group: "sonnet-4",
    tokenizer: "classic",
    contextTokens: 200_000,
    maxOutputTokens: undefined,
    minCacheableTokens: 1_024,
    retiresOn: "2026-06-15",
    rejects: ["inferenceGeo"],
    thinksByDefault: false,
    prices: [price(undefined, "2026-09", sonnet4)],
    unverified: ["group", "contextTokens", "maxOutputTokens", "releasedOn"]
  }),
  model({
    id: "claude-haiku-5-5",
    name: "Claude Haiku 5.5",
    line: "haiku",
    group: "haiku-5-5",
    tokenizer: "dense",
    releasedOn: "2026-10-07",
    retiresNotBefore: "2027-10-07",
    rejects: ["prefill", "sampling", "editedThinking"],
    prices: [
      price("2026-10-07", "2026-10-09", {
        input: 0.1,
        output: 0.5,
        cacheWrite5m: 0.125,
        cacheWrite1h: 0.2,
        cacheRead: 0.01
      }),
      price("2026-10-07", "2026-10-09", {
        abovePromptTokens: 100_000,
        input: 0.5,
        output: 2.5,
        cacheWrite5m: 0.625,
        cacheWrite1h: 1,
        cacheRead: 0.05
      })
    ]
  }),
  model({
    id: "claude-haiku-4-5-20251001",
    aliases: ["claude-haiku-4-5"],
    name: "Claude Haiku 4.5",
    line: "haiku",
    group: "haiku-4-5",
    tokenizer: "classic",
    contextTokens: 200_000,
    maxOutputTokens: 64_000,
    minCacheableTokens: 4_096,
    releasedOn: "2025-10-15",
    retiresNotBefore: "2026-10-15",
    rejects: ["inferenceGeo"],
    thinksByDefault: false,
    toolPromptTokens: { auto: 496, forced: 588 },
    prices: [price("2025-10-15", "2026-09", {
      input: 1,
      output: 5,
      cacheWrite5m: 1.25,
      cacheWrite1h: 2,
      cacheRead: 0.1
    })],
    unverified: ["releasedOn"]
  }),
  model({
    id: "claude-3-5-haiku-20241022",
    name: "Claude Haiku 3.5",
    line: "haiku",
    group: "haiku-3-5",
    tokenizer: "classic",
    contextTokens: 200_000,
    maxOutputTokens: 8_192,
    minCacheableTokens: 2_048,
    retiresOn: "2026-02-19",
    rejects: ["inferenceGeo"],
    thinksByDefault: false,
    countsCacheReads: true,
    prices: [price(undefined, "2026-09", {
      input: 0.8,
      output: 4,
      cacheWrite5m: 1,
      cacheWrite1h: 1.6,
      cacheRead: 0.08
    })],
    unverified: ["contextTokens", "maxOutputTokens", "releasedOn"]
  })
]

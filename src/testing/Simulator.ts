/**
 * A simulated Claude API: it checks keys and requests, counts tokens, caches prompts, enforces rate limits with their headers,
 * answers plain and streamed, bills, and fails on demand. It needs no network and no money. Without an answerer it answers what a request
 * asks for: it calls tools, gives JSON in the format that was asked for, and thinks. It keeps message threads, and has batches, files, models
 * and reports. `docs/simulator.md` tells all of it.
 *
 * It answers through a `fetch` that runs on the `Clock` of the fiber that built it, so that a program that uses the vendor's SDK runs
 * under `TestClock`. `effect-claude/testing/SimulatorServer` answers over HTTP from the same state.
 *
 * Tokens are counted as `ceil(length / 4)` for each piece of text (1.3 times that with the newer tokenizer), plus 4 for a message, 300
 * for a request with tools and 1,500 for an image. All randomness comes from the seed, so runs repeat.
 *
 * **Example** (One answer)
 *
 * ```ts
 * import Anthropic from "@anthropic-ai/sdk"
 * import { Effect } from "effect"
 * import * as Simulator from "effect-claude/testing/Simulator"
 *
 * const program = Effect.gen(function*() {
 *   const simulator = yield* Simulator.Simulator
 *   const client = new Anthropic({ apiKey: Simulator.apiKey, fetch: simulator.fetch, maxRetries: 0 })
 *   const message = yield* Effect.promise(() =>
 *     client.messages.create({
 *       model: "claude-opus-5-5",
 *       max_tokens: 100,
 *       messages: [{ role: "user", content: "How many stones are in the river?" }]
 *     })
 *   )
 *   return message.content.map((block) => block.type === "text" ? block.text : "")
 * }).pipe(Effect.provide(Simulator.layer({ answer: () => "Nobody knows." })))
 *
 * await Effect.runPromise(program) // => ["Nobody knows."]
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import type * as ClaudeService from "../ClaudeService.ts"
import * as Model from "../Model.ts"
import type { Exchange } from "./Recording.ts"
import type { Answerer } from "./simulator/internal/Answer.ts"
import type { Bill } from "./simulator/internal/Bill.ts"
import type { Limits, LimitsOf, Ramp } from "./simulator/internal/Buckets.ts"
import * as Claude from "./simulator/internal/Claude.ts"
import * as Core from "./simulator/internal/Core.ts"
import type { Fault, Rule, When } from "./simulator/internal/Faults.ts"
import * as Fetch from "./simulator/internal/Fetch.ts"
import { defaultAdminKey, defaultKey, type Key } from "./simulator/internal/Keys.ts"
import type { SpendLimit } from "./simulator/internal/Spend.ts"

export type { Answer, AnswerBlock, Answerer } from "./simulator/internal/Answer.ts"
export type { Bill, BilledTokens, BillRow } from "./simulator/internal/Bill.ts"
export { type Limits, type LimitsOf, type Ramp, tier } from "./simulator/internal/Buckets.ts"
export type { Parts } from "./simulator/internal/Claude.ts"
export type { Requests } from "./simulator/internal/Core.ts"
export { type Cut, Fault, overload, type Rule, type Seen, type When } from "./simulator/internal/Faults.ts"
export type { Key } from "./simulator/internal/Keys.ts"
export type { SpendLimit } from "./simulator/internal/Spend.ts"

/**
 * The key that the simulator accepts by default.
 *
 * @category constants
 * @since 0.1.0
 */
export const apiKey: string = defaultKey.key

/**
 * The key of the Admin API that the simulator accepts by default, for its reports on usage and cost.
 *
 * @category constants
 * @since 0.1.0
 */
export const adminKey: string = defaultAdminKey.key

/**
 * A fixed time, or one from a lognormal distribution. Waits are rounded to whole milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export type Latency = Duration.Input | { readonly median: Duration.Input; readonly sigma: number }

/**
 * Configures the simulator.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** The keys that it accepts. Default: {@link apiKey} with the label `default`, of the organization `org_sim` and the workspace `wrkspc_sim`. */
  readonly keys?: ReadonlyArray<Key> | undefined
  /**
   * What it answers. Default: what the request asks for: a call of a tool with input that fits its schema, then a text; JSON that fits the format;
   * thinking where it may; else a text that repeats the question, followed by words up to a seeded length.
   */
  readonly answer?: Answerer | undefined
  /** Times before the first token and for each token. Default: none: answers are immediate. */
  readonly latency?: { readonly firstToken?: Latency | undefined; readonly perToken?: Latency | undefined } | undefined
  /** Faults to inject. The first rule that applies to a request wins. */
  readonly faults?: ReadonlyArray<Rule> | undefined
  /** Rate limits of each organization and model group. Default: no limits. */
  readonly limits?: Limits | LimitsOf | undefined
  /** How fast traffic may grow. Default: as fast as it likes. */
  readonly ramp?: Ramp | undefined
  /** What each organization may spend. Default: none. */
  readonly spend?: SpendLimit | undefined
  /** Ids of models that exist beside those of `Model.Catalogue`. No facts are known about them, so they reject nothing. */
  readonly models?: ReadonlyArray<string> | undefined
  /** Seeds everything random, so that equal seeds give equal runs. Default `"simulator"`. */
  readonly seed?: string | undefined
  /** The longest body in bytes; a longer one answers 413. Default 32 MiB. */
  readonly bodyLimit?: number | undefined
  /** How many rows the bill keeps; the oldest is dropped and counted when another comes. Default 10,000. */
  readonly billRows?: number | undefined
  /** How many prefixes the prompt cache keeps; the least recently used is forgotten when another comes. Default 10,000. */
  readonly cacheEntries?: number | undefined
  /**
   * How long a batch is processed. It ends when someone asks about it after that. A batch that would take 24 hours or more expires instead.
   * Default: no time.
   */
  readonly batchTime?: Duration.Input | undefined
  /**
   * What requests that were recorded are answered with, as `Recording.parse` reads it: those of the same method, path and body. Equal requests get
   * their answers in the order of the recording, the last one again and again. They are not on the bill. Default: nothing.
   */
  readonly recording?: ReadonlyArray<Exchange> | undefined
}

/**
 * A running simulator.
 *
 * @category services
 * @since 0.1.0
 */
export class Simulator extends Context.Service<Simulator, {
  /**
   * Answers every request, to any host. Streams are pull-based; an aborted signal takes effect immediately. A body that is neither read
   * to its end nor cancelled stays open until the scope of the simulator closes; after that every call rejects.
   */
  readonly fetch: typeof globalThis.fetch
  /**
   * Adds a fault for the next request, or for those that `when` describes: without `times`, for all of them until `clearFaults`.
   * It takes precedence over the rules of the options.
   */
  readonly inject: (fault: Fault, when?: When) => Effect.Effect<void>
  /** Faults for the next requests, one for each in order. They take precedence over all other faults. */
  readonly script: (faults: ReadonlyArray<Fault>) => Effect.Effect<void>
  /** Removes the faults that `inject` and `script` added. */
  readonly clearFaults: Effect.Effect<void>
  /** Accepts another key from now on; one that it knows is replaced. */
  readonly addKey: (key: Key) => Effect.Effect<void>
  /** Makes requests with a key, named by its label or itself, fail with 401 from now on. */
  readonly revoke: (key: string) => Effect.Effect<void>
  /** Replaces the limits. Buckets keep their level, up to their new capacity. */
  readonly setLimits: (limits: Limits | LimitsOf) => Effect.Effect<void>
  readonly bill: Effect.Effect<Bill>
  readonly requests: Effect.Effect<Core.Requests>
  /** The state that `fetch` and `SimulatorServer` share. */
  readonly core: Core.Core
}>()("effect-claude/testing/Simulator") {}

const limitsOf = (limits: Limits | LimitsOf): LimitsOf => typeof limits === "function" ? limits : () => limits

const millis = (input: Duration.Input): number => Duration.toMillis(Duration.fromInputUnsafe(input))

const sampler = (latency: Latency | undefined, random: Random.Random): () => number => {
  if (latency === undefined) return () => 0
  if (typeof latency !== "object" || !("sigma" in latency)) {
    const fixed = millis(latency)
    return () => fixed
  }
  const median = millis(latency.median)
  return () => {
    const radius = Math.sqrt(-2 * Math.log(1 - random.nextDoubleUnsafe()))
    return median * Math.exp(latency.sigma * radius * Math.cos(2 * Math.PI * random.nextDoubleUnsafe()))
  }
}

/**
 * Builds a simulator on the clock of the current fiber. When the scope closes, every open answer is cut off.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(
  function*(options: Options = {}): Effect.fn.Return<Simulator["Service"], never, Scope.Scope> {
    const clock = yield* Clock.Clock
    const catalogue = yield* Model.Catalogue
    const context = yield* Effect.context<never>()
    const seed = options.seed ?? "simulator"
    const chance = yield* Random.withSeed(Random.Random, `${seed} faults`)
    const pace = yield* Random.withSeed(Random.Random, `${seed} latency`)
    const run = Effect.runCallbackWith(context)
    const core = Core.make({
      keys: options.keys ?? [defaultKey, defaultAdminKey],
      answer: options.answer,
      seed,
      firstTokenMillis: sampler(options.latency?.firstToken, pace),
      paced: options.latency?.perToken !== undefined,
      perTokenMillis: sampler(options.latency?.perToken, pace),
      faults: options.faults ?? [],
      chance: () => chance.nextDoubleUnsafe(),
      limits: limitsOf(options.limits ?? {}),
      ramp: options.ramp,
      spend: options.spend,
      models: options.models ?? [],
      catalogue,
      bodyLimit: options.bodyLimit ?? 32 * 1024 * 1024,
      billRows: options.billRows ?? 10_000,
      cacheEntries: options.cacheEntries ?? 10_000,
      remembered: 1_000,
      recording: options.recording ?? [],
      batchMillis: options.batchTime === undefined ? 0 : millis(options.batchTime),
      now: () => clock.currentTimeMillisUnsafe(),
      wait: (millis, resume) => run(Effect.andThen(clock.sleep(Duration.millis(millis)), Effect.sync(resume)))
    })
    yield* Effect.addFinalizer(() => Effect.sync(core.close))
    return Simulator.of({
      fetch: Fetch.make(core),
      inject: (fault, when = { times: 1 }) => Effect.sync(() => core.inject(fault, when)),
      script: (faults) => Effect.sync(() => core.script(faults)),
      clearFaults: Effect.sync(core.clearFaults),
      addKey: (key) => Effect.sync(() => core.addKey(key)),
      revoke: (key) => Effect.sync(() => core.revoke(key)),
      setLimits: (limits) => Effect.sync(() => core.setLimits(limitsOf(limits))),
      bill: Effect.sync(core.bill),
      requests: Effect.sync(core.requests),
      core
    })
  }
)

/**
 * A simulator. Each call of `layer` gives a new one: call it once and share the value.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<Simulator> => Layer.effect(Simulator, make(options))

/**
 * `ClaudeService` with every policy over a simulator, and the simulator beside it: a program runs as in production, under
 * `TestClock` in virtual time. The parts of the service are beside it too, to read its ledger or follow its circuits.
 *
 * Each call gives a new simulator and a new service: call it once and share the value.
 *
 * **Example** (A program that survives a wave of overload)
 *
 * ```ts
 * import { ClaudeService } from "effect-claude"
 * import { Effect } from "effect"
 * import * as Simulator from "effect-claude/testing/Simulator"
 *
 * const claude = Simulator.layerClaude(
 *   { answer: () => "Hello.", faults: [Simulator.overload({ times: 2 })] },
 *   { retry: { throttledBase: "1 millis" } }
 * )
 *
 * const text = ClaudeService.text({
 *   model: "claude-sonnet-5-5",
 *   max_tokens: 100,
 *   messages: [{ role: "user", content: "Say hello." }]
 * })
 *
 * await Effect.runPromise(Effect.provide(text, claude)) // => "Hello."
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerClaude = <P extends Claude.Parts = {}>(
  options: Options = {},
  parts?: P & ClaudeService.Checked<P>
): Layer.Layer<
  Simulator | Layer.Success<Claude.Over<P>>,
  Layer.Error<Claude.Over<P>>,
  Layer.Services<Claude.Over<P>>
> =>
  Layer.unwrap(
    Effect.map(Simulator, ({ fetch }) => Claude.over<P>(options.keys ?? [defaultKey], { fetch }, parts))
  ).pipe(Layer.provideMerge(Claude.withModels(layer(options), parts)))

/** The parts of a service: what they may be given as, and the layer that they make together. */
import type * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type { Key, Policy } from "../../Attempt.ts"
import * as Budget from "../../Budget.ts"
import * as CircuitBreaker from "../../CircuitBreaker.ts"
import * as ClaudeApi from "../../ClaudeApi.ts"
import type { Refusal } from "../../ClaudeError.ts"
import * as CostLedger from "../../CostLedger.ts"
import * as CostOptimizer from "../../CostOptimizer.ts"
import * as Fallback from "../../Fallback.ts"
import * as Hedge from "../../Hedge.ts"
import * as InputSanitizer from "../../InputSanitizer.ts"
import { MaxRetryAfter } from "../../internal/maxRetryAfter.ts"
import * as KeyPool from "../../KeyPool.ts"
import * as KeyStore from "../../KeyStore.ts"
import * as Model from "../../Model.ts"
import * as Monitor from "../../Monitor.ts"
import * as PriceBook from "../../PriceBook.ts"
import * as RateLimiter from "../../RateLimiter.ts"
import * as RetryPolicy from "../../RetryPolicy.ts"

/** The service of each part, and its options. */
interface Known {
  readonly api: readonly [ClaudeApi.ClaudeApi, ClaudeApi.Options]
  readonly keys: readonly [KeyPool.KeyPool, Keys | KeyOptions]
  readonly retry: readonly [RetryPolicy.RetryPolicy, RetryPolicy.Options]
  readonly limiter: readonly [RateLimiter.RateLimiter, RateLimiter.Options]
  readonly breaker: readonly [CircuitBreaker.CircuitBreaker, CircuitBreaker.Options]
  readonly fallback: readonly [Fallback.Fallback, Fallback.Options]
  readonly hedge: readonly [Hedge.Hedge, Hedge.Options]
  readonly prices: readonly [PriceBook.PriceBook, PriceBook.Options]
  readonly budget: readonly [Budget.Budget, Budget.Options]
  readonly ledger: readonly [CostLedger.CostLedger, CostLedger.Options]
  readonly optimizer: readonly [CostOptimizer.CostOptimizer, CostOptimizer.Options]
  readonly sanitizer: readonly [InputSanitizer.InputSanitizer, never]
  readonly monitor: readonly [Monitor.Monitor, Monitor.Options]
}

/** Given layers get these from the service. */
type Shared = ClaudeApi.ClaudeApi | PriceBook.PriceBook

type AnyLayer = Layer.Layer<never, unknown, unknown>

type StoreLayer = Layer.Layer<KeyStore.KeyStore, unknown, unknown>

/** The layers that a part can be given as. */
type LayerOf<Name extends keyof Known> =
  | Layer.Layer<Known[Name][0], unknown, unknown>
  | (Name extends "keys" ? StoreLayer : never)

/**
 * One API key, or several. Plain ones share the rate limits of one organization.
 *
 * @category options
 * @since 0.1.0
 */
export type Keys = Redacted.Redacted<string> | ReadonlyArray<Redacted.Redacted<string> | Key>

/**
 * Options of the pool, and its keys.
 *
 * - `keys`: one key or a list of them. Default those of `ANTHROPIC_API_KEY`.
 *
 * @category options
 * @since 0.1.0
 */
export interface KeyOptions extends KeyPool.Options {
  readonly keys?: Keys | undefined
}

/**
 * What a service is made of. Each part is its options, or a layer of its service; what is left out has its default.
 *
 * - `api`: where requests go, and how long they may take. Default the public API.
 * - `keys`: one key, a list of them, or options of the pool with `keys` among them; as a layer a `KeyPool`, or a `KeyStore` that a pool with its defaults
 *   is put over. Default those of `ANTHROPIC_API_KEY`.
 * - `retry`: retries what another attempt can change, within a budget that all calls share. Default on.
 * - `limiter`: paces attempts within the rate limits. Default on; limits are learned from the API's headers.
 * - `breaker`: refuses calls while the API is down. Default on.
 * - `fallback`: other models for calls that the one asked for cannot answer now. Default none.
 * - `hedge`: a second attempt for streams whose first content is late. Default off.
 * - `prices`: what calls cost. Default the published prices.
 * - `budget`: limits in US dollars. Default none.
 * - `ledger`: a row for each attempt that was sent. Default the last 10,000 rows, in memory.
 * - `optimizer`: rules that make requests cheaper. Default none.
 * - `sanitizer`: examines the texts of requests before anything else is done with them. It is given as a layer, so that bundles without one
 *   do not contain it. Default off.
 * - `monitor`: metrics, spans, the request log and what calls added up to. Default on.
 * - `policies`: your own. They admit in the order given, after the limiter and before the breaker, so that what waits in one holds no
 *   circuit's permit; they may refuse with any `ClaudeError.Refusal`.
 * - `models`: models of your own, with their prices, groups and limits. Default none.
 *
 * A given layer may need `ClaudeApi` and `PriceBook`: it gets those of the service. Its errors and other requirements are those of the result.
 *
 * @category options
 * @since 0.1.0
 */
export type Parts =
  & {
    readonly [Name in keyof Known]?: Known[Name][1] | LayerOf<Name> | undefined
  }
  & {
    readonly policies?: ReadonlyArray<Policy<Refusal>> | undefined
    readonly models?: ReadonlyArray<Model.Model> | undefined
  }

type Plain = string | number | bigint | boolean | symbol | null | undefined | ((...args: never) => unknown)

type KeysOf<Options> = Options extends Plain ? never : keyof Options

type At<Options, Name> = Options extends unknown ? Name extends keyof Options ? Options[Name] : never : never

type Item<Options> = Options extends ReadonlyArray<infer One> ? One : never

/** What is given, with `never` in place of each option, however deep, that does not exist. */
type Only<Given, Options> = unknown extends Options ? Given
  : Given extends Plain ? Given
  : Given extends ReadonlyArray<unknown> ? { readonly [Index in keyof Given]: Only<Given[Index], Item<Options>> }
  : {
    readonly [Name in keyof Given]: Name extends KeysOf<Options> ? Only<Given[Name], At<Options, Name>> : never
  }

type CheckedPart<Name extends keyof Known, Part> = Part extends AnyLayer ? Part extends LayerOf<Name> ? Part
  : `The part "${Name}" takes its options or a layer of its own service`
  : Name extends "keys" ? Part extends Keys ? Part : Only<Part, KeyOptions>
  : Part extends object ? Only<Part, Known[Name][1]>
  : Part

/**
 * Names the part that is not what it should be: a part that does not exist, a layer of another service, an option that does not exist.
 *
 * @category models
 * @since 0.1.0
 */
export type Checked<P> = {
  readonly [Name in keyof P]: Name extends keyof Known ? CheckedPart<Name, P[Name]>
    : Name extends "policies" | "models" ? P[Name]
    : `There is no part "${Name & string}"`
}

type ErrorOf<Part> = Part extends Layer.Layer<never, infer E, unknown> ? E : never

type NeedsOf<Part> = Part extends Layer.Layer<never, unknown, infer R> ? R : never

type KeysError<P> = P extends { readonly keys: StoreLayer } ? Config.ConfigError | KeyStore.KeyStoreError
  : P extends { readonly keys: AnyLayer | Keys | { readonly keys: Keys } } ? never
  : Config.ConfigError | KeyStore.KeyStoreError

/** A base URL that is none. */
type ApiError<P> = P extends { readonly api?: infer Api }
  ? Exclude<Api, AnyLayer | undefined> extends never ? never : Config.ConfigError
  : never

/** Options of the breaker that are out of range. */
type BreakerError<P> = P extends { readonly breaker?: infer Breaker }
  ? Exclude<Breaker, AnyLayer | undefined> extends never ? never : Config.ConfigError
  : never

/**
 * What building the service may fail with.
 *
 * @category models
 * @since 0.1.0
 */
export type PartsError<P> =
  | { [Name in keyof P]-?: ErrorOf<P[Name]> }[keyof P]
  | KeysError<P>
  | ApiError<P>
  | BreakerError<P>

/**
 * What given layers need beside the parts of the service.
 *
 * @category models
 * @since 0.1.0
 */
export type PartsNeed<P> = {
  [Name in keyof P]-?: Name extends "api" | "prices" ? NeedsOf<P[Name]> : Exclude<NeedsOf<P[Name]>, Shared>
}[keyof P]

/**
 * Policies of your own, which `ClaudeService.make` puts between limiter and breaker.
 *
 * @category references
 * @since 0.1.0
 */
export const Policies = Context.Reference<ReadonlyArray<Policy<Refusal>>>("effect-claude/ClaudeService/Policies", {
  defaultValue: () => []
})

/** The services of all parts. */
export type PartsServices = { [Name in keyof Known]: Known[Name][0] }[keyof Known]

type AnyParts = { readonly [Name in keyof Known]?: unknown } & Pick<Parts, "policies" | "models">

const isKey = (key: Redacted.Redacted<string> | Key): key is Key => !Redacted.isRedacted(key)

const keysOf = (keys: Keys): ReadonlyArray<Key> =>
  (Redacted.isRedacted(keys) ? [keys] : keys).map((key, index) =>
    isKey(key) ? key : { label: `key-${index + 1}`, group: "default", secret: key }
  )

const isKeys = (given: Keys | KeyOptions): given is Keys => Redacted.isRedacted(given) || Array.isArray(given)

/** A wait for keys or for the end of a pause is bounded like one for the server, also in layers that are given. */
const boundOf = (retry: unknown): Layer.Layer<never> => {
  const { maxRetryAfter } = (Layer.isLayer(retry) ? {} : retry ?? {}) as RetryPolicy.Options // as `part` has it
  return maxRetryAfter === undefined ? Layer.empty : Layer.succeed(MaxRetryAfter, maxRetryAfter)
}

/** The pool that a layer gives, or one over the store that it gives. */
const poolFrom = (given: Layer.Layer<KeyPool.KeyPool | KeyStore.KeyStore, unknown, Shared>) =>
  Layer.flatMap(given, (context) => {
    const services = Layer.succeedContext(context) // of one of them
    return Option.isSome(Context.getOption(context, KeyPool.KeyPool))
      ? services
      : Layer.provide(KeyPool.layer(), services)
  })

const poolOf = (given: Keys | KeyOptions = {}) => {
  const { keys, ...options }: KeyOptions = isKeys(given) ? { keys: given } : given
  const pool = KeyPool.layer(options)
  return keys === undefined
    ? Layer.provide(pool, KeyStore.layerEnv)
    // Keys that the program has cannot fail to be read; a mistake in them is a defect, like one in options.
    : Layer.orDie(Layer.provide(pool, KeyStore.layerKeys(keysOf(keys))))
}

// `Checked` has held each part against its service and its options.
const part = <Service, Options>(
  given: unknown,
  of: (options: Options | undefined) => Layer.Layer<Service, unknown, Shared>
): Layer.Layer<Service, unknown, Shared> =>
  Layer.isLayer(given)
    ? given as Layer.Layer<Service, unknown, Shared>
    : of(given as Options | undefined)

/** All parts, and the references that the service reads. */
export const layer = (parts: AnyParts): Layer.Layer<PartsServices, unknown, unknown> => {
  const { models = [], policies = [] } = parts
  const shared = Layer.merge(
    part(parts.api, ClaudeApi.layer),
    part(parts.prices, PriceBook.layer)
  ) as Layer.Layer<ClaudeApi.ClaudeApi | PriceBook.PriceBook, unknown, unknown> // neither needs the other
  const made = Layer.mergeAll(
    Layer.isLayer(parts.keys)
      ? poolFrom(parts.keys as Layer.Layer<KeyPool.KeyPool | KeyStore.KeyStore, unknown, Shared>) // one of both
      : part(parts.keys, poolOf),
    part(parts.retry, RetryPolicy.layer),
    part(parts.limiter, RateLimiter.layer),
    part(parts.breaker, CircuitBreaker.layer),
    part(parts.fallback, Fallback.layer),
    part(parts.hedge, (options?: Hedge.Options) => options === undefined ? Hedge.layerOff : Hedge.layer(options)),
    part(parts.budget, (options?: Budget.Options) => options === undefined ? Budget.layerOff : Budget.layer(options)),
    part(parts.ledger, CostLedger.layer),
    part(
      parts.optimizer,
      (options?: CostOptimizer.Options) => options === undefined ? CostOptimizer.layerOff : CostOptimizer.layer(options)
    ),
    part(parts.sanitizer, () => InputSanitizer.layerOff),
    Layer.succeed(Policies, policies)
  ).pipe(
    Layer.provideMerge(part(parts.monitor, Monitor.layer)),
    Layer.provideMerge(shared),
    Layer.provide(boundOf(parts.retry))
  )
  return models.length === 0 ? made : Layer.provideMerge(made, Model.layerCatalogue(models))
}

/** How many services of one process were built in the last while, to warn of a layer that is built for each call. */
export class Builds {
  private readonly recent: Array<number> = []
  private warned = false

  /** Whether this is one build too many, said once. */
  add(now: number): boolean {
    if (this.warned) return false
    this.recent.push(now)
    if (this.recent.length <= maxBuilds) return false
    const first = this.recent.shift()
    this.warned = first !== undefined && now - first < buildsMillis
    return this.warned
  }
}

const maxBuilds = 20

const buildsMillis = 10_000

export const RecentBuilds = Context.Reference<Builds>("effect-claude/ClaudeService/Builds", {
  defaultValue: () => new Builds()
})

/** Warns once where services are built again and again. */
export const noteBuild: Effect.Effect<void> = Effect.flatMap(
  RecentBuilds,
  (builds) =>
    Effect.clockWith((clock) =>
      builds.add(clock.currentTimeMillisUnsafe())
        ? Effect.logWarning(
          `ClaudeService: ${maxBuilds} services were built in ${
            buildsMillis / 1_000
          } seconds. Each has its own limits, circuits and ` +
            "budgets, so none of them holds. Build the layer once, at the edge of the program, and provide it there."
        )
        : Effect.void
    )
)

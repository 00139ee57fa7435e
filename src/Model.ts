/**
 * What is known about each model: ids, rate-limit group, prices, sizes, lifecycle, tokenizer and what it rejects.
 *
 * The catalogue is advice, as of {@link asOf}. A model that is not in it still works everywhere, with the facts of {@link unknown}. Models of
 * your own are added with {@link layerCatalogue}.
 *
 * **Example** (Looking a model up by its alias)
 *
 * ```ts
 * import { Model } from "effect-claude"
 *
 * Model.find("claude-haiku-4-5")?.id // => "claude-haiku-4-5-20251001"
 * Model.group("claude-opus-4-8") // => "opus-4"
 * Model.group("a-model-of-tomorrow") // => "other"
 * ```
 *
 * **Example** (A model of your own: its price, group, limits and tokenizer hold in every service)
 *
 * ```ts
 * import { ClaudeService, Model } from "effect-claude"
 * import { Layer } from "effect"
 *
 * const ours = Model.make({
 *   id: "claude-ours",
 *   group: "ours",
 *   tokenizer: "classic",
 *   prices: [{ input: 1, output: 5 }],
 *   limits: { requestsPerMinute: 60 }
 * })
 *
 * export const layer = ClaudeService.layer().pipe(Layer.provide(Model.layerCatalogue([ours])))
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Price } from "./internal/price.ts"
import * as Data from "./Model/internal/catalogue.ts"
import { type Limits, make, type Model, type Tier, type Tokenizer } from "./Model/internal/model.ts"
import type { Lifecycle } from "./Model/internal/model.ts"
import { foreign, type Platform } from "./Model/internal/platform.ts"

export { make } from "./Model/internal/model.ts"
export type {
  FastMode,
  Lifecycle,
  Limits,
  Line,
  Model,
  ModelPrice,
  Rejection,
  Tier,
  Tokenizer
} from "./Model/internal/model.ts"
export type { Platform } from "./Model/internal/platform.ts"

/**
 * The day (UTC) on which the catalogue was last compared with the API's documentation and the SDK.
 *
 * @category constants
 * @since 0.1.0
 */
export const asOf = Data.asOf

/**
 * The id of the model that the `effect-claude` command asks where none is named: the newest of the middle line.
 *
 * @category constants
 * @since 0.1.0
 */
export const standard: string = Data.standard

/**
 * A rate-limit group: one of the API, one of your own models, or `"other"`, which stands for every model that the catalogue does not
 * know. The set of groups, and of metric labels made from it, is closed once a layer is built.
 *
 * @category models
 * @since 0.1.0
 */
export type Group = keyof typeof Data.groupLimits | "other" | (string & {})

/**
 * The facts assumed about a model that the catalogue does not know: the group `"other"`, the tokenizer that counts more, and fast mode with
 * limits of its own.
 *
 * @category constants
 * @since 0.1.0
 */
export const unknown: Model = make({ id: "unknown", group: "other", fastMode: "available" })

/**
 * A set of models.
 *
 * - `groups`: every group, `"other"` last.
 * - `prices`: of all models, in USD for a million tokens.
 * - `find`: by id or alias; undefined for a model that is not in it.
 * - `lookup`: by id, alias or the name of another platform; the facts of {@link unknown} with that id for a model that is not in it.
 * - `limits`: of a group, by tier: what one of your models says (the first given where several of the group do), else what was
 *   published for the tier; undefined where neither is known.
 *
 * @category models
 * @since 0.1.0
 */
export interface Catalogue {
  readonly models: ReadonlyArray<Model>
  readonly groups: ReadonlyArray<Group>
  readonly prices: ReadonlyArray<Price>
  readonly find: (id: string) => Model | undefined
  readonly lookup: (id: string) => Model
  readonly limits: (group: Group, tier?: Tier | undefined) => Limits | undefined
}

const published: Readonly<Record<string, Readonly<Record<Tier, Limits>> | undefined>> = Data.groupLimits

/** The model that another platform gives this name. */
const elsewhere = (byName: ReadonlyMap<string, Model>, id: string): Model | undefined => {
  for (const name of foreign(id)?.names ?? []) if (byName.has(name)) return byName.get(name)
  return undefined
}

const from = (models: ReadonlyArray<Model>): Catalogue => {
  const byName = new Map<string, Model>()
  const limits = new Map<string, Limits>()
  // the first of a name wins
  for (const model of models) {
    for (const name of [model.id, ...model.aliases]) if (!byName.has(name)) byName.set(name, model)
    if (model.limits !== undefined && !limits.has(model.group)) limits.set(model.group, model.limits)
  }
  const groups = new Set<string>([...Object.keys(Data.groupLimits), ...models.map(({ group }) => group)])
  groups.delete(unknown.group)
  return {
    models,
    groups: [...groups, unknown.group],
    prices: models.flatMap(({ id, prices }) => prices.map((price): Price => ({ model: id, ...price }))),
    find: (id) => byName.get(id),
    lookup: (id) => byName.get(id) ?? elsewhere(byName, id) ?? { ...unknown, id, name: id },
    limits: (group, tier) => limits.get(group) ?? (tier === undefined ? undefined : published[group]?.[tier])
  }
}

/**
 * The models of the API, retired ones too, the newest of each line first.
 *
 * @category constants
 * @since 0.1.0
 */
export const catalogue: Catalogue = from(Data.models)

/**
 * The catalogue with models of your own in front. One with the id of a known model replaces it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const extend = (models: ReadonlyArray<Model>, base: Catalogue = catalogue): Catalogue => {
  const ids = new Set(models.map(({ id }) => id))
  return from([...models, ...base.models.filter(({ id }) => !ids.has(id))])
}

/**
 * The catalogue that services read once, when they are built. Default {@link catalogue}.
 *
 * @category references
 * @since 0.1.0
 */
export const Catalogue = Context.Reference<Catalogue>("effect-claude/Model/Catalogue", {
  defaultValue: () => catalogue
})

/**
 * Adds models of your own for the layers that it is provided to: their prices, groups, limits, tokenizers and other facts hold in each service.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerCatalogue = (models: ReadonlyArray<Model>): Layer.Layer<never> =>
  Layer.effect(Catalogue, Effect.map(Catalogue, (base) => extend(models, base)))

/**
 * Rates of one tier as a function of the group: those of {@link Catalogue}, and how many requests to count tokens all models together may get
 * in a minute. A group without published limits has no others.
 *
 * @category getters
 * @since 0.1.0
 */
export const tierLimits = (tier: Tier, { limits }: Catalogue = catalogue) => {
  const countTokensPerMinute = Data.countTokensPerMinute[tier]
  return (group: Group): Limits & { readonly countTokensPerMinute: number } => ({
    ...limits(group, tier),
    countTokensPerMinute
  })
}

/**
 * The facts of each tokenizer.
 *
 * - `density`: how many times the tokens of the classic tokenizer the same text has.
 * - `maxImageTokens`: the most tokens of an image.
 * - `bashToolTokens`: the API's definition of its bash tool.
 *
 * @category constants
 * @since 0.1.0
 */
export const tokenizers: Readonly<
  Record<Tokenizer, {
    readonly density: number
    readonly maxImageTokens: number
    readonly bashToolTokens: number
  }>
> = Data.tokenizers

/**
 * The model of the API with this id or alias, or `undefined` when the catalogue does not know it.
 *
 * @category getters
 * @since 0.1.0
 */
export const find = catalogue.find

/**
 * The model of the API with this id, alias or name on another platform, or the facts of {@link unknown} with that id.
 *
 * @category getters
 * @since 0.1.0
 */
export const lookup = catalogue.lookup

/**
 * The rate-limit group of a model of the API, by any of its names; `"other"` when the catalogue does not know it.
 *
 * @category getters
 * @since 0.1.0
 */
export const group = (id: string): Group => lookup(id).group

/**
 * The tokenizer of a model of the API, by any of its names. A model that the catalogue does not know is assumed to be new: `"dense"`,
 * which counts more.
 *
 * @category getters
 * @since 0.1.0
 */
export const tokenizer = (id: string): Tokenizer => lookup(id).tokenizer

/**
 * The platform whose name for a model this is; undefined for an id or alias of the API, and for the name of no known model. Other platforms have prices of
 * their own: `PriceBook` has none for them until it is given some.
 *
 * **Example** (One model, and its names elsewhere)
 *
 * ```ts
 * import { Model } from "effect-claude"
 *
 * Model.platformOf("us.anthropic.claude-sonnet-4-6-v1:0") // => "bedrock"
 * Model.platformOf("claude-haiku-4-5@20251001") // => "vertex"
 * Model.platformOf("claude-haiku-4-5") // => undefined
 * Model.lookup("claude-haiku-4-5@20251001").id // => "claude-haiku-4-5-20251001"
 * ```
 *
 * @category getters
 * @since 0.1.0
 */
export const platformOf = (id: string, { find, lookup }: Catalogue = catalogue): Platform | undefined =>
  find(id) === undefined && find(lookup(id).id) !== undefined ? foreign(id)?.platform : undefined

/**
 * Whether `speed: "fast"` really runs fast on a model: at the fast price and within limits of its own. Elsewhere it is ignored or refused.
 *
 * **Example** (A model that ignores it)
 *
 * ```ts
 * import { Model } from "effect-claude"
 *
 * Model.isFast(Model.lookup("claude-opus-5-5"), "fast") // => true
 * Model.isFast(Model.lookup("claude-opus-4-6"), "fast") // => false
 * ```
 *
 * @category predicates
 * @since 0.1.0
 */
export const isFast = (model: Model, speed: string | null | undefined): boolean =>
  speed === "fast" && model.fastMode === "available"

const reached = (day: string | undefined, epochMillis: number): boolean =>
  day !== undefined && Date.parse(day) <= epochMillis

/**
 * Where a model stands in its life at an instant (milliseconds since 1970), as far as it was announced on {@link asOf}.
 *
 * **Example** (A model with an announced end)
 *
 * ```ts
 * import { Model } from "effect-claude"
 *
 * const model = Model.lookup("claude-sonnet-4-5")
 * Model.lifecycleAt(model, Date.parse("2026-09-29")) // => "active"
 * Model.lifecycleAt(model, Date.parse("2026-10-01")) // => "deprecated"
 * Model.lifecycleAt(model, Date.parse("2026-11-30")) // => "retired"
 * ```
 *
 * @category getters
 * @since 0.1.0
 */
export const lifecycleAt = (model: Model, epochMillis: number): Lifecycle =>
  reached(model.retiresOn, epochMillis) ? "retired" : reached(model.deprecatedOn, epochMillis) ? "deprecated" : "active"

/**
 * How many days are left at an instant (milliseconds since 1970) until a model is retired, rounded up; 0 or less once it is, and undefined
 * while no day was announced.
 *
 * **Example** (The last days)
 *
 * ```ts
 * import { Model } from "effect-claude"
 *
 * const model = Model.lookup("claude-sonnet-4-5")
 * Model.daysToRetirement(model, Date.parse("2026-11-25T12:00:00Z")) // => 5
 * Model.daysToRetirement(model, Date.parse("2026-12-02")) // => -2
 * Model.daysToRetirement(Model.lookup("claude-opus-5-5"), Date.parse("2026-11-25")) // => undefined
 * ```
 *
 * @category getters
 * @since 0.1.0
 */
export const daysToRetirement = ({ retiresOn }: Model, epochMillis: number): number | undefined =>
  retiresOn === undefined ? undefined : Math.ceil((Date.parse(retiresOn) - epochMillis) / 86_400_000)

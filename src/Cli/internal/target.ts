/** `ClaudeService` as the environment wants it, for a command. */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as ClaudeConfig from "../../ClaudeConfig.ts"
import * as ClaudeService from "../../ClaudeService.ts"
import * as KeyPool from "../../KeyPool.ts"
import * as Model from "../../Model.ts"
import * as Keys from "./keyStore.ts"
import * as Ledger from "./ledger.ts"

export interface Options {
  /** US dollars that the command may spend, besides the budgets of the environment. */
  readonly budget?: number | undefined
  readonly ledger?: Ledger.Target | undefined
}

const withBudget = (options: ClaudeConfig.Options, usd: number | undefined): ClaudeConfig.Options =>
  usd === undefined
    ? options
    : { ...options, budget: { budgets: [...options.budget?.budgets ?? [], { name: "this run", limit: usd }] } }

export const layer = ({ budget, ledger }: Options) =>
  Layer.unwrap(Effect.map(ClaudeConfig.config, (options) =>
    ClaudeService.layerWithParts({
      ...withBudget(options, budget),
      keys: Layer.provide(KeyPool.layer(), Keys.layer),
      // The command says itself what failed.
      monitor: { log: false },
      ...(ledger === undefined ? undefined : { ledger: Ledger.layer(ledger, "create") })
    })))

/** The model to ask. */
export const modelOf = (flag: string | undefined) =>
  flag === undefined
    ? Effect.map(Config.option(Config.NonEmptyString("CLAUDE_MODEL")), Option.getOrElse(() => Model.standard))
    : Effect.succeed(flag)

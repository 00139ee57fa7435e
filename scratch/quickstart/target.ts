/** Who answers: the API where there is a key, and the simulated API on loopback where there is none. */
import { Config, Console, Effect, Layer, Option, Redacted } from "effect"
import { ClaudeConfig, KeyStore } from "../../src/index.ts"
import * as Simulator from "../../src/testing/Simulator.ts"
import * as SimulatorServer from "../../src/testing/SimulatorServer.ts"
import { claude, type Watch } from "./watch.ts"

export const hasKey = Effect.map(Config.option(Config.NonEmptyString("ANTHROPIC_API_KEY")), Option.isSome)

/** A simulated API that takes its time, as the real one does. */
export const simulator = SimulatorServer.layer().pipe(
  Layer.provideMerge(Simulator.layer({
    latency: { firstToken: { median: "300 millis", sigma: 0.3 }, perToken: "8 millis" }
  }))
)

export const notice = (url: string) =>
  `ANTHROPIC_API_KEY is not set: the Claude API is simulated at ${url} and its answers mean nothing.`

const keysOf = (secret: string) =>
  KeyStore.layerKeys([{ label: "simulated", group: "simulated", secret: Redacted.make(secret) }])

/** The API with the keys of the environment. */
export const real = (watch: Watch) =>
  Layer.unwrap(Effect.map(ClaudeConfig.config, (options) => claude(KeyStore.layerEnv, options, watch)))

/** The simulated API with its key, or one that it does not know. */
export const simulated = (
  url: string,
  watch: Watch,
  { secret = Simulator.apiKey, ...options }: ClaudeConfig.Options & { readonly secret?: string } = {}
) => claude(keysOf(secret), { ...options, api: { baseUrl: url } }, watch)

/** `ClaudeService` and its policies as the environment wants them, with dollars that it may spend; says so where it is simulated. */
export const layer = (budget?: number) =>
  Layer.unwrap(Effect.gen(function*() {
    const options: ClaudeConfig.Options = {
      ...(yield* ClaudeConfig.config),
      ...(budget === undefined ? undefined : { budget: { budgets: [{ name: "this run", limit: budget }] } })
    }
    if (yield* hasKey) return claude(KeyStore.layerEnv, options)
    return Layer.unwrap(Effect.gen(function*() {
      const { url } = yield* SimulatorServer.SimulatorServer
      yield* Console.error(notice(url))
      return claude(keysOf(Simulator.apiKey), { ...options, api: { ...options.api, baseUrl: url } })
    })).pipe(Layer.provide(simulator))
  }))

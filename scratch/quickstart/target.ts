/** Who answers: the API where there is a key, and the simulated API on loopback where there is none. */
import { Config, ConfigProvider, Console, Effect, Layer, Option, Redacted } from "effect"
import * as Cli from "../../src/Cli.ts"
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

/** The command `effect-claude`, against the simulated API where there is no key; says so where it is simulated. */
export const command = Effect.fnUntraced(function*(...args: ReadonlyArray<string>) {
  if (yield* hasKey) return yield* Cli.run(args)
  return yield* Effect.gen(function*() {
    const { url } = yield* SimulatorServer.SimulatorServer
    yield* Console.error(notice(url))
    const simulated = ConfigProvider.fromUnknown({ ANTHROPIC_API_KEY: Simulator.apiKey, ANTHROPIC_BASE_URL: url })
    const environment = ConfigProvider.orElse(simulated, yield* ConfigProvider.ConfigProvider)
    return yield* Effect.provideService(Cli.run(args), ConfigProvider.ConfigProvider, environment)
  }).pipe(Effect.provide(simulator))
})

/**
 * The simulated Claude API over HTTP: a server on 127.0.0.1 over the state of a `Simulator`, for programs in any language. Its
 * faults are real: connections are closed, reset, stalled and cut off.
 *
 * **Example** (A server for the length of a program)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import * as Simulator from "effect-claude/testing/Simulator"
 * import * as SimulatorServer from "effect-claude/testing/SimulatorServer"
 *
 * const program = Effect.gen(function*() {
 *   const { url } = yield* SimulatorServer.SimulatorServer
 *   const response = yield* Effect.promise(() =>
 *     fetch(`${url}/v1/models/claude-opus-5-5`, { headers: { "x-api-key": Simulator.apiKey } })
 *   )
 *   return response.status
 * }).pipe(Effect.provide(SimulatorServer.layer().pipe(Layer.provide(Simulator.layer()))))
 *
 * await Effect.runPromise(program) // => 200
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as ClaudeService from "../ClaudeService.ts"
import * as Simulator from "./Simulator.ts"
import * as Claude from "./simulator/internal/Claude.ts"
import * as Http from "./simulator/internal/Http.ts"
import { defaultKey } from "./simulator/internal/Keys.ts"

/**
 * The options of the server.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** The port to listen on. Default 0: any free port. A port that is taken is a defect. */
  readonly port?: number | undefined
}

/**
 * A running server.
 *
 * @category services
 * @since 0.1.0
 */
export class SimulatorServer extends Context.Service<SimulatorServer, {
  /** The base URL, such as `http://127.0.0.1:40123`. */
  readonly url: string
  /**
   * A base URL that refuses connections: a port that no server is given unless it asks for it. The fault `Refused` can only close a
   * connection before the first byte of an answer.
   */
  readonly refusedUrl: string
}>()("effect-claude/testing/SimulatorServer") {}

/** The system gives ports above 1023 to those who ask for any. `fetch` refuses to try port 1, and tries this one. */
const refusedUrl = "http://127.0.0.1:2"

/**
 * Starts a server. When the scope closes, it closes every socket and stops all work for them.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(
  function*(
    options: Options = {}
  ): Effect.fn.Return<SimulatorServer["Service"], never, Scope.Scope | Simulator.Simulator> {
    const { core } = yield* Simulator.Simulator
    const port = yield* Http.listen(core, options.port ?? 0)
    return SimulatorServer.of({ url: `http://127.0.0.1:${port}`, refusedUrl })
  }
)

/**
 * A server over the provided `Simulator`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<SimulatorServer, never, Simulator.Simulator> =>
  Layer.effect(SimulatorServer, make(options))

/**
 * The twin of `Simulator.layerClaude` over HTTP: `ClaudeService` with every policy and its own transport, the server on
 * loopback that it talks to, and the simulator behind that.
 *
 * Each call gives a new simulator, server and service: call it once and share the value.
 *
 * **Example** (A program over a real connection)
 *
 * ```ts
 * import { ClaudeService } from "effect-claude"
 * import { Effect } from "effect"
 * import * as SimulatorServer from "effect-claude/testing/SimulatorServer"
 *
 * const text = ClaudeService.text({
 *   model: "claude-sonnet-5-5",
 *   max_tokens: 100,
 *   messages: [{ role: "user", content: "Say hello." }]
 * }).pipe(Effect.provide(SimulatorServer.layerClaude({ answer: () => "Hello." })))
 *
 * await Effect.runPromise(text) // => "Hello."
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerClaude = <P extends Simulator.Parts = {}>(
  options: Simulator.Options & Options = {},
  parts?: P & ClaudeService.Checked<P>
): Layer.Layer<
  SimulatorServer | Simulator.Simulator | Layer.Success<Claude.Over<P>>,
  Layer.Error<Claude.Over<P>>,
  Layer.Services<Claude.Over<P>>
> =>
  Layer.unwrap(
    Effect.map(
      SimulatorServer,
      ({ url }) => Claude.over<P>(options.keys ?? [defaultKey], { baseUrl: url }, parts)
    )
  ).pipe(
    Layer.provideMerge(layer(options)),
    Layer.provideMerge(Claude.withModels(Simulator.layer(options), parts))
  )

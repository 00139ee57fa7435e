/** Serves the simulator, and writes where. */
import { Console, Effect, Layer } from "effect"
import * as Simulator from "effect-claude/testing/Simulator"
import * as SimulatorServer from "effect-claude/testing/SimulatorServer"

const program = Effect.gen(function*() {
  const { url } = yield* SimulatorServer.SimulatorServer
  yield* Console.log(`${url} ${Simulator.apiKey}`)
  return yield* Effect.never
})

Effect.runFork(Effect.provide(program, SimulatorServer.layer().pipe(Layer.provide(Simulator.layer()))))

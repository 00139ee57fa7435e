/** Serves the simulator, and writes where. */
import { Console, Effect, Layer } from "effect"
import * as Simulator from "effect-claude/testing/Simulator"
import * as SimulatorServer from "effect-claude/testing/SimulatorServer"

const program = Effect.gen(function*() {
  const { url } = yield* SimulatorServer.SimulatorServer
  yield* Console.log(`${url} ${Simulator.apiKey}`)
  return yield* Effect.never
})

/** What a model would answer where a program needs it: a call of the first tool, then a text; an object of the wanted form. */
const options: Simulator.Options = {
  answer: ({ messages, output_config, tools }) => {
    const content = messages.at(-1)?.content
    const hasResults = typeof content === "object" && content.some(({ type }) => type === "tool_result")
    const [tool] = tools ?? []
    if (tool !== undefined && "name" in tool && !hasResults) {
      return { content: [{ type: "tool_use", name: tool.name, input: { city: "Paris" } }] }
    }
    if ((output_config?.format ?? undefined) !== undefined) {
      return JSON.stringify({ supplier: "ACME Ltd.", total: 12.5, currency: "EUR" })
    }
    return "The air scatters short waves of light more than long ones."
  }
}

Effect.runFork(Effect.provide(program, SimulatorServer.layer().pipe(Layer.provide(Simulator.layer(options)))))

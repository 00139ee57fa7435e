/**
 * A simulator over HTTP for the length of a test.
 */
import { Effect, Layer } from "effect"
import type { TestContext } from "node:test"
import * as Simulator from "../../src/testing/Simulator.ts"
import * as SimulatorServer from "../../src/testing/SimulatorServer.ts"

export const apiKey = Simulator.apiKey

export interface Served {
  readonly url: string
  /** What the next requests meet, one fault for each. */
  readonly script: (...faults: ReadonlyArray<Simulator.Fault>) => void
  readonly bill: () => Simulator.Bill
}

export const serve = async (test: TestContext, options?: Simulator.Options): Promise<Served> => {
  const ready = Promise.withResolvers<Served>()
  const stop = Effect.runCallback(
    Effect.gen(function*() {
      const simulator = yield* Simulator.Simulator
      const { url } = yield* SimulatorServer.SimulatorServer
      ready.resolve({
        url,
        script: (...faults) => Effect.runSync(simulator.script(faults)),
        bill: () => Effect.runSync(simulator.bill)
      })
      return yield* Effect.never
    }).pipe(Effect.provide(SimulatorServer.layer().pipe(Layer.provideMerge(Simulator.layer(options))))),
    { onExit: (exit) => ready.reject(exit) }
  )
  test.after(() => stop())
  return ready.promise
}

const { Fault } = Simulator

/** The faults that every client has to report, by what it should see of them: a status, or nothing but a broken answer. */
export const refusals = [
  { name: "401", fault: Fault.Status({ status: 401 }), status: 401 },
  { name: "404", fault: Fault.Status({ status: 404 }), status: 404 },
  { name: "429", fault: Fault.Status({ status: 429 }), status: 429 },
  { name: "529", fault: Fault.Status({ status: 529 }), status: 529 }
] as const

/** Faults within a stream. */
export const breaks = [
  { name: "an error event", fault: Fault.ErrorEvent({ type: "overloaded_error", after: { events: 4 } }) },
  { name: "a reset", fault: Fault.ResetMidStream({ after: { events: 4 } }) },
  { name: "a truncated body", fault: Fault.Truncate({ after: { events: 4 } }) }
] as const

/** A PNG of one pixel. */
export const png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

export const pdf = Buffer.from("%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n").toString(
  "base64"
)

/** Longer than the shortest prompt that any model caches. */
export const longPrompt = "The river has many stones. ".repeat(1_000)

/** Serves a simulated API until it is interrupted. */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Recording from "../../testing/Recording.ts"
import * as Simulator from "../../testing/Simulator.ts"
import * as SimulatorServer from "../../testing/SimulatorServer.ts"
import { CommandError, UsageError } from "./failure.ts"
import * as Faults from "./faults.ts"
import { readText } from "./input.ts"
import { result } from "./output.ts"

export interface Input {
  readonly port: number
  readonly faults: ReadonlyArray<string>
  readonly tier: "start" | "build" | "scale" | undefined
  readonly requestsPerMinute: number | undefined
  readonly firstToken: Duration.Duration | undefined
  readonly perToken: Duration.Duration | undefined
  readonly answer: string | undefined
  readonly replay: string | undefined
  readonly seed: string | undefined
}

const optionsOf = (
  input: Input,
  faults: ReadonlyArray<Simulator.Rule>,
  recording: ReadonlyArray<Recording.Exchange>
): Simulator.Options => {
  const { answer, firstToken, perToken, requestsPerMinute, seed, tier } = input
  return {
    faults,
    recording,
    seed,
    latency: { firstToken, perToken },
    answer: answer === undefined ? undefined : () => answer,
    limits: requestsPerMinute === undefined
      ? tier === undefined ? undefined : Simulator.tier(tier)
      : { requestsPerMinute }
  }
}

const isTaken = (defect: unknown): boolean => Predicate.hasProperty(defect, "code") && defect.code === "EADDRINUSE"

export const simulate = Effect.fnUntraced(function*(input: Input) {
  const faults: Array<Simulator.Rule> = []
  for (const text of input.faults) {
    const rule = Faults.parse(text)
    if (Result.isFailure(rule)) return yield* new UsageError({ message: rule.failure })
    faults.push(rule.success)
  }
  if (input.tier !== undefined && input.requestsPerMinute !== undefined) {
    return yield* new UsageError({ message: "Give --tier or --requests-per-minute, not both." })
  }
  const recording = input.replay === undefined
    ? []
    : yield* Effect.flatMap(readText(input.replay), Recording.parse).pipe(
      Effect.catchTag("RecordingError", ({ message }) => Effect.fail(new UsageError({ message })))
    )
  const server = SimulatorServer.layer({ port: input.port }).pipe(
    Layer.provide(Simulator.layer(optionsOf(input, faults, recording)))
  )
  yield* Effect.gen(function*() {
    const { url } = yield* SimulatorServer.SimulatorServer
    yield* result(
      { baseUrl: url, apiKey: Simulator.apiKey },
      `ANTHROPIC_BASE_URL=${url}\nANTHROPIC_API_KEY=${Simulator.apiKey}`
    )
    return yield* Effect.never
  }).pipe(
    Effect.provide(server),
    Effect.catchDefect((defect) =>
      isTaken(defect)
        ? Effect.fail(
          new CommandError({ message: `Port ${input.port} is taken. Give another --port, or 0 for any free one.` })
        )
        : Effect.die(defect)
    )
  )
})

/** `simulate`: the simulated API. */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Flags from "../flags.ts"
import { lazily } from "../peer.ts"

export const simulate = Command.make("simulate", {
  port: Flags.count("port", 0, 65_535).pipe(
    Flag.withMetavar("port"),
    Flag.withAlias("p"),
    Flag.withDescription("Port on 127.0.0.1; 0 is any free one"),
    Flag.withDefault(0)
  ),
  faults: Flag.String("fault").pipe(
    Flag.withMetavar("fault"),
    Flag.withDescription(
      "A fault: a status (529), or reset, cut, error, stall, truncate, garbage, refuse, drip; then, after commas, " +
        "probability=0.1, times=3, from=10s, until=1m, model=NAME, after=EVENTS, retry-after=SECONDS. Can be repeated; the first that applies wins"
    ),
    Flag.atLeast(0)
  ),
  tier: Flags.optional(
    Flag.Literals("tier", ["start", "build", "scale"]).pipe(
      Flag.withDescription("Enforce the published rate limits of a usage tier")
    )
  ),
  requestsPerMinute: Flags.optional(
    Flags.count("requests-per-minute", 1, 1_000_000_000).pipe(
      Flag.withDescription("Enforce this rate limit on each group of models")
    )
  ),
  firstToken: Flags.optional(
    Flags.duration("first-token").pipe(Flag.withDescription("Time until the first token. Default: none"))
  ),
  perToken: Flags.optional(
    Flags.duration("per-token").pipe(Flag.withDescription("Time for each token. Default: none"))
  ),
  answer: Flags.optional(
    Flag.String("answer").pipe(
      Flag.withDescription("The answer to everything. Default: words that repeat the question")
    )
  ),
  replay: Flags.optional(
    Flag.String("replay").pipe(
      Flag.withMetavar("file"),
      Flag.withDescription("Answer recorded requests as in this HAR file or JSON lines")
    )
  ),
  seed: Flags.optional(Flag.String("seed").pipe(Flag.withDescription("Of lengths and faults, so that runs repeat")))
}, (input) => lazily(() => import("../simulate.ts"), ({ simulate }) => simulate(input))).pipe(
  Command.withDescription(
    "Serves a simulated Claude API on loopback until it is interrupted, and writes its base URL and the key that it accepts."
  ),
  Command.withShortDescription("Serve a simulated Claude API"),
  Command.withExamples([
    {
      command: "effect-claude simulate --port 8080 --fault 529,probability=0.2 --fault cut,times=1,after=4",
      description: "An API that is overloaded a fifth of the time"
    }
  ])
)

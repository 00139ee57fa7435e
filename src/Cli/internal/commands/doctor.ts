/** `doctor`: what calls depend on. */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Duration from "effect/Duration"
import * as Flags from "../flags.ts"
import { lazily } from "../peer.ts"

export const doctor = Command.make("doctor", {
  ...Flags.ledger,
  redis: Flags.optional(
    Flag.String("redis").pipe(
      Flag.withMetavar("url"),
      Flag.withDescription("Redis without a password in its URL. Default: CLAUDE_REDIS")
    )
  ),
  models: Flag.String("model").pipe(
    Flag.withAlias("m"),
    Flag.withDescription("A model in use, beside those of the ledger; can be repeated"),
    Flag.atLeast(0)
  ),
  offline: Flag.Boolean("offline").pipe(Flag.withDescription("Ask nothing of the API"), Flag.withDefault(false)),
  timeout: Flags.duration("timeout").pipe(
    Flag.withDescription("How long the API may take to answer. Default: 10 seconds"),
    Flag.withDefault(Duration.seconds(10))
  )
}, (input) => lazily(() => import("../doctor/run.ts"), ({ doctor }) => doctor(input))).pipe(
  Command.withDescription(
    "Looks at what calls depend on: Node, packages, keys, the API, the clock, proxies, stores, models in use. Costs nothing."
  ),
  Command.withShortDescription("Find out why calls do not work")
)

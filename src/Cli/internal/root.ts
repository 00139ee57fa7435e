/** The command with its subcommands. */
import * as Command from "effect/cli/Command"
import { ask } from "./commands/ask.ts"
import { batch } from "./commands/batch.ts"
import { cost } from "./commands/cost.ts"
import { doctor } from "./commands/doctor.ts"
import { keys } from "./commands/keys.ts"
import { simulate } from "./commands/simulate.ts"
import { Json } from "./output.ts"

export const name = "effect-claude"

export const root = Command.make(name).pipe(
  Command.withDescription(
    "The Claude API from the command line: questions, batches, keys, costs, a simulator, a diagnosis."
  ),
  Command.withSubcommands([ask, batch, keys, cost, simulate, doctor]),
  Command.withGlobalFlags([Json])
)

/** `batch`: a file of prompts. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Flags from "../flags.ts"
import { lazily } from "../peer.ts"

export const batch = Command.make("batch", {
  file: Argument.String("file").pipe(
    Argument.withDescription(
      "A file of prompts, one JSON object a line: \"id\", and \"prompt\" or \"messages\"; optional \"model\", " +
        "\"max_tokens\", \"system\", \"temperature\", \"tools\", \"tool_choice\", \"stop_sequences\". - is the standard input"
    )
  ),
  out: Flag.Path("out").pipe(
    Flag.withAlias("o"),
    Flag.withDescription(
      "Where the answers are appended, one JSON object a line. What has its answer there is not asked again; what " +
        "failed is, and then the last line of an id is the one that counts"
    )
  ),
  concurrency: Flags.count("concurrency", 1, 1_000).pipe(
    Flag.withAlias("c"),
    Flag.withDescription("Prompts that are asked at the same time"),
    Flag.withDefault(8)
  ),
  budget: Flags.optional(
    Flags.usd("budget").pipe(
      Flag.withDescription("US dollars that this run may cost; it stops before a prompt could exceed them")
    )
  ),
  model: Flags.model,
  maxTokens: Flags.maxTokens.pipe(
    Flag.withDescription("Most tokens of an answer, where its line does not say"),
    Flag.withDefault(1_024)
  ),
  system: Flags.system,
  temperature: Flags.temperature,
  ...Flags.ledger,
  ...Flags.attribution
}, (input) => lazily(() => import("../batch/run.ts"), ({ batch }) => batch(input))).pipe(
  Command.withDescription(
    "Answers a file of prompts into a file of answers. Run it again to go on where it stopped, and to try again what failed."
  ),
  Command.withShortDescription("Answer a file of prompts"),
  Command.withExamples([
    {
      command: "effect-claude batch prompts.jsonl --out answers.jsonl --concurrency 16 --budget 0.50",
      description: "Answer a file of prompts, or go on where the last run stopped"
    }
  ])
)

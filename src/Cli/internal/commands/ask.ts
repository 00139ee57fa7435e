/** `ask`: one question. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Flags from "../flags.ts"
import { lazily } from "../peer.ts"

export const ask = Command.make("ask", {
  words: Argument.String("prompt").pipe(
    Argument.withDescription("The prompt. Without it and without --file, it is read from the standard input"),
    Argument.variadic()
  ),
  file: Flags.optional(
    Flag.String("file").pipe(
      Flag.withMetavar("path"),
      Flag.withAlias("f"),
      Flag.withDescription("A file whose text is asked, after the prompt if there is one; - is the standard input")
    )
  ),
  model: Flags.model,
  maxTokens: Flags.maxTokens.pipe(Flag.withDescription("Most tokens of the answer"), Flag.withDefault(16_000)),
  system: Flags.system,
  temperature: Flags.temperature,
  timeout: Flags.optional(Flags.duration("timeout").pipe(Flag.withDescription("How long it may take in all"))),
  budget: Flags.optional(Flags.usd("budget").pipe(Flag.withDescription("US dollars that the answer may cost"))),
  ...Flags.ledger,
  ...Flags.attribution
}, (input) => lazily(() => import("../ask.ts"), ({ ask }) => ask(input))).pipe(
  Command.withDescription("Asks one question and streams the answer to the standard output."),
  Command.withShortDescription("Ask one question"),
  Command.withExamples([
    { command: "effect-claude ask \"Why is the sky blue?\"", description: "Ask" },
    {
      command: "git diff | effect-claude ask \"Review this change:\" --file -",
      description: "Ask about a file or a pipe"
    },
    { command: "effect-claude ask --json \"Say hello.\" | jq -r .text", description: "Take the answer apart" }
  ])
)

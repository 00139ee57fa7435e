/**
 * `npm start`: what a program on `ClaudeService` looks like when it runs, all that can happen to a call; or the command
 * `effect-claude` with a question or a file of prompts.
 *
 * Without `ANTHROPIC_API_KEY` it runs against the simulated API on loopback.
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Config, Console, Effect, Option } from "effect"
import { Argument, CliError, Command, Flag } from "effect/cli"
import { readFileSync } from "node:fs"
import { scenes } from "./quickstart/scenes.ts"
import { serve as runServer } from "./quickstart/serve.ts"
import { command } from "./quickstart/target.ts"
import { message } from "./quickstart/terminal.ts"

const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"))

const exitCode = (code: number) =>
  Effect.sync(() => {
    process.exitCode = code
  })

const refuse = (userMessage: string) => Effect.fail(new CliError.UserError({ cause: undefined, userMessage }))

const quickstart = Command.make(
  "quickstart",
  {
    question: Argument.String("question").pipe(
      Argument.withDescription(
        "A question; its answer is streamed. Without one, all that can happen to a call is shown."
      ),
      Argument.variadic()
    ),
    file: Flag.File("file", { mustExist: true }).pipe(
      Flag.withDescription(
        "A file of prompts, one JSON object a line: \"id\", and \"prompt\" or \"messages\"; optional \"model\", \"max_tokens\"."
      ),
      Flag.optional
    ),
    out: Flag.Path("out").pipe(
      Flag.withDescription(
        "Where the answers are appended, one JSON object a line. What has its answer there is not asked again; what " +
          "failed is, and then the last line of an id is the one that counts."
      ),
      Flag.optional
    ),
    concurrency: Flag.Int("concurrency").pipe(
      Flag.withDescription("Prompts of a file that are asked at the same time."),
      Flag.filter((count) => count >= 1 && count <= 1000, () => "must be from 1 to 1000"),
      Flag.withDefault(8)
    ),
    budget: Flag.Finite("budget").pipe(
      Flag.withDescription(
        "US dollars that a file of prompts may cost in this run; then it stops, and what is done is kept."
      ),
      Flag.filter((usd) => usd > 0, () => "must be more than 0"),
      Flag.optional
    ),
    serve: Flag.Boolean("serve").pipe(
      Flag.withDescription(
        "Traffic in all kinds of weather against the simulated API, with the status page beside it."
      ),
      Flag.withDefault(false)
    ),
    port: Flag.Int("port").pipe(
      Flag.withDescription("Where the status page is, on this machine only; 0 for any free port."),
      Flag.withDefault(9464)
    ),
    model: Flag.String("model").pipe(
      Flag.withDescription("Default: CLAUDE_MODEL, else claude-sonnet-5-5."),
      Flag.withFallbackConfig(Config.NonEmptyString("CLAUDE_MODEL")),
      Flag.withDefault("claude-sonnet-5-5")
    )
  },
  Effect.fnUntraced(function*({ budget, concurrency, file, model, out, port, question, serve }) {
    if (serve) return yield* runServer(port)
    if (Option.isSome(file) && question.length > 0) return yield* refuse("Give a question or --file, not both.")
    if (Option.isSome(file) && Option.isSome(out)) {
      const spend = Option.match(budget, { onNone: () => [], onSome: (usd) => ["--budget", String(usd)] })
      const flags = ["--out", out.value, "--concurrency", String(concurrency), "--model", model, ...spend]
      return yield* Effect.flatMap(command("batch", ...flags, "--", file.value), exitCode)
    }
    if (Option.isSome(file)) return yield* refuse("--file needs --out, the file for the answers.")
    if (Option.isSome(out)) return yield* refuse("--out needs --file, the file of prompts.")
    if (Option.isSome(budget)) return yield* refuse("--budget needs --file, the file of prompts.")
    if (question.length === 0) return yield* scenes(model)
    yield* Effect.flatMap(command("ask", "--model", model, "--", ...question), exitCode)
  })
).pipe(
  Command.withDescription("Calls Claude, or a simulation of it where ANTHROPIC_API_KEY is not set."),
  Command.withExamples([
    { command: "npm start", description: "See calls succeed, wait, retry and fail" },
    { command: "npm start -- --serve", description: "See the status page of traffic that never ends" },
    { command: "npm start -- \"Why is the sky blue?\"", description: "Ask one question" },
    {
      command: "npm start -- --file prompts.jsonl --out answers.jsonl --concurrency 16 --budget 0.50",
      description: "Answer a file of prompts, or go on where the last run stopped"
    }
  ])
)

quickstart.pipe(
  Command.run({ version }),
  Effect.catch((error) =>
    CliError.isCliError(error) ? Effect.fail(error) : Effect.andThen(Console.error(message(error)), exitCode(1))
  ),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)

/**
 * The `effect-claude` command as an effect. Its subcommands, options and JSON are described in `docs/command.md`.
 *
 * **Example** (The command inside another program)
 *
 * ```ts
 * import { NodeServices } from "@effect/platform-node"
 * import { Effect } from "effect"
 * import * as Cli from "effect-claude/Cli"
 *
 * const exitCode = Cli.run(["--version"]).pipe(Effect.provide(NodeServices.layer))
 *
 * await Effect.runPromise(exitCode) // => 0
 * ```
 *
 * @since 0.1.0
 */
import * as CliConfig from "effect/cli/CliConfig"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as TerminalCapabilities from "effect/cli/TerminalCapabilities"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import type * as Path from "effect/Path"
import type { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import * as References from "effect/References"
import type * as Stdio from "effect/Stdio"
import type * as Terminal from "effect/Terminal"
import { ExitCode as Code } from "./Cli/internal/exitCode.ts"
import * as Process from "./Cli/internal/main.ts"
import * as Present from "./Cli/internal/present.ts"
import { root } from "./Cli/internal/root.ts"
import { version } from "./Cli/internal/version.ts"

/**
 * What the command needs of its platform: on Node, `NodeServices.layer` of `@effect/platform-node`.
 *
 * @category models
 * @since 0.1.0
 */
export type Services =
  | ChildProcessSpawner
  | FileSystem.FileSystem
  | Path.Path
  | Stdio.Stdio
  | Terminal.Terminal

/**
 * How the process ends.
 *
 * - `failure`: what was asked for could not be done, or only in part.
 * - `usage`: the command line or the environment makes no sense.
 * - `keys`: there is no API key, or the API does not accept it.
 * - `limit`: a rate limit or a budget has no room.
 * - `api`: the API does not answer, or answers with an error of its own.
 * - `interrupted`, `terminated`, `hungUp`: by Ctrl-C, by SIGTERM, by the end of the terminal.
 * - `brokenPipe`: the reader of the output went away.
 *
 * @category constants
 * @since 0.1.0
 */
export const ExitCode = Code

/**
 * Runs the command with these arguments and succeeds with its exit code. Results go to the standard output, everything else to the standard
 * error. Configuration comes from the `ConfigProvider`. An interruption stops what runs, and what was written before is whole.
 *
 * @category constructors
 * @since 0.1.0
 */
export const run = (args: ReadonlyArray<string>): Effect.Effect<number, never, Services> => {
  const isJson = Present.wantsJson(args)
  return Command.runWith(root, { version })(args).pipe(
    Effect.as(Code.ok as number),
    Effect.catchCause((cause) => Present.failed(cause, isJson)),
    Effect.provideService(References.MinimumLogLevel, "Warn"),
    Effect.provide(Layer.mergeAll(
      CliOutput.layerPresenter(Present.presenter(isJson)),
      CliConfig.layer({ builtIns: [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions, GlobalFlag.LogLevel] }),
      TerminalCapabilities.layer,
      Logger.layer([Present.logger(isJson)])
    ))
  )
}

/**
 * Runs the command as the program of a Node process, and ends that with the exit code. A second Ctrl-C ends it at once. Needs
 * `@effect/platform-node`, and says so where it is not installed.
 *
 * @category constructors
 * @since 0.1.0
 */
export const main = (args: ReadonlyArray<string>): void => Process.main(run(args), Present.wantsJson(args))

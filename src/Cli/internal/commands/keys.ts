/** `keys`: the API keys that programs find. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Duration from "effect/Duration"
import * as Flags from "../flags.ts"
import { lazily } from "../peer.ts"

const label = Argument.String("label").pipe(Argument.withDescription("The name of the key"))

const source = Flags.optional(
  Flag.Literals("source", ["keyring", "file"]).pipe(
    Flag.withDescription("The keyring of the system, or the encrypted file. Default: the keyring")
  )
)

const set = Command.make("set", {
  // A key among the arguments is refused without being shown.
  words: Argument.String("label").pipe(Argument.withDescription("The name of the key"), Argument.variadic({ min: 1 })),
  group: Flag.String("group").pipe(
    Flag.withDescription("The organization or workspace that shares its limits"),
    Flag.withDefault("default")
  ),
  weight: Flag.Finite("weight").pipe(
    Flag.withDescription("Its share of the calls; 0 is none"),
    Flag.filter((weight) => weight >= 0 && weight <= 1e6, () => "must be from 0 to 1,000,000"),
    Flag.withDefault(1)
  ),
  source
}, (input) => lazily(() => import("../keys.ts"), ({ set }) => set(input))).pipe(
  Command.withDescription(
    "Stores a key, or replaces the one with its label. The key is typed without an echo, or read from the standard input; it is never an argument."
  ),
  Command.withShortDescription("Store or replace a key"),
  Command.withExamples([
    { command: "effect-claude keys set team-a --group workspace-a", description: "Type the key" },
    { command: "pass show anthropic | effect-claude keys set team-a", description: "Take it from another program" }
  ])
)

const get = Command.make("get", {
  label,
  reveal: Flag.Boolean("reveal").pipe(Flag.withDescription("Write the key itself"), Flag.withDefault(false))
}, (input) => lazily(() => import("../keys.ts"), ({ get }) => get(input))).pipe(
  Command.withDescription(
    "Says where a key is and to which group it belongs; writes the key itself only with --reveal."
  ),
  Command.withShortDescription("Describe a key")
)

const list = Command.make("list", {
  fingerprint: Flag.Boolean("fingerprint").pipe(
    Flag.withDescription("Add the first digits of the SHA-256 of each"),
    Flag.withDefault(false)
  )
}, (input) => lazily(() => import("../keys.ts"), ({ list }) => list(input))).pipe(
  Command.withDescription("Lists the keys of all sources, and why a source has none."),
  Command.withShortDescription("List keys")
)

const remove = Command.make(
  "remove",
  { label, source },
  (input) => lazily(() => import("../keys.ts"), ({ remove }) => remove(input))
).pipe(
  Command.withDescription("Removes a key from the keyring and the encrypted file."),
  Command.withShortDescription("Remove a key")
)

const check = Command.make("check", {
  labels: Argument.String("label").pipe(
    Argument.withDescription("The keys to check. Default: all"),
    Argument.variadic()
  ),
  timeout: Flags.duration("timeout").pipe(
    Flag.withDescription("How long the API may take to answer. Default: 10 seconds"),
    Flag.withDefault(Duration.seconds(10))
  )
}, (input) => lazily(() => import("../keys.ts"), ({ check }) => check(input))).pipe(
  Command.withDescription("Asks the API whether it accepts the keys. Costs nothing. Ends with 3 where it does not."),
  Command.withShortDescription("Ask whether the API accepts keys")
)

export const keys = Command.make("keys").pipe(
  Command.withDescription("Stores, lists and checks the API keys that programs on this machine find."),
  Command.withShortDescription("Store and check API keys"),
  Command.withSubcommands([set, get, list, remove, check])
)

/** `cost`: what a ledger says. */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Option from "effect/Option"
import type { Dimension } from "../../../CostReport.ts"
import * as Flags from "../flags.ts"
import { lazily } from "../peer.ts"

const dimensions: Readonly<Record<string, Dimension>> = {
  model: "model",
  user: "user",
  tenant: "tenant",
  "request-type": "requestType",
  key: "key",
  day: "day",
  hour: "hour"
}

const dimension = (name: string) =>
  Flags.optional(
    Flag.String(name).pipe(
      Flag.withMetavar("dimension"),
      Flag.filterMap(
        (text): Option.Option<Dimension> => {
          const tag = /^tag:(.+)$/.exec(text)?.[1]
          return Option.fromUndefinedOr(tag === undefined ? dimensions[text] : { tag })
        },
        (text) => `expected ${Object.keys(dimensions).join(", ")} or tag:NAME, not "${text}"`
      )
    )
  )

const zone = Flag.String("zone").pipe(
  Flag.withDescription("Time zone of days, such as Europe/Berlin"),
  Flag.withDefault("UTC")
)

const report = Command.make("report", {
  ...Flags.ledger,
  by: dimension("by").pipe(
    Flag.withDescription(
      "Group by model, user, tenant, request-type, key, day, hour or tag:NAME. Default: only the total"
    )
  ),
  last: Flags.optional(Flags.duration("last").pipe(Flag.withDescription("The time until now. Default: 30 days"))),
  from: Flags.optional(Flags.instant("from").pipe(Flag.withDescription("From this day or instant"))),
  to: Flags.optional(Flags.instant("to").pipe(Flag.withDescription("Before this day or instant"))),
  zone,
  csv: Flag.Boolean("csv").pipe(Flag.withDescription("Write the groups as CSV"), Flag.withDefault(false)),
  ...Flags.where
}, (input) => lazily(() => import("../cost.ts"), ({ report }) => report(input))).pipe(
  Command.withDescription("Reports what the calls in a ledger cost."),
  Command.withExamples([
    {
      command: "effect-claude cost report --ledger costs.db --by tenant --last \"7 days\"",
      description: "The costliest tenants of a week"
    }
  ])
)

const budget = Command.make("budget", {
  ...Flags.ledger,
  limit: Flags.usd("limit").pipe(Flag.withDescription("US dollars that may be spent in the window")),
  window: Flag.Literals("window", ["day", "week", "month"]).pipe(
    Flag.withDescription("Calendar window; weeks begin on Monday"),
    Flag.withDefault("month")
  ),
  rolling: Flags.optional(
    Flags.duration("rolling").pipe(Flag.withDescription("The time until now, instead of a calendar window"))
  ),
  per: dimension("per").pipe(
    Flag.withDescription("The limit is for each model, user, tenant, request-type, key or tag:NAME")
  ),
  zone,
  ...Flags.where
}, (input) => lazily(() => import("../cost.ts"), ({ budget }) => budget(input))).pipe(
  Command.withDescription(
    "Holds what the calls in a ledger cost against a limit, and projects it to the end of the window. Ends with 4 where the limit is passed."
  ),
  Command.withExamples([
    {
      command: "effect-claude cost budget --ledger costs.db --limit 100 --window month --per tenant",
      description: "How far each tenant is into its month"
    }
  ])
)

export const cost = Command.make("cost").pipe(
  Command.withDescription("Reads a ledger: what calls cost, and how that stands against a budget."),
  Command.withShortDescription("Report what calls cost"),
  Command.withSubcommands([report, budget])
)

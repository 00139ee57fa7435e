/** How the ledger asks its store. */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type { Command, Reply } from "./data.ts"

/** The first message among an error and its causes: those of some drivers have none, or one that says little. */
const messageOf = (cause: unknown, depth = 0): string => {
  if (!(cause instanceof Error) || depth > 5) return ""
  const inner = messageOf(cause.cause ?? (cause instanceof AggregateError ? cause.errors[0] : undefined), depth + 1)
  if (cause.message === "") return inner
  return inner === "" || cause.message.includes(inner) ? cause.message : `${cause.message}: ${inner}`
}

const whyOf = (cause: unknown): string => {
  const message = messageOf(cause)
  return message === "" ? "" : `: ${message.replace(/\.$/, "")}`
}

/** No answer, rather than one that says no. */
const isAway = (cause: unknown): boolean =>
  !Predicate.hasProperty(cause, "reason") || !Predicate.hasProperty(cause.reason, "_tag") ||
  ["ConnectionError", "LockTimeoutError", "StatementTimeoutError"].includes(String(cause.reason._tag))

/**
 * The ledger cannot be read or written.
 *
 * - `query`: the report query is invalid; `cause` says why.
 * - `store`: the store cannot be reached, or refuses what it is asked; `cause` and the message say which, and why. Rows to be written wait.
 * - `range`: a sum exceeds 2^53 nano-dollars (9 million dollars), or the range has more than 10,000 days or hours.
 *
 * @category errors
 * @since 0.1.0
 */
export class CostLedgerError extends Schema.TaggedError<CostLedgerError>("effect-claude/CostLedgerError")(
  "CostLedgerError",
  { reason: Schema.Literals(["query", "store", "range"]), cause: Schema.optional(Schema.Defect()) }
) {
  override get message(): string {
    if (this.reason === "range") return "The report is too large to be exact. Ask for a shorter range."
    if (this.reason === "query") return `Invalid report query${whyOf(this.cause)}.`
    return isAway(this.cause)
      ? `The store of the ledger cannot be reached${whyOf(this.cause)}. Try again later.`
      : `The store of the ledger failed${whyOf(this.cause)}.`
  }
}

export type ReplyTo<C extends Command> = Extract<Reply, { readonly _tag: C["_tag"] }>

export type Ask = <C extends Command>(command: C) => Effect.Effect<ReplyTo<C>, CostLedgerError>

/** Whatever a store fails with, defects too, is a `CostLedgerError`. */
export const make =
  (step: (command: Command) => Effect.Effect<Reply, unknown>): Ask => <C extends Command>(command: C) =>
    Effect.suspend(() => step(command)).pipe(
      Effect.catchDefect(Effect.fail),
      Effect.filterOrFail(
        (reply): reply is ReplyTo<C> => reply._tag === command._tag,
        ({ _tag }) => new Error(`it replied to ${command._tag} with ${_tag}`)
      ),
      Effect.mapError((cause) => new CostLedgerError({ reason: "store", cause }))
    )

/** How the ledger asks its store. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Command, Reply } from "./data.ts"

export const whyOf = (cause: unknown): string => cause instanceof Error ? `: ${cause.message.replace(/\.$/, "")}` : ""

/**
 * The ledger cannot be read or written.
 *
 * - `query`: the report query is invalid; `cause` says why.
 * - `store`: the store failed or did not answer in time; `cause` says how. Rows to be written wait.
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
    return `The store of the ledger did not answer${whyOf(this.cause)}. Try again later.`
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

/** The commands of a ledger's store as functions, for tests. */
import { Effect } from "effect"
import type * as CostLedger from "effect-claude/CostLedger"

type Asked<Tag extends CostLedger.Command["_tag"]> = Omit<Extract<CostLedger.Command, { readonly _tag: Tag }>, "_tag">

export type Store = CostLedger.Store["Service"]

export const asking = (store: Store) => {
  const ask = <C extends CostLedger.Command>(command: C) =>
    Effect.map(Effect.orDie(store.step(command)), (reply) => {
      if (reply._tag !== command._tag) throw new Error(`${command._tag} got ${reply._tag}`)
      return reply as Extract<CostLedger.Reply, { readonly _tag: C["_tag"] }> // it has its tag
    })
  return {
    write: (rows: ReadonlyArray<CostLedger.Row>) => Effect.map(ask({ _tag: "Write", rows }), ({ evicted }) => evicted),
    aggregate: (range: CostLedger.Range, by: Asked<"Aggregate">["by"], where: Asked<"Aggregate">["where"]) =>
      Effect.map(ask({ _tag: "Aggregate", range, by, where }), ({ groups }) => groups),
    page: (range: CostLedger.Range, limit: number, after: CostLedger.Cursor | undefined) =>
      Effect.map(ask({ _tag: "Page", range, limit, after }), ({ next, rows }) => ({ next, rows })),
    span: Effect.map(Effect.suspend(() => ask({ _tag: "Span" })), ({ span }) => span),
    trim: ({ before, keep }: { readonly before: number; readonly keep: number }, limit: number) =>
      Effect.map(ask({ _tag: "Trim", before, keep, limit }), ({ removed }) => removed)
  }
}

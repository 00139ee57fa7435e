/** Admits attempts to the budgets that they count towards, and settles what they reserved. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { admitted, type Attempt, billedOf, costOf, type MessageAttempt, type Settle } from "../../Attempt.ts"
import { type BudgetExceededError, type BudgetUnavailableError, UnpricedModelError } from "../../ClaudeError.ts"
import type { Catalogue } from "../../Model.ts"
import type { PriceBook } from "../../PriceBook.ts"
import { accountsFor } from "./budgets.ts"
import type { Client } from "./client.ts"
import type { Decision, Reserve, Settlement } from "./data.ts"
import { nearestTo } from "./nearest.ts"
import type { Refusals } from "./refusals.ts"
import type { Registry } from "./registry.ts"
import type { Telemetry } from "./telemetry.ts"
import { amountOf, ceilingOf, type Ceilings, refused } from "./worstCase.ts"

type Own = BudgetExceededError | BudgetUnavailableError | UnpricedModelError

/** `client` waits for room where that is asked for; `asked` never does. */
interface Settings {
  readonly asked: Client
  readonly client: Client
  readonly isLocal: boolean
  readonly owner: string
  readonly leaseMillis: number
  readonly options: Ceilings
  readonly book: PriceBook["Service"]
  readonly catalogue: Catalogue
  readonly registry: Registry
  readonly refusals: Refusals
  readonly telemetry: Telemetry
  readonly unavailable: (reason: "store" | "accounts", attempts: number) => BudgetUnavailableError
}

export const make = Effect.fnUntraced(function*(settings: Settings): Effect.fn.Return<
  {
    readonly admit: (attempt: Attempt) => Effect.Effect<Settle, Own>
    readonly check: (attempt: Attempt) => Effect.Effect<void, Own>
  },
  never,
  Scope.Scope
> {
  const { asked, book, catalogue, client, isLocal, leaseMillis, options, owner, refusals, registry, telemetry } =
    settings
  const clock = yield* Clock.Clock
  let leases = 0
  let open = 0

  yield* Effect.addFinalizer(() =>
    open === 0 ? Effect.void : Effect.logWarning(
      `Budget: ${open} attempts were still running when the layer ended. What they reserved ` +
        (isLocal ? "is forgotten with it." : "lapses, and their cost is not counted.")
    )
  )

  const fail = (decision: Decision | undefined, nanoUsd: number, attempt: MessageAttempt): Effect.Effect<never, Own> =>
    Effect.fail(
      decision?._tag === "Refused"
        ? refused(decision, registry.find(decision.account.budget), nanoUsd, attempt)
        : settings.unavailable(decision === undefined ? "store" : "accounts", attempt.number - 1)
    )

  /** What an attempt reserves, and where; undefined where it counts towards no budget. */
  const askOf = (attempt: MessageAttempt): Effect.Effect<Reserve | undefined, UnpricedModelError> => {
    const accounts = accountsFor(registry.budgets, attempt)
    if (accounts.length === 0) return Effect.undefined
    const ceiling = attempt.ceilingNanoUsd ??= ceilingOf(
      book,
      catalogue,
      options,
      attempt,
      clock.currentTimeMillisUnsafe()
    )
    if (ceiling !== undefined || options.unpriced === "allow") {
      return Effect.succeed({ nanoUsd: ceiling ?? 0, accounts })
    }
    const nearest = nearestTo(attempt.model, catalogue.models)
    return Effect.fail(new UnpricedModelError({ model: attempt.model, nearest, attempts: attempt.number - 1 }))
  }

  const settleWith = (attempt: MessageAttempt, reserved: Settlement): Settle =>
    Effect.suspend(() => {
      open--
      const cost = costOf(book, attempt, clock.currentTimeMillisUnsafe())
      const spent = cost === undefined ? 0 : amountOf(cost.cost?.nanoUsd) ?? reserved.reservedNanoUsd
      const doubtful = billedOf(attempt.outcome) === "unknown" ? { doubtfulNanoUsd: spent } : undefined
      return client.settle({ ...reserved, spentNanoUsd: spent, ...doubtful })
    })

  const admit = (attempt: Attempt): Effect.Effect<Settle, Own> =>
    Effect.suspend(() => {
      if (attempt.endpoint !== "messages") return admitted
      return Effect.flatMap(askOf(attempt), (ask): Effect.Effect<Settle, Own> => {
        if (ask === undefined) return admitted
        const now = clock.currentTimeMillisUnsafe()
        const boundMillis = Math.max(0, (attempt.context.deadline ?? Infinity) - now)
        const lease = isLocal ? undefined : { id: `${owner}-${++leases}`, millis: leaseMillis }
        const reserved = Effect.flatMap(client.reserve({ ...ask, lease }, boundMillis), (decision) => {
          if (decision?._tag === "Reserved") {
            open++
            return Effect.succeed(settleWith(attempt, decision.settlement))
          }
          refusals.note(decision, ask.nanoUsd, now)
          return fail(decision, ask.nanoUsd, attempt)
        })
        return attempt.ceilingNanoUsd === undefined
          ? Effect.andThen(telemetry.letThrough(attempt.model, now), reserved)
          : reserved
      })
    })

  const check = (attempt: Attempt): Effect.Effect<void, Own> =>
    Effect.suspend(() => {
      if (attempt.endpoint !== "messages") return Effect.void
      return Effect.flatMap(askOf(attempt), (ask): Effect.Effect<void, Own> => {
        if (ask === undefined) return Effect.void
        if (!isLocal) {
          const decision = refusals.of(ask, clock.currentTimeMillisUnsafe())
          return decision === undefined ? Effect.void : fail(decision, ask.nanoUsd, attempt)
        }
        return Effect.flatMap(
          asked.reserve({ ...ask, isLook: true }, Infinity),
          (decision) => decision?._tag === "Reserved" ? Effect.void : fail(decision, ask.nanoUsd, attempt)
        )
      })
    })

  return { admit, check }
})

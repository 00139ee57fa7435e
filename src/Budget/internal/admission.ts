/** Admits attempts to the budgets that they count towards, and settles what they reserved: what every attempt passes through. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { admitted, type Attempt, billedOf, costOf, type MessageAttempt, type Settle } from "../../Attempt.ts"
import { BudgetExceededError, type BudgetUnavailableError, UnpricedModelError } from "../../ClaudeError.ts"
import { nameOf } from "../../internal/text.ts"
import type { Catalogue } from "../../Model.ts"
import type { PriceBook } from "../../PriceBook.ts"
import { accountText, type Budget, type Subject, valueOf } from "./budgets.ts"
import type { Client } from "./client.ts"
import type { Account, Batch, Decision, Refused, Reply, Reserve, Settlement } from "./data.ts"
import { nearestTo } from "./nearest.ts"
import type { Refusals } from "./refusals.ts"
import { Memory } from "./step.ts"
import type { Telemetry } from "./telemetry.ts"

type Own = BudgetExceededError | BudgetUnavailableError | UnpricedModelError

/**
 * - `reserveOutput`, `unpriced`: as they are configured.
 * - `client` waits for room where that is asked for; `asked` never does.
 * - `configured`: the budgets of now.
 */
interface Settings {
  readonly reserveOutput: "max" | "learned"
  readonly unpriced: "refuse" | "mostExpensive" | "allow"
  readonly asked: Client
  readonly client: Client
  readonly isLocal: boolean
  readonly owner: string
  readonly leaseMillis: number
  readonly book: PriceBook["Service"]
  readonly catalogue: Catalogue
  readonly configured: { readonly budgets: ReadonlyArray<Budget> }
  readonly refusals: Refusals
  readonly telemetry: Telemetry
  readonly unavailable: (reason: "store" | "accounts", attempts: number) => BudgetUnavailableError
}

/** The longest value that is looked up as it is, and the most accounts that are remembered. */
const maxAccount = 200
const maxRecent = 10_000

/** The account of a divided budget in which an attempt counts. */
const accountFor = ({ account, dimension, recent }: Budget, subject: Subject): Account => {
  const given = dimension === undefined ? "" : valueOf(subject, dimension) ?? ""
  const value = given.length > maxAccount ? nameOf(given) : given
  const known = recent.get(value)
  if (known !== undefined) return known
  const found = account(nameOf(value))
  if (recent.size >= maxRecent) recent.clear()
  recent.set(value, found)
  return found
}

/** The accounts in which an attempt counts: one of each budget that it matches. */
export const accountsFor = (budgets: ReadonlyArray<Budget>, subject: Subject): ReadonlyArray<Account> => {
  const accounts: Array<Account> = []
  for (const budget of budgets) {
    if (budget.matches === undefined || budget.matches(subject)) {
      accounts.push(budget.whole ?? accountFor(budget, subject))
    }
  }
  return accounts
}

/** An amount in whole nano-dollars. More than can be counted is as much as can be. */
const mostOf = (nanoUsd: number | undefined): number | undefined =>
  nanoUsd !== undefined && nanoUsd >= 0 ? Math.min(Math.ceil(nanoUsd), Number.MAX_SAFE_INTEGER) : undefined

/** The most that an attempt can cost; undefined where its model has no price. */
const ceilingOf = (
  { book, catalogue, reserveOutput, unpriced }: Settings,
  { context, estimate: { inputTokens, maxOutputTokens }, kind, request }: MessageAttempt,
  at: number
): number | undefined => {
  const outputTokens = reserveOutput === "learned" ? kind.highOutput(maxOutputTokens) : maxOutputTokens
  const tokens = { inputTokens, outputTokens, at }
  const ceiling = mostOf(book.ceiling(request, tokens))
  const uncounted = context.expectedCost === undefined ? 0 : mostOf(context.expectedCost * 1e9) ?? 0
  if (ceiling !== undefined || uncounted > 0) return uncounted === 0 ? ceiling : mostOf((ceiling ?? 0) + uncounted)
  if (unpriced !== "mostExpensive") return undefined
  const ceilings = catalogue.models.flatMap(({ id }) => mostOf(book.ceiling({ ...request, model: id }, tokens)) ?? [])
  return ceilings.length === 0 ? undefined : Math.max(...ceilings)
}

/** The refusal of an attempt that needs `neededNanoUsd`. */
const exceeded = (
  { account: { account, budget: name }, at, limitNanoUsd, reservedNanoUsd, resetsAt, spentNanoUsd }: Refused,
  budgets: ReadonlyArray<Budget>,
  neededNanoUsd: number,
  { number }: MessageAttempt
): BudgetExceededError => {
  const budget = budgets.find((budget) => budget.name === name)
  return new BudgetExceededError({
    budget: name,
    account: budget?.dimension === undefined ? undefined : accountText(budget.dimension, account),
    limitNanoUsd,
    spentNanoUsd,
    reservedNanoUsd,
    neededNanoUsd,
    resetsAt,
    retryAfter: resetsAt === undefined ? undefined : Duration.millis(resetsAt - at),
    ...(budget?.isOfKey === true && { isOfKey: true }),
    attempts: number - 1
  })
}

/** Gauges read what is shown when somebody asks; all else that is new is told. */
export const reporting = ({ gauges, tell }: Telemetry) => (reply: Reply): Effect.Effect<void> => {
  let isNews = reply.events.length > 0
  for (const balance of reply.balances) {
    const gauge = gauges.get(balance.budget)
    const isAsBefore = gauge !== undefined && reply.now < gauge.looksAt && gauge.shown.until === balance.until &&
      gauge.shown.account === balance.account
    if (isAsBefore) gauge.shown = balance
    else isNews = true
  }
  return isNews ? tell(reply) : Effect.void
}

/** Asks a store in this process, which answers at once: ask where the effect is run. */
export const local = (
  store: { readonly step: (batch: Batch) => Effect.Effect<Reply, unknown> },
  report: (reply: Reply) => Effect.Effect<void>
): Client => {
  const step: (batch: Batch) => Effect.Effect<Reply> = store instanceof Memory
    ? store.stepNow
    : (batch) => Effect.orDie(store.step(batch))
  return {
    reserve: (ask) =>
      Effect.flatMapEager(step({ reserves: [ask] }), (reply) => {
        const { decisions: [decision], events } = reply
        // A look and a refusal change nothing, and only the first refusal in a window is an event.
        const isNews = (ask.isLook !== true && decision?._tag !== "Refused") || events.length > 0
        return isNews ? Effect.mapEager(report(reply), () => decision) : Effect.succeed(decision)
      }),
    settle: (settlement) => Effect.flatMapEager(step({ settlements: [settlement] }), report),
    step: (batch) => Effect.suspend(() => step(batch))
  }
}

export const make = Effect.fnUntraced(function*(settings: Settings): Effect.fn.Return<
  {
    readonly admit: (attempt: Attempt) => Effect.Effect<Settle, Own>
    readonly check: (attempt: Attempt) => Effect.Effect<void, Own>
  },
  never,
  Scope.Scope
> {
  const { asked, book, client, configured, isLocal, leaseMillis, owner, refusals, telemetry, unpriced } = settings
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
        ? exceeded(decision, configured.budgets, nanoUsd, attempt)
        : settings.unavailable(decision === undefined ? "store" : "accounts", attempt.number - 1)
    )

  /** What an attempt reserves, and where; undefined where it counts towards no budget. */
  const askOf = (attempt: MessageAttempt, now: number): Reserve | UnpricedModelError | undefined => {
    const accounts = accountsFor(configured.budgets, attempt)
    if (accounts.length === 0) return undefined
    const ceiling = attempt.ceilingNanoUsd ??= ceilingOf(settings, attempt, now)
    if (ceiling !== undefined || unpriced === "allow") return { nanoUsd: ceiling ?? 0, accounts }
    const nearest = nearestTo(attempt.model, settings.catalogue.models)
    return new UnpricedModelError({ model: attempt.model, nearest, attempts: attempt.number - 1 })
  }

  const settleWith = (attempt: MessageAttempt, reserved: Settlement): Settle =>
    Effect.suspend(() => {
      open--
      const charged = costOf(book, attempt, clock.currentTimeMillisUnsafe())
      // A price book may give nothing, or nothing that can be counted.
      const cost = charged === undefined ? 0 : charged.cost?.nanoUsd ?? NaN
      const spent = cost >= 0 && cost <= Number.MAX_SAFE_INTEGER ? Math.ceil(cost) : reserved.reservedNanoUsd
      const doubtful = billedOf(attempt.outcome) === "unknown" ? { doubtfulNanoUsd: spent } : undefined
      return client.settle({ ...reserved, spentNanoUsd: spent, ...doubtful })
    })

  const admit = (attempt: Attempt): Effect.Effect<Settle, Own> =>
    Effect.suspend(() => {
      if (attempt.endpoint !== "messages") return admitted
      const now = clock.currentTimeMillisUnsafe()
      const ask = askOf(attempt, now)
      if (ask === undefined) return admitted
      if ("_tag" in ask) return Effect.fail(ask)
      const boundMillis = Math.max(0, (attempt.context.deadline ?? Infinity) - now)
      const lease = isLocal ? undefined : { id: `${owner}-${++leases}`, millis: leaseMillis }
      const reserved = Effect.flatMapEager(client.reserve({ ...ask, lease }, boundMillis), (decision) => {
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

  const check = (attempt: Attempt): Effect.Effect<void, Own> =>
    Effect.suspend(() => {
      if (attempt.endpoint !== "messages") return Effect.void
      const now = clock.currentTimeMillisUnsafe()
      const ask = askOf(attempt, now)
      if (ask === undefined) return Effect.void
      if ("_tag" in ask) return Effect.fail(ask)
      if (!isLocal) {
        const decision = refusals.of(ask, now)
        return decision === undefined ? Effect.void : fail(decision, ask.nanoUsd, attempt)
      }
      return Effect.flatMapEager(
        asked.reserve({ ...ask, isLook: true }, Infinity),
        (decision) => decision?._tag === "Reserved" ? Effect.void : fail(decision, ask.nanoUsd, attempt)
      )
    })

  return { admit, check }
})

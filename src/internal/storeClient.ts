/**
 * The way from a policy to a store that other processes share.
 *
 * A step is bounded in time. The first that fails logs one warning; from then on the store is lost, and is tried again after a back-off until it
 * answers, which is logged once. What a policy does meanwhile is its own affair. A store in this process needs none of this.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"

/**
 * - `name`: of the policy, for the log.
 * - `timeoutMillis`: the longest that a step may take. One that takes longer is interrupted and not waited for: a rollback on a dead connection
 *   would hold its caller.
 * - `isReply`: whether what the store replied with is a reply. Default everything but nothing.
 * - `whileLost`: a sentence that says what happens until the store answers again.
 * - `retryMillis`, `maxRetryMillis`: the back-off, doubling from one to the other. Default 1 and 10 seconds.
 * - `onLost`, `onFound`: run when the store is lost and when it answers again; `onFound` may return a sentence for the log.
 */
export interface Options<Batch, Reply> {
  readonly name: string
  readonly step: (batch: Batch) => Effect.Effect<Reply, unknown>
  readonly timeoutMillis: number
  readonly whileLost: string
  readonly isReply?: ((reply: Reply) => boolean) | undefined
  readonly retryMillis?: number | undefined
  readonly maxRetryMillis?: number | undefined
  readonly onLost?: (() => void) | undefined
  readonly onFound?: (() => string | undefined) | undefined
}

type Link =
  /** The last step was answered. */
  | { readonly _tag: "Found" }
  /** The last step failed; the next one waits until `tryAt`. */
  | { readonly _tag: "Lost"; readonly backoffMillis: number; readonly tryAt: number }

const found: Link = { _tag: "Found" }

/** Fails after `millis`, also where the effect cannot be interrupted. */
const abandonable = <A, E>(effect: Effect.Effect<A, E>, millis: number): Effect.Effect<A, E | Cause.TimeoutError> =>
  Effect.flatMap(Effect.forkDetach(effect, { startImmediately: true }), (fiber) =>
    fiber.pollUnsafe() ?? Effect.onExit(
      Effect.timeout(Fiber.join(fiber), millis),
      () => Effect.sync(() => fiber.interruptUnsafe())
    ))

export class StoreClient<Batch, Reply> {
  /** How often the store was lost: an answer to a step from before the last loss may be told from a later one. */
  losses = 0
  private link: Link = found
  private readonly options: Options<Batch, Reply>

  constructor(options: Options<Batch, Reply>) {
    this.options = options
  }

  get isLost(): boolean {
    return this.link._tag === "Lost"
  }

  /** How long the store is left alone yet; 0 where it may be asked now. */
  waitMillis(now: number): number {
    if (this.link._tag === "Found") return 0
    const { backoffMillis, tryAt } = this.link
    // A clock that was set back begins the wait anew: it would not end before the clock has caught up.
    if (tryAt - now > backoffMillis) this.link = { _tag: "Lost", backoffMillis, tryAt: now + backoffMillis }
    return Math.max(0, Math.min(backoffMillis, tryAt - now))
  }

  /** One step; undefined where it failed or took too long. The store may have made it all the same. */
  step(batch: Batch): Effect.Effect<Reply | undefined> {
    const { isReply = () => true, step, timeoutMillis } = this.options
    const { losses } = this
    return Effect.matchCauseEffect(abandonable(Effect.suspend(() => step(batch)), timeoutMillis), {
      onFailure: (cause) => Effect.as(this.lose(losses, cause), undefined),
      onSuccess: (reply) =>
        Predicate.isNotNullish(reply) && isReply(reply)
          ? Effect.as(this.find(), reply)
          : Effect.as(this.lose(losses, Cause.die(new Error("what it replied is no reply"))), undefined)
    })
  }

  private lose(losses: number, cause: Cause.Cause<unknown>): Effect.Effect<void> {
    return Clock.clockWith((clock) => {
      const { link } = this
      // Steps that ran at once are lost together.
      if (losses !== this.losses) return Effect.void
      const { maxRetryMillis = 10_000, name, onLost, retryMillis = 1_000, whileLost } = this.options
      const backoffMillis = link._tag === "Lost" ? Math.min(maxRetryMillis, link.backoffMillis * 2) : retryMillis
      this.losses++
      this.link = { _tag: "Lost", backoffMillis, tryAt: clock.currentTimeMillisUnsafe() + backoffMillis }
      if (link._tag === "Lost") return Effect.void
      onLost?.()
      return Effect.logWarning(`${name}: the store does not answer. ${whileLost}`, cause)
    })
  }

  private find(): Effect.Effect<void> {
    if (this.link._tag === "Found") return Effect.void
    this.link = found
    const { name, onFound } = this.options
    const more = onFound?.()
    return Effect.logInfo(`${name}: the store answers again.${more === undefined ? "" : ` ${more}`}`)
  }
}

/**
 * Items on their way to a store, numbered from 1 in order, kept until the store has acknowledged them. Sending one again under its number lets a store
 * make it once.
 *
 * At `capacity`, an item is merged into the last one that was never sent, where `merge` is given; else the oldest that was never sent is dropped,
 * and counted.
 */
export class Outbox<Item> {
  dropped = 0
  private readonly items: Array<Item> = []
  /** The number of the last item that was acknowledged, and of the last one that was sent. */
  private acknowledged = 0
  private sent = 0
  private readonly capacity: number
  private readonly merge: ((last: Item, next: Item) => Item) | undefined

  constructor(capacity: number, merge?: (last: Item, next: Item) => Item) {
    this.capacity = Math.max(1, capacity)
    this.merge = merge
  }

  get size(): number {
    return this.items.length
  }

  /** All items that the store has not acknowledged. */
  get pending(): ReadonlyArray<Item> {
    return this.items
  }

  /** How many of them were never sent. */
  get unsent(): number {
    return this.acknowledged + this.items.length - this.sent
  }

  push(item: Item): void {
    const last = this.items.at(-1)
    if (this.items.length < this.capacity || last === undefined) this.items.push(item)
    else if (this.unsent === 0) this.dropped++
    else if (this.merge !== undefined) this.items[this.items.length - 1] = this.merge(last, item)
    else {
      this.items.splice(this.items.length - this.unsent, 1)
      this.items.push(item)
      this.dropped++
    }
  }

  /** The oldest items, at most `max` of them, to be sent now; `number` is that of the first. */
  take(max: number): { readonly number: number; readonly items: ReadonlyArray<Item> } {
    const items = this.items.slice(0, max)
    this.sent = Math.max(this.sent, this.acknowledged + items.length)
    return { number: this.acknowledged + 1, items }
  }

  /** The store has made all items up to this number. */
  acknowledge(number: number): void {
    const made = Math.min(Math.max(0, number - this.acknowledged), this.items.length)
    this.items.splice(0, made)
    this.acknowledged += made
    this.sent = Math.max(this.sent, this.acknowledged)
  }
}

/** Work in the background, while there is any. */
export interface Worker {
  readonly wake: () => void
}

/**
 * Runs `work` again and again while something is left, and waits for the client's back-off in between. When the scope closes, it runs once more and
 * is waited for at most `timeoutMillis`; then `atEnd` runs.
 */
export const worker = Effect.fnUntraced(function*(
  client: Pick<StoreClient<never, unknown>, "waitMillis">,
  options: {
    readonly isLeft: () => boolean
    readonly work: Effect.Effect<void>
    readonly timeoutMillis: number
    readonly atEnd: Effect.Effect<void>
  }
): Effect.fn.Return<Worker, never, Scope.Scope> {
  const run = yield* FiberSet.makeRuntime<never>()
  let running: Fiber.Fiber<void> | undefined

  const once = Clock.clockWith((clock) => {
    const wait = client.waitMillis(clock.currentTimeMillisUnsafe())
    return wait > 0 ? Effect.sleep(wait) : options.work
  })

  const loop: Effect.Effect<void> = Effect.suspend(() => {
    // Whoever asks in this turn of the event loop goes along.
    if (options.isLeft()) return Effect.flatMap(Effect.exit(Effect.andThen(Effect.yieldNow, once)), () => loop)
    running = undefined
    return Effect.void
  })

  const wake = (): void => {
    if (running !== undefined) return
    const fiber = run(loop)
    if (fiber.pollUnsafe() === undefined) running = fiber
  }

  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      wake()
      const ended = running === undefined
        ? Effect.void
        : Effect.asVoid(Effect.timeoutOption(Fiber.await(running), options.timeoutMillis))
      return Effect.andThen(ended, options.atEnd)
    })
  )

  return { wake }
})

/**
 * What the caller says about the calls in a region of a program: who they are for, what they are, and how long they may
 * take. Policies, spans and the ledger read the same value; functions do not pass it along.
 *
 * **Example** (Everything inside is for one user and ends within 20 seconds)
 *
 * ```ts
 * import { CallContext } from "effect-claude"
 * import { Effect } from "effect"
 *
 * const program = CallContext.current.pipe(
 *   Effect.map((context) => context.user),
 *   CallContext.annotate({ user: "u-17" }),
 *   CallContext.withDeadline("20 seconds")
 * )
 *
 * Effect.runSync(program) // => "u-17"
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Stream from "effect/Stream"
import type { Rule } from "./internal/fallbackRule.ts"
import { joinHeaders } from "./internal/headers.ts"
import { nameOf } from "./internal/text.ts"

/**
 * Names have at most 200 bytes; longer ones are cut, as `bounded` says.
 *
 * - `user`, `tenant`: for budgets, reports and logs. They are not sent to the API.
 * - `requestType`: what kind of call it is, such as `"summary"`; what such calls used teaches the estimate.
 * - `tags`: anything else to report by, at most 32.
 * - `priority`: who waits first where calls wait for room. Default `"standard"`.
 * - `deadline`: milliseconds since the epoch after which the answer is worth nothing.
 * - `headers`: sent with each request, such as `anthropic-beta`, whose values add up with those of regions around it, of the key and of all
 *   calls. Headers that carry a key are ignored.
 * - `retries`: attempts after the first, instead of what the retry policy allows. A schedule of your own is only cut short. A fraction is rounded
 *   down; a negative number is none.
 * - `estimate`: tokens that the caller knows better than the estimate: input, which is then not counted, and output. A value that is negative
 *   or not finite is ignored.
 * - `keyGroup`: only keys of this group (an organization or workspace) are used: for what only it knows, such as uploaded files and the
 *   signed thinking of earlier turns.
 * - `fallback`: other models for these calls instead of those of the layer, as `Fallback` has them; `false` for none.
 * - `hedge`: `false` for streams that get no second attempt where the layer has `Hedge`.
 * - `expectedCost`: US dollars that budgets reserve on top for what cannot be counted, such as tools that the API runs; the whole
 *   reservation where the model has no price. A negative value is ignored.
 *
 * @category models
 * @since 0.1.0
 */
export interface CallContext {
  readonly user: string | undefined
  readonly tenant: string | undefined
  readonly requestType: string | undefined
  readonly tags: Readonly<Record<string, string>>
  readonly priority: "interactive" | "standard" | "bulk"
  readonly deadline: number | undefined
  readonly headers: Readonly<Record<string, string>>
  readonly retries?: number | undefined
  readonly estimate?:
    | { readonly inputTokens?: number | undefined; readonly outputTokens?: number | undefined }
    | undefined
  readonly keyGroup?: string | undefined
  readonly fallback?: ReadonlyArray<Rule> | false | undefined
  readonly hedge?: boolean | undefined
  readonly expectedCost?: number | undefined
}

/**
 * The context of the calls that this fiber makes; nobody in particular by default.
 *
 * @category references
 * @since 0.1.0
 */
export const CallContext = Context.Reference<CallContext>("effect-claude/CallContext", {
  defaultValue: () => ({
    user: undefined,
    tenant: undefined,
    requestType: undefined,
    tags: {},
    priority: "standard",
    deadline: undefined,
    headers: {}
  })
})

/** The most tags of a call. */
const maxTags = 32

const boundedNow = (context: CallContext): CallContext => {
  const user = context.user === undefined ? undefined : nameOf(String(context.user))
  const tenant = context.tenant === undefined ? undefined : nameOf(String(context.tenant))
  const requestType = context.requestType === undefined ? undefined : nameOf(String(context.requestType))
  const entries = Object.entries(context.tags)
  const kept = entries.slice(0, maxTags).map(([name, value]) => [nameOf(name), nameOf(String(value))] as const)
  const isSame = user === context.user && tenant === context.tenant && requestType === context.requestType &&
    entries.length === kept.length &&
    kept.every(([name, value], i) => name === entries[i]?.[0] && value === entries[i][1])
  return isSame ? context : copy(context, { user, tenant, requestType, tags: Object.fromEntries(kept) })
}

/**
 * The context as policies, spans and the ledger see it: names have at most 200 bytes as UTF-8 and no control characters, and there are at most 32 tags. A
 * longer name is cut, and ends with the hash of the whole, so that two long names remain two.
 *
 * @category getters
 * @since 0.1.0
 */
export const bounded: Effect.Effect<CallContext> = Effect.map(CallContext, boundedNow)

/**
 * The value of a tag. Tags have names of the caller's choice, `constructor` among them.
 *
 * @category getters
 * @since 0.1.0
 */
export const tagOf = (tags: CallContext["tags"], name: string): string | undefined =>
  Object.hasOwn(tags, name) ? tags[name] : undefined

/**
 * The context as it is here.
 *
 * @category getters
 * @since 0.1.0
 */
export const current: Effect.Effect<CallContext> = Effect.service(CallContext)

/**
 * What `annotate` takes: what is given replaces, `tags` and `headers` are merged.
 *
 * @category models
 * @since 0.1.0
 */
export type Patch = Partial<Omit<CallContext, "deadline">>

/** A copy in which the deadline follows corrections of the system's time as before. */
const copy = (self: CallContext, patch: Partial<CallContext>): CallContext => {
  const copied = { ...self, ...patch }
  const deadline = Object.getOwnPropertyDescriptor(self, "deadline")
  return deadline === undefined ? copied : Object.defineProperty(copied, "deadline", deadline)
}

const patched = (self: CallContext, patch: Patch): CallContext =>
  copy(self, {
    ...patch,
    tags: patch.tags === undefined ? self.tags : { ...self.tags, ...patch.tags },
    headers: patch.headers === undefined ? self.headers : joinHeaders(self.headers, patch.headers)
  })

/**
 * Says something about all calls inside an effect.
 *
 * @category combinators
 * @since 0.1.0
 */
export const annotate: {
  (patch: Patch): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, patch: Patch): Effect.Effect<A, E, R>
} = dual(
  2,
  <A, E, R>(self: Effect.Effect<A, E, R>, patch: Patch): Effect.Effect<A, E, R> =>
    Effect.updateService(self, CallContext, (context) => patched(context, patch))
)

/**
 * Says something about all calls that a stream makes.
 *
 * @category combinators
 * @since 0.1.0
 */
export const annotateStream: {
  (patch: Patch): <A, E, R>(self: Stream.Stream<A, E, R>) => Stream.Stream<A, E, R>
  <A, E, R>(self: Stream.Stream<A, E, R>, patch: Patch): Stream.Stream<A, E, R>
} = dual(
  2,
  <A, E, R>(self: Stream.Stream<A, E, R>, patch: Patch): Stream.Stream<A, E, R> =>
    Stream.updateService(self, CallContext, (context) => patched(context, patch))
)

/** Milliseconds of the monotonic clock. */
const elapsed = (clock: Clock.Clock): number => Number(clock.monotonicTimeNanosUnsafe()) / 1e6

/** A deadline counts elapsed time: when the system's time is corrected, its time since the epoch moves along. */
const earlier = (context: CallContext, clock: Clock.Clock, duration: Duration.Input): CallContext => {
  const end = elapsed(clock) + Duration.toMillis(duration)
  const now = () => clock.currentTimeMillisUnsafe() + Math.round(end - elapsed(clock))
  return context.deadline !== undefined && context.deadline <= now() ? context : {
    ...context,
    get deadline() {
      return now()
    }
  }
}

/**
 * Gives all calls inside an effect until `duration` from now. An earlier enclosing deadline still applies: nesting can
 * only shorten it.
 *
 * A call that passes it fails with `DeadlineExceededError`; no wait begins that would end after it.
 *
 * @category combinators
 * @since 0.1.0
 */
export const withDeadline: {
  (duration: Duration.Input): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, duration: Duration.Input): Effect.Effect<A, E, R>
} = dual(
  2,
  <A, E, R>(self: Effect.Effect<A, E, R>, duration: Duration.Input): Effect.Effect<A, E, R> =>
    Clock.clockWith((clock) => Effect.updateService(self, CallContext, (context) => earlier(context, clock, duration)))
)

/**
 * `withDeadline` for a stream: its time begins when the stream is first read.
 *
 * @category combinators
 * @since 0.1.0
 */
export const withDeadlineStream: {
  (duration: Duration.Input): <A, E, R>(self: Stream.Stream<A, E, R>) => Stream.Stream<A, E, R>
  <A, E, R>(self: Stream.Stream<A, E, R>, duration: Duration.Input): Stream.Stream<A, E, R>
} = dual(
  2,
  <A, E, R>(self: Stream.Stream<A, E, R>, duration: Duration.Input): Stream.Stream<A, E, R> =>
    Stream.unwrap(
      Clock.clockWith((clock) =>
        Effect.succeed(Stream.updateService(self, CallContext, (context) => earlier(context, clock, duration)))
      )
    )
)

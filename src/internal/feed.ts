/**
 * A stream of what happens, for any number of subscribers, each from the moment of subscribing. The last 256 values are kept for a subscriber; one
 * that is slower loses the oldest. The stream ends when the scope closes.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as PubSub from "effect/PubSub"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Take from "effect/Take"

export interface Feed<A> {
  /** Where there is none, nothing needs to be published. */
  readonly subscribers: number
  /** One synchronous step. */
  readonly publish: (value: A) => Effect.Effect<void>
  readonly stream: Stream.Stream<A>
}

/** Takes what feeds with a name publish, as it happens, and gives what is left to be done about it. It does not throw. */
export type Observer = (feed: string, value: unknown) => Effect.Effect<void>

/** Who is told of everything, without a subscription that could fall behind. A feed looks for it when it is built. */
export const CurrentObserver = Context.Reference<Observer | undefined>("effect-claude/Observer", {
  defaultValue: () => undefined
})

/** `capacity`: how many values are kept for a subscriber; `name`: what the observer knows it by. */
export const make = <A>(
  { capacity = 256, name }: { readonly capacity?: number | undefined; readonly name?: string | undefined } = {}
): Effect.Effect<Feed<A>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const pubsub = yield* PubSub.sliding<Take.Take<A>>(capacity)
    const observer = name === undefined ? undefined : yield* CurrentObserver
    yield* Effect.addFinalizer(() => PubSub.end(pubsub, Exit.void))
    const count = (by: number) =>
      Effect.sync(() => {
        feed.subscribers += by
      })
    const subscribed = Effect.acquireRelease(count(1), () => count(-1))
    const published = (value: A) => Effect.asVoid(PubSub.publish(pubsub, [value]))
    const feed = {
      subscribers: observer === undefined ? 0 : 1,
      publish: name === undefined || observer === undefined ? published : (value: A) => {
        return Effect.suspend(() => Effect.andThen(published(value), observer(name, value)))
      },
      stream: Stream.unwrap(Effect.as(subscribed, Stream.fromPubSubTake(pubsub)))
    }
    return feed
  })

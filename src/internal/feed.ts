/**
 * A stream of what happens, for any number of subscribers, each from the moment of subscribing. The last 256 values are kept for a subscriber; one
 * that is slower loses the oldest. The stream ends when the scope closes.
 */
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

export const make = <A>(): Effect.Effect<Feed<A>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const pubsub = yield* PubSub.sliding<Take.Take<A>>(256)
    yield* Effect.addFinalizer(() => PubSub.end(pubsub, Exit.void))
    const count = (by: number) =>
      Effect.sync(() => {
        feed.subscribers += by
      })
    const subscribed = Effect.acquireRelease(count(1), () => count(-1))
    const feed = {
      subscribers: 0,
      publish: (value: A) => Effect.asVoid(PubSub.publish(pubsub, [value])),
      stream: Stream.unwrap(Effect.as(subscribed, Stream.fromPubSubTake(pubsub)))
    }
    return feed
  })

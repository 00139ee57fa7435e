/** A store that may be away when a program starts. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"

interface Store<Batch, Reply> {
  readonly step: (batch: Batch) => Effect.Effect<Reply, unknown>
}

/**
 * Builds the store of a layer when it is first asked, and anew whenever that failed; a step fails like the build does. The store lives until the scope
 * closes. What the layer needs is built for it alone.
 */
export const make = Effect.fnUntraced(function*<Id, Batch, Reply, E, R>(
  tag: Context.Key<Id, Store<Batch, Reply>>,
  layer: Layer.Layer<Id, E, R>
): Effect.fn.Return<Store<Batch, Reply>, never, R | Scope.Scope> {
  const scope = yield* Effect.scope
  const context = yield* Effect.context<R>()
  let store: Store<Batch, Reply> | undefined
  let building: Fiber.Fiber<Store<Batch, Reply>, unknown> | undefined

  const build = Effect.gen(function*() {
    const own = yield* Scope.fork(scope)
    const exit = yield* Effect.exit(Effect.provideContext(Layer.buildWithScope(Layer.fresh(layer), own), context))
    building = undefined
    if (Exit.isSuccess(exit)) {
      store = Context.get(exit.value, tag)
      return store
    }
    yield* Scope.close(own, exit)
    return yield* Effect.failCause(exit.cause)
  })

  /** Who asks may give up sooner than the build does. */
  const built = Effect.suspend(() =>
    building === undefined
      ? Effect.flatMap(Effect.forkIn(build, scope), (fiber) => Fiber.join(building = fiber))
      : Fiber.join(building)
  )

  return {
    step: (batch) => store === undefined ? Effect.flatMap(built, (store) => store.step(batch)) : store.step(batch)
  }
})

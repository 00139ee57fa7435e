/** Packages that only some commands need: loaded when they do, with one line that says what to install. */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"

/** A package that a command needs is not installed. */
export class PeerMissingError extends Data.TaggedError("PeerMissingError")<{
  readonly name: string
  readonly purpose: string
}> {
  override get message(): string {
    return `${this.purpose} needs ${this.name}, which is not installed: npm install ${this.name}`
  }
}

export const isMissing = (cause: unknown, name: string): boolean =>
  Predicate.hasProperty(cause, "code") && cause.code === "ERR_MODULE_NOT_FOUND" &&
  Predicate.hasProperty(cause, "message") && String(cause.message).includes(`'${name}'`)

/** Loads a module of an optional peer. */
export const load = <A>(name: string, purpose: string, module: () => Promise<A>): Effect.Effect<A, PeerMissingError> =>
  Effect.catch(
    Effect.tryPromise({ try: module, catch: (cause) => cause }),
    (cause) => isMissing(cause, name) ? Effect.fail(new PeerMissingError({ name, purpose })) : Effect.die(cause)
  )

/** Runs a command whose module is loaded when it runs, so that the others start without it. */
export const lazily = <M, A, E, R>(
  module: () => Promise<M>,
  use: (module: M) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => Effect.flatMap(Effect.promise(module), use)

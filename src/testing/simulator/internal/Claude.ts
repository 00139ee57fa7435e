/** The service over a simulator. */
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as ClaudeApi from "../../../ClaudeApi.ts"
import * as ClaudeService from "../../../ClaudeService.ts"
import * as Model from "../../../Model.ts"
import type { Key } from "./Keys.ts"

/**
 * The parts of a service over a simulator: those of `ClaudeService.layer`, except where requests go.
 *
 * - `api`: options of the port.
 * - `keys`: default all keys of the simulator, also for options of the pool without `keys`; keys of one organization share a group.
 *
 * @category options
 * @since 0.1.0
 */
export type Parts = Omit<ClaudeService.Parts, "api"> & {
  readonly api?: Omit<ClaudeApi.Options, "fetch" | "baseUrl"> | undefined
}

/** A part that is always given, so that building the service does not read keys from the environment. */
interface WithKeys {
  readonly keys: ClaudeService.Keys
}

/** The service and its parts, with what given layers may fail with and need. */
export type Over<P extends Parts> = Layer.Layer<
  ClaudeService.ClaudeService | ClaudeService.PartsServices,
  ClaudeService.PartsError<P & WithKeys>,
  ClaudeService.PartsNeed<P>
>

export const over = <P extends Parts>(
  keys: ReadonlyArray<Key>,
  api: Pick<ClaudeApi.Options, "fetch" | "baseUrl">,
  parts: Parts = {}
): Over<P> =>
  ClaudeService.layerWithParts({
    ...parts,
    api: { ...parts.api, ...api },
    keys: withKeys(
      parts.keys,
      keys.filter(({ admin }) => admin !== true).map(({ key, label, organization }) => ({
        label,
        group: organization,
        secret: Redacted.make(key)
      }))
    )
  } as ClaudeService.Parts) as Over<P> // `P` was checked by the caller, and `parts` are of that type

const withKeys = (given: Parts["keys"] = {}, keys: ClaudeService.Keys): Parts["keys"] => {
  const isOptions = !Layer.isLayer(given) && !Redacted.isRedacted(given) && !("length" in given)
  return isOptions ? { keys, ...given } : given
}

/** Gives a simulator the models that its service is given. */
export const withModels = <A, E, R>(self: Layer.Layer<A, E, R>, { models }: Parts = {}): Layer.Layer<A, E, R> =>
  models === undefined ? self : Layer.provide(self, Model.layerCatalogue(models))

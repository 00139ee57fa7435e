/** Files that a cluster mounts into its pods. */
import * as Effect from "effect/Effect"
import * as Files from "./files.ts"
import { KeyStoreError } from "./source.ts"

const folder = "/var/run/secrets/kubernetes.io/serviceaccount"

export const tokenFile = `${folder}/token`
export const caFile = `${folder}/ca.crt`
export const namespaceFile = `${folder}/namespace`

const decoder = new TextDecoder()

/** The text of a file that must be there. */
export const text = (store: string, path: string): Effect.Effect<string, KeyStoreError> =>
  Effect.flatMap(Files.read(store, path, { isPrivate: false }), (file) =>
    file === undefined
      ? Effect.fail(new KeyStoreError({ store, kind: "unavailable", reason: `there is no file ${path}` }))
      : Effect.succeed(decoder.decode(file.bytes).trim()))

/** Where the command finds API keys: where every program on this machine does, and behind a passphrase that is typed. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Stdio from "effect/Stdio"
import type * as Terminal from "effect/Terminal"
import * as ClaudeConfig from "../../ClaudeConfig.ts"
import * as Local from "../../KeyStore/Local.ts"
import { UsageError } from "./failure.ts"
import { typed } from "./input.ts"

/** The names of sources that can be written, by what `--source` calls them. */
export const names = { keyring: "keyring", file: "encrypted file" } as const

/** Asks for the passphrase of the encrypted file, twice where the file is to be created. */
const askPassphrase = Effect.fnUntraced(function*(path: string) {
  const fs = yield* FileSystem.FileSystem
  if (yield* fs.exists(path)) return Redacted.make(yield* typed(`Passphrase of ${path}: `))
  const passphrase = yield* typed(`New passphrase for ${path}: `)
  if (passphrase === "" || (yield* typed("The same again: ")) !== passphrase) {
    return yield* new UsageError({ message: "The passphrases are empty or differ: nothing was changed." })
  }
  return Redacted.make(passphrase)
})

/** The keys of this machine. A passphrase that the environment does not have is asked for, once, where somebody sits at a terminal. */
export const layer = Layer.unwrap(Effect.gen(function*() {
  const { identity, identityFile, passphrase, path = Local.defaultPath() } = yield* ClaudeConfig.keys
  const opens = [identity, identityFile, passphrase].some((one) => one !== undefined)
  if (opens || path === undefined || !(yield* (yield* Stdio.Stdio).stdinIsTerminal)) return Local.layerConfig()
  const context = yield* Effect.context<FileSystem.FileSystem | Terminal.Terminal>()
  const once = yield* Effect.cached(Effect.provideContext(askPassphrase(path), context))
  // Whoever types takes their time.
  return Local.layerConfig({ passphrase: once, timeout: "5 minutes" })
}))

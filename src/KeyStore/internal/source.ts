/** What a source of keys is, what it answers and how it fails. */
import type * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"

/** What went wrong, as `KeyStoreError.kind`. */
const Kind = Schema.Literals([
  "absent",
  "unavailable",
  "unreachable",
  "locked",
  "denied",
  "passphrase",
  "permissions",
  "corrupt",
  "invalid",
  "readOnly",
  "none"
])

/**
 * Why a source gave no key.
 *
 * @category errors
 * @since 0.1.0
 */
export interface SourceFailure extends Schema.Schema.Type<typeof SourceFailure> {}

/**
 * The schema of `SourceFailure`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const SourceFailure = Schema.Struct({
  source: Schema.String,
  kind: Kind,
  reason: Schema.String,
  remedy: Schema.optional(Schema.String)
})

const sentence = (failure: { readonly reason: string; readonly remedy?: string | undefined }): string =>
  failure.remedy === undefined ? `${failure.reason}.` : `${failure.reason}. ${failure.remedy}`

/**
 * Keys could not be read or stored. Neither `reason` nor `remedy` ever holds a key.
 *
 * - `kind`:
 *   - `absent`: the source works, and has no such key;
 *   - `unavailable`: the source does not exist here: no keyring service, a package that is not installed, nothing configured;
 *   - `unreachable`: it does not answer, or answered with an error of its own;
 *   - `locked`: a keyring that must be unlocked;
 *   - `denied`: it refuses access;
 *   - `passphrase`: a wrong passphrase or identity;
 *   - `permissions`: a file that other users can read;
 *   - `corrupt`: a file that was truncated or altered;
 *   - `invalid`: what is stored is not a key, or a key in quotation marks;
 *   - `readOnly`: a source that keys cannot be stored in;
 *   - `none`: no source has a key; `sources` says why for each.
 * - `remedy`: what to do about it.
 *
 * @category errors
 * @since 0.1.0
 */
export class KeyStoreError extends Schema.TaggedError<KeyStoreError>("effect-claude/KeyStoreError")("KeyStoreError", {
  store: Schema.String,
  kind: Kind,
  reason: Schema.String,
  remedy: Schema.optional(Schema.String),
  sources: Schema.optional(Schema.Array(SourceFailure))
}) {
  override get message(): string {
    const { kind, sources = [], store } = this
    const what = kind === "absent" || kind === "none"
      ? "No API key was found"
      : kind === "readOnly"
      ? "The API key cannot be stored"
      : "The API keys cannot be accessed"
    const each = sources.map((failure) => `\n- ${failure.source}: ${sentence(failure)}`).join("")
    return `${what} (${store}): ${sentence(this)}${each}`
  }
}

/**
 * What a source holds under a name.
 *
 * - `secret`: one key, several separated by commas, or JSON: `{ "secret": "sk-ant-...", "group": "team-a", "weight": 2 }`, an array of such
 *   objects with a `label` each, or an object from labels to keys.
 * - `version`: what lists show to tell versions apart. Never a hash of the secret.
 * - `expiresAt`: milliseconds since the epoch; it is read again before.
 * - `headers`: what requests with these keys need besides.
 *
 * @category models
 * @since 0.1.0
 */
export interface Secret {
  readonly secret: Redacted.Redacted<string>
  readonly version?: string | undefined
  readonly expiresAt?: number | undefined
  readonly headers?: Readonly<Record<string, string>> | undefined
}

/**
 * Where keys are kept: the port behind which any secret manager fits. All but `name` and `read` may be left out.
 *
 * - `name`: in reports and errors.
 * - `read`: what is stored under a name, undefined where there is nothing. It may fail with anything; only the class and the code of what it
 *   failed with are shown, since a message might repeat a secret. Fail with `KeyStoreError` to say more.
 * - `names`: what to read when all keys are asked for. Default `anthropic-api-key`. A key is labelled with the name it is stored under.
 * - `all`: everything that it holds by name, for sources that can tell; then `names` is not used.
 * - `changes`: emits when it may have changed, whatever the value; `every("1 minute")` polls.
 * - `set`, `remove`: for sources that keys can be stored in. `remove` does nothing where there is nothing.
 *
 * @category models
 * @since 0.1.0
 */
export interface Source {
  readonly name: string
  readonly read: (name: string) => Effect.Effect<Secret | undefined, unknown>
  readonly names?: ReadonlyArray<string> | undefined
  readonly all?: Effect.Effect<Readonly<Record<string, Secret>>, unknown> | undefined
  readonly changes?: Stream.Stream<unknown, unknown> | undefined
  readonly set?: ((name: string, secret: Redacted.Redacted<string>) => Effect.Effect<void, unknown>) | undefined
  readonly remove?: ((name: string) => Effect.Effect<void, unknown>) | undefined
}

/**
 * A key as lists show it.
 *
 * - `source`: the source that has it.
 * - `isUsed`: whether `keys` gives it; false where an earlier source comes first.
 * - `fingerprint`: the first 12 hexadecimal digits of its SHA-256, only where that was asked for.
 *
 * @category models
 * @since 0.1.0
 */
export interface ListedKey {
  readonly label: string
  readonly group: string
  readonly weight: number
  readonly source: string
  readonly isUsed: boolean
  readonly version: string | undefined
  readonly expiresAt: number | undefined
  readonly fingerprint?: string | undefined
}

/**
 * What one source gave.
 *
 * - `isWritable`: whether keys can be stored in it.
 * - `error`: why it gave none.
 *
 * @category models
 * @since 0.1.0
 */
export interface SourceReport {
  readonly source: string
  readonly isWritable: boolean
  readonly keys: ReadonlyArray<ListedKey>
  readonly error: KeyStoreError | undefined
}

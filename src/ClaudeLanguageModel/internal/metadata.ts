/** What parts carry under the key `anthropic`: options of a prompt, and metadata of a response. */
import type { ContentBlock } from "@anthropic-ai/sdk/resources/messages"
import * as Predicate from "effect/Predicate"
import type * as Schema from "effect/Schema"

/** A cache breakpoint. */
export type CacheControl = { readonly type: "ephemeral"; readonly ttl?: "5m" | "1h" }

/** What a part of a prompt may say, as it is read: any of it may come from a stored chat. */
export interface Said {
  readonly cacheControl?: CacheControl | null
  readonly citations?: unknown
  readonly documentTitle?: string | null
  readonly documentContext?: string | null
  readonly fileId?: string | null
  readonly type?: string
  readonly signature?: string
  readonly redactedData?: string
  readonly info?: Said | null
  readonly caller?: unknown
  readonly block?: Block
}

/** A content block as it stands on the wire, of whatever type. */
export type Block = { readonly type: string } & { readonly [field: string]: unknown }

const nothing: Said = {}

export const said = (part: { readonly options: { readonly [provider: string]: unknown } }): Said => {
  const options = part.options["anthropic"]
  return Predicate.isObject(options) ? options as Said : nothing
}

/** Leaves out what is not there: metadata is JSON. */
export const json = (fields: { readonly [name: string]: unknown }): { readonly [name: string]: Schema.Json } =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    readonly [name: string]: Schema.Json
  }

/** A block of an answer as metadata. It came as JSON. */
export const blockOf = (block: ContentBlock): Schema.Json => json({ ...block })

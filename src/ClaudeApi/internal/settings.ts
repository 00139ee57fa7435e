/** Checks where requests go and the headers that all of them carry, when a layer is built. */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { wrongHeader } from "./sendable.ts"

/** The routes of the API, with the slashes around them. */
const route = /(?:\/+v1)+(?:\/+(?:messages(?:\/+(?:count_tokens|batches))?|models|complete|files))?\/*$/i

/** The routes begin with their version, and some write it, or all of one, into the base URL too. */
export const withoutRoute = (baseUrl: string): string => baseUrl.trim().replace(route, "").replace(/\/+$/, "")

const isBaseUrl = (text: string): boolean => {
  if (!URL.canParse(text)) return false
  const { hash, password, protocol, search, username } = new URL(text)
  return /^https?:$/.test(protocol) && `${hash}${password}${search}${username}` === "" && !/[?#]\s*$/.test(text)
}

const BaseUrl = Schema.String.check(
  Schema.makeFilter(isBaseUrl, {
    expected: "an absolute http or https URL as base URL, without user, query and fragment"
  })
)

const Headers = Schema.Record(Schema.String, Schema.Unknown).check(
  Schema.makeFilter((headers: Readonly<Record<string, unknown>>) => wrongHeader(headers), {
    expected: "headers that a request can carry"
  })
)

/** Fails where one of them makes no sense. */
export const check = (
  baseUrl: string,
  headers: Readonly<Record<string, string>>
): Effect.Effect<void, Config.ConfigError> =>
  Effect.all([Schema.decodeUnknownEffect(BaseUrl)(baseUrl), Schema.decodeUnknownEffect(Headers)(headers)]).pipe(
    Effect.mapError((error) => new Config.ConfigError(error)),
    Effect.asVoid
  )

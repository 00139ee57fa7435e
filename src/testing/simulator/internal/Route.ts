/**
 * Finds the endpoint that answers a request: routes, keys and the checks before every answer.
 */
import * as Result from "effect/Result"
import * as Model from "../../../Model.ts"
import * as Keys from "./Keys.ts"
import type * as Messages from "./Messages.ts"
import * as Models from "./Models.ts"
import * as Step from "./Step.ts"
import * as Validate from "./Validate.ts"
import * as Wire from "./Wire.ts"

/** A request, over `fetch` or HTTP. `header` takes lower-case names, `path` includes the query. */
export interface Incoming {
  readonly method: string
  readonly path: string
  readonly header: (name: string) => string | undefined
  readonly body: string
  /** The body was longer than the limit and was not read. */
  readonly tooLarge: boolean
}

interface Parts {
  readonly keys: ReturnType<typeof Keys.make>
  readonly messages: ReturnType<typeof Messages.make>
  /** Models that exist beside those of the catalogue. */
  readonly extra: ReadonlySet<string>
  readonly catalogue: Model.Catalogue
  readonly now: () => number
}

/** Answers a request whose body was parsed, where it has one. */
export type Respond = (
  incoming: Incoming,
  parsed: Result.Result<unknown, unknown> | undefined,
  served: Messages.Served,
  id: string
) => Step.Step | Iterable<Step.Step>

const catalogueDay = Date.parse(Model.asOf)

export const make = ({ catalogue, extra, keys, messages, now }: Parts): Respond => (incoming, parsed, served, id) => {
  const anonymous = { "request-id": id }
  const { header, method } = incoming
  const path = incoming.path.split("?", 1)[0]!
  const route = `${method} ${path}`
  const posting = route === "POST /v1/messages" || route === "POST /v1/messages/count_tokens"
  if (!posting && !(method === "GET" && /^\/v1\/models(\/[^/]+)?$/.test(path))) {
    return Step.refused(Wire.refuse(404, "Not found"), id, anonymous)
  }
  if (incoming.tooLarge) {
    return Step.refused(Wire.refuse(413, "Request exceeds the maximum allowed number of bytes."), id, anonymous)
  }
  const key = keys.authenticate(header, now())
  if ("status" in key) return Step.refused(key, id, anonymous)
  const headers = {
    "request-id": id,
    "anthropic-organization-id": key.organization,
    "anthropic-workspace-id": key.workspace
  }
  const suspended = Keys.suspended(key)
  if (suspended !== undefined) return Step.refused(suspended, id, headers)
  const today = Math.max(now(), catalogueDay)
  if (!posting) {
    const listed = Models.answer(incoming.path, today, catalogue)
    return "status" in listed
      ? Step.refused(listed, id, headers)
      : Step.head(200, { "content-type": "application/json", ...headers }, JSON.stringify(listed.body))
  }
  if (parsed === undefined || Result.isFailure(parsed)) {
    return Step.refused(Wire.refuse(400, "The request body is not valid JSON."), id, headers)
  }
  const checked = Validate.check(parsed.success, {
    version: header("anthropic-version"),
    counting: path !== "/v1/messages",
    marked: incoming.body.includes("cache_control"),
    extra,
    catalogue,
    now: today
  })
  if ("status" in checked) return Step.refused(checked, id, headers)
  const forbidden = Keys.forbids(key, checked.body.model)
  if (forbidden !== undefined) return Step.refused(forbidden, id, headers)
  return path === "/v1/messages"
    ? messages.answer(checked, key, served, id, headers)
    : messages.countTokens(checked, key, served, id, headers)
}

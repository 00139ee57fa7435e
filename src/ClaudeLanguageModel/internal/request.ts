/** A call of a language model as a request to Claude. */
import * as AiError from "effect/ai/AiError"
import type { ProviderOptions } from "effect/ai/LanguageModel"
import * as Effect from "effect/Effect"
import type { CallContext } from "../../CallContext.ts"
import { toCodec } from "../../internal/answerSchema.ts"
import type { Catalogue } from "../../Model.ts"
import type { Request } from "../../Request.ts"
import * as Names from "./names.ts"
import { CallOptions, type Options } from "./options.ts"
import * as Prompt from "./prompt.ts"
import * as Tools from "./tools.ts"

/** A request, and what its answer is read with. */
export interface Prepared {
  readonly request: Request
  readonly provider: ProviderOptions
  readonly options: Options
  readonly names: Names.Names
  readonly documents: Array<Prompt.Citable>
}

const unsupported = (what: string) => (error: unknown): AiError.UnsupportedSchemaError =>
  new AiError.UnsupportedSchemaError({
    description: `${what}: ${error instanceof Error ? error.message : "its schema cannot be written as a JSON Schema"}`
  })

const formatOf = ({ responseFormat }: ProviderOptions) =>
  responseFormat.type === "text"
    ? Effect.undefined
    : Effect.try({
      try: () => ({ type: "json_schema", schema: toCodec(responseFormat.schema).jsonSchema }),
      catch: unsupported(responseFormat.objectName)
    })

/** What a call leaves open is as the model was made. */
const withoutUndefined = (options: Partial<Options>): Partial<Options> =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))

export const prepare = Effect.fnUntraced(function*(
  provider: ProviderOptions,
  made: Options,
  lookup: Catalogue["lookup"]
): Effect.fn.Return<Prepared, AiError.AiErrorReason> {
  const options = { ...made, ...withoutUndefined(yield* CallOptions) }
  const names = Names.make(provider.tools)
  const { documents, problem, system, turns } = Prompt.convert(provider.prompt, names)
  if (problem !== undefined) return yield* Effect.fail(new AiError.InvalidUserInputError({ description: problem }))
  const { instruction, ...offered } = yield* Effect.try({
    try: () => Tools.offer(provider, names.onWire, lookup(options.model), options),
    catch: unsupported("A tool")
  })
  const format = yield* formatOf(provider)
  const { disableParallelToolCalls: _, maxTokens, model, strictTools: _strict, ...rest } = options
  const told = instruction === undefined ? system : [...system, instruction]
  const request = {
    ...rest,
    model,
    max_tokens: maxTokens,
    ...(format === undefined ? undefined : { output_config: { ...rest.output_config, format } }),
    ...(told.length === 0 ? undefined : { system: told }),
    messages: turns,
    ...offered
  }
  // Blocks are made by type; some are of betas that the SDK's types of this request do not know.
  return { request: request as unknown as Request, provider, options, names, documents }
})

const header = "anthropic-beta"

/** The version of the API's MCP connector whose blocks these are. */
const mcp = "mcp-client-2025-11-20"

/** The beta that a request needs, beside those that its caller asks for. */
export const withBetas = <A extends CallContext>(context: A, request: Request): A => {
  if (!("mcp_servers" in request)) return context
  const name = Object.keys(context.headers).find((name) => name.toLowerCase() === header) ?? header
  const asked = context.headers[name]
  return { ...context, headers: { ...context.headers, [name]: asked === undefined ? mcp : `${asked},${mcp}` } }
}

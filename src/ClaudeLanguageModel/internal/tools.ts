/** The tools of a toolkit as those of a request, and the choice among them. */
import type { ProviderOptions } from "effect/ai/LanguageModel"
import * as Tool from "effect/ai/Tool"
import type * as JsonSchema from "effect/JsonSchema"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { toCodec } from "../../internal/answerSchema.ts"
import type { Model } from "../../Model.ts"
import type { Block } from "./metadata.ts"
import { mcpToolset } from "./names.ts"
import type { Options } from "./options.ts"

export interface Offered {
  readonly tools?: ReadonlyArray<{ readonly [field: string]: unknown }>
  readonly tool_choice?: { readonly [field: string]: unknown }
  readonly mcp_servers?: ReadonlyArray<unknown>
  /** Said to a model that cannot be forced to call a tool. */
  readonly instruction?: Block
}

const definitions = "#/$defs/"

/** The schema of what a reference at the top means: input of a tool is an object there, and says so. */
const objectSchema = ({ definitions: $defs, schema }: JsonSchema.Document<"draft-2020-12">): JsonSchema.JsonSchema => {
  const { $ref, ...rest } = schema
  const own = typeof $ref === "string" && $ref.startsWith(definitions)
    ? { ...rest, ...$defs[$ref.slice(definitions.length)] }
    : schema
  const isReferredTo = JSON.stringify([own, $defs]).includes(definitions)
  const typed = own["type"] === undefined && own["properties"] === undefined ? { ...own, type: "object" } : own
  return isReferredTo ? { ...typed, $defs } : typed
}

const looseSchema = (tool: Tool.Any): JsonSchema.JsonSchema =>
  Tool.isDynamic(tool) && tool.jsonSchema !== undefined
    ? tool.jsonSchema
    : objectSchema(Schema.toJsonSchemaDocument(tool.parametersSchema, { onExcessProperty: "error" }))

/** By tool, for as long as it lives: to derive a schema is dear, and tools never change. */
const schemas = {
  strict: new WeakMap<Tool.Any, JsonSchema.JsonSchema>(),
  loose: new WeakMap<Tool.Any, JsonSchema.JsonSchema>()
}

const schemaOf = (tool: Tool.Any, isStrict: boolean): JsonSchema.JsonSchema => {
  const known = schemas[isStrict ? "strict" : "loose"]
  const found = known.get(tool)
  if (found !== undefined) return found
  const schema = isStrict ? Tool.getJsonSchema(tool, { transformer: toCodec }) : looseSchema(tool)
  known.set(tool, schema)
  return schema
}

/** Whether the API holds the input of a tool to its schema. */
export const isStrict = (tool: Tool.Any, options: Partial<Options>): boolean =>
  !Tool.isProviderDefined(tool) && (Tool.getStrictMode(tool) ?? options.strictTools ?? false)

/** Strict schemas write some values otherwise: input that fits is given as the tool's own schema writes it. */
export const ownInput = (tool: Tool.Any, input: unknown): unknown =>
  Result.getOrElse(
    Result.try(() => {
      const schema = tool.parametersSchema as Schema.Codec<unknown, unknown>
      return Option.getOrElse(
        Option.flatMap(
          Schema.decodeUnknownOption(toCodec(schema).codec)(input),
          (value) => Schema.encodeUnknownOption(schema)(value)
        ),
        () => input
      )
    }),
    () => input
  )

const userTool = (tool: Tool.Any, options: Partial<Options>) => {
  const description = Tool.getDescription(tool)
  const strict = isStrict(tool, options)
  return {
    name: tool.name,
    ...(description === undefined ? undefined : { description }),
    input_schema: schemaOf(tool, strict),
    ...(strict ? { strict } : undefined)
  }
}

const prefix = "anthropic."

/** A tool that the API defines: its arguments are fields of the API. */
const definedTool = ({ args, id, providerName }: Tool.AnyProviderDefined) => {
  // How its handler fails is no matter of the API.
  const fields = Object.entries(Predicate.isObject(args) ? args : {}).filter(([name]) => name !== "failureMode")
  return { type: id.slice(prefix.length), name: providerName, ...Object.fromEntries(fields) }
}

interface McpFields {
  readonly name: string
  readonly url: string
  readonly authorizationToken?: Redacted.Redacted<string> | undefined
  readonly default_config?: unknown
  readonly configs?: unknown
}

const server = ({ authorizationToken, name, url }: McpFields) => ({
  type: "url",
  name,
  url,
  ...(authorizationToken === undefined ? undefined : {
    authorization_token: Redacted.value(authorizationToken)
  })
})

const toolset = ({ configs, default_config, name }: McpFields) => ({
  type: "mcp_toolset",
  mcp_server_name: name,
  ...(default_config === undefined ? undefined : { default_config }),
  ...(configs === undefined ? undefined : { configs })
})

const isMcp = (tool: Tool.Any): tool is Tool.AnyProviderDefined =>
  Tool.isProviderDefined(tool) && tool.id === mcpToolset

const wireTool = (tool: Tool.Any, options: Partial<Options>) =>
  isMcp(tool)
    ? toolset(tool.args as McpFields)
    : Tool.isProviderDefined(tool)
    ? definedTool(tool)
    : userTool(tool, options)

/** Forced choices are refused by some models, and by all while they think. */
const mayForce = (model: Model, { thinking }: Partial<Options>): boolean =>
  !model.rejects.includes("forcedToolChoice") && (thinking === undefined || thinking.type === "disabled")

const instruct = (text: string): Block => ({ type: "text", text })

const choose = (
  { toolChoice }: Pick<ProviderOptions, "toolChoice">,
  onWire: (name: string) => string,
  model: Model,
  options: Partial<Options>
): Pick<Offered, "tool_choice" | "instruction"> => {
  if (toolChoice === "none") return { tool_choice: { type: "none" } }
  const parallel = options.disableParallelToolCalls ? { disable_parallel_tool_use: true } : undefined
  const auto = { tool_choice: { type: "auto", ...parallel } }
  const tool = typeof toolChoice === "object" && "tool" in toolChoice ? onWire(toolChoice.tool) : undefined
  const isForced = tool !== undefined || toolChoice === "required" ||
    (typeof toolChoice === "object" && "oneOf" in toolChoice && toolChoice.mode === "required")
  if (!isForced) return parallel === undefined ? {} : auto
  if (mayForce(model, options)) {
    return { tool_choice: { ...(tool === undefined ? { type: "any" } : { type: "tool", name: tool }), ...parallel } }
  }
  return {
    ...auto,
    instruction: instruct(
      tool === undefined
        ? "Call one of the tools now, before you write anything else."
        : `Call the tool "${tool}" now, before you write anything else.`
    )
  }
}

export const offer = (
  provider: ProviderOptions,
  onWire: (name: string) => string,
  model: Model,
  options: Partial<Options>
): Offered => {
  if (provider.tools.length === 0) return {}
  const servers = provider.tools.filter(isMcp)
  return {
    tools: provider.tools.map((tool) => wireTool(tool, options)),
    ...(servers.length === 0 ? undefined : { mcp_servers: servers.map(({ args }) => server(args as McpFields)) }),
    ...choose(provider, onWire, model, options)
  }
}

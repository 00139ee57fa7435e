/**
 * The checks of tools and of the choice among them.
 */
import * as Predicate from "effect/Predicate"
import { bad, extra, fields, isIn, typed } from "./Fields.ts"
import type { Body, Refusal } from "./Wire.ts"

const common = "type name cache_control allowed_callers defer_loading strict"

const custom = fields(`${common} description input_schema input_examples eager_input_streaming`)

/** The tools that the API defines, by their types. */
const defined: ReadonlyArray<readonly [type: RegExp, fields: ReadonlySet<string>, betas?: ReadonlyArray<string>]> = [
  [/^bash_20\d{6}$/, fields(`${common} input_examples`)],
  [/^memory_20\d{6}$/, fields(`${common} input_examples`)],
  [/^text_editor_20\d{6}$/, fields(`${common} input_examples max_characters`)],
  [/^code_execution_20\d{6}$/, fields(common)],
  [/^tool_search_tool_(regex|bm25)(_20\d{6})?$/, fields(common)],
  [
    /^web_search_20\d{6}$/,
    fields(`${common} allowed_domains blocked_domains max_uses response_inclusion user_location`)
  ],
  [
    /^web_fetch_20\d{6}$/,
    fields(
      `${common} allowed_domains blocked_domains citations max_content_tokens max_uses response_inclusion url_sources use_cache`
    )
  ],
  [/^(browser|computer)_toolset_20\d{6}$/, fields("type configs cache_control")],
  [
    /^computer_20\d{6}$/,
    fields(`${common} input_examples display_height_px display_width_px display_number enable_zoom`),
    ["computer-use-"]
  ],
  [/^mcp_toolset$/, fields("type mcp_server_name configs default_config tools cache_control"), ["mcp-client-"]],
  [/^advisor_20\d{6}$/, fields(`${common} model caching max_tokens max_uses`), ["advisor-tool-"]]
]

type Tool = Readonly<Record<string, unknown>>

const one = (tool: Tool, place: string, betas: string): Refusal | undefined => {
  const { input_schema, name, type = "custom" } = tool
  if (type === "custom" || type === null) {
    if (typeof name !== "string" || !/^[\w-]{1,128}$/.test(name)) {
      return bad(`${place}.custom.name: should be 1 to 128 letters, digits, '_' or '-'`)
    }
    if (!Predicate.isObject(input_schema) || input_schema["type"] !== "object") {
      return bad(`${place}.custom.input_schema.type: Input should be 'object'`)
    }
    const { properties = {}, required = [] } = input_schema
    if (!Predicate.isObject(properties) || !(Array.isArray(required) && required.every(Predicate.isString))) {
      return bad(`${place}.custom.input_schema: JSON schema is invalid. It must match JSON Schema draft 2020-12`)
    }
    return typed(tool["description"], "string", `${place}.custom.description`) ??
      extra(tool, custom, `${place}.custom.`)
  }
  const known = defined.find(([pattern, , needed]) =>
    pattern.test(String(type)) && (needed === undefined || isIn(betas, needed))
  )
  return known === undefined
    ? bad(`${place}: Input tag '${String(type)}' found using 'type' does not match any of the expected tags`)
    : extra(tool, known[1], `${place}.${String(type)}.`)
}

const choiceFields: Readonly<Record<string, ReadonlySet<string>>> = {
  auto: fields("type disable_parallel_tool_use"),
  any: fields("type disable_parallel_tool_use"),
  tool: fields("type name disable_parallel_tool_use"),
  none: fields("type")
}

const choice = (body: Body, names: ReadonlySet<unknown>): Refusal | undefined => {
  const value = body["tool_choice"]
  if (value === undefined || value === null) return undefined
  const type = Predicate.isObject(value) ? value["type"] : undefined
  const known = typeof type === "string" && Object.hasOwn(choiceFields, type) ? choiceFields[type] : undefined
  if (!Predicate.isObject(value) || known === undefined) {
    return bad("tool_choice: Input should be of type 'auto', 'any', 'tool' or 'none'")
  }
  if ((body.tools ?? []).length === 0) return bad("tool_choice: may only be specified while providing `tools`.")
  if (type === "tool" && !names.has(value["name"])) {
    return bad(`tool_choice: Tool '${String(value["name"])}' not found in provided tools`)
  }
  const thinking = Predicate.isObject(body["thinking"]) ? body["thinking"]["type"] : undefined
  if ((type === "any" || type === "tool") && (thinking === "enabled" || thinking === "adaptive")) {
    return bad("tool_choice: Thinking may not be enabled when tool_choice forces tool use.")
  }
  return typed(value["disable_parallel_tool_use"], "boolean", `tool_choice.${type}.disable_parallel_tool_use`) ??
    extra(value, known, `tool_choice.${type}.`)
}

/** What is wrong with the tools of a request and the choice among them. */
export const problem = (body: Body, betas: string): Refusal | undefined => {
  const names = new Set<unknown>()
  const tools = body.tools ?? []
  for (let i = 0; i < tools.length; i++) {
    const tool = tools[i]!
    const wrong = one(tool, `tools.${i}`, betas)
    if (wrong !== undefined) return wrong
    const { name } = tool
    if (name !== undefined && names.has(name)) return bad(`tools: Tool names must be unique: ${String(name)}.`)
    names.add(name)
  }
  return choice(body, names)
}

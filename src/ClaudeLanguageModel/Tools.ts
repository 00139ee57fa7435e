/**
 * The tools that the API defines, for a `Toolkit` of `effect/ai`.
 *
 * Web search, web fetch, code execution, tool search and MCP servers run at the API. Bash, the text editor and memory run here: the toolkit needs a
 * handler for each. Arguments are those of the API, by its names. A tool that is not here is
 * `Tool.providerDefined({ id: "anthropic.TYPE", providerName: NAME, ... })` with the type and name of the API.
 *
 * **Example** (A search, and a handler beside it)
 *
 * ```ts
 * import * as Tools from "effect-claude/ClaudeLanguageModel/Tools"
 * import { Effect } from "effect"
 * import { Toolkit } from "effect/ai"
 *
 * const toolkit = Toolkit.make(Tools.WebSearch_20250305({ max_uses: 3 }), Tools.Memory_20250818({}))
 *
 * export const layer = toolkit.toLayer({
 *   AnthropicMemory: (command) => Effect.succeed(`${command.command}: nothing is stored.`)
 * })
 * ```
 *
 * @since 0.1.0
 */
import type * as Sdk from "@anthropic-ai/sdk/resources/messages"
import * as Tool from "effect/ai/Tool"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { mcpToolset } from "./internal/names.ts"

/** A value of the API. It came as JSON, and is passed through without decoding: the API may add to it. */
const sent = <A>(): Schema.Codec<A> => Schema.Unknown as unknown as Schema.Codec<A>

type Args<Tool> = Omit<Tool, "name" | "type">

/**
 * Searches the web. Its results are sources of the answer too.
 *
 * @category tools
 * @since 0.1.0
 */
export const WebSearch_20250305 = Tool.providerDefined({
  id: "anthropic.web_search_20250305",
  customName: "AnthropicWebSearch",
  providerName: "web_search",
  args: sent<Args<Sdk.WebSearchTool20250305>>(),
  parameters: sent<{ readonly query: string }>(),
  success: sent<ReadonlyArray<Sdk.WebSearchResultBlock>>(),
  failure: sent<Sdk.WebSearchToolResultError>()
})

/**
 * Searches the web and filters what it finds.
 *
 * @category tools
 * @since 0.1.0
 */
export const WebSearch_20260318 = Tool.providerDefined({
  id: "anthropic.web_search_20260318",
  customName: "AnthropicWebSearch",
  providerName: "web_search",
  args: sent<Args<Sdk.WebSearchTool20260318>>(),
  parameters: sent<{ readonly query: string }>(),
  success: sent<ReadonlyArray<Sdk.WebSearchResultBlock>>(),
  failure: sent<Sdk.WebSearchToolResultError>()
})

/**
 * Fetches a page or a PDF.
 *
 * @category tools
 * @since 0.1.0
 */
export const WebFetch_20250910 = Tool.providerDefined({
  id: "anthropic.web_fetch_20250910",
  customName: "AnthropicWebFetch",
  providerName: "web_fetch",
  args: sent<Args<Sdk.WebFetchTool20250910>>(),
  parameters: sent<{ readonly url: string }>(),
  success: sent<Sdk.WebFetchBlock>(),
  failure: sent<Sdk.WebFetchToolResultErrorBlock>()
})

/**
 * Fetches a page or a PDF and filters what it holds.
 *
 * @category tools
 * @since 0.1.0
 */
export const WebFetch_20260318 = Tool.providerDefined({
  id: "anthropic.web_fetch_20260318",
  customName: "AnthropicWebFetch",
  providerName: "web_fetch",
  args: sent<Args<Sdk.WebFetchTool20260318>>(),
  parameters: sent<{ readonly url: string }>(),
  success: sent<Sdk.WebFetchBlock>(),
  failure: sent<Sdk.WebFetchToolResultErrorBlock>()
})

/** What code execution is asked to do. */
type Execution =
  | { readonly code: string }
  | { readonly command: string; readonly path?: string; readonly [argument: string]: unknown }

/** What it answers. */
type Executed =
  | Sdk.CodeExecutionResultBlock
  | Sdk.EncryptedCodeExecutionResultBlock
  | Sdk.BashCodeExecutionResultBlock
  | Sdk.TextEditorCodeExecutionViewResultBlock
  | Sdk.TextEditorCodeExecutionCreateResultBlock
  | Sdk.TextEditorCodeExecutionStrReplaceResultBlock

type ExecutionFailure =
  | Sdk.CodeExecutionToolResultErrorObject
  | Sdk.BashCodeExecutionToolResultErrorObject
  | Sdk.TextEditorCodeExecutionToolResultErrorObject

/**
 * Runs Python in a container.
 *
 * @category tools
 * @since 0.1.0
 */
export const CodeExecution_20250522 = Tool.providerDefined({
  id: "anthropic.code_execution_20250522",
  customName: "AnthropicCodeExecution",
  providerName: "code_execution",
  args: sent<Args<Sdk.CodeExecutionTool20250522>>(),
  parameters: sent<{ readonly code: string }>(),
  success: sent<Sdk.CodeExecutionResultBlock>(),
  failure: sent<Sdk.CodeExecutionToolResultErrorObject>()
})

/**
 * Runs commands and edits files in a container.
 *
 * @category tools
 * @since 0.1.0
 */
export const CodeExecution_20250825 = Tool.providerDefined({
  id: "anthropic.code_execution_20250825",
  customName: "AnthropicCodeExecution",
  providerName: "code_execution",
  args: sent<Args<Sdk.CodeExecutionTool20250825>>(),
  parameters: sent<Execution>(),
  success: sent<Executed>(),
  failure: sent<ExecutionFailure>()
})

/**
 * Runs commands, edits files, and calls other tools from code.
 *
 * @category tools
 * @since 0.1.0
 */
export const CodeExecution_20260521 = Tool.providerDefined({
  id: "anthropic.code_execution_20260521",
  customName: "AnthropicCodeExecution",
  providerName: "code_execution",
  args: sent<Args<Sdk.CodeExecutionTool20260521>>(),
  parameters: sent<Execution>(),
  success: sent<Executed>(),
  failure: sent<ExecutionFailure>()
})

/**
 * Finds tools whose loading is deferred, by regular expressions.
 *
 * @category tools
 * @since 0.1.0
 */
export const ToolSearchRegex_20251119 = Tool.providerDefined({
  id: "anthropic.tool_search_tool_regex_20251119",
  customName: "AnthropicToolSearchRegex",
  providerName: "tool_search_tool_regex",
  args: sent<Args<Sdk.ToolSearchToolRegex20251119>>(),
  parameters: sent<{ readonly query: string }>(),
  success: sent<ReadonlyArray<Sdk.ToolReferenceBlock>>(),
  failure: sent<Sdk.ToolSearchToolResultErrorObject>()
})

/**
 * Finds tools whose loading is deferred, by words.
 *
 * @category tools
 * @since 0.1.0
 */
export const ToolSearchBM25_20251119 = Tool.providerDefined({
  id: "anthropic.tool_search_tool_bm25_20251119",
  customName: "AnthropicToolSearchBM25",
  providerName: "tool_search_tool_bm25",
  args: sent<Args<Sdk.ToolSearchToolBm25_20251119>>(),
  parameters: sent<{ readonly query: string }>(),
  success: sent<ReadonlyArray<Sdk.ToolReferenceBlock>>(),
  failure: sent<Sdk.ToolSearchToolResultErrorObject>()
})

const optional = <S extends Schema.Constraint>(schema: S) => Schema.optionalKey(schema)

/**
 * A shell of yours. Its handler runs commands: contain it.
 *
 * @category tools
 * @since 0.1.0
 */
export const Bash_20250124 = Tool.providerDefined({
  id: "anthropic.bash_20250124",
  customName: "AnthropicBash",
  providerName: "bash",
  args: sent<Args<Sdk.ToolBash20250124>>(),
  requiresHandler: true,
  parameters: Schema.Struct({ command: optional(Schema.String), restart: optional(Schema.Boolean) }),
  success: Schema.String,
  failure: Schema.String
})

/**
 * An editor of your files. Its handler writes them: check each path.
 *
 * @category tools
 * @since 0.1.0
 */
export const TextEditor_20250728 = Tool.providerDefined({
  id: "anthropic.text_editor_20250728",
  customName: "AnthropicTextEditor",
  providerName: "str_replace_based_edit_tool",
  args: sent<Args<Sdk.ToolTextEditor20250728>>(),
  requiresHandler: true,
  parameters: Schema.Struct({
    command: Schema.Literals(["view", "create", "str_replace", "insert"]),
    path: Schema.String,
    file_text: optional(Schema.String),
    insert_line: optional(Schema.Int),
    insert_text: optional(Schema.String),
    new_str: optional(Schema.String),
    old_str: optional(Schema.String),
    view_range: optional(Schema.Array(Schema.Int))
  }),
  success: Schema.String,
  failure: Schema.String
})

/**
 * A memory of yours, in files below `/memories`. Its handler keeps them: check each path.
 *
 * @category tools
 * @since 0.1.0
 */
export const Memory_20250818 = Tool.providerDefined({
  id: "anthropic.memory_20250818",
  customName: "AnthropicMemory",
  providerName: "memory",
  args: sent<Args<Sdk.MemoryTool20250818>>(),
  requiresHandler: true,
  parameters: Schema.Union([
    Schema.Struct({
      command: Schema.Literal("view"),
      path: Schema.String,
      view_range: optional(Schema.Array(Schema.Int))
    }),
    Schema.Struct({ command: Schema.Literal("create"), path: Schema.String, file_text: Schema.String }),
    Schema.Struct({
      command: Schema.Literal("str_replace"),
      path: Schema.String,
      old_str: Schema.String,
      new_str: Schema.String
    }),
    Schema.Struct({
      command: Schema.Literal("insert"),
      path: Schema.String,
      insert_line: Schema.Int,
      insert_text: Schema.String
    }),
    Schema.Struct({ command: Schema.Literal("delete"), path: Schema.String }),
    Schema.Struct({ command: Schema.Literal("rename"), old_path: Schema.String, new_path: Schema.String })
  ]),
  success: Schema.String,
  failure: Schema.String
})

/**
 * An MCP server that the API calls.
 *
 * - `name`: of the server, and of its tools in the toolkit: a call has the name of the server, and `params.tool` the name of its tool.
 * - `url`: where it is.
 * - `authorizationToken`: sent to it. Default: none.
 * - `default_config`, `configs`: which of its tools may be called, as the API documents. Default: all.
 *
 * @category options
 * @since 0.1.0
 */
export interface McpServerOptions<Name extends string> {
  readonly name: Name
  readonly url: string
  readonly authorizationToken?: Redacted.Redacted<string> | undefined
  readonly default_config?: { readonly enabled?: boolean; readonly defer_loading?: boolean } | undefined
  readonly configs?:
    | Readonly<Record<string, { readonly enabled?: boolean; readonly defer_loading?: boolean }>>
    | undefined
}

/**
 * The tools of an MCP server, which the API calls.
 *
 * **Example** (A server)
 *
 * ```ts
 * import * as Tools from "effect-claude/ClaudeLanguageModel/Tools"
 * import { Redacted } from "effect"
 * import { Toolkit } from "effect/ai"
 *
 * export const toolkit = Toolkit.make(
 *   Tools.mcpServer({ name: "issues", url: "https://mcp.example.com", authorizationToken: Redacted.make("token") })
 * )
 * ```
 *
 * @category tools
 * @since 0.1.0
 */
export const mcpServer = <const Name extends string>(options: McpServerOptions<Name>) =>
  Tool.providerDefined({
    id: mcpToolset,
    customName: options.name,
    providerName: "mcp_toolset",
    args: sent<McpServerOptions<Name>>(),
    parameters: sent<{ readonly tool: string; readonly input: unknown }>(),
    success: sent<string | ReadonlyArray<Sdk.TextBlock>>(),
    failure: sent<string | ReadonlyArray<Sdk.TextBlock>>()
  })(options)

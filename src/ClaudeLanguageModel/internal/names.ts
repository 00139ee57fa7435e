/** How the tools of a toolkit are called there, and how on the wire. */
import * as Tool from "effect/ai/Tool"

/** The id of a tool that stands for the tools of an MCP server. */
export const mcpToolset = "anthropic.mcp_toolset"

/** What a tool of an MCP server is made with. */
export interface McpArgs {
  readonly name: string
}

export interface Names {
  /** The name in the toolkit of a tool on the wire; undefined for one that the toolkit does not have. */
  readonly declared: (wireName: string) => string | undefined
  /** The name on the wire of a tool in the toolkit. */
  readonly onWire: (name: string) => string
  /** The name in the toolkit of an MCP server. */
  readonly mcp: (server: string) => string | undefined
  /** The MCP server that a name in the toolkit stands for. */
  readonly serverOf: (name: string) => string | undefined
  /** All names in the toolkit. */
  readonly all: ReadonlyArray<string>
  readonly tool: (name: string) => Tool.Any | undefined
}

export const make = (tools: ReadonlyArray<Tool.Any>): Names => {
  const byName = new Map<string, Tool.Any>()
  const byWireName = new Map<string, string>()
  const servers = new Map<string, string>()
  const byServer = new Map<string, string>()
  for (const tool of tools) {
    byName.set(tool.name, tool)
    if (Tool.isProviderDefined(tool) && tool.id === mcpToolset) {
      const { name } = tool.args as McpArgs
      servers.set(tool.name, name)
      byServer.set(name, tool.name)
    } else byWireName.set(Tool.isProviderDefined(tool) ? tool.providerName : tool.name, tool.name)
  }
  return {
    declared: (wireName) => byWireName.get(wireName),
    onWire: (name) => {
      const tool = byName.get(name)
      return Tool.isProviderDefined(tool) ? tool.providerName : name
    },
    mcp: (server) => byServer.get(server),
    serverOf: (name) => servers.get(name),
    all: [...byName.keys()],
    tool: (name) => byName.get(name)
  }
}

/**
 * The floors of the building: who may import whom. A module stands on one floor and imports from floors below it.
 */
import ts from "typescript"

const floors = {
  ground: [
    "Attempt",
    "CallContext",
    "ClaudeError",
    "CostReport",
    "Estimate",
    "MessageStream",
    "Model",
    "PriceBook",
    "Reconciliation",
    "Request",
    "Usage"
  ],
  port: ["ClaudeApi", "KeyStore"],
  policies: [
    "Budget",
    "CircuitBreaker",
    "CostLedger",
    "CostOptimizer",
    "Fallback",
    "Hedge",
    "InputSanitizer",
    "KeyPool",
    "Monitor",
    "RateLimiter",
    "RetryPolicy"
  ],
  composition: [
    "Claude",
    "ClaudeConfig",
    "ClaudeService",
    "Conversation",
    "Health",
    "StructuredOutput",
    "ToolLoop",
    "index"
  ],
  edges: [
    "Budget/Sql",
    "CircuitBreaker/Redis",
    "ClaudeLanguageModel",
    "ClaudeLanguageModel/Tools",
    "Cli",
    "CostLedger/Sql",
    "Http",
    "Http/Server",
    "KeyStore/AgeFile",
    "KeyStore/Credentials",
    "KeyStore/Folder",
    "KeyStore/Keyring",
    "KeyStore/Kubernetes",
    "KeyStore/Local",
    "KeyStore/Vault",
    "Monitor/OpenTelemetry",
    "Monitor/Otlp",
    "Monitor/Prometheus",
    "RateLimiter/Redis",
    "Sqlite",
    "bin",
    "testing/ClaudeTest",
    "testing/Recording",
    "testing/Simulator",
    "testing/SimulatorServer"
  ]
}

/** Floors whose modules are parts of one thing and may import each other; cycles are refused everywhere. */
const open = new Set(["ground", "composition", "edges"])

const names = Object.keys(floors)

const floorOf = new Map(Object.entries(floors).flatMap(([floor, modules]) => modules.map((name) => [name, floor])))

/** A file of `src` by its path below it, without `.ts`, and the paths it imports. */
export type Imports = ReadonlyMap<string, ReadonlyArray<string>>

const isInternal = (name: string): boolean => name.split("/").includes("internal")

/** The files of `src` that a file imports, types and re-exports included, as paths below `src`; also by the name of the package. */
export const importsOf = (name: string, text: string): ReadonlyArray<string> => {
  const found: Array<string> = []
  const visit = (node: ts.Node): void => {
    const specifier = ts.isImportDeclaration(node) || ts.isExportDeclaration(node)
      ? node.moduleSpecifier
      : ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)
      ? node.argument.literal
      : ts.isExternalModuleReference(node)
      ? node.expression
      : ts.isCallExpression(node) && /^(?:import|require)$/.test(node.expression.getText(source))
      ? node.arguments[0]
      : undefined
    const target = specifier !== undefined && ts.isStringLiteralLike(specifier)
      ? targetOf(name, specifier.text)
      : undefined
    if (target !== undefined) found.push(target)
    ts.forEachChild(node, visit)
  }
  const source = ts.createSourceFile(`${name}.ts`, text, ts.ScriptTarget.Latest)
  visit(source)
  return found
}

const targetOf = (name: string, specifier: string): string | undefined => {
  if (specifier.startsWith(".")) {
    return new URL(specifier, `file:///${name}`).pathname.slice(1).replace(/\.[cm]?[jt]s$/, "")
  }
  const [, own] = /^effect-claude(?:\/(.*))?$/.exec(specifier) ?? []
  return own ?? (specifier === "effect-claude" ? "index" : undefined)
}

/** Every import cycle once, as `A -> B -> A`. */
export const cycles = (imports: Imports): ReadonlyArray<string> => {
  const found: Array<string> = []
  const done = new Set<string>()
  const visit = (name: string, path: ReadonlyArray<string>): void => {
    if (path.includes(name)) found.push([...path.slice(path.indexOf(name)), name].join(" -> "))
    if (path.includes(name) || done.has(name)) return
    for (const next of imports.get(name) ?? []) visit(next, [...path, name])
    done.add(name)
  }
  for (const name of imports.keys()) visit(name, [])
  return found
}

/** The public modules that a file reaches, directly or through internal files: those take the floor of their user. */
const reached = (imports: Imports, name: string, seen = new Set<string>()): ReadonlyArray<string> =>
  (imports.get(name) ?? []).flatMap((next) => {
    if (!isInternal(next)) return [next]
    if (seen.has(next)) return []
    seen.add(next)
    return reached(imports, next, seen)
  })

/** What breaks the floor plan, one sentence each. */
export const violations = (imports: Imports): ReadonlyArray<string> => {
  const used = new Set([...imports.values()].flat())
  return [...imports.keys()].flatMap((name) => {
    if (isInternal(name)) return used.has(name) ? [] : [`${name} is internal and used by nobody`]
    const floor = floorOf.get(name)
    if (floor === undefined) return [`${name} stands on no floor: list it in scripts/floors.ts`]
    return [...new Set(reached(imports, name))].flatMap((target) => {
      const other = floorOf.get(target)
      if (other === undefined || names.indexOf(other) < names.indexOf(floor)) return []
      return other === floor && open.has(floor) ? [] : [`${name} (${floor}) imports ${target} (${other})`]
    })
  })
}

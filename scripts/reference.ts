/**
 * Writes `docs/reference.md` from the docstrings and types of `src`: `node scripts/reference.ts`. The check `reference` compares.
 *
 * A docstring lists its options as "- `name`: text. Default ..."; an option may have a docstring of its own instead.
 */
import { globSync, readFileSync, writeFileSync } from "node:fs"
import { pathToFileURL } from "node:url"
import ts from "typescript"

/** The parts of a program in the order of a reader; modules with options that are not named here follow. */
const order = [
  "ClaudeService",
  "CallContext",
  "KeyStore",
  "KeyStore/Local",
  "KeyStore/Keyring",
  "KeyStore/AgeFile",
  "KeyStore/Folder",
  "KeyStore/Vault",
  "KeyStore/Kubernetes",
  "KeyStore/Credentials",
  "ClaudeApi",
  "RetryPolicy",
  "KeyPool",
  "RateLimiter",
  "RateLimiter/Redis",
  "CircuitBreaker",
  "CircuitBreaker/Redis",
  "Fallback",
  "Hedge",
  "PriceBook",
  "Budget",
  "Budget/Sql",
  "CostLedger",
  "CostLedger/Sql",
  "Sqlite",
  "CostOptimizer",
  "Monitor",
  "Monitor/Otlp",
  "Monitor/Prometheus",
  "ClaudeLanguageModel",
  "ClaudeLanguageModel/Tools",
  "Health",
  "Http",
  "Http/Server"
]

/** What is no option by its category, and set by users all the same. */
const also = new Set(["CallContext.CallContext", "PriceBook.Price"])

/** Options that are told elsewhere. */
const hidden = new Set(["Keys", "ConfigOptions"])

export const path = "docs/reference.md"

/** The text of a docstring before its examples and tags, without the stars. */
export const textOf = (comment: string): string =>
  comment
    .replace(/^\/\*\*|\*\/$/g, "")
    .split("\n")
    .map((line) => line.replace(/^\s*\* ?/, ""))
    .join("\n")
    .replace(/^(?:@|\*\*Example\*\*)[^]*/m, "")
    .trim()

/** The items "- `name`: text" of a docstring, and what stands around them. */
export const itemsOf = (text: string): { readonly prose: string; readonly items: ReadonlyMap<string, string> } => {
  const items = new Map<string, string>()
  const prose: Array<string> = []
  let names: ReadonlyArray<string> = []
  for (const line of text.split("\n")) {
    const item = /^- ((?:`\w+`(?:, | and )?)+)(:?)\s*(.*)$/.exec(line)
    if (item !== null) {
      names = [...item[1]!.matchAll(/`(\w+)`/g)].map((name) => name[1]!) // the groups take part in the match
      for (const name of names) items.set(name, item[2] === ":" ? item[3]! : `${name} ${item[3]}`)
    } else if (names.length > 0 && /^\s+\S/.test(line)) {
      for (const name of names) items.set(name, `${items.get(name)} ${line.trim()}`)
    } else {
      names = []
      prose.push(line)
    }
  }
  return { prose: prose.join("\n").replace(/\n{3,}/g, "\n\n").trim(), items }
}

/** Takes the sentence "Default ..." out of a text; one in the middle of a sentence is copied. */
export const splitDefault = (text: string): readonly [meaning: string, value: string] => {
  const sentence = /(?:^|(?<=[.)`] ))[Dd]efault(?:s to|:)? ((?:[^.]|\.(?=\S))+)\.?\s*/.exec(text)
  const value = sentence?.[1] ?? /(?:, default|[Bb]y default) ((?:[^.;,]|[.,](?=\S))+)/.exec(text)?.[1] ?? ""
  if (value === "") return [text, /(`"?\w+"?`), the default/.exec(text)?.[1] ?? ""]
  const short = value.split(/[;:] |, (?=[a-z])/)[0]! // splitting gives one at least
  return [sentence !== null && short === value ? text.replace(sentence[0], "").trim() : text, short]
}

const capital = (text: string): string => /^[a-z]+[ ,.:]/.test(text) ? text[0]!.toUpperCase() + text.slice(1) : text

const cell = (text: string): string =>
  text.replace(/\{@link (\w+)\}/g, "`$1`").replace(/\|/g, "\\|").replace(/\s+/g, " ")

const row = (...cells: ReadonlyArray<string>): string => `| ${cells.join(" | ")} |`

const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  [row(...head), row(...head.map(() => "---")), ...rows.map((cells) => row(...cells))].join("\n")

interface Export {
  readonly module: string
  readonly name: string
  readonly category: string | undefined
  readonly symbol: ts.Symbol
  readonly node: ts.Declaration
}

const commentOf = (node: ts.Node): string => {
  const source = node.getSourceFile().text
  const holder = ts.isVariableDeclaration(node) ? node.parent.parent : node
  const range = ts.getLeadingCommentRanges(source, holder.getFullStart())?.at(-1)
  const comment = range === undefined ? "" : source.slice(range.pos, range.end)
  return comment.startsWith("/**") ? comment : ""
}

const moduleOf = (file: string): string => file.slice("src/".length, -".ts".length)

/** What public modules export, each once, under the module whose folder it stands in, or else the first that exports it. */
const exportsOf = (program: ts.Program, files: ReadonlyArray<string>): ReadonlyArray<Export> => {
  const checker = program.getTypeChecker()
  const found = new Map<ts.Declaration, Export>()
  for (const file of files) {
    const source = program.getSourceFile(file)
    const symbol = source === undefined ? undefined : checker.getSymbolAtLocation(source)
    for (const exported of symbol === undefined ? [] : checker.getExportsOfModule(symbol)) {
      const target = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported
      for (const node of target.declarations ?? []) {
        const module = moduleOf(file)
        const isHome = node.getSourceFile().fileName.includes(`src/${module}`)
        if (found.has(node) && !isHome) continue
        const category = /@category (\w+)/.exec(commentOf(node))?.[1]
        found.set(node, { module, name: exported.name, category, symbol: target, node })
      }
    }
  }
  return [...found.values()]
}

const isOwn = (node: ts.Node): boolean => /^(?!.*node_modules).*\bsrc\//.test(node.getSourceFile().fileName)

/** The properties that an interface declares itself, or all where it takes them from elsewhere. */
const propertiesOf = (checker: ts.TypeChecker, node: ts.InterfaceDeclaration | ts.TypeAliasDeclaration) => {
  const heritage = ts.isInterfaceDeclaration(node)
    ? (node.heritageClauses ?? []).flatMap(({ types }) => [...types])
    : []
  const parents = heritage.filter((parent) => {
    const type = checker.getTypeAtLocation(parent)
    return type.symbol?.declarations?.some((declared) => ts.isInterfaceDeclaration(declared) && isOwn(declared)) ??
      false
  })
  const type = checker.getTypeAtLocation(node)
  const isFlat = parents.length < heritage.length || ts.isTypeAliasDeclaration(node)
  const own = isFlat || ts.isTypeAliasDeclaration(node)
    ? type.getProperties()
    : node.members.flatMap((member) => member.name === undefined ? [] : [checker.getSymbolAtLocation(member.name)!]) // a named member has a symbol
  return { own, parents: parents.map((parent) => parent.getText()) }
}

/** The type of a field that is a list of a named schema: its name is more to the point than what it stands for. */
const schemaText = (declared: ts.Declaration | undefined): string | undefined => {
  const name = /Schema\.Array\((\w+)\)/.exec(declared?.getText() ?? "")?.[1]
  return name === undefined ? undefined : `ReadonlyArray<${name}>`
}

const typeText = (checker: ts.TypeChecker, property: ts.Symbol, at: ts.Node): string => {
  const declared = property.valueDeclaration
  const written = declared !== undefined && ts.isPropertySignature(declared) && declared.type !== undefined
    ? declared.type.getText()
    : schemaText(declared) ??
      checker.typeToString(checker.getTypeOfSymbolAtLocation(property, at), at)
  return written
    .replace(/\s+/g, " ")
    .replace(/\| undefined$/, "")
    .replace(/^undefined \| /, "")
    .replace(/^\| /, "")
    .replace(/readonly |\b\w+\.(?=Limits|Tier)/g, "")
    .replace(/ \| undefined(?= [;}])/g, "")
    .replace(/(?<=: [^;}]*) \| undefined(?=[;}]| [;}])/g, "")
    .trim()
}

/** The exported interfaces of `src` that the properties of an interface name. */
const namedIn = (checker: ts.TypeChecker, node: ts.Node): ReadonlyArray<ts.Declaration> => {
  const found: Array<ts.Declaration> = []
  const visit = (child: ts.Node): void => {
    if (ts.isFunctionLike(child)) return // what a callback gets is no option
    if (ts.isTypeReferenceNode(child)) {
      const symbol = checker.getSymbolAtLocation(child.typeName)
      const target = symbol !== undefined && symbol.flags & ts.SymbolFlags.Alias
        ? checker.getAliasedSymbol(symbol)
        : symbol
      found.push(...(target?.declarations ?? []).filter((declared) => ts.isInterfaceDeclaration(declared)))
    }
    ts.forEachChild(child, visit)
  }
  visit(node)
  return found
}

/** What the function does whose options these are: `trimHistory` of `TrimHistoryOptions`. */
const functionOf = (all: ReadonlyArray<Export>, { module, name }: Export): ReadonlyArray<string> => {
  const called = `${name[0]!.toLowerCase()}${name.slice(1).replace(/Options$/, "")}` // a name has a first letter
  const found = name.endsWith("Options") ? all.find((one) => one.module === module && one.name === called) : undefined
  const text = found === undefined ? "" : textOf(commentOf(found.node)).split("\n\n")[0]! // splitting gives one at least
  return text === "" ? [] : [`\`${called}\`: ${text}`]
}

const optionsSection = (
  checker: ts.TypeChecker,
  about: ReadonlyArray<string>,
  { category, module, name, node }: Export
): string => {
  const declaration = node as ts.InterfaceDeclaration | ts.TypeAliasDeclaration // only these are asked for
  const { items, prose } = itemsOf(textOf(commentOf(node)))
  const { own, parents } = propertiesOf(checker, declaration)
  const isUnion = ts.isTypeAliasDeclaration(declaration) && ts.isUnionTypeNode(declaration.type)
  const written = isUnion
    ? declaration.type.getText().replace(/^\| /, "").replace(/\s+/g, " ").replace(/readonly | \| undefined/g, "")
    : ""
  // An alias of other options lists what it changes.
  const listed = ts.isTypeAliasDeclaration(declaration) ? own.filter(({ name }) => items.has(name)) : own
  const rows = (isUnion ? [] : listed).map((property) => {
    const declared = property.valueDeclaration ?? property.declarations?.[0]
    const ownText = declared === undefined ? "" : textOf(commentOf(declared))
    const [meaning, value] = splitDefault(items.get(property.name) ?? ownText)
    const takesUndefined = declared !== undefined && declared.getText().endsWith(" | undefined")
    const isRequired = (property.flags & ts.SymbolFlags.Optional) === 0 && !takesUndefined && category === "options"
    const type = ts.isTypeAliasDeclaration(declaration) ? [] : [`\`${cell(typeText(checker, property, node))}\``]
    return [
      `\`${property.name}\``,
      ...type,
      isRequired ? cell(value) || "required" : cell(value),
      cell(capital(meaning))
    ]
  })
  const typed = ts.isTypeAliasDeclaration(declaration) ? [] : ["type"]
  return [
    `### \`${module.split("/").length === 1 ? `${module}.${name}` : `${module}: ${name}`}\``,
    ...about,
    ...(prose === "" ? [] : [prose]),
    ...(written === "" ? [] : [`\`${written}\``]),
    ...(parents.length === 0 ? [] : [`Also the options of ${parents.map((parent) => `\`${parent}\``).join(" and ")}.`]),
    ...(rows.length === 0 ? [] : [table(["option", ...typed, "default", "meaning"], rows)])
  ].join("\n\n")
}

/** Metrics, with the labels that their `attributes` or `withAttributes` give them. */
const metricsOf = (program: ts.Program): ReadonlyArray<ReadonlyArray<string>> => {
  const rows: Array<ReadonlyArray<string>> = []
  const namesOf = ({ properties }: ts.ObjectLiteralExpression) =>
    properties.map((property) => property.name?.getText() ?? "")
  for (const source of program.getSourceFiles().filter(isOwn)) {
    const labels = new Map<string, ReadonlyArray<string>>()
    const made: Array<readonly [variable: string, name: string, kind: string, description: string]> = []
    const visit = (node: ts.Node): void => {
      const called = ts.isCallExpression(node) && ts.isPropertyAccessExpression(node.expression) ? node : undefined
      const callee = called?.expression.getText() ?? ""
      const [first, second] = called?.arguments ?? []
      if (
        callee === "Metric.withAttributes" && first !== undefined && second !== undefined &&
        ts.isObjectLiteralExpression(second)
      ) {
        labels.set(first.getText(), namesOf(second))
      }
      const kind = /^Metric\.(counter|gauge|histogram|frequency)$/.exec(callee)?.[1]
      if (
        kind !== undefined && first !== undefined && ts.isStringLiteral(first) && second !== undefined &&
        ts.isObjectLiteralExpression(second)
      ) {
        const valueOf = (name: string) => {
          const found = second.properties.find((property) => property.name?.getText() === name)
          return found !== undefined && ts.isPropertyAssignment(found) ? found.initializer : undefined
        }
        const [attributes, described] = [valueOf("attributes"), valueOf("description")]
        const text = described !== undefined && ts.isStringLiteral(described) ? described.text : ""
        const variable = called?.parent !== undefined && ts.isVariableDeclaration(called.parent)
          ? called.parent.name.getText()
          : first.text
        if (attributes !== undefined && ts.isObjectLiteralExpression(attributes)) {
          labels.set(variable, namesOf(attributes))
        }
        made.push([variable, first.text, kind, text])
      }
      ts.forEachChild(node, visit)
    }
    visit(source)
    for (const [variable, name, kind, description] of made) {
      rows.push([
        `\`${name}\``,
        kind,
        (labels.get(variable) ?? []).map((label) => `\`${label}\``).join(", "),
        cell(description)
      ])
    }
  }
  return rows.sort(([a], [b]) => a! < b! ? -1 : 1) // each row has a name
}

const errorSection = ({ module, name, node }: Export, statuses: ReadonlyMap<string, string>): string => {
  const text = textOf(commentOf(node))
  const status = statuses.get(name)
  const title = module === "ClaudeError" ? `### \`${name}\`` : `### \`${module}.${name}\``
  return [title, text, ...(status === undefined ? [] : [`HTTP status for your own client: ${status}.`])].join("\n\n")
}

/** The page. */
export const generate = (): string => {
  const config = ts.readConfigFile("tsconfig.json", (file) => readFileSync(file, "utf8")).config
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, process.cwd())
  const files = globSync("src/**/*.ts").filter((file) => !file.includes("/internal/") && file !== "src/index.ts").sort()
  const program = ts.createProgram({ rootNames: files, options: { ...options, types: ["node"] } })
  const checker = program.getTypeChecker()
  const all = exportsOf(program, files)
  const byNode = new Map(all.map((exported) => [exported.node, exported]))

  const sections: Array<string> = []
  const modules = [...order, ...new Set(all.map(({ module }) => module))].filter((name, index, names) =>
    names.indexOf(name) === index
  )
  for (const module of modules) {
    const chosen = new Set<Export>()
    const choose = (exported: Export | undefined): void => {
      if (exported === undefined || exported.module !== module || chosen.has(exported)) return
      chosen.add(exported)
      for (const declared of namedIn(checker, exported.node)) choose(byNode.get(declared))
    }
    for (const exported of [...all].sort((a, b) => Number(b.name === "Options") - Number(a.name === "Options"))) {
      const isType = ts.isInterfaceDeclaration(exported.node) || ts.isTypeAliasDeclaration(exported.node)
      const isChosen = exported.category === "options"
        ? !hidden.has(exported.name)
        : also.has(`${module}.${exported.name}`)
      if (isType && isChosen) choose(exported)
    }
    const pages = [...chosen].map((exported) => optionsSection(checker, functionOf(all, exported), exported))
    if (pages.length > 0) sections.push(`## ${module}`, ...pages)
  }

  const exported = (module: string, name: string): string => {
    const found = all.find((one) => one.module === module && one.name === name && textOf(commentOf(one.node)) !== "")
    if (found === undefined) throw new Error(`${module} exports no ${name} with a docstring`)
    return textOf(commentOf(found.node))
  }
  const httpStatus = exported("ClaudeError", "httpStatus")
  const statuses = new Map(
    [...httpStatus.matchAll(/^\| `(\w+)` \| (.*?) \|$/gm)].map((match) => [match[1]!, match[2]!] as const)
  ) // the groups take part
  const errors = all.filter(({ category, node }) => category === "errors" && ts.isClassDeclaration(node))
  const refusal = errors.filter(({ module }) => module === "ClaudeError")
  const others = errors.filter(({ module }) => module !== "ClaudeError")

  return `${
    [
      "# Reference",
      "Generated by `node scripts/reference.ts` from the docstrings of `src`: edit those. Times are `Duration.Input` (`\"30 seconds\"`, milliseconds as a number), " +
      "tokens are integers, money is integer nano-dollars unless an option says US dollars.",
      ...sections,
      "## Environment",
      `Read by \`ClaudeService.layerConfig\`. ${exported("ClaudeConfig", "config")}`,
      "## Metrics",
      table(["metric", "kind", "labels", "meaning"], metricsOf(program)),
      "## Errors",
      ...[...refusal, ...others].map((error) => errorSection(error, statuses)),
      "## HTTP statuses",
      httpStatus
    ].join("\n\n")
  }\n`
}

/** The rows of tables that begin with a name in backticks, and the HTTP statuses in each. */
const statusesIn = (text: string): ReadonlyMap<string, string> =>
  new Map(
    [...text.matchAll(/^\| `(\w+)` \|(?:.*\|)? ([^|]*) \|$/gm)].map(([, name, cell]) =>
      [name!, [...new Set(cell!.match(/\b[45]\d\d\b/g))].sort().join(", ")] as const // the groups take part in the match
    )
  )

/** Errors whose HTTP statuses differ between README and the reference. */
export const disagreeing = (readme: string, reference: string): ReadonlyArray<string> => {
  const told = statusesIn(readme)
  const statuses = reference.slice(reference.indexOf("## HTTP statuses"))
  return [...statusesIn(statuses)].flatMap(([name, should]) =>
    told.get(name) === should
      ? []
      : [`README.md: ${name} has the HTTP statuses ${should}, not ${told.get(name) ?? "none"}`]
  )
}

/** Options without a meaning. */
export const unexplained = (reference: string): ReadonlyArray<string> =>
  reference.split("\n### ").flatMap((section) =>
    [...section.matchAll(/^\| `(\w+)` \|.*\|  \|$/gm)].map(([, option]) =>
      `${/`(.*)`/.exec(section)?.[1]}: say what \`${option}\` means`
    )
  )

/** What is wrong with the page as it stands. */
export const stale = (): ReadonlyArray<string> => {
  const page = generate()
  const wrong = [...disagreeing(readFileSync("README.md", "utf8"), page), ...unexplained(page)]
  if (wrong.length > 0) return wrong
  const stands = readFileSync(path, "utf8").split("\n")
  const should = page.split("\n")
  const line = should.findIndex((text, index) => text !== stands[index])
  if (line === -1 && stands.length === should.length) return []
  return [
    `${path}:${line === -1 ? should.length : line + 1}: not what the docstrings say. Run node scripts/reference.ts.`
  ]
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) writeFileSync(path, generate())

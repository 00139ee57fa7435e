/**
 * Writes what the package exports, one text for each public module, so that a review sees every change of it: `node scripts/api.ts`.
 *
 * Each export is its declaration as the compiler emits it, without comments, wherever it stands; what a declaration names and nobody exports is not
 * repeated.
 */
import { globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join, resolve } from "node:path"
import ts from "typescript"

const folder = "api"

const isInside = (path: string): boolean => path.includes("/internal/")

/** The declarations of every file of `src`, by absolute path. */
const declarations = (): ReadonlyMap<string, string> => {
  const { config } = ts.readConfigFile("tsconfig.build.json", ts.sys.readFile)
  const { fileNames, options } = ts.parseJsonConfigFileContent(config, ts.sys, process.cwd())
  const texts = new Map<string, string>()
  const emitted = resolve("dist")
  ts.createProgram(fileNames, { ...options, declarationMap: false, removeComments: true }).emit(
    undefined,
    (path, text) => texts.set(resolve("src", path.slice(emitted.length + 1)), text),
    undefined,
    true
  )
  return texts
}

const printer = ts.createPrinter({ removeComments: true })

/** What the compiler names `X_base`: the fields of an error and the shape of a service stand there. */
const baseOf = (node: ts.ClassDeclaration): ts.Node | undefined => {
  const base = node.heritageClauses?.[0]?.types[0]?.expression.getText()
  return node.getSourceFile().statements.find((statement) =>
    ts.isVariableStatement(statement) && statement.declarationList.declarations[0]?.name.getText() === base
  )
}

const print = (node: ts.Node): string => {
  // The declaration of a variable is shown with its `const`.
  const whole = ts.isVariableDeclaration(node) ? node.parent.parent : node
  const text = printer.printNode(ts.EmitHint.Unspecified, whole, whole.getSourceFile())
    .replace(/^export (?:declare )?|^declare /, "").replaceAll(
      /^(?: {4})+/gm,
      (indent) => indent.slice(indent.length / 2)
    )
  const base = ts.isClassDeclaration(node) ? baseOf(node) : undefined
  return base === undefined ? text : `${print(base)}\n${text}`
}

/** What a module exports, by name; files are declarations by absolute path, and nothing else is there. */
export const reportOf = (texts: ReadonlyMap<string, string>, path: string): string => {
  const host: ts.CompilerHost = {
    ...ts.createCompilerHost({}),
    directoryExists: () => true,
    fileExists: (file) => texts.has(file),
    readFile: (file) => texts.get(file),
    getSourceFile: (file, target) => {
      const text = texts.get(file)
      return text === undefined ? undefined : ts.createSourceFile(file, text, target, true)
    }
  }
  const options = { noLib: true, types: [], module: ts.ModuleKind.NodeNext, allowImportingTsExtensions: true }
  const program = ts.createProgram([path], options, host)
  const checker = program.getTypeChecker()
  const source = program.getSourceFile(path)! // it was asked for
  const module = checker.getSymbolAtLocation(source)
  const exported = module === undefined ? [] : checker.getExportsOfModule(module)
  const augments = source.statements.filter((node) => ts.isModuleDeclaration(node) && ts.isStringLiteral(node.name))
  const lines = exported.sort((a, b) => a.name < b.name ? -1 : 1).map((symbol) => {
    const meant = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
    const declared = meant.declarations ?? []
    const file = declared.find(ts.isSourceFile)
    if (file !== undefined) {
      return `${symbol.name}: the module ${file.fileName.slice(dirname(path).length + 1, -".d.ts".length)}`
    }
    if (declared.length === 0) return `${symbol.name}: of another package`
    const renamed = meant.name === symbol.name ? "" : `${symbol.name}: `
    return declared.map((node) => renamed + print(node)).join("\n")
  })
  return [...lines, ...augments.map(print)].join("\n") + "\n"
}

/** The texts as they should be, by path. */
export const generate = (): ReadonlyMap<string, string> => {
  const texts = declarations()
  return new Map(
    globSync("src/**/*.ts").filter((path) => !isInside(path) && path !== "src/bin.ts").sort().map((path) => {
      const name = path.slice("src/".length, -".ts".length)
      return [join(folder, `${name}.txt`), reportOf(texts, resolve("src", `${name}.d.ts`))]
    })
  )
}

const stands = (): ReadonlyArray<string> => globSync(`${folder}/**/*.txt`).sort()

/** What is wrong with the texts as they stand. */
export const stale = (): ReadonlyArray<string> => {
  const should = generate()
  const paths = new Set([...should.keys(), ...stands()])
  return [...paths].flatMap((path) => {
    const text = globSync(path).length === 0 ? undefined : readFileSync(path, "utf8")
    return text === should.get(path)
      ? []
      : [`${path}: not what the module exports. Run node scripts/api.ts, and look at the difference.`]
  })
}

if (import.meta.main) {
  const texts = generate()
  for (const path of stands()) if (!texts.has(path)) rmSync(path)
  for (const [path, text] of texts) {
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
  }
}

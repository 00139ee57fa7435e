/**
 * What `src` promises beyond what types and lint see: documented exports, and time, chance and failure as effects only.
 */
import ts from "typescript"

const forbiddenCalls = new Set([
  "Date.now",
  "Math.random",
  "setTimeout",
  "setInterval",
  "setImmediate",
  "queueMicrotask",
  "performance.now"
])

const nameOf = (node: ts.Node): string =>
  ts.isVariableStatement(node)
    ? node.declarationList.declarations.map((declaration) => declaration.name.getText()).join(", ")
    : (node as ts.NamedDeclaration).name?.getText() ?? "default" // every other exported statement declares a name

const isExported = (node: ts.Node): boolean =>
  ts.canHaveModifiers(node) && ts.getModifiers(node)?.some((_) => _.kind === ts.SyntaxKind.ExportKeyword) === true

/** A docstring ends in one `@category` (lower case) and then one `@since`. */
const docProblem = (doc: string): string | undefined => {
  const tags = [...doc.matchAll(/^\s*\*\s*@(\w+)\s*(.*?)\s*(?:\*\/)?$/gm)].map((_) => [_[1], _[2]])
  const categories = tags.filter(([tag]) => tag === "category")
  if (categories.length !== 1) return `has ${categories.length} @category`
  if (!/^[a-z][a-z ]*s$|^testing$/.test(categories[0]![1]!)) {
    return `has @category ${categories[0]![1]}: lower case, plural`
  }
  if (tags.at(-1)?.[0] !== "since" || tags.at(-2)?.[0] !== "category") return "does not end with @category, @since"
  return undefined
}

/**
 * What a file of `src` does against the conventions, as `path:line: sentence`. Docstrings are asked of public files only, where a
 * thing is declared.
 */
export const problems = (path: string, text: string): ReadonlyArray<string> => {
  const isInternal = path.includes("internal/")
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true)
  const found: Array<string> = []
  const report = (node: ts.Node, what: string): void => {
    found.push(`${path}:${source.getLineAndCharacterOfPosition(node.getStart()).line + 1}: ${what}`)
  }
  const visit = (node: ts.Node): void => {
    if (ts.isTryStatement(node)) report(node, "try: use Effect.try, or Schema and Option for values")
    if (ts.isCallExpression(node) && forbiddenCalls.has(node.expression.getText())) {
      report(node, `${node.expression.getText()}: time is Clock, chance is Random`)
    }
    if (!isInternal && ts.isTypeReferenceNode(node) && /^(Buffer|NodeJS)\b/.test(node.typeName.getText())) {
      report(node, `${node.typeName.getText()}: a type that only users with the types of Node have`)
    }
    if (
      ts.isBinaryExpression(node) && /^(\?\?)?=$/.test(node.operatorToken.getText()) &&
      ts.isPropertyAccessExpression(node.left) &&
      (ts.isArrowFunction(node.right) || ts.isFunctionExpression(node.right))
    ) {
      report(
        node,
        `${node.left.getText()} = a function: name it first, or V8 keeps it, and all that it sees, until a full garbage collection`
      )
    }
    if (ts.isNewExpression(node) && node.expression.getText() === "Date" && !node.arguments?.length) {
      report(node, "new Date(): time is Clock")
    }
    if (
      ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier) && node.moduleSpecifier.text === "effect"
    ) {
      report(node, `import from "effect": import by module in src`)
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  if (isInternal) return found
  const seen = new Set<string>()
  for (const statement of source.statements.filter(isExported)) {
    const name = nameOf(statement)
    const docs = ts.getJSDocCommentsAndTags(statement).filter(ts.isJSDoc)
    const doc = docs[docs.length - 1]?.getText()
    // Overloads and a type beside a value of the same name share one docstring.
    const problem = doc === undefined ? (seen.has(name) ? undefined : "has no docstring") : docProblem(doc)
    if (problem !== undefined) report(statement, `${name} ${problem}`)
    seen.add(name)
  }
  if (!/\/(?:index|bin)\.ts$/.test(path) && !text.includes("**Example** (")) {
    found.push(`${path}: no **Example** in any docstring`)
  }
  return found
}

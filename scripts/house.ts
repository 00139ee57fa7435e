/**
 * Where code stands and how long it is: the insides of a concept beside it, short files and functions, facts about models in the catalogue only,
 * and no side table keyed by an attempt.
 */
import ts from "typescript"
import type { Imports } from "./floors.ts"

const parse = (path: string, text: string): ts.SourceFile =>
  ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true)

const lineOf = (source: ts.SourceFile, position: number): number =>
  source.getLineAndCharacterOfPosition(position).line + 1

/** The concept of a file of `src`: `RateLimiter` for `RateLimiter`, `RateLimiter/Redis` and `RateLimiter/internal/Queue`. */
const conceptOf = (name: string): string => name.split("/", 1)[0]!

const isInside = (name: string): boolean => name.split("/").includes("internal")

/** Insides that stand apart from their concept, and shared code that only one concept uses. */
export const misplaced = (imports: Imports): ReadonlyArray<string> => {
  const users = new Map<string, Array<string>>()
  for (const [name, targets] of imports) {
    for (const target of new Set(targets)) users.set(target, [...users.get(target) ?? [], name])
  }
  /** The concepts that use a shared file, directly or through other shared files. */
  const concepts = (name: string, seen: Set<string>): ReadonlyArray<string> => {
    if (seen.has(name)) return []
    seen.add(name)
    return (users.get(name) ?? []).flatMap((user) =>
      conceptOf(user) === "internal" ? concepts(user, seen) : [conceptOf(user)]
    )
  }
  return [...users].flatMap(([name, from]) => {
    if (!isInside(name)) return []
    const concept = conceptOf(name)
    if (concept === "internal") {
      const [only, ...others] = new Set(concepts(name, new Set()))
      return only === undefined || others.length > 0
        ? []
        : [`${name} is used by ${only} only: move it to ${only}/internal`]
    }
    return from.filter((user) => conceptOf(user) !== concept).map((user) =>
      `${user} imports ${name}, an inside of ${concept}`
    )
  })
}

/** What `exports` of package.json shows of the insides, or hides that is not there. */
export const exposed = (names: Iterable<string>, exports: Readonly<Record<string, unknown>>): ReadonlyArray<string> => {
  const files = [...names]
  const folders = new Set(
    files.filter(isInside).map((name) => `./${/^(?:.*\/)?internal\//.exec(name)![0]}*`) // isInside has seen the folder
  )
  return [
    ...[...folders].filter((folder) => exports[folder] !== null).map((folder) =>
      `package.json: exports lacks "${folder}": null`
    ),
    ...Object.keys(exports).filter((key) => exports[key] === null && !folders.has(key) && !files.includes(key.slice(2)))
      .map((key) => `package.json: exports hides "${key}", which has no file`)
  ]
}

const maxFile = 400
const maxFunction = 100

const reason = /Long because \S/

/** Lines of literal tables at the top of a file: arrays and objects without a function in them. */
const tableLines = (source: ts.SourceFile): number => {
  const hasFunction = (node: ts.Node): boolean => ts.isFunctionLike(node) || ts.forEachChild(node, hasFunction) === true
  const table = (node: ts.Expression): boolean =>
    ts.isAsExpression(node) || ts.isSatisfiesExpression(node) || ts.isParenthesizedExpression(node)
      ? table(node.expression)
      : ts.isNewExpression(node) || ts.isCallExpression(node)
      ? node.arguments?.length === 1 && table(node.arguments[0]!)
      : (ts.isArrayLiteralExpression(node) || ts.isObjectLiteralExpression(node)) && !hasFunction(node)
  return source.statements.filter(ts.isVariableStatement).flatMap(({ declarationList }) => declarationList.declarations)
    .reduce((sum, { initializer }) =>
      initializer === undefined || !table(initializer)
        ? sum
        : sum + lineOf(source, initializer.end) - lineOf(source, initializer.getStart()), 0)
}

/** The comments directly above the declaration that holds a node. */
const commentsAbove = (source: ts.SourceFile, node: ts.Node): string => {
  let at = node
  while (
    at.parent !== undefined && !ts.isSourceFile(at.parent) && !ts.isBlock(at.parent) && !ts.isFunctionLike(at.parent) &&
    !ts.isPropertyAssignment(at) && !ts.isClassElement(at)
  ) at = at.parent
  return [at, node].flatMap(({ pos }) => ts.getLeadingCommentRanges(source.text, pos) ?? []).map(
    (range) => source.text.slice(range.pos, range.end)
  ).join("\n")
}

const nameOf = (node: ts.Node): string => {
  const named = node as { readonly name?: ts.Node } // every declaration has its name there, other nodes have none
  if (named.name !== undefined) return named.name.getText()
  return node.parent === undefined || ts.isSourceFile(node.parent) ? "a function" : nameOf(node.parent)
}

/** A file above 400 lines and functions above 100, tables aside, without `Long because ...` beside them. */
export const long = (path: string, text: string): ReadonlyArray<string> => {
  const source = parse(path, text)
  const lines = text.trimEnd().split("\n").length - tableLines(source)
  const head = (ts.getLeadingCommentRanges(text, 0) ?? []).map((range) => text.slice(range.pos, range.end)).join("\n")
  const found = lines > maxFile && !reason.test(head) ? [`${path}: ${lines} lines, at most ${maxFile}`] : []
  const visit = (node: ts.Node): void => {
    if (ts.isFunctionLike(node) && "body" in node) {
      const start = lineOf(source, node.getStart())
      const lines = lineOf(source, node.end) - start + 1
      if (lines > maxFunction && !reason.test(commentsAbove(source, node))) {
        found.push(`${path}: ${nameOf(node)} at ${start} has ${lines} lines, at most ${maxFunction}`)
      }
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return found
}

const families = "opus|sonnet|haiku|fable|mythos|instant"
const modelId = new RegExp(`claude-(?:${families}|\\d)`)
const modelGroup = new RegExp(`^\\S*(?<![a-z])(?:${families})(?![a-z])\\S*$`)

/** Literals that name models or groups of them, line by line. The catalogue, its data and the model of a test double may. */
export const facts = (path: string, text: string): ReadonlyArray<string> => {
  if (/^src\/(?:Model\/internal\/catalogue\.ts$|internal\/data\/|testing\/ClaudeTest\.ts$)/.test(path)) return []
  const source = parse(path, text)
  const found = new Map<number, string>()
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) return
    const literal =
      ts.isStringLiteralLike(node) || ts.isTemplateHead(node) || ts.isTemplateMiddleOrTemplateTail(node) ||
        ts.isRegularExpressionLiteral(node)
        ? node.text
        : (ts.isPropertyAssignment(node) || ts.isPropertySignature(node)) && ts.isIdentifier(node.name)
        ? node.name.text
        : ""
    if (modelId.test(literal) || modelGroup.test(literal)) {
      const line = lineOf(source, node.getStart())
      found.set(
        line,
        `${path}:${line}: ${literal.trim()}: what is known of models stands in src/Model/internal/catalogue.ts`
      )
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return [...found.values()]
}

const tables = /(?:Map|Set|Record)$/

/** An attempt, or the name that all attempts of a call share. */
const ofAttempt = /(?:\b|[a-z])[Aa]ttempt$|\b[Aa]ttempt\b|\bcallId\b/

/** An attempt as a key, or what tells one call from another. */
const key = /^(?:\w+\.)*(?:attempt|callId)$/

/** Tables keyed by an attempt: what `admit` took travels in the settlement that it returns. */
export const attemptTables = (path: string, text: string): ReadonlyArray<string> => {
  const source = parse(path, text)
  const found: Array<string> = []
  const isTable = (name: string, types: ReadonlyArray<ts.Node> | undefined): boolean =>
    tables.test(name.split(".").at(-1)!) && ofAttempt.test(types?.[0]?.getText() ?? "")
  const visit = (node: ts.Node): void => {
    const hit = ts.isTypeReferenceNode(node)
      ? isTable(node.typeName.getText(), node.typeArguments)
      : ts.isNewExpression(node)
      ? isTable(node.expression.getText(), node.typeArguments)
      : ts.isElementAccessExpression(node)
      ? key.test(node.argumentExpression.getText())
      : ts.isCallExpression(node) && ts.isPropertyAccessExpression(node.expression) &&
        /^(?:set|add)$/.test(node.expression.name.text) &&
        // A function of a module takes the table first.
        key.test(node.arguments[/^[A-Z]/.test(node.expression.getText()) ? 1 : 0]?.getText() ?? "")
    if (hit) {
      found.push(
        `${path}:${lineOf(source, node.getStart())}: ${
          node.getText().split("\n", 1)[0]
        }: return from admit what settling needs`
      )
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return found
}

/**
 * What the installed SDK knows of models and the catalogue lacks: ids, deprecations and the days that models retire.
 */
import { readFileSync } from "node:fs"
import ts from "typescript"

/** Of a model of the catalogue, what is compared. Days are ISO dates. */
export interface Entry {
  readonly id: string
  readonly aliases: ReadonlyArray<string>
  readonly deprecatedOn: string | undefined
  readonly retiresOn: string | undefined
}

/** The literal members of `type Model` in the SDK's declarations. */
export const modelIds = (declarations: string): ReadonlyArray<string> => {
  const found: Array<string> = []
  const literals = (node: ts.Node): void => {
    if (ts.isLiteralTypeNode(node) && ts.isStringLiteral(node.literal)) found.push(node.literal.text)
    ts.forEachChild(node, literals)
  }
  for (const statement of ts.createSourceFile("messages.d.ts", declarations, ts.ScriptTarget.Latest).statements) {
    if (ts.isTypeAliasDeclaration(statement) && statement.name.text === "Model") literals(statement.type)
  }
  return found
}

/** `November 30th, 2026` as `2026-11-30`. */
const isoDay = (day: string): string => {
  const millis = Date.parse(`${day.replace(/(\d)(?:st|nd|rd|th)\b/, "$1")} UTC`)
  return Number.isNaN(millis) ? day : new Date(millis).toISOString().slice(0, 10)
}

/** One sentence for each fact of the SDK that the catalogue lacks or tells otherwise. */
export const missing = (
  ids: ReadonlyArray<string>,
  deprecated: Readonly<Record<string, string>>,
  catalogue: ReadonlyArray<Entry>
): ReadonlyArray<string> => {
  const find = (id: string) => catalogue.find((model) => model.id === id || model.aliases.includes(id))
  return [
    ...ids.filter((id) => find(id) === undefined).map((id) => `${id} is in the SDK and not in the catalogue`),
    ...Object.entries(deprecated).flatMap(([id, day]) => {
      const model = find(id)
      const retires = isoDay(day)
      if (model === undefined) {
        return ids.includes(id)
          ? []
          : [`${id} is deprecated in the SDK and not in the catalogue`]
      }
      return [
        ...(model.deprecatedOn === undefined && model.retiresOn === undefined
          ? [`${id} is deprecated in the SDK and active in the catalogue`]
          : []),
        ...(model.retiresOn === retires
          ? []
          : [`${id} retires on ${retires} in the SDK and on ${model.retiresOn} in the catalogue`])
      ]
    })
  ]
}

/** Compares the catalogue with the SDK in `node_modules`. Answers the SDK's count of ids, and what is missing. */
export const compare = async (catalogue: ReadonlyArray<Entry>) => {
  const sdk = new URL("../node_modules/@anthropic-ai/sdk/", import.meta.url)
  const ids = modelIds(readFileSync(new URL("resources/messages/messages.d.ts", sdk), "utf8"))
  const { DEPRECATED_MODELS } = await import(new URL("internal/data/deprecated-models.mjs", sdk).href)
  if (ids.length === 0) throw new Error("The SDK has no type Model that lists ids: mend scripts/catalogue.ts")
  return { ids: ids.length, missing: missing(ids, DEPRECATED_MODELS, catalogue) }
}

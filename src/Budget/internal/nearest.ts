/** Finds the model that a misspelt name may mean. */
import type { Model } from "../../Model.ts"

/** Insertions, deletions and replacements that make one text of another. */
const distance = (one: string, other: string): number => {
  let row = Array.from({ length: other.length + 1 }, (_, i) => i)
  for (const [i, letter] of [...one].entries()) {
    const next = [i + 1]
    for (let j = 0; j < other.length; j++) {
      next.push(Math.min(row[j + 1]! + 1, next[j]! + 1, row[j]! + (other[j] === letter ? 0 : 1))) // both are as long
    }
    row = next
  }
  return row.at(-1) ?? 0
}

/** Names that differ in more are others. */
const maxDistance = 3

/** The id or alias that differs least from a name; undefined where none is near. */
export const nearestTo = (name: string, models: ReadonlyArray<Model>): string | undefined => {
  if (name.length > 128) return undefined
  const plain = name.toLowerCase().replaceAll(/[\s_.]+/g, "-")
  let best: string | undefined
  let least = maxDistance + 1
  for (const candidate of models.flatMap(({ aliases, id, prices }) => prices.length === 0 ? [] : [id, ...aliases])) {
    const steps = distance(plain, candidate)
    if (steps >= least) continue
    best = candidate
    least = steps
  }
  return best
}

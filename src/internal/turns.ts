/** Histories that the API accepts, wherever they were interrupted. */
import * as Predicate from "effect/Predicate"
import type { Block, Turn } from "../Request.ts"

export type Turns = ReadonlyArray<Turn>

export const blocksOf = ({ content }: Pick<Turn, "content">): ReadonlyArray<Block> =>
  typeof content === "string" ? [{ type: "text", text: content }] : content

const isBlank = (block: Block): boolean => block.type === "text" && block.text.trim() === ""

/** Half a call has no object as its input. */
const isUsable = (block: Block): boolean =>
  !isBlank(block) && (block.type !== "tool_use" || Predicate.isObject(block.input))

type Result = Extract<Block, { readonly type: "tool_result" }>

const isResult = (block: Block): block is Result => block.type === "tool_result"

/** The result of a call that has none. */
const missing = (tool_use_id: string): Result => ({
  type: "tool_result",
  tool_use_id,
  content: "There is no result: the call did not run, or not to its end.",
  is_error: true
})

/** Turns without what cannot be sent; those of one role that follow each other are one. */
const joined = (turns: Turns): Turns => {
  const found: Array<Turn> = []
  for (const turn of turns) {
    const blocks = blocksOf(turn)
    const usable = blocks.filter(isUsable)
    if (usable.length === 0) continue
    const before = found.at(-1)
    if (before?.role === turn.role && turn.role !== "system") {
      found[found.length - 1] = { role: turn.role, content: [...blocksOf(before), ...usable] }
    } else {
      found.push(usable.length === blocks.length ? turn : { ...turn, content: usable } as Turn) // of the same role
    }
  }
  return found
}

/** Calls of the server that never got their result, in a turn after which the user spoke: the API refuses them. */
const withoutAbandoned = (turns: Turns): Turns => {
  const answered = new Set<unknown>()
  let hasSpoken = false
  return [...turns].reverse().map((turn) => {
    const blocks = blocksOf(turn)
    for (const block of blocks) if ("tool_use_id" in block) answered.add(block.tool_use_id)
    if (turn.role === "user" && !blocks.every(isResult)) hasSpoken = true
    if (turn.role !== "assistant" || !hasSpoken) return turn
    const kept = blocks.filter((block) =>
      !("id" in block) || block.type === "tool_use" || !block.type.endsWith("tool_use") || answered.has(block.id)
    )
    return kept.length === blocks.length ? turn : { role: turn.role, content: kept }
  }).reverse()
}

/** Each call of a tool has one result, at the front of the next turn; no result stands alone. */
const paired = (turns: Turns): Turns => {
  const found: Array<Turn> = []
  turns.forEach((turn, index) => {
    const before = turns[index - 1]
    const calls = before?.role === "assistant"
      ? blocksOf(before).flatMap((block) => block.type === "tool_use" ? [block.id] : [])
      : []
    if (turn.role !== "user") {
      if (calls.length > 0) found.push({ role: "user", content: calls.map(missing) })
      found.push(turn)
      return
    }
    const blocks = blocksOf(turn)
    // The last of several is the newest.
    const results = new Map(blocks.filter(isResult).map((result) => [result.tool_use_id, result]))
    if (calls.length === 0 && results.size === 0) {
      found.push(turn)
      return
    }
    const content = [
      ...calls.map((id) => results.get(id) ?? missing(id)),
      ...blocks.filter((block) => !isResult(block))
    ]
    if (content.length > 0) found.push({ role: "user", content })
  })
  const last = turns.at(-1)
  const open = last?.role === "assistant"
    ? blocksOf(last).flatMap((block) => block.type === "tool_use" ? [block.id] : [])
    : []
  return open.length === 0 ? found : [...found, { role: "user", content: open.map(missing) }]
}

/** The same history, so that the API accepts it and it can go on; turns that need no change stay the objects that they are. */
export const valid = (turns: Turns): Turns => joined(paired(joined(withoutAbandoned(joined(turns)))))

/**
 * Signatures of thinking blocks. They bind a block to its content, to the model line that produced it and to the turns before it.
 */
import * as Hash from "../../../internal/contentHash.ts"
import type * as Model from "../../../Model.ts"
import type { Block, Body, Turn } from "./Wire.ts"

const hashOf = (value: unknown): string => Hash.nameOf(Hash.add(Hash.start, value))

const after = (hash: Hash.Hash, { content, role }: Turn): Hash.Hash =>
  Hash.add(Hash.add(hash, role), typeof content === "string" ? [{ type: "text", text: content }] : content)

/** The signature of a thinking block that answers a request. */
export const sign = (id: string, body: Body, line: Model.Line | undefined, thinking: string): string =>
  ["sig", id, line ?? "", Hash.nameOf(body.messages.reduce(after, Hash.start)), hashOf(thinking)].join("_")

/** The parts of a signature that this simulator made; others are taken for good. */
const partsOf = ({ signature, type }: Block) => {
  const parts = type === "thinking" && typeof signature === "string" ? signature.split("_") : []
  const [name, , line, turns, thinking] = parts
  return parts.length === 5 && name === "sig" ? { line, turns, thinking } : undefined
}

/** What is wrong with the thinking blocks of a request. */
export const problem = (messages: ReadonlyArray<Turn>, model: Model.Model): string | undefined => {
  const signed = messages.map(({ content }) =>
    typeof content === "string" ? [] : content.flatMap((block) => {
      const parts = partsOf(block)
      return parts === undefined ? [] : [{ ...parts, block }]
    })
  )
  if (signed.every((blocks) => blocks.length === 0)) return undefined
  const isBound = model.rejects.includes("editedThinking")
  let hash = Hash.start
  for (let i = 0; i < messages.length; i++) {
    for (const { block, line, thinking, turns } of signed[i]!) { // it has an entry for each message
      if (thinking !== hashOf(block["thinking"])) return `messages.${i}: a thinking block was modified.`
      if (!isBound) continue
      if (line !== model.line) return `messages.${i}: a thinking block is of another line of models.`
      if (turns !== Hash.nameOf(hash)) return `messages.${i}: the turns before a thinking block were changed.`
    }
    hash = after(hash, messages[i]!)
  }
  return undefined
}

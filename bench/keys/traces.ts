/** The traces that the bench replays. */
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { gunzipSync } from "node:zlib"

/** A request of a trace. `blocks` name the prefixes of its prompt, one for each 512 tokens. */
export interface Traced {
  /** Milliseconds. */
  readonly at: number
  readonly inputTokens: number
  readonly outputTokens: number
  readonly blocks: ReadonlyArray<number>
}

export const tokensPerBlock = 512

/** Undefined where the folder has no such trace. */
export const read = (folder: string, name: string): ReadonlyArray<Traced> | undefined => {
  const path = join(folder, `${name}.jsonl.gz`)
  if (!existsSync(path)) return undefined
  return gunzipSync(readFileSync(path)).toString().trim().split("\n").map((line) => {
    const { hash_ids, input_length, output_length, timestamp } = JSON.parse(line)
    return { at: timestamp, inputTokens: input_length, outputTokens: output_length, blocks: hash_ids }
  })
}

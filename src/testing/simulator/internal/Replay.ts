/**
 * Answers with what was recorded.
 */
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import type { Exchange } from "../../Recording.ts"
import * as Step from "./Step.ts"

/** The same text for the same JSON, whatever the order of its keys. */
const canonical = (value: unknown): string =>
  JSON.stringify(value, (_, inner: unknown) =>
    Predicate.isObject(inner) && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => a < b ? -1 : 1))
      : inner) ?? ""

const nameOf = (method: string, path: string, body: unknown): string => `${method} ${path} ${canonical(body)}`

function* streamed({ answer, headers, status }: Exchange, own: Record<string, string>): Generator<Step.Step> {
  yield Step.head(status, { ...own, ...headers })
  const events = answer.split(/(?<=\r?\n\r?\n)/)
  for (const [index, event] of events.entries()) yield Step.data(event, index === events.length - 1)
}

export interface Replay {
  /** Whether there is an answer for some request to a path. */
  readonly knows: (path: string) => boolean
  readonly answer: (
    method: string,
    path: string,
    parsed: Result.Result<unknown, unknown> | undefined,
    headers: Record<string, string>
  ) => Step.Step | Iterable<Step.Step> | undefined
}

/**
 * What answers a request that was recorded; undefined for another. Of several answers to equal requests each is given once, in their order, and
 * the last from then on.
 */
export const make = (recording: ReadonlyArray<Exchange>): Replay => {
  const known = new Map<string, Array<Exchange>>()
  for (const exchange of recording) {
    const name = nameOf(exchange.method, exchange.path, exchange.body)
    known.set(name, [...known.get(name) ?? [], exchange])
  }
  if (known.size === 0) return { knows: () => false, answer: () => undefined }
  const paths = new Set(recording.map(({ path }) => path))
  const answer: Replay["answer"] = (method, path, parsed, headers) => {
    const body = parsed === undefined || Result.isFailure(parsed) ? undefined : parsed.success
    const answers = known.get(nameOf(method, path, body))
    if (answers === undefined) return undefined
    const answer = answers.length > 1 ? answers.shift()! : answers[0]!
    return answer.answer !== "" && answer.headers["content-type"]?.startsWith("text/event-stream") === true
      ? streamed(answer, headers)
      : Step.head(answer.status, { ...headers, ...answer.headers }, answer.answer)
  }
  return { knows: (path) => paths.has(path), answer }
}

/**
 * The two endpoints that need a model: messages, and counts of tokens.
 */
import type { Message } from "@anthropic-ai/sdk/resources/messages"
import * as Answer from "./Answer.ts"
import type * as Buckets from "./Buckets.ts"
import type * as Cache from "./Cache.ts"
import * as Compose from "./Compose.ts"
import type * as Keys from "./Keys.ts"
import type * as Spend from "./Spend.ts"
import * as Sse from "./Sse.ts"
import * as Step from "./Step.ts"
import type * as Threads from "./Threads.ts"
import * as Tokens from "./Tokens.ts"
import type * as Validate from "./Validate.ts"
import type * as Wire from "./Wire.ts"

const json = "application/json"
const sse = "text/event-stream; charset=utf-8"

export interface MessageOptions extends Compose.ComposeOptions {
  readonly firstTokenMillis: () => number
  readonly perTokenMillis: () => number
  /** Whether tokens take time. */
  readonly paced: boolean
  readonly now: () => number
}

/** Counts the tokens of a prompt. */
const counting = (
  now: () => number,
  buckets: ReturnType<typeof Buckets.make>,
  spend: ReturnType<typeof Spend.make>
) =>
(
  { body, model }: Validate.Checked,
  key: Keys.Key,
  served: Compose.Served,
  id: string,
  headers: Record<string, string>
): Step.Step => {
  const at = now()
  const refusal = spend.refuses(key.organization, at) ?? buckets.count(key.organization, at)
  if (refusal !== undefined) return Step.refused(refusal, id, headers)
  Compose.serve(served, key, id, at, model.id, "count_tokens", false)
  const tokens = Tokens.ofBody(body, model.tokenizer)
  return Step.head(200, { "content-type": json, ...headers }, JSON.stringify({ input_tokens: tokens }))
}

/** The answer to a request of a batch. Batches have limits of their own, which are not simulated. */
const batched = (now: () => number, { cached, compose }: ReturnType<typeof Compose.make>) =>
(
  checked: Validate.Checked,
  key: Keys.Key,
  served: Compose.Served,
  id: string
): Message | Wire.Refusal => {
  const at = now()
  const prompt = Compose.promptOf(checked)
  if ("status" in prompt) return prompt
  const { accept, commit, division } = cached(checked, prompt, key.workspace, at)
  const { message, plan } = compose(checked, key, served, id, at, "batch", division, prompt.tokens)
  accept()
  commit()
  served.output = plan.outputTokens
  return message
}

export const make = (
  options: MessageOptions,
  buckets: ReturnType<typeof Buckets.make>,
  spend: ReturnType<typeof Spend.make>,
  cache: ReturnType<typeof Cache.make>
) => {
  const { now } = options
  const composing = Compose.make(options, cache)
  const { cached, compose } = composing

  /** The answer to a body that passed every check: a single step where nothing takes time, as for most calls. */
  const answer = (
    checked: Validate.Checked,
    key: Keys.Key,
    served: Compose.Served,
    id: string,
    headers: Record<string, string>,
    thread: Threads.Thread | undefined
  ): Step.Step | Iterable<Step.Step> => {
    const start = now()
    const { body, model } = checked
    const prompt = Compose.promptOf(checked)
    if ("status" in prompt) return Step.refused(prompt, id, headers)
    const unpaid = spend.refuses(key.organization, start)
    if (unpaid !== undefined) return Step.refused(unpaid, id, headers)
    const { accept, commit, division } = cached(checked, prompt, key.workspace, start)
    const reserved = division.input + division.write5m + division.write1h
    const account = buckets.admit(key.organization, model.group, Compose.speedOf(checked), reserved, start)
    if ("status" in account) return Step.refused(account, id, headers)

    const { message, plan } = compose(checked, key, served, id, start, "standard", division, prompt.tokens)
    const expected = account.expect(plan.outputTokens)
    served.release = thread === undefined ? expected : () => {
      expected()
      thread.release()
    }
    accept()
    const produce = (total: number) => {
      account.output(total - served.output, now())
      served.output = total
    }
    const whole = (): Step.Step => {
      produce(plan.outputTokens)
      thread?.commit(body, message)
      return Step.head(200, { "content-type": json, ...headers, ...account.headers(now()) }, JSON.stringify(message))
    }
    const first = Math.round(options.firstTokenMillis())
    if (body.stream !== true && first <= 0 && !options.paced) {
      commit()
      return whole()
    }
    const steps = function*(): Generator<Step.Step> {
      if (first > 0) yield Step.wait(first)
      commit()
      const stream = body.stream === true
      if (stream) {
        yield Step.head(200, {
          "content-type": sse,
          "cache-control": "no-cache",
          ...headers,
          ...account.headers(now())
        })
        yield Step.data(Sse.messageStart(message))
      }
      let due = 0
      for (const piece of Answer.pieces(plan)) {
        due += (piece.produced - served.output) * options.perTokenMillis()
        const millis = Math.round(due)
        due -= millis
        if (millis > 0) yield Step.wait(millis)
        produce(piece.produced)
        if (stream) { for (const event of Sse.piece(plan, piece)) yield Step.data(event) }
      }
      if (!stream) return yield whole()
      produce(plan.outputTokens)
      yield Step.data(Sse.messageDelta(message))
      thread?.commit(body, message)
      yield Step.data(Sse.messageStop, true)
    }
    return steps()
  }

  return { answer, answerBatched: batched(now, composing), countTokens: counting(now, buckets, spend) }
}

/** One question, its answer streamed to the standard output; everything else goes to the standard error. */
import { Clock, Console, Effect, Stream, Terminal } from "effect"
import { ClaudeService, CostLedger, CostReport, MessageStream } from "../../src/index.ts"
import * as Target from "./target.ts"
import { seconds } from "./terminal.ts"

export const ask = Effect.fnUntraced(function*(question: string, model: string) {
  const { display } = yield* Terminal.Terminal
  const began = yield* Clock.currentTimeMillis
  const answer = MessageStream.accumulate()
  yield* ClaudeService.stream({ model, max_tokens: 16_000, messages: [{ role: "user", content: question }] }).pipe(
    Stream.tap((event) => Effect.sync(() => answer.add(event))),
    MessageStream.text,
    Stream.runForEach(display),
    Effect.ensuring(Effect.orDie(display("\n")))
  )
  const message = answer.message()
  if (message === undefined) return
  const { model: served, stop_reason, usage } = message
  const took = seconds((yield* Clock.currentTimeMillis) - began)
  const end = stop_reason === "end_turn" ? "" : `, ended by ${stop_reason}`
  const { total } = yield* (yield* CostLedger.CostLedger).report()
  const cost = total.unpriced > 0 ? "at an unknown price" : `$${CostReport.usd(total.nanoUsd, 6)}`
  yield* Console.error(`${served}: ${usage.input_tokens} tokens in, ${usage.output_tokens} out, ${took}, ${cost}${end}`)
}, (effect) => Effect.provide(effect, Target.layer()))

/** Asks a `fetch` of its own, as on a platform without Node. */
import * as ClaudeService from "effect-claude/ClaudeService"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"

const fetch = async (): Promise<Response> =>
  Response.json({
    id: "msg_1",
    type: "message",
    role: "assistant",
    model: "claude-sonnet-5-5",
    content: [{ type: "text", text: "from its own fetch" }],
    stop_reason: "end_turn",
    stop_sequence: null,
    usage: { input_tokens: 20, output_tokens: 10, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 }
  })

const layer = ClaudeService.layer({ api: { fetch }, keys: Redacted.make("sk-ant-a") })

const answer = ClaudeService.text({
  model: "claude-sonnet-5-5",
  max_tokens: 1_024,
  messages: [{ role: "user", content: "Where do you come from?" }]
})

Effect.runPromise(Effect.provide(answer, layer)).then(console.log)

/** Asks a `fetch` of its own, as on a platform without Node. */
import * as ClaudeApi from "effect-claude/ClaudeApi"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as KeyPool from "effect-claude/KeyPool"
import * as KeyStore from "effect-claude/KeyStore"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
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

const layer = ClaudeService.layerDefault().pipe(Layer.provide([
  ClaudeApi.layer({ fetch }),
  KeyPool.layer().pipe(
    Layer.provide(KeyStore.layerKeys([{ label: "a", group: "a", secret: Redacted.make("sk-ant-a") }]))
  )
]))

const answer = ClaudeService.text({
  model: "claude-sonnet-5-5",
  max_tokens: 1_024,
  messages: [{ role: "user", content: "Where do you come from?" }]
})

Effect.runPromise(Effect.provide(answer, layer)).then(console.log)

/** Asks the API at `CLAUDE_BASE_URL` over the default transport. */
import * as ClaudeApi from "effect-claude/ClaudeApi"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"

const layer = ClaudeService.layer({
  api: ClaudeApi.layerConfig({ baseUrl: Config.String("CLAUDE_BASE_URL") }),
  keys: Redacted.make("sk-ant-a")
})

const answer = ClaudeService.text({
  model: "claude-sonnet-5-5",
  max_tokens: 1_024,
  messages: [{ role: "user", content: "Where do you come from?" }]
})

Effect.runPromise(Effect.provide(answer, layer)).then(console.log)

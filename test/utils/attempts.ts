/** Attempts as policies see them, for tests of policies. */
import { Redacted } from "effect"
import { Attempt, type ClaudeError, Usage } from "effect-claude"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import * as Simulator from "effect-claude/testing/Simulator"

export const model = "claude-sonnet-5-5"

/** An attempt that nobody made yet. */
export const attempt = (
  options: { readonly model?: string; readonly deadline?: number } = {}
): Attempt.MessageAttempt =>
  ClaudeTest.attempt({
    model: options.model ?? model,
    context: { deadline: options.deadline },
    estimate: { inputTokens: 0, maxOutputTokens: 0 },
    key: null
  })

/** An attempt that the simulator answers, for the message that `request` asks for. */
export const toSend = (request: Attempt.Request, callId = "call-1", number = 1): Attempt.MessageAttempt =>
  ClaudeTest.attempt({
    request,
    callId,
    number,
    key: { label: "a", group: "org", secret: Redacted.make(Simulator.apiKey) }
  })

export const completed = Attempt.Outcome.Completed({
  usage: Usage.zero,
  limits: undefined,
  model: undefined,
  requestId: undefined,
  stopReason: undefined
})

export const aborted = Attempt.Outcome.Aborted({ usage: Usage.zero })

export const failed = (error: ClaudeError.ApiError): Attempt.Outcome =>
  Attempt.Outcome.Failed({ usage: Usage.zero, error, limits: undefined })

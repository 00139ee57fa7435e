/** Attempts as policies see them, for tests of policies. */
import { Context } from "effect"
import { Attempt, CallContext, type ClaudeError, Usage } from "effect-claude"

export const model = "claude-sonnet-5-5"

/** An attempt that nobody made yet. */
export const attempt = (options: { readonly model?: string; readonly deadline?: number } = {}): Attempt.Attempt => ({
  callId: "call-1",
  number: 1,
  endpoint: "messages",
  model: options.model ?? model,
  context: { ...Context.get(Context.empty(), CallContext.CallContext), deadline: options.deadline },
  estimate: { inputTokens: 0, maxOutputTokens: 0 },
  key: undefined,
  outcome: Attempt.Outcome.NotSent()
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

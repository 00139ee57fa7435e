/** Attempts as policies see them, for tests of policies. */
import { Context, Redacted } from "effect"
import { Attempt, CallContext, type ClaudeError, Estimate, Usage } from "effect-claude"
import * as Simulator from "effect-claude/testing/Simulator"

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

/** An attempt that the simulator answers, for the message that `request` asks for. */
export const toSend = (request: Attempt.Request, callId = "call-1", number = 1): Attempt.MessageAttempt => ({
  ...attempt({ model: request.model }),
  callId,
  number,
  endpoint: "messages",
  request,
  estimate: Estimate.make(request),
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

/** What policies publish in their own streams, as events of the monitor. A policy knows nothing of it: feeds hand on what they publish by name. */
import * as Duration from "effect/Duration"
import type { InputFinding } from "../../ClaudeError.ts"
import type { Happening } from "./events.ts"

type Phase = "closed" | "open" | "halfOpen"

/** `CircuitBreaker.Transition`. */
interface Transition {
  readonly group: string
  readonly from: Phase
  readonly to: Phase
  readonly openDuration: Duration.Duration | undefined
}

/** `KeyPool.Change`. */
interface KeyChange {
  readonly label: string
  readonly group: string
  readonly from: string | undefined
  readonly to: string
}

/** `Budget.Event`. */
interface BudgetEvent {
  readonly _tag: "Threshold" | "Exceeded" | "Overshot" | "Unpriced"
  readonly budget?: string | undefined
  readonly account?: string | undefined
  readonly percent?: number | undefined
  readonly spentNanoUsd?: number | undefined
  readonly limitNanoUsd?: number | undefined
  readonly model?: string | undefined
}

/** Each feed publishes values of one type, under its own name. */
export const happeningOf = (feed: string, value: unknown): Happening | undefined => {
  switch (feed) {
    case "circuits": {
      const { from, group, openDuration, to } = value as Transition
      // JSON has no infinity.
      const openMillis = openDuration && Math.min(Duration.toMillis(openDuration), Number.MAX_SAFE_INTEGER)
      return { _tag: "CircuitChanged", group, from, to, openMillis }
    }
    case "keys": {
      const { from, group, label, to } = value as KeyChange
      return { _tag: "KeyChanged", label, group, from, to }
    }
    case "budget": {
      const { _tag, account, budget, limitNanoUsd, model, percent, spentNanoUsd } = value as BudgetEvent
      return { _tag: "BudgetEvent", event: _tag, budget, account, percent, spentNanoUsd, limitNanoUsd, model }
    }
    case "input":
      return { _tag: "InputFound", finding: value as InputFinding }
    default:
      return undefined
  }
}

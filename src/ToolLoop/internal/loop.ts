/** One run of a loop: its history, which is valid at each instant, what it cost, and what is to be done next. */
import type { Message, ToolUseBlock } from "@anthropic-ai/sdk/resources/messages"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Semaphore from "effect/Semaphore"
import { UnpricedModelError } from "../../ClaudeError.ts"
import type { Report } from "../../ClaudeService.ts"
import { blocksOf, type Turns, valid } from "../../internal/turns.ts"
import type { Request } from "../../Request.ts"
import * as Usage from "../../Usage.ts"
import type { AnyTool, Result } from "./tool.ts"

/**
 * A call of a tool that was run.
 *
 * @category models
 * @since 0.1.0
 */
export interface Call {
  readonly id: string
  readonly name: string
  readonly isError: boolean
  readonly duration: Duration.Duration
}

/**
 * What a loop took, however it ended.
 *
 * - `steps`: what each request took, in their order. A whole request that failed has none; its attempts are in the ledger.
 * - `calls`: the calls of tools that came to their end.
 * - `turns`: the whole history, which can be sent again, and go on.
 * - `usage`, `costNanoUsd`: the sums of the steps; the cost is undefined where one has none.
 *
 * @category models
 * @since 0.1.0
 */
export interface Summary {
  readonly steps: ReadonlyArray<Report>
  readonly calls: ReadonlyArray<Call>
  readonly turns: Turns
  readonly usage: Usage.Usage
  readonly costNanoUsd: number | undefined
}

/** Why a loop may not go on. */
export type Limit = "steps" | "dollars"

interface Settings {
  readonly tools: ReadonlyArray<AnyTool>
  readonly maxSteps: number
  readonly maxUsd: number | undefined
  readonly concurrency: number
  readonly record: (turns: Turns) => Effect.Effect<void, never, unknown>
}

export class Loop {
  last: Message | undefined
  private turns: Turns
  private readonly steps: Array<Report> = []
  private readonly calls: Array<Call> = []
  private pending: ReadonlyArray<ToolUseBlock> = []
  /** Whether the caller has to run some of the calls. */
  private isCallers = false
  private readonly byName: ReadonlyMap<string, AnyTool>
  private readonly recording = Semaphore.makeUnsafe(1)

  private readonly asked: Request
  private readonly settings: Settings

  constructor(asked: Request, settings: Settings) {
    this.asked = asked
    this.settings = settings
    this.turns = valid(asked.messages)
    this.byName = new Map(settings.tools.map((tool) => [tool.name, tool]))
  }

  request(): Request {
    const { tool_choice, ...asked } = this.asked
    const tools = [...asked.tools ?? [], ...this.settings.tools.map(({ definition }) => definition)]
    return {
      ...asked,
      messages: this.turns,
      ...(tools.length === 0 ? undefined : { tools }),
      ...(tool_choice === undefined ? undefined : {
        tool_choice: this.steps.length === 0 ? tool_choice : later(tool_choice)
      })
    }
  }

  report(report: Report): void {
    this.steps.push(report)
  }

  /** Adds an answer, or what arrived of it. A refusal is no part of a history, and neither is what shows nothing. */
  answer(message: Message, isWhole: boolean): Effect.Effect<void, never, unknown> {
    this.last = message
    this.pending = []
    const isShown = message.content.some((block) =>
      block.type === "text" ? block.text.trim() !== "" : !block.type.endsWith("thinking")
    )
    if (message.stop_reason === "refusal" || !isShown) return Effect.void
    const uses = message.content.flatMap((block) => block.type === "tool_use" ? [block] : [])
    if (isWhole && message.stop_reason === "tool_use") {
      const own = new Set((this.asked.tools ?? []).map((tool) => "name" in tool ? tool.name : undefined))
      this.pending = uses.filter(({ input, name, toolset_name }) =>
        Predicate.isObject(input) && (this.byName.has(name) || !(own.has(name) || Predicate.isString(toolset_name)))
      ) as ReadonlyArray<ToolUseBlock> // those of toolsets are the caller's
      this.isCallers = this.pending.length < uses.length
    }
    this.turns = valid([...this.turns, { role: "assistant", content: message.content }])
    return this.record
  }

  private get record(): Effect.Effect<void, never, unknown> {
    // One after another: the last that is written is the newest.
    return this.recording.withPermit(Effect.suspend(() => this.settings.record(this.turns)))
  }

  /** Whether another request is to follow, the tools have run then; or what forbids it. */
  get proceed(): Effect.Effect<boolean | Limit, unknown, unknown> {
    return Effect.suspend((): Effect.Effect<boolean | Limit, unknown, unknown> => {
      const { pending } = this
      this.pending = []
      const isPaused = this.last?.stop_reason === "pause_turn"
      const goesOn = isPaused || (pending.length > 0 && !this.isCallers)
      const limit = goesOn ? this.limit() : undefined
      if (limit !== undefined) return Predicate.isString(limit) ? Effect.succeed(limit) : Effect.fail(limit)
      const run = Effect.forEach(pending, (call) => this.run(call), {
        concurrency: this.settings.concurrency,
        discard: true
      })
      return Effect.as(run, goesOn)
    })
  }

  private limit(): Limit | UnpricedModelError | undefined {
    const { maxSteps, maxUsd } = this.settings
    if (this.steps.length >= maxSteps) return "steps"
    if (maxUsd === undefined) return undefined
    const { costNanoUsd } = this.summary()
    if (costNanoUsd === undefined) {
      return new UnpricedModelError({ model: this.steps.at(-1)?.model ?? this.asked.model, billed: "yes" })
    }
    return costNanoUsd >= maxUsd * 1e9 ? "dollars" : undefined
  }

  private run(call: ToolUseBlock): Effect.Effect<void, unknown, unknown> {
    const { id, name } = call
    const tool = this.byName.get(name)
    const result: Effect.Effect<Result, unknown, unknown> = tool === undefined
      ? Effect.succeed({ content: `There is no tool with the name ${name}.`, isError: true })
      : Effect.suspend(() => tool.run(call))
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(Clock.currentTimeMillis, (began) =>
        restore(result).pipe(
          Effect.withSpan(`execute_tool ${name}`, {
            attributes: {
              "gen_ai.operation.name": "execute_tool",
              "gen_ai.tool.name": name,
              "gen_ai.tool.call.id": id
            }
          }),
          Effect.flatMap(({ content, isError }) =>
            Effect.flatMap(Clock.currentTimeMillis, (now) => {
              this.calls.push({ id, name, isError, duration: Duration.millis(now - began) })
              this.turns = withResult(this.turns, id, content, isError)
              return this.record
            })
          )
        ))
    )
  }

  summary(): Summary {
    const { calls, steps, turns } = this
    return {
      steps: [...steps],
      calls: [...calls],
      turns,
      usage: steps.reduce((sum, { usage }) => Usage.sum(sum, usage), Usage.zero),
      costNanoUsd: steps.reduce<number | undefined>(
        (sum, { costNanoUsd }) => sum === undefined || costNanoUsd === undefined ? undefined : sum + costNanoUsd,
        0
      )
    }
  }
}

type Choice = NonNullable<Request["tool_choice"]>

/** A call that is forced is forced once: forced again and again, the loop would have no end. */
const later = (choice: Choice): Choice =>
  choice.type !== "any" && choice.type !== "tool" ? choice : {
    type: "auto",
    ...(choice.disable_parallel_tool_use === undefined ? undefined : {
      disable_parallel_tool_use: choice.disable_parallel_tool_use
    })
  }

/** The result of a call in the place that was kept for it. */
const withResult = (turns: Turns, id: string, content: Result["content"], isError: boolean): Turns => {
  const last = turns.at(-1)
  if (last === undefined) return turns
  const blocks = blocksOf(last).map((block) =>
    block.type === "tool_result" && block.tool_use_id === id
      ? { type: "tool_result" as const, tool_use_id: id, content, ...(isError ? { is_error: true } : undefined) }
      : block
  )
  return [...turns.slice(0, -1), { role: "user", content: blocks }]
}

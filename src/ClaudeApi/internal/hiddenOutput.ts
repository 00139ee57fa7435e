/** Output that a stream does not show: thinking whose text is left out or summed up, and tool input that the API holds back. */
import * as Predicate from "effect/Predicate"
import type { MessageAttempt } from "../../Attempt.ts"
import * as Estimate from "../../Estimate.ts"
import type { Event } from "../../MessageStream.ts"

/** Blocks whose output is all in their deltas. Any other block may hide some. */
const shown: ReadonlySet<string> = new Set(["text", "tool_use", "server_tool_use", "mcp_tool_use", "fallback"])

const isTyped = (value: unknown): boolean => Predicate.hasProperty(value, "type") && Predicate.isString(value.type)

/** What the API adds itself is no output. */
const isResult = (type: string): boolean => type.endsWith("_result") || type === "container_upload"

/** Encrypted data has about so many characters for each token that is in it. */
const charactersPerToken = 4

/** Characters of thinking that may wait to be counted. */
const maxUncounted = 64 * 1024

const lengthOf = (value: unknown): number => typeof value === "string" ? value.length : 0

/**
 * Follows the events of one stream. Hidden output is estimated from the time in which nothing else can have been produced, at the fastest pace
 * of such calls, and is never less than what its texts and its encrypted data come to.
 */
export class HiddenOutput {
  private readonly attempt: MessageAttempt
  private mayThink: boolean
  private millis = 0
  /** Since when hidden output may be produced. */
  private since: number | undefined
  private block: string | undefined
  /** Of thinking: what was counted of its text, and what was not yet. */
  private counted = 0
  private text = ""
  private encrypted = 0

  constructor(attempt: MessageAttempt) {
    const { facts, request: { thinking } } = attempt
    this.attempt = attempt
    this.mayThink = thinking === undefined ? facts.thinksByDefault : thinking.type !== "disabled"
  }

  /** Texts may be left out. */
  take(event: Event, now: number): void {
    switch (event.type) {
      case "message_start":
        this.since = this.mayThink ? now : undefined
        break
      case "content_block_start":
        // What came over the wire may lack anything.
        if (isTyped(event.content_block)) this.begin(event.content_block, now)
        break
      case "content_block_delta": {
        const { delta } = event
        if (!isTyped(delta)) break
        if (delta.type === "thinking_delta") this.think(Predicate.isString(delta.thinking) ? delta.thinking : "")
        else if (delta.type === "signature_delta") this.encrypted += lengthOf(delta.signature)
        else if (delta.type === "input_json_delta") this.since = now
        break
      }
      case "content_block_stop":
        this.end(now)
        break
    }
  }

  /** From here on no time counts. */
  close(now: number): void {
    this.pass(now)
    this.since = undefined
  }

  tokens(now: number): number {
    const { attempt: { kind }, encrypted, millis, since } = this
    const open = since === undefined ? 0 : Math.max(0, now - since)
    return Math.max(this.count(), Math.ceil(encrypted / charactersPerToken), kind.producedAtMost(millis + open))
  }

  private think(text: string): void {
    this.text += text
    if (this.text.length > maxUncounted) this.count()
  }

  private count(): number {
    this.counted += Estimate.textTokens(this.text, this.attempt.facts.tokenizer)
    this.text = ""
    return this.counted
  }

  private begin(block: { readonly type: string }, now: number): void {
    const { type } = block
    this.block = type
    if (shown.has(type) || isResult(type)) {
      // Hidden output has blocks too: what passed before this one was a wait.
      this.since = type.endsWith("tool_use") ? now : undefined
      return
    }
    this.mayThink = true
    this.since ??= now
    // Redacted thinking arrives whole, after it was produced.
    this.encrypted += "data" in block ? lengthOf(block.data) : 0
  }

  private end(now: number): void {
    const { block } = this
    this.block = undefined
    if (block !== undefined && !shown.has(block) && !isResult(block)) this.pass(now)
    // The API runs its tool.
    const isServed = block === "server_tool_use" || block === "mcp_tool_use"
    this.since = this.mayThink && !isServed ? now : undefined
  }

  private pass(now: number): void {
    if (this.since !== undefined) this.millis += Math.max(0, now - this.since)
  }
}

/** How much output calls of one kind produce at most, nearly always: a quantile, learnt online in bounded memory. */
import { Quantile } from "../../internal/quantile.ts"

/** The part of calls that produce at most what is expected. */
const part = 0.98

/** Before so many answers, `max_tokens` is expected. */
const minimumSeen = 50

/** Beyond so many kinds, new ones are expected to use `max_tokens`. */
const maxKinds = 1_000

interface Kind {
  readonly quantile: Quantile
  seen: number
}

export class Outputs {
  private readonly kinds = new Map<string, Kind>()

  expected(model: string, requestType: string | undefined, maxOutputTokens: number): number {
    const kind = this.kinds.get(`${model} ${requestType ?? ""}`)
    if (kind === undefined || kind.seen < minimumSeen) return maxOutputTokens
    return Math.min(maxOutputTokens, Math.ceil(kind.quantile.value))
  }

  add(model: string, requestType: string | undefined, outputTokens: number): void {
    const name = `${model} ${requestType ?? ""}`
    let kind = this.kinds.get(name)
    if (kind === undefined) {
      if (this.kinds.size >= maxKinds) return
      this.kinds.set(name, kind = { quantile: new Quantile(part, Math.max(1, outputTokens)), seen: 0 })
    }
    kind.seen++
    kind.quantile.add(outputTokens)
  }
}

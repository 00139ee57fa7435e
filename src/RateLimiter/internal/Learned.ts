/** What calls of one kind really use. */
import { Quantile } from "../../internal/quantile.ts"

/** The part of calls that produce at most what is predicted. */
const outputQuantile = 0.7

/**
 * The part of calls whose input is at most what is predicted, and what is added to it. The server books input at once, and what is too much here is
 * given back when the call is settled, so this one is careful.
 */
const inputQuantile = 0.95
const inputMargin = 1.05

/** The part of calls that produce a token in at most the time that is assumed. */
const paceQuantile = 0.9

/** Where nothing is known: most answers are shorter. */
const firstOutput = 1_024

/** Where nothing is known: most models are faster. */
const firstMillisPerToken = 25

/** Beyond so many kinds of calls, those of one model share what is learnt. */
const maxKinds = 1_000

/** What is learnt of one kind of call. It begins with what is known of all calls of its model, and teaches that in turn. */
export class Kind {
  private readonly outputs: Quantile
  /** Input that counted, as a part of what was estimated: what the cache serves, and how far the estimate is off. */
  private readonly inputs: Quantile
  private readonly pace: Quantile
  private readonly model: Kind | undefined

  constructor(model?: Kind) {
    this.outputs = new Quantile(outputQuantile, model?.outputs.value ?? firstOutput)
    this.inputs = new Quantile(inputQuantile, model?.inputs.value ?? 1)
    this.pace = new Quantile(paceQuantile, model?.pace.value ?? firstMillisPerToken)
    this.model = model
  }

  output(maxOutputTokens: number): number {
    return Math.min(maxOutputTokens, Math.ceil(this.outputs.value))
  }

  input(estimated: number): number {
    const part = this.inputs.value
    return Math.ceil(estimated * Math.max(part, Math.min(1, part * inputMargin)))
  }

  /** What was probably produced so long after the call was sent. */
  producedIn(millis: number): number {
    return Math.floor(millis / this.pace.value)
  }

  add(estimatedInput: number, input: number, output: number, millis: number): void {
    if (estimatedInput > 0) this.inputs.add(input / estimatedInput)
    if (output > 0) this.pace.add(millis / output)
    this.outputs.add(output)
    this.model?.add(estimatedInput, input, output, millis)
  }
}

interface OfModel {
  readonly all: Kind
  readonly kinds: Map<string, Kind>
}

export class Learned {
  private readonly models = new Map<string, OfModel>()
  private readonly other: OfModel = { all: new Kind(), kinds: new Map() }
  private count = 0

  /** What is known of calls of a request type to a model. */
  kind(model: string, requestType: string | undefined): Kind {
    let known = this.models.get(model)
    if (known === undefined) {
      if (this.count >= maxKinds) known = this.other
      else {
        this.count++
        this.models.set(model, known = { all: new Kind(), kinds: new Map() })
      }
    }
    if (requestType === undefined) return known.all
    const kind = known.kinds.get(requestType)
    if (kind !== undefined) return kind
    if (this.count >= maxKinds) return known.all
    this.count++
    const branch = new Kind(known.all)
    known.kinds.set(requestType, branch)
    return branch
  }
}

/** What calls of one kind produce on average, followed online: the best guess where nothing came back. */

/** Beyond so many kinds of calls, those of one model share what is learnt, and then nothing is. */
const maxKinds = 1_000

/** What one more answer weighs at least. */
const minWeight = 0.02

interface Mean {
  tokens: number
  seen: number
}

const add = (mean: Mean, tokens: number): void => {
  mean.seen++
  mean.tokens += (tokens - mean.tokens) * Math.max(minWeight, 1 / mean.seen)
}

export class Expected {
  private readonly means = new Map<string, Mean>()

  private meanOf(key: string): Mean | undefined {
    const known = this.means.get(key)
    if (known !== undefined || this.means.size >= maxKinds) return known
    const mean = { tokens: 0, seen: 0 }
    this.means.set(key, mean)
    return mean
  }

  add(model: string, requestType: string | undefined, tokens: number): void {
    const all = this.meanOf(model)
    if (all !== undefined) add(all, tokens)
    if (requestType === undefined) return
    const kind = this.meanOf(`${model} ${requestType}`)
    if (kind !== undefined) add(kind, tokens)
  }

  /** Undefined where no such call has ended yet. */
  tokens(model: string, requestType: string | undefined): number | undefined {
    const mean = this.means.get(`${model} ${requestType ?? ""}`) ?? this.means.get(model)
    return mean === undefined ? undefined : Math.ceil(mean.tokens)
  }
}

/**
 * Those of one class that wait. Whoever they are for (`flows.ts`) shares the class fairly with the others: start-time fair queueing. A flow that is
 * served moves on by what it took divided by its weight, and the flow that is furthest behind is next, its first to come first. One that comes back
 * starts where the others are, so that it cannot save up; one that turns out to have used more or less than was counted is moved by the difference.
 */
import { BoundedMap } from "../../internal/boundedMap.ts"
import { add, type Amounts, type MutableAmounts, subtract, zero } from "./Amounts.ts"
import { type Priority, weights } from "./classes.ts"

/** One that waits. `need` is what it will take of each dimension. */
export interface Waiter {
  readonly priority: Priority
  /** Who it is for, and the weight of that. */
  readonly flow: string
  readonly weight: number
  readonly need: Amounts
}

export interface Node<W> {
  readonly waiter: W
  readonly flow: Flow<W>
  /** Its place in the order of all that came. */
  readonly number: number
  previous: Node<W> | undefined
  next: Node<W> | undefined
}

export interface Flow<W> {
  weight: number
  /** How far it has been served. */
  pass: number
  first: Node<W> | undefined
  last: Node<W> | undefined
  size: number
  readonly need: MutableAmounts
  /** Where it stands in the heap, while it has somebody waiting. */
  place: number
}

/** The most flows with nobody waiting whose progress is remembered. */
const maxIdle = 1_000

const isBefore = <W>(a: Flow<W>, b: Flow<W>): boolean =>
  a.pass < b.pass || (a.pass === b.pass && a.first!.number < b.first!.number) // those in the heap have a first

export class Lane<W extends Waiter> {
  readonly priority: Priority
  readonly weight: number
  /** How far the class has been served. */
  pass = 0
  size = 0
  readonly need: MutableAmounts = { ...zero }
  /** The weights of the flows that have somebody waiting. */
  flowWeight = 0
  private readonly flows = new Map<string, Flow<W>>()
  private idle = new BoundedMap<string, Flow<W>>(maxIdle)
  /** The flow that is furthest behind is at the top. */
  private readonly heap: Array<Flow<W>> = []
  /** Where the flow stood that was served last. */
  private clock = 0

  constructor(priority: Priority) {
    this.priority = priority
    this.weight = weights[priority]
  }

  get first(): W | undefined {
    return this.heap[0]?.first?.waiter
  }

  /** What waits for a flow. */
  needOf(flow: string): Amounts {
    return this.flows.get(flow)?.need ?? zero
  }

  /** The part of the class that a flow of this weight is sure of. */
  shareOf(flow: string, weight: number): number {
    return weight / (this.flowWeight + (this.flows.has(flow) ? 0 : weight))
  }

  add(waiter: W, number: number): Node<W> {
    const flow = this.flows.get(waiter.flow) ?? this.open(waiter)
    const node: Node<W> = { waiter, flow, number, previous: flow.last, next: undefined }
    if (flow.last === undefined) flow.first = node
    else flow.last.next = node
    flow.last = node
    flow.size++
    this.size++
    add(flow.need, waiter.need)
    add(this.need, waiter.need)
    if (flow.size === 1) {
      flow.place = this.heap.push(flow) - 1
      this.settle(flow)
    }
    return node
  }

  remove({ flow, next, previous, waiter }: Node<W>): void {
    if (previous === undefined) flow.first = next
    else previous.next = next
    if (next === undefined) flow.last = previous
    else next.previous = previous
    flow.size--
    this.size--
    subtract(flow.need, waiter.need)
    subtract(this.need, waiter.need)
    // From nothing again when the lane is empty, so that fractions do not add up.
    if (this.size === 0) Object.assign(this.need, zero)
    if (flow.size === 0) this.close(waiter.flow, flow)
    else if (previous === undefined) this.settle(flow)
  }

  /** Counts one that is about to leave as served; returns what moves its flow by what it used more or less in the end. */
  served({ flow }: Node<W>, cost: number): (used: number) => void {
    this.pass += cost / this.weight
    this.clock = flow.pass
    this.move(flow, cost)
    return (used) => this.move(flow, used - cost)
  }

  /** Nobody waits in any lane: what was is forgotten. */
  forget(): void {
    this.pass = 0
    this.clock = 0
    this.idle = new BoundedMap(maxIdle)
  }

  /** The newest of all. */
  newest(): W | undefined {
    let newest: Node<W> | undefined
    for (const { last } of this.heap) if (newest === undefined || last!.number > newest.number) newest = last
    return newest?.waiter
  }

  /** The newest of the flow that has most waiting for its weight, where that is more than this one would have with one more. */
  newestBeside(flow: string, weight: number): W | undefined {
    // Nobody has more than one.
    if (this.size === this.heap.length) return undefined
    let most = ((this.flows.get(flow)?.size ?? 0) + 1) / weight
    let found: Flow<W> | undefined
    for (const one of this.heap) {
      if (one.size / one.weight <= most) continue
      most = one.size / one.weight
      found = one
    }
    return found?.last?.waiter
  }

  private open({ flow: key, weight }: W): Flow<W> {
    const known = this.idle.peek(key)
    this.idle.delete(key)
    const flow: Flow<W> = known ??
      { weight, pass: 0, first: undefined, last: undefined, size: 0, need: { ...zero }, place: -1 }
    flow.weight = weight
    flow.pass = Math.max(flow.pass, this.clock)
    this.flows.set(key, flow)
    this.flowWeight += weight
    return flow
  }

  private close(key: string, flow: Flow<W>): void {
    this.flows.delete(key)
    this.flowWeight = this.flows.size === 0 ? 0 : this.flowWeight - flow.weight
    Object.assign(flow.need, zero)
    this.idle.set(key, flow)
    const last = this.heap.pop()!
    if (last !== flow) {
      this.heap[flow.place] = last
      last.place = flow.place
      this.settle(last)
    }
    flow.place = -1
  }

  private move(flow: Flow<W>, cost: number): void {
    flow.pass += cost / flow.weight
    if (flow.place >= 0) this.settle(flow)
  }

  /** Brings a flow to where it belongs in the heap. */
  private settle(flow: Flow<W>): void {
    const { heap } = this
    const put = (one: Flow<W>, place: number) => {
      heap[place] = one
      one.place = place
    }
    for (let above = (flow.place - 1) >> 1; flow.place > 0; above = (flow.place - 1) >> 1) {
      const parent = heap[above]!
      if (!isBefore(flow, parent)) break
      put(parent, flow.place)
      put(flow, above)
    }
    while (true) {
      const left = heap[2 * flow.place + 1]
      const right = heap[2 * flow.place + 2]
      const least = right !== undefined && isBefore(right, left!) ? right : left
      if (least === undefined || !isBefore(least, flow)) return
      const { place } = least
      put(least, flow.place)
      put(flow, place)
    }
  }
}

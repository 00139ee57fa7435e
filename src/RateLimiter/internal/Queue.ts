/**
 * Who goes next. Between classes each has a guaranteed share of the limits while it has somebody waiting, and what one does not use goes to the others
 * in proportion; inside a class see `Lane`.
 *
 * Stride scheduling: a class that is served moves on by what it took divided by its weight, and the class that is furthest behind is next. One
 * that comes back from idleness starts where the others are, so that it cannot save up.
 */
import { add, type Amounts, type MutableAmounts, zero } from "./Amounts.ts"
import { priorities, type Priority, rank, weights } from "./classes.ts"
import { Lane, type Node, type Waiter } from "./Lane.ts"

export interface Ahead {
  /** What all that wait need, those of the same class, and those of the same flow in it. */
  readonly all: Amounts
  readonly same: Amounts
  readonly own: Amounts
  /** The part of the limits that the class is sure of, and the flow in it. */
  readonly share: number
  readonly ownShare: number
}

export class Queue<W extends Waiter> {
  private readonly lanes: Readonly<Record<Priority, Lane<W>>> = {
    interactive: new Lane("interactive"),
    standard: new Lane("standard"),
    bulk: new Lane("bulk")
  }
  private readonly order: ReadonlyArray<Lane<W>> = priorities.map((priority) => this.lanes[priority])
  private readonly fromLowest: ReadonlyArray<Lane<W>> = [...this.order].reverse()
  private readonly nodes = new Map<W, Node<W>>()
  private number = 0

  get size(): number {
    return this.nodes.size
  }

  get waiters(): Iterable<W> {
    return this.nodes.keys()
  }

  add(waiter: W): void {
    const lane = this.lanes[waiter.priority]
    if (lane.size === 0) {
      const behind = this.order.filter((other) => other.size > 0).map((other) => other.pass)
      lane.pass = Math.max(lane.pass, behind.length === 0 ? lane.pass : Math.min(...behind))
    }
    this.nodes.set(waiter, lane.add(waiter, this.number++))
  }

  /** Takes one out, wherever it stands; whether it stood there. */
  remove(waiter: W): boolean {
    const node = this.nodes.get(waiter)
    if (node === undefined) return false
    this.nodes.delete(waiter)
    this.lanes[waiter.priority].remove(node)
    if (this.nodes.size === 0) { for (const lane of this.order) lane.forget() }
    return true
  }

  /** The first of each class, the next to go first. Of classes that are equally far the more urgent one. */
  get heads(): ReadonlyArray<W> {
    const waiting = this.order.filter(({ size }) => size > 0)
    // The sort is stable.
    return waiting.sort((a, b) => a.pass - b.pass).map((lane) => lane.first!)
  }

  /** Whether it is the first of its class. */
  isHead(waiter: W): boolean {
    return this.lanes[waiter.priority].first === waiter
  }

  /**
   * Counts one that is about to leave as served. `cost` is the part of the limits that it took, in any unit that is the same for all; what it used in the
   * end is told to what this returns.
   */
  served(waiter: W, cost: number): (used: number) => void {
    const node = this.nodes.get(waiter)
    return node === undefined ? () => {} : this.lanes[waiter.priority].served(node, cost)
  }

  /**
   * Who makes room in a full queue for one that comes: the newest of the lowest class, where that is below its own; else the newest of whoever has
   * more than one more waiting in its class than it has itself, by weight. Undefined where nobody does.
   */
  displaced({ flow, priority, weight }: Waiter): W | undefined {
    const lowest = this.fromLowest.find(({ size }) => size > 0)
    if (lowest === undefined || rank[lowest.priority] < rank[priority]) return undefined
    return lowest.priority === priority ? lowest.newestBeside(flow, weight) : lowest.newest()
  }

  /** What stands before one that comes now. */
  ahead({ flow, priority, weight }: Waiter): Ahead {
    const all: MutableAmounts = { ...zero }
    let sum = 0
    for (const lane of this.order) {
      add(all, lane.need)
      if (lane.size > 0 || lane.priority === priority) sum += lane.weight
    }
    const lane = this.lanes[priority]
    const share = weights[priority] / sum
    return {
      all,
      same: { ...lane.need },
      own: lane.needOf(flow),
      share,
      ownShare: share * lane.shareOf(flow, weight)
    }
  }
}

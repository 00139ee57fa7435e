/**
 * Who goes next. Inside a class the first to come is the first to go; between classes each has a guaranteed share of the limits while
 * it has somebody waiting, and what one does not use goes to the others in proportion.
 *
 * Stride scheduling: a class that is served moves on by what it took divided by its weight, and the class that is furthest behind is next. One
 * that comes back from idleness starts where the others are, so that it cannot save up.
 */
import type { CallContext } from "../../CallContext.ts"
import { type Amounts, dimensions, type MutableAmounts, zero } from "./Amounts.ts"

export type Priority = CallContext["priority"]

export const priorities: ReadonlyArray<Priority> = ["interactive", "standard", "bulk"]

/** Shares while all three wait: 75 %, 20 % and 5 %. */
export const weights: Readonly<Record<Priority, number>> = { interactive: 15, standard: 4, bulk: 1 }

/** One that waits. `need` is what it will take of each dimension. */
export interface Waiter {
  readonly priority: Priority
  readonly need: Amounts
}

interface Node<W> {
  readonly waiter: W
  previous: Node<W> | undefined
  next: Node<W> | undefined
}

interface Lane<W> {
  readonly priority: Priority
  readonly weight: number
  first: Node<W> | undefined
  last: Node<W> | undefined
  /** How far it has been served. */
  pass: number
  readonly need: MutableAmounts
}

export interface Ahead {
  /** What all that wait need, and what those of the same class need. */
  readonly all: Amounts
  readonly same: Amounts
  /** The part of the limits that this class is sure of. */
  readonly share: number
}

export class Queue<W extends Waiter> {
  private readonly lanes: Readonly<Record<Priority, Lane<W>>>
  private readonly order: ReadonlyArray<Lane<W>>
  private readonly nodes = new Map<W, Node<W>>()

  constructor() {
    const lane = (priority: Priority): Lane<W> => ({
      priority,
      weight: weights[priority],
      first: undefined,
      last: undefined,
      pass: 0,
      need: { ...zero }
    })
    this.lanes = { interactive: lane("interactive"), standard: lane("standard"), bulk: lane("bulk") }
    this.order = priorities.map((priority) => this.lanes[priority])
  }

  get size(): number {
    return this.nodes.size
  }

  add(waiter: W): void {
    const lane = this.lanes[waiter.priority]
    if (lane.first === undefined) {
      const behind = this.order.filter((other) => other.first !== undefined).map((other) => other.pass)
      lane.pass = Math.max(lane.pass, behind.length === 0 ? lane.pass : Math.min(...behind))
    }
    const node: Node<W> = { waiter, previous: lane.last, next: undefined }
    if (lane.last === undefined) lane.first = node
    else lane.last.next = node
    lane.last = node
    for (const dimension of dimensions) lane.need[dimension] += waiter.need[dimension]
    this.nodes.set(waiter, node)
  }

  /** Takes one out, wherever it stands; whether it stood there. */
  remove(waiter: W): boolean {
    const node = this.nodes.get(waiter)
    if (node === undefined) return false
    this.nodes.delete(waiter)
    if (this.nodes.size === 0) { for (const lane of this.order) lane.pass = 0 }
    const lane = this.lanes[waiter.priority]
    if (node.previous === undefined) lane.first = node.next
    else node.previous.next = node.next
    if (node.next === undefined) lane.last = node.previous
    else node.next.previous = node.previous
    for (const dimension of dimensions) {
      // From nothing again when the lane is empty, so that fractions do not add up.
      lane.need[dimension] = lane.first === undefined ? 0 : lane.need[dimension] - waiter.need[dimension]
    }
    return true
  }

  /** The next to go. Of classes that are equally far the more urgent one. */
  peek(): W | undefined {
    let best: Lane<W> | undefined
    for (const lane of this.order) {
      if (lane.first !== undefined && (best === undefined || lane.pass < best.pass)) best = lane
    }
    return best?.first?.waiter
  }

  /** Counts one that is about to leave as served. `cost` is the part of the limits that it took, in any unit that is the same for all. */
  served(waiter: W, cost: number): void {
    const lane = this.lanes[waiter.priority]
    lane.pass += cost / lane.weight
  }

  /** What stands before one that comes now. */
  ahead(priority: Priority): Ahead {
    const all: MutableAmounts = { ...zero }
    let weight = 0
    for (const lane of this.order) {
      for (const dimension of dimensions) all[dimension] += lane.need[dimension]
      if (lane.first !== undefined || lane.priority === priority) weight += lane.weight
    }
    return { all, same: { ...this.lanes[priority].need }, share: weights[priority] / weight }
  }
}

/** The keys of a pool and their groups, as they are added, replaced and removed. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import type { Key } from "../../Attempt.ts"
import { Group, Member } from "./Member.ts"

/** Whether two keys of one label differ in their weights at most. */
const isSame = (a: Key, b: Key): boolean => Equal.equals({ ...a, weight: undefined }, { ...b, weight: undefined })

export class Registry {
  /** By label. */
  readonly members = new Map<string, Member>()
  /** Keys of the store that were replaced or removed since, by label: as long as the store has them, they do not come back. */
  private readonly retired = new Map<string, Key>()
  groups: ReadonlyMap<string, Group> = new Map()
  private readonly changed: () => void

  constructor(changed: () => void) {
    this.changed = changed
  }

  /** The keys of the store: puts in what is new, takes out what is gone. A key that stays keeps what is known about it. */
  replace(keys: ReadonlyArray<Key>): void {
    const labels = new Set(keys.map(({ label }) => label))
    for (const { isStored, key: { label } } of this.members.values()) {
      if (isStored && !labels.has(label)) this.drop(label)
    }
    for (const label of this.retired.keys()) {
      if (!labels.has(label)) this.retired.delete(label)
    }
    for (const key of keys) {
      const retired = this.retired.get(key.label)
      if (retired !== undefined && isSame(retired, key)) continue
      this.retired.delete(key.label)
      const same = this.same(key)
      if (same === undefined) this.put(key, true)
      else same.offer(key.weight)
    }
    this.done()
  }

  add(key: Key): void {
    const same = this.same(key)
    if (same === undefined) {
      this.retire(key.label)
      this.put(key, false)
    } else {
      same.weight = key.weight ?? 1
      same.isDraining = false
    }
    this.done()
  }

  remove(label: string): boolean {
    this.retire(label)
    const isFound = this.drop(label)
    this.done()
    return isFound
  }

  setWeight(label: string, weight: number): boolean {
    const member = this.members.get(label)
    if (member === undefined) return false
    member.weight = weight
    this.done()
    return true
  }

  /** Gives it to no new attempts, and waits until none uses it. */
  drain(label: string): Effect.Effect<boolean> {
    return Effect.suspend(() => {
      const member = this.members.get(label)
      if (member === undefined) return Effect.succeed(false)
      member.isDraining = true
      this.done()
      if (member.inFlight === 0) return Effect.succeed(true)
      return Effect.as(Deferred.await(member.idle ??= Deferred.makeUnsafe()), true)
    })
  }

  private same(key: Key): Member | undefined {
    const member = this.members.get(key.label)
    return member !== undefined && isSame(member.key, key) ? member : undefined
  }

  private retire(label: string): void {
    const member = this.members.get(label)
    if (member?.isStored === true) this.retired.set(label, member.key)
  }

  private put(key: Key, isStored: boolean): void {
    this.drop(key.label)
    const siblings = [...this.members.values()].find(({ group }) => group.name === key.group)
    const group = siblings?.group ?? this.groups.get(key.group) ?? new Group(key.group)
    this.members.set(key.label, new Member(key, group, isStored))
  }

  private drop(label: string): boolean {
    const member = this.members.get(label)
    if (member !== undefined) member.isRemoved = true
    return this.members.delete(label)
  }

  private done(): void {
    this.groups = new Map([...this.members.values()].map(({ group }) => [group.name, group]))
    this.changed()
  }
}

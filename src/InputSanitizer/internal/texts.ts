/**
 * The texts of a request, each with its place in it. What is not a text of its own is left alone: tool uses, images, files, thinking, signatures,
 * results of tools that the API ran. Whatever has another shape than it should is left alone too.
 */
import * as Predicate from "effect/Predicate"

/** Whose texts are taken as trusted. */
export type TrustedRole = "system" | "tools" | "assistant"

/** Takes a text, and answers what is to stand in its place. */
export type Visit = (text: string, path: string, isTrusted: boolean) => string

type Fields = Readonly<Record<string, unknown>>

/** How to go on from a value: what is to stand in its place. */
type Step = (walk: Walk, value: unknown, path: string, isTrusted: boolean) => unknown

/** Parts of requests that the caller has marked. They are known by identity, so that no input can mark itself. */
const marked = new WeakSet()

export const mark = (part: object): void => {
  marked.add(part)
}

/** The most levels of values within values that are looked into. */
const maxDepth = 40

class Walk {
  /** What was made of each value, as trusted and not: a part that stands in several places is taken once. */
  private readonly made = [new Map<unknown, unknown>(), new Map<unknown, unknown>()] as const
  private depth = 0
  readonly visit: Visit

  constructor(visit: Visit) {
    this.visit = visit
  }

  /** An object or array whose parts are taken by `take`; the same one where none of them changes. */
  within<A extends object>(value: A, isTrusted: boolean, take: (isTrusted: boolean) => A): unknown {
    const isMarked = isTrusted || marked.has(value)
    const made = this.made[isMarked ? 1 : 0]
    if (made.has(value)) return made.get(value)
    if (this.depth === maxDepth) return value
    made.set(value, value) // ends circles
    this.depth++
    const result = take(isMarked)
    this.depth--
    made.set(value, result)
    return result
  }
}

const text: Step = (walk, value, path, isTrusted) =>
  Predicate.isString(value) && value.length > 0 ? walk.visit(value, path, isTrusted) : value

const list = (item: Step): Step => (walk, value, path, isTrusted) =>
  Array.isArray(value)
    ? walk.within<ReadonlyArray<unknown>>(value, isTrusted, (isTrusted) => {
      let changed: Array<unknown> | undefined
      value.forEach((each, index) => {
        const result = item(walk, each, `${path}[${index}]`, isTrusted)
        if (result !== each) (changed ??= [...value])[index] = result
      })
      return changed ?? value
    })
    : value

const isFields = (value: unknown): value is Fields => Predicate.isObject(value) && !Array.isArray(value)

const fields = (steps: Readonly<Record<string, Step>>): Step => (walk, value, path, isTrusted) =>
  isFields(value)
    ? walk.within<Fields>(value, isTrusted, (isTrusted) => {
      let changed: Record<string, unknown> | undefined
      for (const [name, step] of Object.entries(steps)) {
        const given = value[name]
        if (given === undefined) continue
        const result = step(walk, given, path === "" ? name : `${path}.${name}`, isTrusted)
        if (result !== given) (changed ??= { ...value })[name] = result
      }
      return changed ?? value
    })
    : value

/** Steps by the field `type`. */
const byType = (steps: ReadonlyMap<unknown, Step>): Step => (walk, value, path, isTrusted) =>
  (isFields(value) ? steps.get(value["type"]) : undefined)?.(walk, value, path, isTrusted) ?? value

/** A text, or blocks with texts. */
const content: Step = (walk, value, path, isTrusted) =>
  Predicate.isString(value) ? text(walk, value, path, isTrusted) : blocks(walk, value, path, isTrusted)

const source = byType(
  new Map([["text", fields({ data: text })], ["content", fields({ content: (...args) => content(...args) })]])
)

const tab = fields({ title: text, url: text })

const blocks: Step = list(byType(
  new Map<unknown, Step>([
    ["text", fields({ text })],
    ["tool_result", fields({ content: (...args) => content(...args) })],
    ["document", fields({ source, title: text, context: text })],
    ["search_result", fields({ title: text, source: text, content: (...args) => content(...args) })],
    ["browser_state", fields({ tabs: list(tab) })]
  ])
))

/** What a JSON schema says in words, at any depth. */
const schema: Step = (walk, value, path, isTrusted) => {
  if (Array.isArray(value)) return list(schema)(walk, value, path, isTrusted)
  if (!isFields(value)) return value
  return walk.within<Fields>(value, isTrusted, (isTrusted) => {
    let changed: Record<string, unknown> | undefined
    for (const [name, given] of Object.entries(value)) {
      const isText = (name === "description" || name === "title") && Predicate.isString(given)
      const result = (isText ? text : schema)(walk, given, `${path}.${name.slice(0, maxName)}`, isTrusted)
      if (result !== given) (changed ??= { ...value })[name] = result
    }
    return changed ?? value
  })
}

/** The longest name of a field that a path shows whole. */
const maxName = 64

const tool = fields({ description: text, input_schema: schema })

const turn = (trusted: ReadonlySet<TrustedRole>): Step => {
  const plain = fields({ content })
  return (walk, value, path, isTrusted) => {
    const role = isFields(value) ? value["role"] : undefined
    return plain(
      walk,
      value,
      path,
      isTrusted || (role === "assistant" || role === "system" ? trusted.has(role) : false)
    )
  }
}

const trusting = (step: Step, isTrustedRole: boolean): Step => (walk, value, path, isTrusted) =>
  step(walk, value, path, isTrusted || isTrustedRole)

/** Visits the texts of requests. The result is the request itself where no text changes; else what did not change is shared with it. */
export const eachText = (trusted: ReadonlySet<TrustedRole>): <A>(request: A, visit: Visit) => A => {
  const request = fields({
    system: trusting(content, trusted.has("system")),
    messages: list(turn(trusted)),
    tools: trusting(list(tool), trusted.has("tools"))
  })
  return <A>(value: A, visit: Visit) => request(new Walk(visit), value, "", false) as A // its shape stays
}

/** Circuits over time, limits left, keys and budgets. */
import type { Detail } from "../src/Health.ts"
import type { Circuits } from "../src/Http.ts"
import { byId, h, rows, setClass, setText } from "./dom.ts"
import { count, time, usd } from "./format.ts"

type Item<Name extends "budgets" | "circuits" | "keys" | "limits"> = NonNullable<Detail[Name]>[number]

/** A bar that shows a share, for the eye; the words beside it say the same. */
const meter = () => {
  const used = h("span", { class: "used" })
  const reserved = h("span", { class: "reserved" })
  const element = h("div", { class: "meter", "aria-hidden": "true" }, used, reserved)
  return {
    element,
    show: (share: number, more: number, level: "bad" | "good" | "warn"): void => {
      const width = (value: number) => `${(Math.min(1, Math.max(0, value)) * 100).toFixed(1)}%`
      if (used.style.width !== width(share)) used.style.width = width(share)
      if (reserved.style.width !== width(more)) reserved.style.width = width(more)
      setClass(element, `meter ${level}`)
    }
  }
}

const words = { closed: "closed", open: "open", halfOpen: "half-open" } as const

const colors = { closed: "good", open: "red", halfOpen: "amber" } as const

const windowMillis = 600_000

/** How a circuit stood in the last ten minutes: a line while it was closed, a block while it was open, half of one while it was half-open. */
const strip = (
  canvas: HTMLCanvasElement,
  changes: ReadonlyArray<Circuits>,
  phase: keyof typeof words,
  now: number
): void => {
  const ratio = devicePixelRatio
  const width = canvas.clientWidth
  const height = canvas.clientHeight
  if (width === 0) return
  canvas.width = width * ratio
  canvas.height = height * ratio
  const context = canvas.getContext("2d")!
  context.scale(ratio, ratio)
  const style = getComputedStyle(document.documentElement)
  const x = (at: number) => Math.max(0, (1 - (now - at) / windowMillis) * width)
  let from = now - windowMillis
  let before: keyof typeof words = changes.length > 0 ? "closed" : phase
  const paint = (to: number, state: keyof typeof words) => {
    const size = state === "closed" ? 2 : state === "open" ? height : height / 2
    context.fillStyle = style.getPropertyValue(`--${colors[state]}`)
    context.fillRect(x(from), height - size, Math.max(1, x(to) - x(from)), size)
    from = to
  }
  for (const { at, to } of changes) {
    if (at > from) paint(at, before)
    before = to
  }
  paint(now, before)
}

const circuitRow =
  (changesOf: (group: string) => ReadonlyArray<Circuits>, nowOf: () => number) => ({ group }: Item<"circuits">) => {
    const badge = h("span", { class: "badge" })
    const note = h("span", { class: "note" })
    const canvas = h("canvas", { class: "strip", "aria-hidden": "true" })
    const element = h("li", { class: "row" }, h("div", { class: "line" }, h("b", {}, group), badge, note), canvas)
    return {
      element,
      update: ({ calls, failures, mode, phase, retryAfterMillis }: Item<"circuits">): void => {
        setText(badge, mode === "forcedOpen" ? "held open" : words[phase])
        setClass(badge, `badge ${mode === "forcedOpen" ? "red" : colors[phase]}`)
        const again = phase === "open" ? `, tries again in ${time(retryAfterMillis)}` : ""
        setText(note, `${count(failures)} of ${count(calls)} failed${mode === "normal" ? "" : `, ${mode}`}${again}`)
        strip(canvas, changesOf(group), phase, nowOf())
      }
    }
  }

const dimensions = { requests: "requests", inputTokens: "input", outputTokens: "output", tokens: "tokens" } as const

const limitRow = ({ group, keyGroup }: Item<"limits">) => {
  const note = h("span", { class: "note" })
  const bars = (Object.keys(dimensions) as Array<keyof typeof dimensions>).map((name) => {
    const bar = meter()
    const text = h("span", { class: "number" })
    return { name, bar, text, element: h("div", { class: "bar" }, h("span", {}, dimensions[name]), bar.element, text) }
  })
  const element = h(
    "li",
    { class: "row" },
    h(
      "div",
      { class: "line" },
      h("b", {}, group),
      keyGroup === "" ? undefined : h("span", { class: "note" }, keyGroup),
      note
    ),
    ...bars.map((bar) => bar.element)
  )
  return {
    element,
    update: (limit: Item<"limits">): void => {
      const { closed, inFlight, pausedMillis, waiting } = limit
      const paused = closed ? ", spend limit reached" : pausedMillis > 0 ? `, paused for ${time(pausedMillis)}` : ""
      setText(note, `${count(inFlight)} in flight, ${count(waiting)} waiting${paused}`)
      for (const { bar, element, name, text } of bars) {
        const level = limit[name]
        element.hidden = level === undefined
        if (level === undefined) continue
        const share = Math.max(0, level.free) / level.capacity
        bar.show(share, 0, share > 0.25 ? "good" : share > 0.05 ? "warn" : "bad")
        setText(text, `${count(Math.max(0, level.free))} of ${count(level.capacity)} left`)
      }
    }
  }
}

const keyColors = { usable: "good", cooling: "amber", quarantined: "red", drained: "plain", removed: "plain" } as const

const keyRow = ({ group, label }: Item<"keys">) => {
  const badge = h("span", { class: "badge" })
  const note = h("span", { class: "note" })
  const reasons = h("p", { class: "note" })
  const element = h(
    "li",
    { class: "row" },
    h("div", { class: "line" }, h("b", {}, label), badge, h("span", { class: "note" }, group), note),
    reasons
  )
  return {
    element,
    update: ({ inFlight, reasons: all, state }: Item<"keys">): void => {
      setText(badge, state)
      setClass(badge, `badge ${keyColors[state]}`)
      setText(note, `${count(inFlight)} in flight`)
      setText(reasons, all.join("; "))
      reasons.hidden = all.length === 0
    }
  }
}

const budgetRow = ({ account, budget }: Item<"budgets">) => {
  const bar = meter()
  const text = h("span", { class: "number" })
  const note = h("span", { class: "note" })
  const element = h(
    "li",
    { class: "row" },
    h("div", { class: "line" }, h("b", {}, budget), account === "" ? undefined : h("span", {}, account), note),
    h("div", { class: "bar wide" }, bar.element, text)
  )
  return {
    element,
    update: ({ limitNanoUsd, reservedNanoUsd, spentNanoUsd, windowEnd }: Item<"budgets">, now: number): void => {
      const spent = spentNanoUsd / limitNanoUsd
      const reserved = reservedNanoUsd / limitNanoUsd
      bar.show(spent, reserved, spent + reserved < 0.8 ? "good" : spent + reserved < 0.97 ? "warn" : "bad")
      setText(text, `${usd(spentNanoUsd)} of ${usd(limitNanoUsd)}`)
      const next = windowEnd === undefined ? "" : `moves on in ${time(Math.max(0, windowEnd - now))}`
      setText(note, next)
    }
  }
}

/** The cards of state; `changes` are those of circuits in the last ten minutes. */
export const state = (changes: { all: Array<Circuits> }) => {
  let now = 0
  const changesOf = (group: string) => changes.all.filter((change) => change.group === group)
  const circuits = rows<Item<"circuits">>(byId("circuits"), ({ group }) => group, circuitRow(changesOf, () => now))
  const limits = rows<Item<"limits">>(byId("limits"), ({ group, keyGroup }) => `${group} ${keyGroup}`, limitRow)
  const keys = rows<Item<"keys">>(byId("keys"), ({ label }) => label, keyRow)
  const budgets = rows<Item<"budgets">>(byId("budgets"), ({ account, budget }) => `${budget} ${account}`, (item) => {
    const row = budgetRow(item)
    return { element: row.element, update: (item) => row.update(item, now) }
  })
  const show = <A>(
    id: string,
    list: (items: ReadonlyArray<A>) => void,
    items: ReadonlyArray<A>,
    none: string
  ): void => {
    list(items)
    const empty = byId(`${id}-none`)
    empty.hidden = items.length > 0
    setText(empty, none)
  }
  return (health: Detail): void => {
    now = health.at
    changes.all = changes.all.filter(({ at }, index, all) =>
      at > now - windowMillis || all.slice(index + 1).every((later) => later.group !== all[index]!.group)
    )
    show("circuits", circuits, health.circuits, "No circuit has seen a call yet.")
    show("limits", limits, health.limits, "No rate limit is known yet.")
    show("keys", keys, health.keys, "There is no key.")
    const unreachable = "The store of the budgets does not answer; calls are refused."
    show("budgets", budgets, health.budgets ?? [], health.budgets === undefined ? unreachable : "No budget is set.")
  }
}

/** The last calls, each to open: what its waits and retries were for. */
import type { Shown, Step } from "../src/Http.ts"
import { byId, h, rows, setText } from "./dom.ts"
import { clock, count, time, usd } from "./format.ts"

const waitedFor = {
  limits: "room in the rate limits",
  key: "a key",
  circuit: "a circuit to try again",
  retry: "the next attempt"
} as const

const gaveUp = {
  retries: "all retries are used up",
  retry_budget: "the retries of all calls together are used up",
  deadline: "the deadline leaves no time",
  retry_after: "the API asks for a longer wait than is allowed"
} as const

interface Bar {
  readonly kind: "aborted" | "failed" | "ok" | "wait"
  readonly from: number
  readonly to: number
}

/** A sentence for a step, and the bar that it draws. */
const tell = (step: Step): { readonly text: string; readonly bar?: Bar } | undefined => {
  switch (step._tag) {
    case "AttemptStarted":
      return undefined
    case "Waited":
      return step.for === "retry" ? undefined : {
        text: `waited ${time(step.millis)} for ${waitedFor[step.for]}`,
        bar: { kind: "wait", from: step.at - step.millis, to: step.at }
      }
    case "Retrying":
      return {
        text: `waits ${time(step.waitMillis)} before the next attempt, because of ${step.error}`,
        bar: { kind: "wait", from: step.at, to: step.at + step.waitMillis }
      }
    case "Moved":
      return { text: `moves on to another key, because of ${step.error}` }
    case "Hedged":
      return { text: `makes attempt ${step.attempt} beside the first, which was later than ${time(step.lateMillis)}` }
    case "FellBack": {
      const why = step.because === "condition" ? "by a condition of the program" : `because of ${step.because}`
      return {
        text: step.skipped === undefined
          ? `goes on to ${step.to}, ${why}`
          : `does not go on to ${step.to}, ${why}: it ${step.skipped}`
      }
    }
    case "FirstContent":
      return { text: `first content of attempt ${step.attempt}` }
    case "GaveUp":
      return { text: `gives up after ${step.error}: ${gaveUp[step.reason]}` }
    case "AttemptEnded": {
      const { attempt, costNanoUsd, error, keyLabel, millis, outcome, requestId, usage } = step
      const why = error === undefined ? "" : `: ${error}`
      if (outcome === "refused") return { text: `attempt ${attempt} was not sent${why}` }
      const key = keyLabel === undefined ? "" : ` with key ${keyLabel}`
      const took = `after ${time(millis)}`
      const cost = costNanoUsd === undefined ? "" : `, ${usd(costNanoUsd)}`
      const tokens = usage.outputTokens > 0 ? `, ${count(usage.outputTokens)} tokens out${cost}` : ""
      const id = requestId === undefined ? "" : `, request ${requestId}`
      const end = { completed: "was answered", failed: "failed", aborted: "was given up" }[outcome]
      const kind = outcome === "completed" ? "ok" : outcome
      return {
        text: `attempt ${attempt}${key} ${end} ${took}${why}${tokens}${id}`,
        bar: { kind, from: step.at - millis, to: step.at }
      }
    }
  }
}

const timeline = ({ record: { latencyMillis }, steps }: Shown): HTMLElement => {
  const list = h("ol", { class: "steps" })
  const track = h("div", { class: "track", "aria-hidden": "true" })
  const whole = Math.max(1, latencyMillis)
  for (const step of steps) {
    const told = tell(step)
    if (told === undefined) continue
    list.append(h("li", {}, h("time", {}, time(step.at)), h("span", {}, told.text)))
    if (told.bar === undefined) continue
    const { from, kind, to } = told.bar
    const bar = h("span", { class: kind })
    bar.style.left = `${Math.min(99, Math.max(0, (from / whole) * 100)).toFixed(2)}%`
    bar.style.width = `${Math.max(0.5, Math.min(100, ((Math.min(to, whole) - from) / whole) * 100)).toFixed(2)}%`
    track.append(bar)
  }
  if (list.children.length === 0) list.append(h("li", {}, h("span", {}, "nothing that was seen")))
  return h("div", {}, track, list)
}

const fact = (name: string, value: string | undefined) =>
  value === undefined || value === "" ? undefined : h("div", {}, h("dt", {}, name), h("dd", {}, value))

const details = (shown: Shown): HTMLElement => {
  const { record } = shown
  const { metadata, usage } = record
  const cached = usage.cacheReadTokens
  const facts = [
    fact("call", record.callId),
    fact("request", record.requestId),
    fact("served by", record.servedModel === record.model ? undefined : record.servedModel),
    fact("key", record.keyLabel),
    fact("tenant", record.tenant),
    fact("user", record.user),
    fact("tags", Object.entries(metadata).map(([name, value]) => `${name}: ${value.slice(0, 80)}`).join(", ")),
    fact("stopped by", record.stopReason),
    fact("from cache", cached > 0 ? `${count(cached)} tokens` : undefined),
    fact("changed by", record.changes.join(", ")),
    fact("own time", time(record.overheadMillis))
  ]
  return h(
    "div",
    { class: "details" },
    record.message === undefined ? undefined : h("p", { class: "message" }, record.message),
    timeline(shown),
    h("dl", {}, ...facts)
  )
}

const results = { success: "answered", error: "failed", cancelled: "given up" } as const

const resultOf = ({ attempts, error, httpStatus, status, waits }: Shown["record"]): string => {
  if (status === "error") return `${error ?? "failed"}${httpStatus === undefined ? "" : ` ${httpStatus}`}`
  const waited = waits.reduce((sum, { millis }) => sum + millis, 0)
  const after = attempts > 1 ? ` at attempt ${attempts}` : waited >= 1_000 ? ` after a wait` : ""
  return `${results[status]}${after}`
}

const columns = 8

const callRow = (opened: { id: string | undefined }, changed: () => void) => (shown: Shown) => {
  const { record } = shown
  const { usage } = record
  const input = usage.inputTokens + usage.cacheReadTokens + usage.cacheWrite5mTokens + usage.cacheWrite1hTokens
  const waited = record.waits.reduce((sum, { millis }) => sum + millis, 0)
  const button = h("button", { type: "button", "aria-expanded": "false" }, clock(record.at + record.latencyMillis))
  const status = record.status === "success"
    ? record.attempts > 1 ? "amber" : "good"
    : record.status === "error"
    ? "red"
    : "plain"
  const number = (text: string) => h("td", { class: "number" }, text)
  const row = h(
    "tr",
    {},
    h("th", { scope: "row" }, button),
    h(
      "td",
      { class: "model" },
      record.model,
      record.requestType === undefined ? undefined : h("small", {}, record.requestType)
    ),
    h("td", { class: "result" }, h("i", { class: `swatch ${status}` }), resultOf(record)),
    number(time(record.latencyMillis)),
    number(record.firstTokenMillis === undefined ? "–" : time(record.firstTokenMillis)),
    number(waited === 0 ? "–" : time(waited)),
    number(`${count(input)} → ${count(usage.outputTokens)}`),
    number(record.costNanoUsd === undefined ? "–" : usd(record.costNanoUsd))
  )
  const element = h("tbody", {}, row)
  const close = () => {
    button.setAttribute("aria-expanded", "false")
    element.children[1]?.remove()
    element.className = ""
  }
  const toggle = () => {
    if (button.getAttribute("aria-expanded") === "true") {
      close()
      opened.id = undefined
    } else {
      button.setAttribute("aria-expanded", "true")
      element.className = "opened"
      element.append(h("tr", {}, h("td", { colspan: String(columns) }, details(shown))))
      opened.id = record.callId
    }
    changed()
  }
  button.addEventListener("click", toggle)
  row.addEventListener("click", (event) => {
    if (event.target !== button && getSelection()?.isCollapsed !== false) toggle()
  })
  return { element, update: () => {} }
}

const most = 50

/** The table of calls. It stands still while somebody reads it: with the pointer or the focus in it, or with a call open. */
export const calls = () => {
  const table = byId<HTMLTableElement>("calls-table")
  const note = byId("calls-note")
  const opened: { id: string | undefined } = { id: undefined }
  let kept: Array<Shown> = []
  let unseen = 0
  let isHeld = false
  let isOver = false
  let all = false

  const render = (): void => {
    unseen = 0
    const shown = kept.filter(({ notable }) => all || notable).slice(-most).reverse()
    show(shown)
    byId("calls-none").hidden = shown.length > 0
    table.hidden = shown.length === 0
    tellHeld()
  }
  const tellHeld = (): void => {
    const open = opened.id !== undefined ? "one is open" : "you are in it"
    setText(note, isHeld && unseen > 0 ? `Still while ${open}; ${count(unseen)} more since.` : "")
  }
  const hold = (): void => {
    const was = isHeld
    isHeld = opened.id !== undefined || isOver || table.contains(document.activeElement)
    if (was && !isHeld) render()
    else tellHeld()
  }
  const show = rows<Shown>(table, ({ record }) => record.callId, callRow(opened, hold))

  table.addEventListener("pointerenter", () => {
    isOver = true
    hold()
  })
  table.addEventListener("pointerleave", () => {
    isOver = false
    hold()
  })
  table.addEventListener("focusin", hold)
  table.addEventListener("focusout", () => setTimeout(hold))
  for (const input of document.querySelectorAll<HTMLInputElement>("input[name=which]")) {
    input.addEventListener("change", () => {
      all = input.value === "all"
      render()
    })
  }

  return {
    add: (more: ReadonlyArray<Shown>, isFirst: boolean): void => {
      const known = isFirst ? [] : kept
      const merged = [...known, ...more].sort((a, b) =>
        a.record.at + a.record.latencyMillis - b.record.at - b.record.latencyMillis
      )
      const notable = new Set(merged.filter(({ notable }) => notable).slice(-most))
      const recent = new Set(merged.slice(-most))
      kept = merged.filter((shown) => notable.has(shown) || recent.has(shown) || shown.record.callId === opened.id)
      unseen += more.filter(({ notable }) => all || notable).length
      if (isHeld) tellHeld()
      else render()
    }
  }
}

/** The status page. */
import type { Detail } from "../src/Health.ts"
import type { Circuits, Point } from "../src/Http.ts"
import { calls as makeCalls } from "./calls.ts"
import { chart, ended, failures, specs } from "./charts.ts"
import { byId, setClass, setText } from "./dom.ts"
import { clock, count, percent, time, usd } from "./format.ts"
import { state as makeState } from "./state.ts"
import { follow, type Link } from "./stream.ts"

const mostPoints = 600

const charts = specs.map(chart)
byId("charts").append(...charts.map(({ element }) => element))

const changes: { all: Array<Circuits> } = { all: [] }
const showState = makeState(changes)
const calls = makeCalls()
let points: Array<Point> = []
let last: Detail | undefined

const showHeader = (health: Detail): void => {
  const { at, ready, reasons, startedAt, versions } = health
  setText(byId("ready"), ready ? "Ready" : "Not ready")
  setClass(byId("ready"), ready ? "badge good" : "badge red")
  setText(byId("reasons"), reasons.map(({ message }) => message).join(" "))
  setText(byId("up"), `up ${time(at - startedAt)}`)
  setText(byId("version"), `effect-claude ${versions["effect-claude"]}`)
  const { lastError } = health
  setText(
    byId("last-error"),
    lastError === undefined
      ? "No call has failed."
      : `Last failure at ${clock(lastError.at)}: ${lastError.message ?? lastError.error}`
  )
}

/** The last minute in words, beside the charts. */
const showMinute = (): void => {
  const minute = points.slice(-60)
  const sum = (valueOf: (point: Point) => number) => minute.reduce((total, point) => total + valueOf(point), 0)
  const total = sum(ended)
  const failed = sum(failures)
  const text = (id: string, value: string) => setText(byId(id), value)
  text("minute-calls", count(total))
  text("minute-errors", total === 0 ? "–" : percent(failed / total))
  for (const fault of ["caller", "policy", "provider", "own"] as const) {
    text(
      `minute-${fault}`,
      count(sum((point) => point[fault]))
    )
  }
  text("minute-retries", count(sum(({ retries }) => retries)))
  text("minute-spent", usd(sum(({ nanoUsd }) => nanoUsd)))
  for (const reason of ["limits", "key", "circuit", "retry"] as const) {
    text(`minute-wait-${reason}`, time(sum(({ waited }) => waited[reason])))
  }
}

/** Draws at most four times a second, however many updates come. */
const drawEvery = 250
let isDue = false
let drawnAt = 0
const draw = (): void => {
  if (isDue) return
  isDue = true
  const paint = () =>
    requestAnimationFrame((at) => {
      isDue = false
      drawnAt = at
      if (points.length === 0) return
      for (const { draw } of charts) draw(points)
      showMinute()
    })
  setTimeout(paint, Math.max(0, drawnAt + drawEvery - performance.now()))
}

const links: Record<Link, string> = {
  connecting: "connecting",
  live: "live",
  lost: "connection lost, trying again",
  token: "token needed"
}

const onLink = (link: Link): void => {
  const since = link === "lost" && last !== undefined ? `, as of ${clock(last.at)}` : ""
  setText(byId("link"), links[link] + since)
  setClass(byId("link"), link === "live" ? "link good" : "link amber")
  document.body.classList.toggle("stale", link === "lost")
  byId("token-form").hidden = link !== "token"
  byId("content").hidden = link === "token"
}

const { useToken } = follow(onLink, (update, isFirst) => {
  if (isFirst) {
    points = []
    changes.all = []
  }
  points.push(...update.points)
  if (points.length > mostPoints) points.splice(0, points.length - mostPoints)
  changes.all.push(...update.circuits)
  last = update.health
  showHeader(update.health)
  showState(update.health)
  calls.add(update.calls, isFirst)
  draw()
})

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault()
  const input = byId<HTMLInputElement>("token")
  useToken(input.value)
  input.value = ""
})

const renew = (): void => {
  for (const { renew } of charts) renew()
  if (last !== undefined) showState(last)
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", renew)
let resized: ReturnType<typeof setTimeout> | undefined
addEventListener("resize", () => {
  clearTimeout(resized)
  resized = setTimeout(renew, 100)
})

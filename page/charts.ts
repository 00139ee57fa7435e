/** The charts of the last ten minutes. */
import uPlot from "uplot"
import type { Point } from "../src/Http.ts"
import { h, setText } from "./dom.ts"
import { count, rate, time, usd } from "./format.ts"

/** A line of a chart: its value at each point; `null` where there is none. */
interface Line {
  readonly name: string
  readonly color: string
  readonly fill?: boolean
  readonly valueOf: (points: ReadonlyArray<Point>, index: number) => number | null
}

interface Spec {
  readonly title: string
  readonly unit: string
  readonly format: (value: number) => string
  readonly axis?: (value: number) => string
  readonly lines: ReadonlyArray<Line>
  readonly least: number
}

/** The sum over so many points up to one. */
const over = (
  points: ReadonlyArray<Point>,
  index: number,
  length: number,
  valueOf: (point: Point) => number
): number => {
  let sum = 0
  for (let i = Math.max(0, index - length + 1); i <= index; i++) sum += valueOf(points[i]!)
  return sum
}

/** Over a few seconds, so that light traffic does not flicker. */
const perSecond = (valueOf: (point: Point) => number) => (points: ReadonlyArray<Point>, index: number) =>
  over(points, index, 5, valueOf) / Math.min(5, index + 1)

const perMinute = (valueOf: (point: Point) => number) => (points: ReadonlyArray<Point>, index: number) =>
  over(points, index, 60, valueOf)

export const failures = ({ caller, own, policy, provider }: Point): number => caller + own + policy + provider

export const ended = (point: Point): number => point.success + point.cancelled + failures(point)

const quantile = (name: "firstToken" | "latency", which: 0 | 1) => (points: ReadonlyArray<Point>, index: number) =>
  points[index]![name]?.[which] ?? null

const now = (valueOf: (point: Point) => number) => (points: ReadonlyArray<Point>, index: number) =>
  valueOf(points[index]!)

const short = (millis: number): string => millis < 1_000 ? `${millis} ms` : `${+(millis / 1_000).toFixed(1)} s`

/** `30k` */
const round = (value: number): string =>
  value >= 1e6
    ? `${+(value / 1e6).toFixed(2)}M`
    : value >= 1e3
    ? `${+(value / 1e3).toFixed(1)}k`
    : String(+value.toFixed(2))

const money = (nanoUsd: number): string => {
  const value = nanoUsd / 1e9
  return value === 0 ? "$0" : `$${value >= 0.01 ? value.toFixed(2) : value.toPrecision(1)}`
}

export const specs: ReadonlyArray<Spec> = [
  {
    title: "Calls",
    unit: "a second",
    format: rate,
    least: 1,
    lines: [
      { name: "ended", color: "blue", fill: true, valueOf: perSecond(ended) },
      { name: "failed", color: "red", fill: true, valueOf: perSecond(failures) }
    ]
  },
  {
    title: "Latency",
    unit: "of answers",
    format: time,
    axis: short,
    least: 200,
    lines: [
      { name: "p95", color: "violet", valueOf: quantile("latency", 1) },
      { name: "p50", color: "blue", valueOf: quantile("latency", 0) }
    ]
  },
  {
    title: "First token",
    unit: "of streams",
    format: time,
    axis: short,
    least: 200,
    lines: [
      { name: "p95", color: "violet", valueOf: quantile("firstToken", 1) },
      { name: "p50", color: "blue", valueOf: quantile("firstToken", 0) }
    ]
  },
  {
    title: "Tokens",
    unit: "a minute",
    format: count,
    least: 100,
    lines: [
      { name: "in", color: "teal", fill: true, valueOf: perMinute(({ input }) => input) },
      { name: "out", color: "amber", valueOf: perMinute(({ output }) => output) }
    ]
  },
  {
    title: "Dollars",
    unit: "a minute",
    format: usd,
    axis: money,
    least: 1e6,
    lines: [{ name: "spent", color: "teal", fill: true, valueOf: perMinute(({ nanoUsd }) => nanoUsd) }]
  },
  {
    title: "In flight",
    unit: "now",
    format: count,
    least: 4,
    lines: [
      { name: "in flight", color: "blue", fill: true, valueOf: now(({ active }) => active) },
      { name: "waiting", color: "amber", valueOf: now(({ waiting }) => waiting) }
    ]
  }
]

/** A round number that holds a value. */
const roundUp = (value: number): number => {
  const power = 10 ** Math.floor(Math.log10(value))
  return [1, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= value * 1.05) ?? 10 * power
}

const colorOf = (name: string): string =>
  getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()

const height = 132

/** The seconds that are shown: few at first, at last ten minutes. */
const shownOf = (points: number): number => [120, 300].find((seconds) => points <= seconds) ?? 600

export interface Chart {
  readonly element: HTMLElement
  readonly draw: (points: ReadonlyArray<Point>) => void
  /** Colors or sizes are others. */
  readonly renew: () => void
}

export const chart = (spec: Spec): Chart => {
  const values = spec.lines.map(() => h("b", {}, "–"))
  const legend = spec.lines.map(({ color, name }, index) =>
    h("span", {}, h("i", { class: `swatch ${color}` }), `${name} `, values[index])
  )
  const canvas = h("div", { class: "plot", "aria-hidden": "true" })
  const title = h("h3", {}, spec.title, h("small", {}, ` ${spec.unit}`))
  const element = h(
    "section",
    { class: "card chart" },
    h("header", {}, title, h("p", { class: "legend" }, ...legend)),
    canvas
  )
  let data: uPlot.AlignedData = [[], ...spec.lines.map(() => [])]
  let top = spec.least
  let plot: uPlot | undefined

  /** The top of the scale grows at once and shrinks late, so that it does not flicker. */
  const range = (_: uPlot, __: number, most: number | null): uPlot.Range.MinMax => {
    const needed = roundUp(Math.max(most ?? 0, spec.least))
    if (needed > top || needed < top / 2.5) top = needed
    return [0, top]
  }

  const show = (index: number | null | undefined): void => {
    const at = index ?? data[0].length - 1
    spec.lines.forEach((_, line) => {
      const value = data[line + 1]![at]
      setText(values[line]!, value === undefined || value === null ? "–" : spec.format(value))
    })
  }

  const make = (): void => {
    plot?.destroy()
    const axis = { stroke: colorOf("muted"), font: "11px system-ui, sans-serif", ticks: { show: false } }
    plot = new uPlot(
      {
        width: Math.max(canvas.clientWidth, 200),
        height,
        padding: [8, 18, 0, 0],
        legend: { show: false },
        cursor: { sync: { key: "time" }, y: false, drag: { x: false, y: false }, points: { size: 6 } },
        scales: { x: { time: true }, y: { range } },
        axes: [
          {
            ...axis,
            size: 22,
            space: 90,
            grid: { show: false },
            values: (_, splits) =>
              splits.map((at) =>
                new Date(at * 1_000).toLocaleTimeString("en-GB").slice(0, shownOf(data[0].length) > 120 ? 5 : 8)
              ),
            incrs: [30, 60, 120, 300]
          },
          {
            ...axis,
            size: 52,
            space: 34,
            grid: { stroke: colorOf("line"), width: 1 },
            values: (_, splits) => splits.map(spec.axis ?? round)
          }
        ],
        series: [
          {},
          ...spec.lines.map(({ color, fill }) => ({
            stroke: colorOf(color),
            width: 1.5,
            points: { show: false },
            ...(fill === true ? { fill: `${colorOf(color)}22` } : {})
          }))
        ],
        hooks: { setCursor: [(self) => show(self.cursor.idx)] }
      },
      data,
      canvas
    )
  }

  return {
    element,
    draw: (points) => {
      data = [
        points.map(({ at }) => at / 1_000),
        ...spec.lines.map(({ valueOf }) => points.map((_, index) => valueOf(points, index)))
      ]
      if (plot === undefined) make()
      const end = data[0].at(-1) ?? 0
      plot!.batch(() => {
        plot!.setData(data, false)
        plot!.setScale("x", { min: end - shownOf(points.length), max: end })
      })
      show(plot!.cursor.idx)
    },
    renew: () => {
      if (plot === undefined) return
      make()
      const end = data[0].at(-1) ?? 0
      plot.setScale("x", { min: end - shownOf(data[0].length), max: end })
    }
  }
}

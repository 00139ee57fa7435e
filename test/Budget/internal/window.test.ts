import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import * as Window from "../../../src/Budget/internal/window.ts"
import { between } from "../../utils/between.ts"

const zones = [
  "UTC",
  "Europe/Berlin",
  "America/New_York",
  "America/Sao_Paulo",
  "Africa/Cairo",
  "Asia/Kathmandu",
  "Asia/Beirut",
  "Australia/Lord_Howe",
  "Pacific/Apia",
  "America/Havana"
]

const moment = Schema.Int.check(Schema.isBetween({
  minimum: Date.UTC(2010, 0, 1),
  maximum: Date.UTC(2030, 0, 1)
}))

const calendar = (unit: "day" | "week" | "month", zone: string): Window.Window => ({ _tag: "Calendar", unit, zone })

describe("a calendar window", () => {
  it.prop(
    "has every moment in one window, in every time zone",
    { zone: Schema.Literals(zones), part: Schema.Literals(["day", "week", "month"]), now: moment },
    ({ now, part, zone }) => {
      const window = calendar(part, zone)
      const span = Window.spanAt(window, now)
      const { from, leaves, slot, until } = span
      assert.strictEqual(from, slot)
      assert.isTrue(slot <= now && now < until)
      for (const inside of [slot, until - 1]) {
        assert.deepStrictEqual(Window.spanAt(calendar(part, zone), inside), span)
      }
      assert.strictEqual(Window.spanAt(window, until).slot, until)
      assert.strictEqual(leaves, until)
      assert.strictEqual(Window.leavesAt(window, slot), until)
    },
    { arbitrary: { runs: 300 } }
  )

  it("follows the days of every zone, also where midnight does not exist or comes twice", () => {
    for (const zone of zones) {
      const text = new Intl.DateTimeFormat("en-CA", { timeZone: zone, dateStyle: "short" })
      const window = calendar("day", zone)
      const end = Date.UTC(2019, 0, 1)
      let today = ""
      for (let at = Date.UTC(2009, 0, 1); at < end;) {
        const { slot, until } = Window.spanAt(window, at)
        const next = text.format(slot)
        assert.isTrue(next > today && text.format(until - 1) === next, `${zone} ${next}`)
        assert.isTrue(until > at)
        today = next
        at = until
      }
    }
  })

  it("has days of 23 and 25 hours, and weeks that begin on Monday", () => {
    const hours = (day: string) => {
      const { slot, until } = Window.spanAt(calendar("day", "Europe/Berlin"), Date.parse(day))
      return (until - slot) / 3_600_000
    }
    assert.deepStrictEqual(
      ["2026-03-28T12:00Z", "2026-03-29T12:00Z", "2026-10-25T12:00Z"].map(hours),
      [24, 23, 25]
    )
    const { slot, until } = Window.spanAt(calendar("week", "UTC"), Date.parse("2026-11-22T23:59:59Z"))
    assert.strictEqual(new Date(slot).toISOString(), "2026-11-16T00:00:00.000Z")
    assert.strictEqual(until - slot, 7 * 86_400_000)
  })
})

describe("a rolling window", () => {
  it.prop(
    "counts a slot until it is wholly outside",
    { millis: between(1, 100_000), now: between(0, 1_000_000), back: between(0, 200) },
    ({ back, millis, now }) => {
      const window: Window.Window = { _tag: "Rolling", millis }
      const { from, slot, until } = Window.spanAt(window, now)
      assert.isTrue(slot <= now && now < until)
      const size = until - slot
      assert.isAtMost(size, Math.ceil(millis / 60))
      const old = slot - back * size
      const isOutside = old + size <= now - millis
      if (isOutside) assert.isTrue(old < from || old + 2 * size > now - millis)
      else assert.isTrue(old >= from, "it counts no more, and part of it is inside")
      const leaves = Window.leavesAt(window, old)
      assert.isTrue(Window.spanAt(window, leaves).from > old)
      assert.isTrue(Window.spanAt(window, leaves - 1).from <= old)
    },
    { arbitrary: { runs: 2_000 } }
  )
})

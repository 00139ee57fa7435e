/** Numbers as people read them, in widths that do not jump. */

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 })

/** `1,234`, `12.3k`, `4.56M`. */
export const count = (value: number): string => {
  if (value < 10_000) return whole.format(value)
  return value < 1e6
    ? `${(value / 1e3).toFixed(value < 1e5 ? 1 : 0)}k`
    : value < 1e9
    ? `${(value / 1e6).toFixed(value < 1e7 ? 2 : 1)}M`
    : `${(value / 1e9).toFixed(2)}G`
}

/** Something a second: `0.2`, `3.4`, `120`. */
export const rate = (value: number): string => value === 0 ? "0" : value < 100 ? value.toFixed(1) : whole.format(value)

export const percent = (share: number): string =>
  share === 0 ? "0 %" : share < 0.1 ? `${(share * 100).toFixed(1)} %` : `${Math.round(share * 100)} %`

/** `340 ms`, `1.24 s`, `12.3 s`, `3 min 20 s`, `4 h 10 min`. */
export const time = (millis: number): string => {
  if (millis < 1_000) return `${Math.round(millis)} ms`
  if (millis < 10_000) return `${(millis / 1_000).toFixed(2)} s`
  if (millis < 60_000) return `${(millis / 1_000).toFixed(1)} s`
  const seconds = Math.round(millis / 1_000)
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`
  const minutes = Math.round(seconds / 60)
  if (minutes < 2_880) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`
  return `${Math.round(minutes / 1_440)} days`
}

/** US dollars of nano-dollars, with as many digits as say something. */
export const usd = (nanoUsd: number): string => {
  const value = nanoUsd / 1e9
  if (value === 0) return "$0"
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 1 ? 2 : Math.abs(value) >= 0.01 ? 3 : 5
  return `$${value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })}`
}

/** The time of day. */
export const clock = (at: number): string => new Date(at).toLocaleTimeString("en-GB")

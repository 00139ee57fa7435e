/** The alerts that an account remembers to have raised. */

/** The most: in a window that has no end, its limit may change often. */
const maxAlerts = 64

/** With one that is raised now, and without those of former windows. */
export const withAlert = (
  alerts: Readonly<Record<string, number>>,
  name: string,
  from: number,
  now: number
): Readonly<Record<string, number>> => {
  const others = Object.entries(alerts).filter(([other, at]) => other !== name && at >= from)
  return Object.fromEntries([...others.slice(1 - maxAlerts), [name, now]])
}

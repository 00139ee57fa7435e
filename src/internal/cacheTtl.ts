/** How long what a request writes into the cache may live. */
import type { Request } from "../Request.ts"

export type Ttl = "5m" | "1h"

/** The longest time to live among the breakpoints of a request; undefined where it has none. */
export const cacheTtl = (request: Request): Ttl | undefined => {
  const seen = new Set<object>()
  let ttl: Ttl | undefined
  const visit = (value: unknown): void => {
    if (ttl === "1h" || typeof value !== "object" || value === null || seen.has(value)) return
    seen.add(value)
    if (Array.isArray(value)) return value.forEach(visit)
    const control = "cache_control" in value ? value.cache_control : undefined
    if (typeof control === "object" && control !== null) ttl = "ttl" in control && control.ttl === "1h" ? "1h" : "5m"
    if ("content" in value) visit(value.content)
    if ("source" in value) visit(value.source)
  }
  visit({ cache_control: request.cache_control })
  visit(request.tools)
  visit(request.system)
  visit(request.messages)
  return ttl
}

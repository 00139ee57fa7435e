/** Who a call is for, inside its class. */
import type { CallContext } from "../../CallContext.ts"
import { add, nameOf, start } from "../../internal/contentHash.ts"

/** Longer names are hashed. */
const maxLength = 40

const nameIn = (kind: string, name: string): string =>
  kind + (name.length <= maxLength ? name : `${name.length} ${nameOf(add(start, name))}`)

/** Its tenant, else its user, else its request type, as a name of bounded length. */
export const flowOf = ({ requestType, tenant, user }: CallContext): string => {
  if (tenant !== undefined) return nameIn("tenant ", tenant)
  if (user !== undefined) return nameIn("user ", user)
  return requestType === undefined ? "" : nameIn("type ", requestType)
}

/** What that has of its class beside others. */
export const weightOf = (weights: ReadonlyMap<string, number>, { requestType, tenant, user }: CallContext): number =>
  weights.size === 0 ? 1 : weights.get(tenant ?? user ?? requestType ?? "") ?? 1

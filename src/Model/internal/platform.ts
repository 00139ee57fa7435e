/** Models as other platforms name them. */

/**
 * Where a name of a model comes from: `bedrock` and `vertex` for the platforms of Amazon and Google, `foundry` for that of Microsoft, `other` for gateways.
 *
 * @category models
 * @since 0.1.0
 */
export type Platform = "bedrock" | "vertex" | "foundry" | "other"

/** A name on another platform, and the names that the API may have for the same model, the likeliest first. */
export interface Foreign {
  readonly platform: Platform
  readonly names: ReadonlyArray<string>
}

/** The longest names are resource names with projects, locations and profiles in them. */
const maxLength = 500

/** A region, the vendor, the model, and a version with sizes. */
const bedrock = /^(?:[a-z]+(?:-[a-z]+)*\.)?anthropic\.([a-z0-9.-]+?)(?:-v\d+)?(?::[a-z0-9]+)*$/

/** The same without its vendor. */
const bedrockVersion = /^(claude-[a-z0-9.-]+?)-v\d+(?::[a-z0-9]+)+$/

const vertex = /^([a-z0-9.-]+)@(\d{8}|default|latest)?$/

/** What gateways put around a model: the vendor or a product before it, a variant or a route behind it. */
const gateway = /^(?:anthropic(?:--?|:)|databricks-)?(claude-[a-z0-9.-]+?)(?:-latest|\[[a-z0-9]+\]|:[a-z]+)?$/

/** Older names have the version before the line. */
const reordered = /^claude-(\d+(?:-\d{1,2})?)-([a-z]+)(?=-\d{8}$|$)/

const platformOfPath = (path: string): Platform =>
  /bedrock/.test(path) ? "bedrock" : /vertex|publishers\/anthropic/.test(path) ? "vertex" : /azure|foundry/.test(path)
    ? "foundry"
    : "other"

/** Undefined for what could be a name of the API itself. */
export const foreign = (id: string): Foreign | undefined => {
  if (id.length > maxLength) return undefined
  const lower = id.trim().toLowerCase().replace(/\/versions\/[^/]+$/, "")
  const last = lower.slice(lower.lastIndexOf("/") + 1)
  const ofBedrock = bedrock.exec(last) ?? bedrockVersion.exec(last)
  const ofVertex = vertex.exec(last)
  const [, name = last, date] = ofBedrock ?? ofVertex ?? gateway.exec(last) ?? []
  const plain = name.replaceAll(".", "-").replace(reordered, "claude-$2-$1")
  if (plain === id) return undefined
  const isDated = date !== undefined && date.length === 8
  return {
    platform: ofBedrock !== null
      ? "bedrock"
      : ofVertex !== null
      ? "vertex"
      : platformOfPath(lower.slice(0, lower.length - last.length)),
    // Not every model that has a date elsewhere has one in the API.
    names: [...(isDated ? [`${plain}-${date}`] : []), plain, plain.replace(/-\d{8}$/, "")]
  }
}

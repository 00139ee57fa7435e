/**
 * The keys that the simulated API knows.
 */
import type { Refusal } from "./Wire.ts"
import { refuse } from "./Wire.ts"

/**
 * A key that the simulated API accepts, unless it says otherwise. The bill never holds the key.
 *
 * @category models
 * @since 0.1.0
 */
export interface Key {
  /** The secret that a request sends. */
  readonly key: string
  /** Names the key on the bill. */
  readonly label: string
  /** Rate limits and spend limits are shared within an organization. */
  readonly organization: string
  /** Prompt caches are shared within a workspace. */
  readonly workspace: string
  /** Answers 401. */
  readonly revoked?: boolean | undefined
  /** Milliseconds since 1970, from which on the key answers 401. */
  readonly expiresAt?: number | undefined
  /** The models that the key may use, by the names that requests give; any other answers 403. Default: all. */
  readonly models?: ReadonlyArray<string> | undefined
  /** `unpaid` answers 402, `lowCredit` the 400 that a prepaid account without credit answers, `onHold` the 400 with the code
   * `organization_on_hold`. */
  readonly billing?: "unpaid" | "lowCredit" | "onHold" | undefined
  /** It is a key of the Admin API: it reads the reports of its organization on usage and cost, and asks no model. Default `false`. */
  readonly admin?: boolean | undefined
}

/** The key that is accepted when the options name none. */
export const defaultKey: Key = {
  key: "sk-ant-sim-key",
  label: "default",
  organization: "org_sim",
  workspace: "wrkspc_sim"
}

/** The key of the Admin API that is accepted when the options name no keys. */
export const defaultAdminKey: Key = {
  ...defaultKey,
  key: "sk-ant-admin01-sim-key",
  label: "admin",
  admin: true
}

/** The headers that say for whom a request was answered. The Admin API has no workspace. */
export const headers = ({ admin, organization, workspace }: Key): Record<string, string> =>
  admin === true
    ? { "anthropic-organization-id": organization }
    : { "anthropic-organization-id": organization, "anthropic-workspace-id": workspace }

const givenBy = (header: (name: string) => string | undefined): string => {
  const bearer = header("authorization") ?? ""
  return header("x-api-key") || (/^bearer /i.test(bearer) ? bearer.slice(7) : "")
}

export const make = (keys: ReadonlyArray<Key>) => {
  const known = new Map(keys.map((key) => [key.key, key]))

  /** The key of a request, or why there is none. */
  const authenticate = (header: (name: string) => string | undefined, now: number): Key | Refusal => {
    const given = givenBy(header)
    if (given === "") return refuse(401, "x-api-key or authorization header is required")
    const key = known.get(given)
    if (key === undefined) return refuse(401, "invalid x-api-key")
    if (key.revoked === true) return refuse(401, "This API key has been revoked.")
    if (key.expiresAt !== undefined && now >= key.expiresAt) return refuse(401, "This API key has expired.")
    const workspace = header("anthropic-workspace-id")
    if (workspace !== undefined && workspace !== key.workspace) {
      return refuse(403, "Your API key does not have permission to use the specified workspace.")
    }
    return key
  }

  return {
    authenticate,
    /** The key that a request carries, whether it is accepted or not. */
    named: (header: (name: string) => string | undefined): Key | undefined => known.get(givenBy(header)),
    add: (key: Key) => {
      known.set(key.key, key)
    },
    revoke: (name: string) => {
      for (const key of known.values()) {
        if (key.key === name || key.label === name) known.set(key.key, { ...key, revoked: true })
      }
    }
  }
}

/** Why the organization of a key gets no answer at all. */
export const suspended = (key: Key): Refusal | undefined => {
  switch (key.billing) {
    case "unpaid":
      return refuse(402, "There is a problem with the payment method of your organization.")
    case "lowCredit":
      return refuse(400, "Your credit balance is too low to access the Anthropic API.")
    case "onHold":
      return refuse(400, "This organization has been disabled.", "organization_on_hold")
    case undefined:
      return undefined
  }
}

/** Why a key may not use a model. */
export const forbids = (key: Key, model: string): Refusal | undefined =>
  key.admin === true
    ? refuse(403, "A key of the Admin API does not have permission to use models.")
    : key.models === undefined || key.models.includes(model)
    ? undefined
    : refuse(403, `Your API key does not have permission to use the model ${model}.`)

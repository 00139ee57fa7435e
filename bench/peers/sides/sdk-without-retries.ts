/** The SDK that makes one attempt. */
import type { Side } from "../side.ts"
import { using } from "./sdk.ts"

export const make = async (baseURL: string): Promise<Side> => using({ baseURL, maxRetries: 0 })

/** Where the command finds API keys. */
import * as KeyStore from "../../KeyStore.ts"

export const layer = KeyStore.chain([KeyStore.environment])

/** What stands where something was removed. Nothing is read across it. */
export const placeholder = "[…]"

/** Reads who goes on with an answer that one model gave up. */
import * as Predicate from "effect/Predicate"

/** The model that a block of type `fallback` names; undefined for any other block. */
export const fallbackModel = (block: { readonly type: unknown }): string | undefined =>
  block.type === "fallback" && Predicate.hasProperty(block, "to") && Predicate.hasProperty(block.to, "model") &&
    typeof block.to.model === "string"
    ? block.to.model
    : undefined

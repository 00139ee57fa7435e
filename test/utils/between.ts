import { Schema } from "effect"

/** Integers from `minimum` to `maximum`, as inputs of properties. */
export const between = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

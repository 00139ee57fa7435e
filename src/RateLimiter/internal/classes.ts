/** The classes of calls by their priority, the most urgent first, and what each is sure of. */
import type { CallContext } from "../../CallContext.ts"

export type Priority = CallContext["priority"]

export const priorities: ReadonlyArray<Priority> = ["interactive", "standard", "bulk"]

/** Shares while all three wait: 75 %, 20 % and 5 %. */
export const weights: Readonly<Record<Priority, number>> = { interactive: 15, standard: 4, bulk: 1 }

/** How urgent it is, from 0 for the most urgent. */
export const rank: Readonly<Record<Priority, number>> = { interactive: 0, standard: 1, bulk: 2 }

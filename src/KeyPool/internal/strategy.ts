/** How a pool chooses between keys that may be used now. */
import type { Attempt, Key } from "../../Attempt.ts"

/** A key of the pool as strategies see it. The same key of a pool is always the same object; one that was replaced is another. */
export interface Member {
  readonly key: Key
  /** Its share of the traffic relative to other keys: above 0 for a candidate. */
  readonly weight: number
  /** Attempts that were given it and are not settled, those that wait for the rate limits included. */
  readonly inFlight: number
}

/** Keys to choose from: at least one. */
export type Candidates = readonly [Member, ...Array<Member>]

/** Chooses a key for each attempt. Everything is synchronous: a choice and what it changes are one step. */
export interface Strategy {
  /** One of the candidates, which are in the order of the pool. It may be asked for one that then never gets an answer. */
  readonly pick: (attempt: Attempt, candidates: Candidates, now: number) => Member
  /** An attempt that was given this key has ended; `attempt.outcome` says how. */
  readonly settled?: ((attempt: Attempt, member: Member, now: number) => void) | undefined
  /** The keys of the pool were changed to these; what is known of others can be forgotten. */
  readonly changed?: ((members: ReadonlyArray<Member>) => void) | undefined
}

/** What strategies are made with. `random`: uniform from 0 (included) to 1. */
export interface Environment {
  readonly random: () => number
}

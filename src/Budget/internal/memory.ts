/** Accounts in the memory of a process. */
import {
  Account,
  type Batch,
  type Done,
  holdsOf,
  limitOf,
  type Override,
  type Rules,
  run,
  type Settle,
  type Share,
  type Stored
} from "./account.ts"

interface Lease extends Pick<Settle, "heldNanoUsd" | "holds"> {
  expiresAt: number
}

/** How often idle accounts are looked for once there are as many as may be. */
const sweepMillis = 1_000

export class Memory {
  private readonly maxAccounts: number
  private readonly budgets = new Map<string, { rules: Rules; readonly accounts: Map<string, Account> }>()
  private readonly overrides = new Map<string, Map<string | undefined, Override>>()
  private readonly leases = new Map<string, Lease>()
  private count = 0
  private sweptAt = -Infinity
  private lapseAt = Infinity

  constructor(maxAccounts: number) {
    this.maxAccounts = maxAccounts
  }

  step(batch: Batch, now: number): Done {
    const held = new Set(batch.settles.flatMap(({ lease }) => this.leases.delete(lease) ? [lease] : []))
    if (now >= this.lapseAt) this.lapse(now)
    const done = run(
      { account: (share) => this.account(share, now), limitOf: (share) => this.limitOf(share, now) },
      batch,
      (lease) => held.has(lease),
      now
    )
    batch.reserves.forEach((ask, index) => {
      const holds = holdsOf(ask, done.replies[index]!) // one for each reservation
      if (holds.length === 0) return
      const expiresAt = now + ask.leaseMillis
      this.leases.set(ask.lease, { heldNanoUsd: ask.nanoUsd, holds, expiresAt })
      this.lapseAt = Math.min(this.lapseAt, expiresAt)
    })
    return done
  }

  renew(leases: ReadonlyArray<string>, leaseMillis: number, now: number): void {
    for (const lease of leases) {
      const known = this.leases.get(lease)
      if (known !== undefined && known.expiresAt > now) known.expiresAt = now + leaseMillis
    }
  }

  override(override: Override): void {
    const known = this.overrides.get(override.budget) ?? new Map<string | undefined, Override>()
    this.overrides.set(override.budget, known)
    if (override.limitNanoUsd === undefined) known.delete(override.account)
    else known.set(override.account, override)
  }

  read(names: ReadonlyArray<string>, now: number): {
    readonly accounts: ReadonlyArray<Stored>
    readonly overrides: ReadonlyArray<Override>
  } {
    if (now >= this.lapseAt) this.lapse(now)
    return {
      accounts: names.flatMap((budget) =>
        [...this.budgets.get(budget)?.accounts ?? []].map(([account, { slots }]) => ({
          budget,
          account,
          slots: slots.map((slot) => ({ ...slot }))
        }))
      ),
      overrides: names.flatMap((budget) => [...this.overrides.get(budget)?.values() ?? []])
    }
  }

  private limitOf(share: Share, now: number): number {
    const known = this.overrides.get(share.rules.name)
    if (known === undefined) return share.limitNanoUsd
    return limitOf(share, now, (_, account) => known.get(account))
  }

  private account({ account, rules }: Share, now: number): Account | undefined {
    let known = this.budgets.get(rules.name)
    if (known === undefined) this.budgets.set(rules.name, known = { rules, accounts: new Map() })
    known.rules = rules
    const found = known.accounts.get(account)
    if (found !== undefined) return found
    if (this.count >= this.maxAccounts) this.sweep(now)
    if (this.count >= this.maxAccounts) return undefined
    const made = new Account()
    known.accounts.set(account, made)
    this.count++
    return made
  }

  /** Drops accounts whose window is over. */
  private sweep(now: number): void {
    if (now < this.sweptAt + sweepMillis && now >= this.sweptAt) return
    this.sweptAt = now
    for (const { accounts, rules } of this.budgets.values()) {
      const { from } = rules.window.at(now)
      for (const [name, account] of accounts) {
        if (!account.isIdle(from)) continue
        accounts.delete(name)
        this.count--
      }
    }
  }

  private lapse(now: number): void {
    this.lapseAt = Infinity
    for (const [name, { expiresAt, heldNanoUsd, holds }] of this.leases) {
      if (expiresAt > now) this.lapseAt = Math.min(this.lapseAt, expiresAt)
      else {
        this.leases.delete(name)
        for (const { share, slot } of holds) this.account(share, now)?.lapse(slot, heldNanoUsd)
      }
    }
  }
}

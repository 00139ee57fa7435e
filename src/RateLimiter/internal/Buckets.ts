/**
 * One bucket set as a pure state machine: what may be sent when, as a function of time. It decides nothing about queues and holds no clock. At the end,
 * those in the memory of this process.
 *
 * Each dimension is a bucket with continuous refill. `level` follows what the server's bucket holds: requests and input are used when an attempt is
 * admitted, output as it is produced. Until then predicted output is `reserved`: what is free is `level - reserved`.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { BoundedMap } from "../../internal/boundedMap.ts"
import { type Amounts, type Dimension, dimensions, minus, zero } from "./Amounts.ts"
import type { BucketSet, Level, Levels } from "./BucketSet.ts"
import { priorities } from "./classes.ts"
import * as corrections from "./corrections.ts"
import * as processes from "./processes.ts"
import * as progress from "./progress.ts"
import * as savings from "./savings.ts"
import { epsilon, forgetMillis, isTooLarge, make, minute, setRate, type State } from "./State.ts"
import type { Ask, Batch, Bucket, Reply, Report, Reservation, View } from "./Store.ts"

/** Brings all levels up to `now`. */
export const advance = (self: State, now: number): void => {
  const millis = now - self.at
  if (millis === 0) return
  self.at = now
  if (millis < 0) {
    // The clock was set back. Nothing that waits for an instant may wait longer because of it.
    self.pausedUntil += millis
    self.observedAt += millis
    self.recent.start += millis
    if (self.ramp !== undefined) self.ramp.from += millis
    for (const priority of priorities) {
      self.asked[priority] += millis
      for (const [name, one] of Object.entries(self.flows[priority])) {
        self.flows[priority][name] = { ...one, at: one.at + millis }
      }
    }
    self.savings = self.savings.map((one) => ({ ...one, since: one.since + millis, at: one.at + millis }))
    return
  }
  for (const dimension of dimensions) {
    const bucket = self.buckets[dimension]
    if (bucket === undefined) continue
    bucket.level = Math.min(bucket.capacity, bucket.level + millis * bucket.perMinute / minute)
  }
  if (self.ramp !== undefined) corrections.climb(self, self.ramp, now)
  if (now >= self.pausedUntil) self.closed = false
  const minutes = Math.floor((now - self.recent.start) / minute)
  if (minutes > 0) {
    self.recent.before = minutes === 1 ? self.recent.count : 0
    self.recent.count = 0
    self.recent.start += minutes * minute
  }
  if (now - self.observedAt > forgetMillis) {
    self.observedAt = now
    for (const dimension of dimensions) {
      if (self.buckets[dimension]?.observed !== undefined) setRate(self, dimension, undefined)
    }
  }
}

/** Until there is room, save for what floating point loses: rounded up, that would be a whole millisecond. */
const waitFor = (bucket: Bucket | undefined, reserved: number, need: number): number => {
  if (bucket === undefined || need === 0) return 0
  const short = Math.min(need, bucket.capacity) - (bucket.level - reserved)
  return short <= epsilon ? 0 : (short - epsilon) * minute / bucket.perMinute
}

/** Until there is room, where nobody waits. */
const waitAlone = ({ buckets, reserved }: State, { reserve, usage }: Ask): number =>
  Math.max(
    waitFor(buckets.requests, reserved.requests, usage.requests + reserve.requests),
    waitFor(buckets.inputTokens, reserved.inputTokens, usage.inputTokens + reserve.inputTokens),
    waitFor(buckets.outputTokens, reserved.outputTokens, usage.outputTokens + reserve.outputTokens),
    waitFor(buckets.tokens, reserved.tokens, usage.tokens + reserve.tokens)
  )

/** Holds new limits from now on. */
export const configure = (self: State, limits: State["limits"]): void => {
  self.limits = limits
  for (const dimension of dimensions) setRate(self, dimension, self.buckets[dimension]?.observed)
}

const tooLarge: Reservation = { _tag: "TooLarge" }

/** Whether so much input surely fits into what a bucket refills in one burst: then it is not too large. */
const fits = (bucket: Bucket | undefined, size: number, burstMillis: number): boolean =>
  bucket === undefined || size * minute <= bucket.perMinute * burstMillis

/**
 * Takes what is asked for if the reservation begins in time, in all dimensions or in none, and leaves what is kept for those who stay in line. What is reserved ahead is taken now, so a dimension that is full
 * and does not bind may be ahead of the server's by what that one needs until it is sent.
 */
export const reserve = (self: State, ask: Ask, now: number, process = ""): Reservation => {
  advance(self, now)
  const { buckets, burstMillis, ramp, reserved, used } = self
  const { priority = "standard", reserve, usage } = ask
  const { size = usage.inputTokens } = ask
  self.asked[priority] = now
  const isSmall = fits(buckets.inputTokens, size, burstMillis) && fits(buckets.tokens, size, burstMillis)
  if (!isSmall && isTooLarge(buckets, burstMillis, size)) return tooLarge
  const { isAhead, pass } = ask.flow === undefined ? progress.alone : progress.standing(self, ask, now)
  const waitMillis = Math.ceil(Math.max(
    self.pausedUntil - now,
    self.savings.length === 0 ? waitAlone(self, ask) : savings.wait(self, ask, pass, process, now),
    ramp === undefined ? 0 : corrections.rampWait(ramp, now),
    0
  ))
  if (waitMillis > (isAhead ? 0 : ask.withinMillis)) {
    if (ask.waits === true && self.pausedUntil <= now) savings.begin(self, ask, pass, process, now)
    return { _tag: "Full", waitMillis, closed: self.closed }
  }
  if (ask.flow !== undefined) progress.served(self, ask, now)
  if (self.savings.length > 0) savings.end(self, priority, process, now)
  take(self, usage)
  used.requests += usage.requests
  used.inputTokens += usage.inputTokens
  used.outputTokens += usage.outputTokens
  used.tokens += usage.tokens
  reserved.requests += reserve.requests
  reserved.inputTokens += reserve.inputTokens
  reserved.outputTokens += reserve.outputTokens
  reserved.tokens += reserve.tokens
  if (ramp !== undefined) ramp.level -= usage.requests
  self.recent.count += usage.requests
  self.sequence++
  const ticket = {
    sequence: self.sequence,
    used: {
      requests: used.requests,
      inputTokens: used.inputTokens,
      outputTokens: used.outputTokens,
      tokens: used.tokens
    }
  }
  return { _tag: "Granted", ticket, waitMillis }
}

/** Takes, or gives back what is negative. Written out, since each attempt takes twice. */
const take = ({ buckets: { inputTokens, outputTokens, requests, tokens } }: State, amounts: Amounts): void => {
  if (requests !== undefined) requests.level = Math.min(requests.capacity, requests.level - amounts.requests)
  if (inputTokens !== undefined) {
    inputTokens.level = Math.min(inputTokens.capacity, inputTokens.level - amounts.inputTokens)
  }
  if (outputTokens !== undefined) {
    outputTokens.level = Math.min(outputTokens.capacity, outputTokens.level - amounts.outputTokens)
  }
  if (tokens !== undefined) tokens.level = Math.min(tokens.capacity, tokens.level - amounts.tokens)
}

/** Takes in what became of an attempt. */
export const report = (self: State, { observed, pause, release, ticket, usage }: Report, now: number): void => {
  advance(self, now)
  take(self, usage)
  const { reserved } = self
  reserved.requests -= release.requests
  reserved.inputTokens -= release.inputTokens
  reserved.outputTokens -= release.outputTokens
  reserved.tokens -= release.tokens
  if (observed !== undefined) corrections.observe(self, observed, ticket, now)
  if (pause !== undefined) corrections.pause(self, pause, now)
}

/** The buckets as they stand at `now`. */
export const view = (self: State, now: number): View => {
  advance(self, now)
  const { buckets: { inputTokens, outputTokens, requests, tokens }, ramp } = self
  return {
    epoch: self.epoch,
    processes: Object.keys(self.processes).length,
    reserved: { ...self.reserved },
    buckets: {
      requests: requests && { ...requests },
      inputTokens: inputTokens && { ...inputTokens },
      outputTokens: outputTokens && { ...outputTokens },
      tokens: tokens && { ...tokens }
    },
    pausedMillis: Math.max(0, self.pausedUntil - now),
    closed: self.closed,
    ramp: ramp && { ...ramp, from: ramp.from - now }
  }
}

/** A view as callers see it. */
export const levels = (
  { buckets, closed, pausedMillis, reserved }: View,
  burstMillis: number,
  share: number
): Levels => {
  const levels: Record<Dimension, Level | undefined> = {
    requests: undefined,
    inputTokens: undefined,
    outputTokens: undefined,
    tokens: undefined
  }
  for (const dimension of dimensions) {
    const bucket = buckets[dimension]
    if (bucket === undefined) continue
    const { capacity, level, perMinute } = bucket
    levels[dimension] = { perMinute, capacity, free: level - reserved[dimension], reserved: reserved[dimension] }
  }
  return { ...levels, pausedMillis, closed, burstMillis, share }
}

/** One step on a state that is changed in place, which a store in memory may do. */
export const apply = (self: State, batch: Batch, now: number): Reply => {
  const { ask, limits, reports, sender } = batch
  const wrong = sender && processes.rejected(self, sender)
  if (wrong !== undefined) return wrong
  self.burstMillis = batch.burstMillis
  if (limits !== undefined && limits !== self.limits) configure(self, limits)
  if (sender !== undefined) return applyFrom(sender, self, batch, now)
  if (reports !== undefined) { for (const one of reports) report(self, one, now) }
  const reservation = ask && reserve(self, ask, now)
  return { _tag: "Done", reservation, view: batch.read === true ? view(self, now) : undefined }
}

/** The step of a batch that came over a network. */
const applyFrom = (sender: NonNullable<Batch["sender"]>, self: State, batch: Batch, now: number): Reply => {
  const { ask, reports = [] } = batch
  advance(self, now)
  if (sender.known !== undefined) corrections.recall(self, sender.known, now)
  for (const abandoned of processes.update(self, sender, now)) take(self, minus(zero, abandoned))
  const process = self.processes[sender.process]! // made by `update`
  for (const one of processes.unread(process, sender.firstReport, reports)) report(self, one, now)
  const reservation = ask && reserve(self, ask, now, sender.process)
  if (ask !== undefined && reservation?._tag === "Granted") processes.granted(process, sender.call, ask)
  const seen = batch.read === true ? view(self, now) : undefined
  if (sender.ends) {
    delete self.processes[sender.process]
    self.savings = self.savings.filter(({ process }) => process !== sender.process)
  }
  return { _tag: "Done", reservation, view: seen }
}

/** One step. It leaves the state that it was given as it was. */
export const step = (state: State | undefined, batch: Batch, now: number): readonly [State, Reply] => {
  const next = state === undefined ? make(batch.burstMillis, now) : structuredClone(state)
  const reply = apply(next, batch, now)
  return [next, reply]
}

/** The most bucket sets that are kept; the least recently used one makes room. */
const maxStates = 10_000

/** A store in the memory of this process. */
export class Memory {
  readonly isLocal = true
  private readonly states = new BoundedMap<string, State>(maxStates)
  /** Attempts of one group come in runs. */
  private last: { readonly key: string; readonly state: State } | undefined
  private readonly clock: Clock.Clock

  constructor(clock: Clock.Clock) {
    this.clock = clock
  }

  readonly step = (batch: Batch): Effect.Effect<Reply> =>
    Effect.sync(() => {
      const now = this.clock.currentTimeMillisUnsafe()
      return apply(this.stateOf(batch.key, batch.burstMillis, now), batch, now)
    })

  /** One bucket set without batches and replies. It has answered before there is an effect to run: ask where it is run. */
  open(key: string, burstMillis: number): BucketSet {
    return {
      isShared: false,
      reserve: (limits, need, _, now = this.clock.currentTimeMillisUnsafe()) => {
        const state = this.stateOf(key, burstMillis, now)
        if (limits !== state.limits) configure(state, limits)
        return Effect.succeed({ reservation: reserve(state, need, now) })
      },
      report: (one, now = this.clock.currentTimeMillisUnsafe()) => {
        report(this.stateOf(key, burstMillis, now), one, now)
        return Effect.void
      },
      levels: Effect.sync(() => {
        const now = this.clock.currentTimeMillisUnsafe()
        return levels(view(this.stateOf(key, burstMillis, now), now), burstMillis, 1)
      })
    }
  }

  private stateOf(key: string, burstMillis: number, now: number): State {
    if (this.last?.key !== key) {
      const state = this.states.get(key) ?? make(burstMillis, now)
      this.states.set(key, state)
      this.last = { key, state }
    }
    const { state } = this.last
    state.burstMillis = burstMillis
    return state
  }
}

export const memory = Effect.map(Clock.Clock, (clock) => new Memory(clock))

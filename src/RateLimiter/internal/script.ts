/**
 * The arithmetic of `Buckets` once more, in the language of Redis: one step is one call, on one key, and needs nothing that Redis 6 or Valkey
 * lack. Lua has the same doubles and does the same operations in the same order; the state is kept as MessagePack, which keeps
 * each bit of them, and the answer has 17 digits, which is enough to. So the same epsilon holds, and nothing drifts.
 *
 * Beside the buckets it keeps what each process holds, so that what is lost on the way comes right with the next call of the process, and what a crashed
 * one held is free again after a while.
 */
import type * as Attempt from "../../Attempt.ts"
import {
  type Amounts,
  type Dimension,
  dimensions,
  epsilon,
  estimateSlack,
  forgetMillis,
  minute,
  type Pause,
  type Ramp,
  rampGrowth,
  rounding,
  type Slot,
  type State,
  type Ticket
} from "./Buckets.ts"

/** What became of an attempt. What it held no longer is told by `Message.held`. */
export interface Told {
  readonly charge: Amounts
  readonly ticket: Ticket
  readonly observed: { readonly limits: Partial<Attempt.Limits>; readonly now: number } | undefined
  readonly pause: Pause | undefined
}

/** Buckets as a process last saw them. The ramp counts from now. */
export interface Known {
  readonly buckets: Partial<State["buckets"]>
  readonly pausedMillis: number
  readonly closed: boolean
  readonly ramp: Ramp | undefined
}

/**
 * What a process says in one call.
 *
 * - `call`: counts the calls of this process. One that comes out of turn does nothing.
 * - `acked`: up to here it knows what became of its calls; `gone` are those among them whose answers it will never use.
 * - `held`: all that it holds, save for what was granted in calls after `acked`.
 * - `born`: which buckets it knows, 0 before the first answer. Where the store has others, it wants to hear what is `known` first.
 * - `reports`: numbered from `first`. One that was heard before is passed over.
 * - `limits`: as configured, where they are to hold from now on.
 * - `bye`: the process ends.
 */
export interface Message {
  readonly id: string
  readonly call: number
  readonly acked: number
  readonly gone: ReadonlyArray<number>
  readonly held: Amounts
  readonly born: number
  readonly burst: number
  readonly first: number
  readonly reports: ReadonlyArray<Told>
  readonly limits: Partial<Amounts> | undefined
  readonly ask: { readonly charge: Amounts; readonly hold: Amounts; readonly within: number } | undefined
  readonly known: Known | undefined
  readonly bye: boolean
}

export interface Reply extends Known {
  readonly born: number
  readonly slot: Slot
  /** How many processes were seen lately. */
  readonly processes: number
  readonly held: Amounts
  readonly buckets: State["buckets"]
}

/** A process that was not heard of for so long is forgotten, and with it what it held. */
const processMillis = 5 * minute

/** A key outlives what headers taught, and any bucket is full by then. */
const idleMillis = 60 * minute

export const encode = (message: Message): string => JSON.stringify(message)

/** Undefined where the store wants to hear first what the process knows. Throws where what answered is no such store. */
export const decode = (text: string): Reply | undefined => {
  if (text === "unknown") return undefined
  const values = text.split(" ").map(Number)
  let at = 0
  const next = (): number => {
    const value = values[at++]
    if (value === undefined || Number.isNaN(value)) throw new Error("Redis gave another answer than the script does")
    return value
  }
  const amounts = (): Amounts => ({
    requests: next(),
    inputTokens: next(),
    outputTokens: next(),
    tokens: next()
  })
  const bucket = (): State["buckets"][Dimension] => {
    const [perMinute, capacity, level, heard] = [next(), next(), next(), next()]
    return perMinute > 0 ? { perMinute, capacity, level, heard: heard > 0 ? heard : undefined } : undefined
  }
  const ramp = (): Ramp | undefined => {
    const [from, perMinute, level, doublingMillis, until] = [next(), next(), next(), next(), next()]
    return perMinute > 0 ? { from, perMinute, level, doublingMillis, until } : undefined
  }
  const [born, sequence, waitMillis, closed] = [next(), next(), next(), next()]
  const ticket = { sequence, charged: amounts() }
  const slot = {
    ticket: sequence > 0 ? ticket : undefined,
    waitMillis: waitMillis < 0 ? Infinity : waitMillis,
    closed: closed === 1
  }
  return {
    born,
    slot,
    processes: next(),
    held: amounts(),
    buckets: { requests: bucket(), inputTokens: bucket(), outputTokens: bucket(), tokens: bucket() },
    pausedMillis: next(),
    closed: next() === 1,
    ramp: ramp()
  }
}

/** The script; `clock` is Lua for the time in milliseconds. */
export const lua = (
  clock = `(function() local time = redis.call("TIME") return time[1] * 1000 + time[2] / 1000 end)()`
): string => `
local key, message, now = KEYS[1], cjson.decode(ARGV[1]), ${clock}
local burst = message.burst
local minute, ln2 = ${minute}, ${Math.LN2}
local dimensions = { ${dimensions.map((name) => `"${name}"`).join(", ")} }
local function zero() return { requests = 0, inputTokens = 0, outputTokens = 0, tokens = 0 } end

local packed = redis.call("GET", key)
local self = packed and cmsgpack.unpack(packed)
if not self then
  -- No number is given twice, also when the data was lost in between.
  local born = math.floor(now * 1000)
  self = {
    born = born, at = now, limits = {}, sequence = born, buckets = {}, charged = zero(), held = zero(),
    heardSequence = born, heardAt = now, pausedUntil = 0, closed = false, processes = {},
    recent = { start = now, count = 0, before = 0 }
  }
end
if message.born ~= 0 and message.born ~= self.born and not message.known then return "unknown" end

local process = self.processes[message.id] or { call = 0, report = 0, open = {}, held = zero() }
if message.call <= process.call then return redis.error_reply("out of turn") end
self.processes[message.id] = process

local function capacityOf(perMinute) return math.max(1, perMinute * burst / minute) end

local function rate(dimension, heard)
  local limit = self.limits[dimension]
  if not limit and not heard then
    self.buckets[dimension] = nil
    return
  end
  local perMinute = math.min(limit or math.huge, heard or math.huge)
  local capacity = capacityOf(perMinute)
  local bucket = self.buckets[dimension]
  if not bucket then
    self.buckets[dimension] = { perMinute = perMinute, capacity = capacity, level = capacity, heard = heard }
    return
  end
  bucket.heard = heard
  if bucket.perMinute == perMinute and heard then return end
  bucket.perMinute, bucket.capacity, bucket.level = perMinute, capacity, math.min(bucket.level, capacity)
end

local function configure(limits)
  local same = true
  for _, dimension in ipairs(dimensions) do same = same and limits[dimension] == self.limits[dimension] end
  if same then return end
  self.limits = limits
  for _, dimension in ipairs(dimensions) do
    local bucket = self.buckets[dimension]
    rate(dimension, bucket and bucket.heard)
  end
end

local function climb(ramp)
  if now <= ramp.from then return end
  local growth = 2 ^ ((now - ramp.from) / ramp.doublingMillis)
  local gained = ramp.perMinute / minute * ramp.doublingMillis / ln2 * (growth - 1)
  ramp.perMinute = ramp.perMinute * growth
  ramp.level = math.min(math.max(1, ramp.perMinute / 60), ramp.level + gained)
  ramp.from = now
  local requests = self.buckets.requests and self.buckets.requests.perMinute or math.huge
  if ramp.perMinute >= math.min(ramp["until"], requests) then self.ramp = nil end
end

local function advance()
  local millis = now - self.at
  if millis == 0 then return end
  self.at = now
  if millis < 0 then
    self.pausedUntil = self.pausedUntil + millis
    self.heardAt = self.heardAt + millis
    self.recent.start = self.recent.start + millis
    if self.ramp then self.ramp.from = self.ramp.from + millis end
    return
  end
  for _, bucket in pairs(self.buckets) do
    bucket.level = math.min(bucket.capacity, bucket.level + millis * bucket.perMinute / minute)
  end
  if self.ramp then climb(self.ramp) end
  if now >= self.pausedUntil then self.closed = false end
  local recent = self.recent
  local minutes = math.floor((now - recent.start) / minute)
  if minutes > 0 then
    recent.before = minutes == 1 and recent.count or 0
    recent.count = 0
    recent.start = recent.start + minutes * minute
  end
  if now - self.heardAt > ${forgetMillis} then
    self.heardAt = now
    for _, dimension in ipairs(dimensions) do
      local bucket = self.buckets[dimension]
      if bucket and bucket.heard then rate(dimension, nil) end
    end
  end
end

local function take(amounts, sign)
  for dimension, bucket in pairs(self.buckets) do
    bucket.level = math.min(bucket.capacity, bucket.level - sign * amounts[dimension])
  end
end

-- What the process knows of buckets that were lost. The scarcer of both holds.
local function recall(known)
  for dimension, seen in pairs(known.buckets) do
    local bucket = self.buckets[dimension]
    if seen.heard and not (bucket and bucket.heard) then rate(dimension, seen.heard) end
    bucket = self.buckets[dimension]
    if bucket then
      if bucket.heard then bucket.capacity = math.min(bucket.capacity, math.max(1, seen.capacity)) end
      bucket.level = math.min(bucket.level, bucket.capacity, seen.level)
    end
  end
  if known.pausedMillis > 0 then self.pausedUntil = math.max(self.pausedUntil, now + known.pausedMillis) end
  self.closed = self.closed or known.closed
  if known.ramp and not self.ramp then
    self.ramp = known.ramp
    self.ramp.from = now + self.ramp.from
  end
end

-- Frees what is held by processes that are gone, and adds up what the others hold.
local function hold()
  local gone = {}
  for _, call in ipairs(message.gone) do gone[call] = true end
  local open = {}
  process.held = message.held
  for _, grant in ipairs(process.open) do
    if grant.call > message.acked then
      open[#open + 1] = grant
      for dimension, amount in pairs(grant.hold) do process.held[dimension] = process.held[dimension] + amount end
    elseif gone[grant.call] then take(grant.charge, -1) end
  end
  process.open, process.call, process.at = open, message.call, now
  local count, held = 0, zero()
  for id, other in pairs(self.processes) do
    if now - other.at > ${processMillis} then self.processes[id] = nil
    else
      count = count + 1
      for dimension, amount in pairs(other.held) do held[dimension] = held[dimension] + amount end
    end
  end
  self.held = held
  return count
end

local function observe(dimension, seen, ticket, readAt)
  if not (seen.limit > 0) then return end
  local unknown = not self.buckets[dimension]
  rate(dimension, seen.limit)
  local bucket = self.buckets[dimension]
  local slack = 1
  if dimension ~= "requests" and seen.limit >= 1000 and seen.remaining % 1000 == 0 then slack = ${rounding} end
  local underway = self.charged[dimension] - ticket.charged[dimension]
  local nominal = capacityOf(bucket.perMinute)
  local fullInMillis = (seen.resetAt or 0) - readAt
  if fullInMillis > 0 then
    local told = seen.remaining + fullInMillis * bucket.perMinute / minute
    if told <= nominal / 2 then bucket.capacity = math.max(1, math.min(bucket.capacity, told)) end
  end
  bucket.capacity = math.min(nominal, math.max(bucket.capacity, seen.remaining))
  local high = seen.remaining + slack + self.held[dimension]
  local low = seen.remaining - slack - underway
  if unknown then
    bucket.level = math.min(bucket.capacity, low)
    return
  end
  if seen.remaining == 0 or seen.limit > bucket.perMinute then low = -math.huge end
  bucket.level = math.min(bucket.capacity, math.max(low, math.min(high, bucket.level)))
end

local function isSum(limits)
  local input, output = limits.inputTokens, limits.outputTokens
  return limits.tokens and limits.tokens.limit == (input and input.limit or 0) + (output and output.limit or 0)
end

local function pause(reason, millis)
  self.pausedUntil = math.max(self.pausedUntil, now + millis)
  self.closed = self.closed or reason == "spend"
  local recent, slow = self.recent, reason == "acceleration"
  local lately = recent.count + recent.before * math.max(0, 1 - (now - recent.start) / minute)
  local perMinute = math.max(minute / 1000, slow and lately or lately / 4)
  self.ramp = {
    from = self.pausedUntil, perMinute = perMinute, level = 1,
    doublingMillis = slow and minute or 1000, ["until"] = perMinute * ${rampGrowth}
  }
end

local function report(told)
  take(told.charge, 1)
  local observed = told.observed
  if observed and told.ticket.sequence > self.heardSequence then
    self.heardSequence, self.heardAt = told.ticket.sequence, now
    for _, dimension in ipairs(dimensions) do
      local seen = observed.limits[dimension]
      local skip = dimension == "tokens" and not self.limits.tokens and isSum(observed.limits)
      if seen and not skip then observe(dimension, seen, told.ticket, observed.now) end
    end
  end
  if told.pause then pause(told.pause.reason, told.pause.millis) end
end

local function waitFor(dimension, need)
  local bucket = self.buckets[dimension]
  if not bucket or need == 0 then return 0 end
  local short = math.min(need, bucket.capacity) - (bucket.level - self.held[dimension])
  return short <= ${epsilon} and 0 or short * minute / bucket.perMinute
end

local function isTooLarge(dimension, amount)
  local bucket = self.buckets[dimension]
  return bucket and amount > ${estimateSlack} * capacityOf(bucket.perMinute)
end

-- The sequence of what is taken, 0 where nothing is, and the wait, -1 for ever.
local function reserve(ask)
  local charge, held = ask.charge, ask.hold
  if isTooLarge("inputTokens", charge.inputTokens) or isTooLarge("tokens", charge.tokens) then return 0, -1 end
  local wait = math.max(0, self.pausedUntil - now)
  for _, dimension in ipairs(dimensions) do
    wait = math.max(wait, waitFor(dimension, charge[dimension] + held[dimension]))
  end
  local ramp = self.ramp
  if ramp then
    local short = math.max(0, 1 - ramp.level) * minute / ramp.perMinute
    local grown = math.log(1 + short * ln2 / ramp.doublingMillis) / ln2 * ramp.doublingMillis
    wait = math.max(wait, math.max(0, ramp.from - now) + grown)
  end
  wait = math.ceil(wait)
  if wait > ask.within then return 0, wait end
  take(charge, 1)
  for _, dimension in ipairs(dimensions) do
    self.charged[dimension] = self.charged[dimension] + charge[dimension]
    self.held[dimension] = self.held[dimension] + held[dimension]
    process.held[dimension] = process.held[dimension] + held[dimension]
  end
  if ramp then ramp.level = ramp.level - charge.requests end
  self.recent.count = self.recent.count + charge.requests
  self.sequence = self.sequence + 1
  process.open[#process.open + 1] = { call = message.call, charge = charge, hold = held }
  return self.sequence, wait
end

if message.limits then configure(message.limits) end
advance()
if message.known then recall(message.known) end
local processes = hold()
for index, told in ipairs(message.reports) do
  local number = message.first + index - 1
  if number > process.report then
    process.report = number
    report(told)
  end
end
local sequence, wait = 0, 0
if message.ask then sequence, wait = reserve(message.ask) end
if message.bye then self.processes[message.id] = nil end
local left = math.max(0, self.pausedUntil - now)
redis.call("SET", key, cmsgpack.pack(self), "PX", string.format("%.0f", math.max(${idleMillis}, 2 * burst) + left))

local answer = {}
local function say(value) answer[#answer + 1] = string.format("%.17g", value) end
local function sayAll(amounts) for _, dimension in ipairs(dimensions) do say(amounts[dimension]) end end
say(self.born)
say(sequence)
say(wait)
say(sequence == 0 and self.closed and 1 or 0)
sayAll(self.charged)
say(processes)
sayAll(self.held)
for _, dimension in ipairs(dimensions) do
  local bucket = self.buckets[dimension] or { perMinute = 0, capacity = 0, level = 0 }
  say(bucket.perMinute)
  say(bucket.capacity)
  say(bucket.level)
  say(bucket.heard or 0)
end
say(left)
say(self.closed and 1 or 0)
local ramp = self.ramp or { from = now, perMinute = 0, level = 0, doublingMillis = 0, ["until"] = 0 }
say(ramp.from - now)
say(ramp.perMinute)
say(ramp.level)
say(ramp.doublingMillis)
say(ramp["until"])
return table.concat(answer, " ")
`

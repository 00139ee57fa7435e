/**
 * `Buckets.step` once more, in the language of Redis: one step is one call, on one key, and needs nothing that Redis 6 or Valkey lack. Lua has the same
 * doubles and does the same operations in the same order; the state is kept as MessagePack, which keeps each bit of them, and the answer has 17
 * digits, which is enough to. So the same epsilon holds, and nothing drifts.
 */
import { dimensions } from "./Amounts.ts"
import { priorities, rank, weights } from "./classes.ts"
import { rampGrowth, rounding } from "./corrections.ts"
import { processMillis } from "./processes.ts"
import { lua as kept } from "./savingsScript.ts"
import { estimateSlack, forgetMillis, minute } from "./State.ts"

/** A key outlives what headers taught, and any bucket is full by then. */
const idleMillis = 60 * minute

const start = `
local burst, sender = message.burstMillis, message.sender
local minute, ln2 = ${minute}, ${Math.LN2}
local priorities = { ${priorities.map((name) => `"${name}"`).join(", ")} }
local weights = { ${priorities.map((name) => `${name} = ${weights[name]}`).join(", ")} }
local rank = { ${priorities.map((name) => `${name} = ${rank[name]}`).join(", ")} }
local dimensions = { ${dimensions.map((name) => `"${name}"`).join(", ")} }
local function zero() return { requests = 0, inputTokens = 0, outputTokens = 0, tokens = 0 } end

local packed = redis.call("GET", key)
local self = packed and cmsgpack.unpack(packed)
if not self then
  -- No number is given twice, even if the data was lost in between.
  local epoch = math.max(1, math.floor(now * 1000))
  self = {
    epoch = epoch, at = now, limits = {}, sequence = epoch, buckets = {}, used = zero(), reserved = zero(),
    observedSequence = epoch, observedAt = now, pausedUntil = 0, closed = false, processes = {},
    recent = { start = now, count = 0, before = 0 }
  }
end
-- What an older version of this script has left lacks these.
self.savings = self.savings or {}
self.flows = self.flows or { interactive = {}, standard = {}, bulk = {} }
self.asked = self.asked or { interactive = now - minute, standard = now - minute, bulk = now - minute }
local process = self.processes[sender.process] or { call = 0, report = 0, grants = {}, reserved = zero() }
local isOther = sender.epoch ~= self.epoch or sender.answered > process.call
if sender.epoch ~= 0 and isOther and not sender.known then return "otherEpoch" end
if sender.call <= process.call then return "outOfOrder" end
self.processes[sender.process] = process
`

const rates = `
local function capacityOf(perMinute) return math.max(1, perMinute * burst / minute) end

local function setRate(dimension, observed)
  local limit = self.limits[dimension]
  if not limit and not observed then
    self.buckets[dimension] = nil
    return
  end
  local perMinute = math.min(limit or math.huge, observed or math.huge)
  local capacity = capacityOf(perMinute)
  local bucket = self.buckets[dimension]
  if not bucket then
    self.buckets[dimension] = { perMinute = perMinute, capacity = capacity, level = capacity, observed = observed }
    return
  end
  bucket.observed = observed
  if bucket.perMinute == perMinute and observed then return end
  bucket.perMinute, bucket.capacity, bucket.level = perMinute, capacity, math.min(bucket.level, capacity)
end

local function configure(limits)
  local same = true
  for _, dimension in ipairs(dimensions) do same = same and limits[dimension] == self.limits[dimension] end
  if same then return end
  self.limits = limits
  for _, dimension in ipairs(dimensions) do
    local bucket = self.buckets[dimension]
    setRate(dimension, bucket and bucket.observed)
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
    self.observedAt = self.observedAt + millis
    self.recent.start = self.recent.start + millis
    if self.ramp then self.ramp.from = self.ramp.from + millis end
    for _, priority in ipairs(priorities) do
      self.asked[priority] = self.asked[priority] + millis
      for _, one in pairs(self.flows[priority]) do one.at = one.at + millis end
    end
    for _, one in ipairs(self.savings) do one.since, one.at = one.since + millis, one.at + millis end
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
  if now - self.observedAt > ${forgetMillis} then
    self.observedAt = now
    for _, dimension in ipairs(dimensions) do
      local bucket = self.buckets[dimension]
      if bucket and bucket.observed then setRate(dimension, nil) end
    end
  end
end

local function take(amounts, sign)
  for dimension, bucket in pairs(self.buckets) do
    bucket.level = math.min(bucket.capacity, bucket.level - sign * amounts[dimension])
  end
end
`

const senders = `
local function recall(known)
  -- Numbers of tickets that were lost are not given again.
  self.sequence = math.max(self.sequence, math.floor(now * 1000))
  self.observedSequence = self.sequence
  for dimension, seen in pairs(known.buckets) do
    local bucket = self.buckets[dimension]
    if seen.observed and not (bucket and bucket.observed) then setRate(dimension, seen.observed) end
    bucket = self.buckets[dimension]
    if bucket then
      if bucket.observed then bucket.capacity = math.min(bucket.capacity, math.max(1, seen.capacity)) end
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

-- Frees what is reserved by processes that are gone, and adds up what the others have reserved.
local function update()
  local abandoned = {}
  for _, call in ipairs(sender.abandoned) do abandoned[call] = true end
  local open = {}
  process.reserved = sender.reserved
  for _, grant in ipairs(process.grants) do
    if grant.call > sender.acknowledged then
      open[#open + 1] = grant
      for dimension, amount in pairs(grant.reserve) do
        process.reserved[dimension] = process.reserved[dimension] + amount
      end
    elseif abandoned[grant.call] then take(grant.usage, -1) end
  end
  process.grants, process.call, process.at = open, sender.call, now
  local count, reserved = 0, zero()
  for name, other in pairs(self.processes) do
    if now - other.at > ${processMillis} then self.processes[name] = nil
    else
      count = count + 1
      for dimension, amount in pairs(other.reserved) do reserved[dimension] = reserved[dimension] + amount end
    end
  end
  self.reserved = reserved
  return count
end
`

const reports = `
local function correct(dimension, seen, ticket, readAt)
  if not (seen.limit > 0) then return end
  local isNew = not self.buckets[dimension]
  setRate(dimension, seen.limit)
  local bucket = self.buckets[dimension]
  local slack = 1
  if dimension ~= "requests" and seen.limit >= 1000 and seen.remaining % 1000 == 0 then slack = ${rounding} end
  local usedSince = self.used[dimension] - ticket.used[dimension]
  local nominal = capacityOf(bucket.perMinute)
  local fullInMillis = (seen.resetAt or 0) - readAt
  if fullInMillis > 0 then
    local whole = seen.remaining + fullInMillis * bucket.perMinute / minute
    if whole <= nominal / 2 then bucket.capacity = math.max(1, math.min(bucket.capacity, whole)) end
  end
  bucket.capacity = math.min(nominal, math.max(bucket.capacity, seen.remaining))
  local high = seen.remaining + slack + self.reserved[dimension]
  local low = seen.remaining - slack - usedSince
  if isNew then
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

local function observe(observed, ticket)
  if ticket.sequence <= self.observedSequence then return end
  self.observedSequence, self.observedAt = ticket.sequence, now
  for _, dimension in ipairs(dimensions) do
    local seen = observed.limits[dimension]
    local skip = dimension == "tokens" and not self.limits.tokens and isSum(observed.limits)
    if seen and not skip then correct(dimension, seen, ticket, observed.now) end
  end
end

local function pause(reason, millis)
  self.pausedUntil = math.max(self.pausedUntil, now + millis)
  self.closed = self.closed or reason == "spend"
  local recent, isSlow = self.recent, reason == "acceleration"
  local lately = recent.count + recent.before * math.max(0, 1 - (now - recent.start) / minute)
  local perMinute = math.max(minute / 1000, isSlow and lately or lately / 4)
  self.ramp = {
    from = self.pausedUntil, perMinute = perMinute, level = 1,
    doublingMillis = isSlow and minute or 1000, ["until"] = perMinute * ${rampGrowth}
  }
end

local function report(one)
  take(one.usage, 1)
  if one.observed then observe(one.observed, one.ticket) end
  if one.pause then pause(one.pause.reason, one.pause.millis) end
end
`

const reserve = `

local function isTooLarge(dimension, amount)
  local bucket = self.buckets[dimension]
  return bucket and amount > ${estimateSlack} * capacityOf(bucket.perMinute)
end

-- The sequence of what is taken, 0 where nothing is, and the wait, -1 for what is too large.
local function reserve(ask)
  local usage, reserved, priority = ask.usage, ask.reserve, ask.priority or "standard"
  local size = ask.size or usage.inputTokens
  self.asked[priority] = now
  if isTooLarge("inputTokens", size) or isTooLarge("tokens", size) then return 0, -1 end
  local pass, isAhead = standing(ask, priority)
  local wait = math.max(0, self.pausedUntil - now, roomIn(priority, usage, reserved, pass))
  local ramp = self.ramp
  if ramp then
    local short = math.max(0, 1 - ramp.level) * minute / ramp.perMinute
    local grown = math.log(1 + short * ln2 / ramp.doublingMillis) / ln2 * ramp.doublingMillis
    wait = math.max(wait, math.max(0, ramp.from - now) + grown)
  end
  wait = math.ceil(wait)
  if wait > (isAhead and 0 or ask.withinMillis) then
    if ask.waits and self.pausedUntil <= now then begin(priority, usage, reserved, pass) end
    return 0, wait
  end
  served(ask, priority)
  finish(priority)
  take(usage, 1)
  for _, dimension in ipairs(dimensions) do
    self.used[dimension] = self.used[dimension] + usage[dimension]
    self.reserved[dimension] = self.reserved[dimension] + reserved[dimension]
    process.reserved[dimension] = process.reserved[dimension] + reserved[dimension]
  end
  if ramp then ramp.level = ramp.level - usage.requests end
  self.recent.count = self.recent.count + usage.requests
  self.sequence = self.sequence + 1
  process.grants[#process.grants + 1] = { call = sender.call, usage = usage, reserve = reserved }
  return self.sequence, wait
end
`

const run = `
if message.limits then configure(message.limits) end
advance()
if sender.known then recall(sender.known) end
local processes = update()
for index, one in ipairs(message.reports) do
  local number = sender.firstReport + index - 1
  if number > process.report then
    process.report = number
    report(one)
  end
end
local sequence, wait = 0, 0
if message.ask then sequence, wait = reserve(message.ask) end
if sender.ends then
  self.processes[sender.process] = nil
  for index = #self.savings, 1, -1 do
    if self.savings[index].process == sender.process then table.remove(self.savings, index) end
  end
end
local left = math.max(0, self.pausedUntil - now)
redis.call("SET", key, cmsgpack.pack(self), "PX", string.format("%.0f", math.max(${idleMillis}, 2 * burst) + left))

local answer = {}
local function add(value) answer[#answer + 1] = string.format("%.17g", value) end
local function addAll(amounts) for _, dimension in ipairs(dimensions) do add(amounts[dimension]) end end
add(self.epoch)
add(message.ask and 1 or 0)
add(sequence)
add(wait)
addAll(self.used)
add(processes)
addAll(self.reserved)
for _, dimension in ipairs(dimensions) do
  local bucket = self.buckets[dimension] or { perMinute = 0, capacity = 0, level = 0 }
  add(bucket.perMinute)
  add(bucket.capacity)
  add(bucket.level)
  add(bucket.observed or 0)
end
add(left)
add(self.closed and 1 or 0)
local ramp = self.ramp or { from = now, perMinute = 0, level = 0, doublingMillis = 0, ["until"] = 0 }
add(ramp.from - now)
add(ramp.perMinute)
add(ramp.level)
add(ramp.doublingMillis)
add(ramp["until"])
return table.concat(answer, " ")
`

const redisTime = `(function() local time = redis.call("TIME") return time[1] * 1000 + time[2] / 1000 end)()`

/** The script; `clock` is Lua for the time in milliseconds. */
export const lua = (clock = redisTime): string =>
  `local key, message, now = KEYS[1], cjson.decode(ARGV[1]), ${clock}` +
  start + rates + senders + reports + kept + reserve + run

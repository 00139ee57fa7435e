/**
 * The step of a circuit once more, in the language of Redis: one step is one call. It keeps one hash for each circuit, reads the clock of the server,
 * and needs nothing that Redis 6 or Valkey lack.
 */
import type { Batch, Phase, Reply, Result } from "./circuit.ts"
import { lengthOf, unitOf, windowsKept } from "./window.ts"

/** The number of each result: bit 0 is a failure, bit 1 a slow call. A trial without one is given back. */
const numbers: Record<Result, number> = { success: 0, failure: 1, slowSuccess: 2, slowFailure: 3 }
const givenBack = 4

/** The argument of `lua`: the batch as JSON, with numbers that JSON knows. `idleMillis`: when an unused key expires. */
export const args = ({ counts, proposal, rules, trials, ...batch }: Batch, idleMillis: number): string => {
  const { closedMillis = 0, isOpen = false, openings = 0, openMillis = 0, waitMillis = 0, when = "ifNone" } =
    proposal ?? {}
  const given = {
    closedMillis,
    isOpen,
    openings,
    openMillis: Math.round(openMillis),
    waitMillis: Math.round(waitMillis),
    when
  }
  return JSON.stringify(
    {
      ...batch,
      rules,
      proposal: given,
      counts: counts.map(({ calls, failures, index, slow }) => [index, calls, failures, slow]),
      trials: trials.map(({ result, round }) => [round, result === undefined ? givenBack : numbers[result]]),
      unit: unitOf(rules),
      length: lengthOf(rules),
      idleMillis: Math.ceil(idleMillis)
    },
    (_, value) => value === Infinity ? 1e15 : value
  )
}

const phases: ReadonlyArray<Phase> = ["closed", "open", "halfOpen"]

/** The longest that a key lives without use beside what its circuit needs: its windows and its open time. */
const idleMillis = 3_600_000

export const idleOf = ({ rules }: Batch): number =>
  Math.max(
    idleMillis,
    2 * Math.max(rules.maxOpenDuration, rules.halfOpenDuration),
    rules.windowSize > 0 ? 0 : (windowsKept + 1) * rules.windowDuration
  )

/** What `lua` answers: the fields of a reply in their order, of the phase its index. */
export type Answer = readonly [
  now: number,
  phase: number,
  epoch: number,
  waitMillis: number,
  openings: number,
  openMillis: number,
  permits: number,
  granted: number,
  slot: number,
  room: number
]

/** Whether what answered has run `lua`. */
export const isAnswer = (answer: Answer): boolean =>
  Array.isArray(answer) && answer.length === 10 && answer.every(Number.isFinite) && answer[1] in phases

export const replyOf = (
  [now, phase, epoch, waitMillis, openings, openMillis, permits, granted, slot, room]: Answer
): Reply => ({
  now,
  phase: phases[phase]!, // isAnswer has seen that it is one of the three
  epoch,
  waitMillis,
  openings,
  openMillis,
  permits,
  granted,
  slot,
  room
})

export const lua = `
local key = KEYS[1]
local batch = cjson.decode(ARGV[1])
local rules, proposal, unit, length = batch.rules, batch.proposal, batch.unit, batch.length

local time = redis.call("TIME")
local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = math.floor(micros / 1000)

local fields = redis.call("HMGET", key, "phase", "epoch", "until", "openings", "opened", "closedAt", "round", "permits",
  "successes", "first", "trials", "failures", "unit", "slots")
local known = fields[1]
local function field(index) return tonumber(fields[index]) or 0 end
local phase, epoch, waitUntil, openings, opened, closedAt = field(1), field(2), field(3), field(4), field(5), field(6)
local round, permits, successes, first, trials, failures = field(7), field(8), field(9), field(10), field(11), field(12)
local changed = false

-- The slots of attempts in their order, each { index, calls, failures, slow }.
local slots = {}
if fields[14] and field(13) == unit then
  for index, calls, failed, slow in string.gmatch(fields[14], "(%-?%d+):(%-?%d+):(%-?%d+):(%-?%d+)") do
    slots[#slots + 1] = { tonumber(index), tonumber(calls), tonumber(failed), tonumber(slow) }
  end
end

-- The slot of an attempt that is sent now, and how many more fit into it.
local function current()
  if unit > 0 then return math.floor(now / unit), 0 end
  local newest = slots[#slots]
  if not newest then return 0, -unit end
  if newest[2] < -unit then return newest[1], -unit - newest[2] end
  return newest[1] + 1, -unit
end

-- Forgets what is too old, and what comes from the future after a clock was set back.
local function advance()
  local newest = current()
  local kept = {}
  for _, slot in ipairs(slots) do
    if slot[1] > newest - ${windowsKept} * length and slot[1] <= newest then kept[#kept + 1] = slot end
  end
  slots = kept
end

local function add(counts)
  local last = unit > 0 and current() or math.huge
  local at = 1
  for _, count in ipairs(counts) do
    if count[1] <= last then
      while slots[at] and slots[at][1] < count[1] do at = at + 1 end
      local slot = slots[at]
      if slot and slot[1] == count[1] then
        for index = 2, 4 do slot[index] = slot[index] + count[index] end
      elseif count[2] > 0 then
        table.insert(slots, at, { count[1], count[2], count[3], count[4] })
      end
    end
  end
end

-- Whether rates open the circuit, by each window that is known as a whole and ends at this slot or later.
local function trips(from)
  from = math.max(from, current() - ${windowsKept - 1} * length)
  local calls, failed, slow, oldest = 0, 0, 0, 1
  for _, slot in ipairs(slots) do
    calls, failed, slow = calls + slot[2], failed + slot[3], slow + slot[4]
    while slots[oldest][1] <= slot[1] - length do
      local old = slots[oldest]
      calls, failed, slow = calls - old[2], failed - old[3], slow - old[4]
      oldest = oldest + 1
    end
    if slot[1] >= from and calls >= rules.minimumCalls then
      if failed > 0 and failed / calls >= rules.failureRate then return true end
      if slow > 0 and slow / calls >= rules.slowCallRate then return true end
    end
  end
  return false
end

-- An epoch is never given twice, also when the data was lost in between.
local function renew() epoch = math.max(epoch + 1, micros) end

-- Trials in flight still count when a half-open circuit opens again.
local function open()
  if phase == 0 and now - closedAt >= opened then openings = 0 end
  opened = math.floor(math.min(rules.maxOpenDuration, rules.openDuration * 2 ^ math.min(openings, 60)) * batch.openShare + 0.5)
  openings = openings + 1
  waitUntil = now + opened
  if phase == 0 then
    round = 0
    renew()
  end
  phase, successes, slots, changed = 1, 0, {}, true
end

local function close(at)
  phase, closedAt, slots, changed = 0, at, {}, true
  renew()
end

local isWorse = phase == 0 and proposal.isOpen and proposal.waitMillis > 0
-- A store that lacks its last writes may have lost an opening.
local isBehind = batch.epoch > epoch
if not known or proposal.when == "always" or (isWorse and (isBehind or proposal.when == "ifWorse")) then
  openings, opened = proposal.openings, proposal.openMillis
  if proposal.isOpen then
    phase, round, successes, slots, changed = 1, 0, 0, {}, true
    waitUntil = now + math.min(proposal.waitMillis, rules.maxOpenDuration)
    renew()
  else close(now - proposal.closedMillis) end
  -- A circuit that the store has lost goes on: who knows a later epoch of it knows what came after.
  if not known and batch.epoch > 0 then epoch = batch.epoch end
end

-- A clock that was set back makes no wait longer than the rules do.
local maxRound = math.max(rules.halfOpenDuration, rules.maxOpenDuration)
if phase == 1 then waitUntil = math.min(waitUntil, now + rules.maxOpenDuration) end
if phase == 2 then waitUntil = math.min(waitUntil, now + maxRound) end
if phase == 0 then advance() end

local function try(trialRound, result)
  local isBad = result % 2 == 1 or (result == 2 and rules.slowCallRate <= 1)
  if result < ${givenBack} and not isBad then
    successes, changed = successes + 1, true
    if successes >= rules.successThreshold then close(now) end
    return
  end
  if phase ~= 2 or trialRound < first or trialRound > round then return end
  changed = true
  if result == ${givenBack} then
    trials = math.max(0, trials - 1)
    if trialRound == round then permits = math.min(rules.halfOpenCalls, permits + 1) end
  else failures = failures + 1 end
  local share = rules.failureRate <= 1 and rules.failureRate or 0.5
  if failures > 0 and failures / math.max(trials, rules.halfOpenCalls) >= share then open() end
end

if batch.epoch == epoch then
  if phase ~= 0 then
    for _, trial in ipairs(batch.trials) do
      if phase ~= 0 then try(trial[1], trial[2]) end
    end
  elseif batch.tripped then open()
  elseif #batch.counts > 0 then
    add(batch.counts)
    advance()
    changed = true
    if trips(batch.counts[1][1]) then open() end
  end
end

local granted = 0
if batch.ask and phase ~= 0 then
  if now >= waitUntil then
    if phase == 1 then first, trials, failures = round + 1, 0, 0 end
    round, phase, trials, permits = round + 1, 2, trials + 1, rules.halfOpenCalls - 1
    waitUntil = now + math.min(maxRound, rules.halfOpenDuration * 2 ^ math.min(round - first, 60))
    granted, changed = round, true
  elseif phase == 2 and permits > 0 then
    permits, trials = permits - 1, trials + 1
    granted, changed = round, true
  end
end

local slot, room = 0, 0
if phase == 0 then slot, room = current() end

if changed then
  local function int(value) return string.format("%.0f", value) end
  local texts = {}
  for index, slot in ipairs(slots) do
    texts[index] = int(slot[1]) .. ":" .. int(slot[2]) .. ":" .. int(slot[3]) .. ":" .. int(slot[4])
  end
  redis.call("HSET", key, "phase", phase, "epoch", int(epoch), "until", int(waitUntil), "openings", int(openings),
    "opened", int(opened), "closedAt", int(closedAt), "round", int(round), "permits", int(permits), "successes", int(successes),
    "first", int(first), "trials", int(trials), "failures", int(failures), "unit", string.format("%.17g", unit),
    "slots", table.concat(texts, ","))
  redis.call("PEXPIRE", key, int(batch.idleMillis))
end

local wait = 0
if phase ~= 0 then wait = math.max(0, math.ceil(waitUntil - now)) end
return { now, phase, epoch, wait, openings, opened, permits, granted, slot, room }
`

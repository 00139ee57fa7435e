/**
 * The machine of a circuit once more, in the language of Redis: one step is one call. It keeps one hash for each circuit, reads the clock
 * of the server, and needs nothing that Redis 6 or Valkey lack.
 */
import type { Rules } from "./circuit.ts"
import type { Report } from "./shared.ts"
import { slotCount } from "./window.ts"

/** After so long nothing is early any more. */
const earlyMillis = 600_000

const proposals: Record<Report["propose"], number> = { ifNone: 0, ifWorse: 1, always: 2 }

/** `Infinity` as a number that Lua reads. */
const finite = (value: number): number => Math.min(value, 1e15)

/** The arguments of `lua`, in its order. */
export const args = (rules: Rules, report: Report, idleMillis: number): ReadonlyArray<string | number> => [
  rules.window._tag === "Calls" ? rules.window.size : 0,
  rules.window._tag === "Calls" ? 0 : rules.window.millis / slotCount,
  finite(rules.failureRate),
  finite(rules.slowRate),
  finite(rules.minimumCalls),
  rules.openMillis,
  rules.maxOpenMillis,
  finite(rules.trials),
  finite(rules.successes),
  rules.halfOpenMillis,
  Math.ceil(idleMillis),
  report.epoch,
  report.results,
  report.early,
  report.row ? 1 : 0,
  report.round,
  report.back,
  report.ask ? 1 : 0,
  report.factor,
  proposals[report.propose],
  Math.round(report.openMillis),
  report.openings,
  Math.round(report.openedMillis)
]

export const phases = ["closed", "open", "halfOpen"] as const

/** What `lua` answers: the index of the phase, then the other fields of a reply in their order. */
export type Answer = readonly [
  phase: number,
  epoch: number,
  waitMillis: number,
  openings: number,
  openedMillis: number,
  permits: number,
  granted: number
]

/** Whether what answered has run `lua`. */
export const isAnswer = (answer: Answer): boolean =>
  Array.isArray(answer) && answer.length === 7 && answer.every(Number.isFinite) && answer[0] in phases

export const lua = `
local key = KEYS[1]
local size, slotMillis = tonumber(ARGV[1]), tonumber(ARGV[2])
local failureRate, slowRate, minimumCalls = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local openFor, maxOpenFor, trials, successesToClose = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local halfOpenFor, idle = tonumber(ARGV[10]), tonumber(ARGV[11])
local reportEpoch, results, earlyMore, row = tonumber(ARGV[12]), ARGV[13], tonumber(ARGV[14]), ARGV[15] == "1"
local backRound, back, ask, factor = tonumber(ARGV[16]), tonumber(ARGV[17]), ARGV[18] == "1", tonumber(ARGV[19])
local propose, givenOpen = tonumber(ARGV[20]), tonumber(ARGV[21])
local givenOpenings, givenOpened = tonumber(ARGV[22]), tonumber(ARGV[23])

local time = redis.call("TIME")
local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = math.floor(micros / 1000)

local fields = redis.call("HMGET", key, "phase", "epoch", "until", "openings", "opened", "closedAt", "round", "permits",
  "successes", "early")
local known = fields[1]
local function field(index) return tonumber(fields[index]) or 0 end
local phase, epoch, waitUntil, openings, opened = field(1), field(2), field(3), field(4), field(5)
local closedAt, round, permits, successes, early = field(6), field(7), field(8), field(9), field(10)
local changed, forget = false, false
local write = {}

-- An epoch is never given twice, also when the data was lost in between.
local function become(to)
  phase, epoch, early = to, math.max(epoch + 1, micros), 0
  changed, forget = true, true
end

local function open()
  if phase == 0 and now - closedAt >= opened then openings = 0 end
  opened = math.floor(math.min(maxOpenFor, openFor * 2 ^ math.min(openings, 60)) * factor + 0.5)
  openings = openings + 1
  waitUntil = now + opened
  become(1)
end

local function close()
  closedAt = now
  become(0)
end

if not known or propose == 2 or (propose == 1 and phase == 0 and givenOpen > 0) then
  openings, opened = givenOpenings, givenOpened
  if givenOpen >= 0 then
    waitUntil = now + math.min(givenOpen, maxOpenFor)
    become(1)
  else close() end
end

-- A clock that was set back makes no wait longer than the rules do.
if phase == 1 then waitUntil = math.min(waitUntil, now + maxOpenFor) end
if phase == 2 then waitUntil = math.min(waitUntil, now + halfOpenFor) end

-- Those that were early are so until the last result of their report is counted.
local earlyBefore = early

local function trips(calls, failures, slow, isLast)
  if calls < minimumCalls then return false end
  -- No answer takes so long: what is left over then is of processes that died.
  if now - closedAt < ${earlyMillis} then calls = calls + (isLast and early or math.max(early, earlyBefore)) end
  return (failures > 0 and failures >= failureRate * calls) or (slow > 0 and slow >= slowRate * calls)
end

local function countOf(text, set) return select(2, string.gsub(text, set, "")) end

-- Adds results one by one to the last so many, until the circuit opens.
local function countCalls()
  local ring = string.sub(redis.call("HGET", key, "ring") or "", -size)
  local all = ring .. results
  local first, calls = 1, #ring
  local failures, slow = countOf(ring, "[13]"), countOf(ring, "[23]")
  for index = #ring + 1, #all do
    if calls == size then
      local oldest = string.sub(all, first, first)
      if oldest == "1" or oldest == "3" then failures = failures - 1 end
      if oldest == "2" or oldest == "3" then slow = slow - 1 end
      first = first + 1
    else calls = calls + 1 end
    local result = string.sub(all, index, index)
    local failed = result == "1" or result == "3"
    if failed then failures = failures + 1 end
    if result == "2" or result == "3" then slow = slow + 1 end
    if trips(calls, failures, slow, index == #all) then return open() end
  end
  write = { "ring", string.sub(all, first) }
end

-- The same for the results of the last so much time.
local function countTime()
  local current = math.floor(now / slotMillis)
  local names = {}
  for at = 1, ${slotCount} do names[at] = "slot" .. (at - 1) end
  local calls, failures, slow, mine = 0, 0, 0, { 0, 0, 0 }
  for _, text in ipairs(redis.call("HMGET", key, unpack(names))) do
    if text then
      local at, c, f, s = string.match(text, "^(%d+):(%d+):(%d+):(%d+)$")
      at = tonumber(at)
      if at > current - ${slotCount} and at <= current then
        calls, failures, slow = calls + c, failures + f, slow + s
        if at == current then mine = { tonumber(c), tonumber(f), tonumber(s) } end
      end
    end
  end
  for index = 1, #results do
    local result = string.sub(results, index, index)
    local failed, isSlow = result == "1" or result == "3", result == "2" or result == "3"
    calls, mine[1] = calls + 1, mine[1] + 1
    if failed then failures, mine[2] = failures + 1, mine[2] + 1 end
    if isSlow then slow, mine[3] = slow + 1, mine[3] + 1 end
    if trips(calls, failures, slow, index == #results) then return open() end
  end
  write = { "slot" .. (current % ${slotCount}), string.format("%.0f:%d:%d:%d", current, mine[1], mine[2], mine[3]) }
end

if reportEpoch == epoch then
  if #results > 0 or earlyMore ~= 0 then changed = true end
  if phase == 0 then early = math.max(0, early + earlyMore) end
  if phase == 2 then
    for result in string.gmatch(results, ".") do
      if result == "0" or (result == "2" and slowRate > 1) then
        successes = successes + 1
        if successes >= successesToClose then close() break end
      else open() break end
    end
    if phase == 2 and back > 0 and backRound == round then
      permits = math.min(trials, permits + back)
      changed = true
    end
  elseif phase == 0 and row then open()
  elseif phase == 0 and #results > 0 then
    if size > 0 then countCalls() else countTime() end
  end
end

local granted = 0
if ask and phase ~= 0 and (now >= waitUntil or phase == 2) then
  if now >= waitUntil then
    round, permits, waitUntil = round + 1, trials, now + halfOpenFor
    if phase == 1 then
      successes = 0
      become(2)
    end
  end
  if permits > 0 then
    permits = permits - 1
    granted = round
    changed = true
  end
end

if changed then
  local function int(value) return string.format("%.0f", value) end
  if forget then redis.call("DEL", key) end
  redis.call("HSET", key, "phase", phase, "epoch", int(epoch), "until", int(waitUntil), "openings", int(openings),
    "opened", int(opened), "closedAt", int(closedAt), "round", int(round), "permits", int(permits), "successes", int(successes),
    "early", int(early))
  if #write > 0 then redis.call("HSET", key, unpack(write)) end
  redis.call("PEXPIRE", key, int(idle))
end

local wait = 0
if phase ~= 0 then wait = math.max(0, math.ceil(waitUntil - now)) end
return { phase, epoch, wait, openings, opened, permits, granted }
`

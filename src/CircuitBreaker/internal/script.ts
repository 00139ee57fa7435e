/**
 * The step of a circuit once more, in the language of Redis: one step is one call. It keeps one hash for each circuit, reads the clock of the server,
 * and needs nothing that Redis 6 or Valkey lack.
 */
import type { Batch, Phase, Reply } from "./circuit.ts"
import { digits, maxEarlyMillis, slotCount } from "./machine.ts"

/** The argument of `lua`: the batch as JSON, with numbers that JSON knows, and a digit for each result. `idleMillis`: when an unused key expires. */
export const args = ({ proposal, results, rules, ...batch }: Batch, idleMillis: number): string => {
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
      results: results.map((result) => digits[result]).join(""),
      idleMillis: Math.ceil(idleMillis)
    },
    (_, value) => value === Infinity ? 1e15 : value
  )
}

const phases: ReadonlyArray<Phase> = ["closed", "open", "halfOpen"]

/** The longest that a key lives without use beside what its circuit needs: its window and its open time. */
const idleMillis = 3_600_000

export const idleOf = ({ rules }: Batch): number =>
  Math.max(idleMillis, 2 * rules.maxOpenDuration, rules.windowSize > 0 ? 0 : 2 * rules.windowDuration)

/** What `lua` answers: the index of the phase, then the other fields of a reply in their order. */
export type Answer = readonly [
  phase: number,
  epoch: number,
  waitMillis: number,
  openings: number,
  openMillis: number,
  permits: number,
  granted: number
]

/** Whether what answered has run `lua`. */
export const isAnswer = (answer: Answer): boolean =>
  Array.isArray(answer) && answer.length === 7 && answer.every(Number.isFinite) && answer[0] in phases

export const replyOf = ([phase, epoch, waitMillis, openings, openMillis, permits, granted]: Answer): Reply => ({
  phase: phases[phase]!, // isAnswer has seen that it is one of the three
  epoch,
  waitMillis,
  openings,
  openMillis,
  permits,
  granted
})

export const lua = `
local key = KEYS[1]
local batch = cjson.decode(ARGV[1])
local rules, proposal, results = batch.rules, batch.proposal, batch.results
local size, slotMillis = rules.windowSize, rules.windowDuration / ${slotCount}

local time = redis.call("TIME")
local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = math.floor(micros / 1000)

local fields = redis.call("HMGET", key, "phase", "epoch", "until", "openings", "opened", "closedAt", "round", "permits",
  "successes", "early", "earlyAt")
local known = fields[1]
local function field(index) return tonumber(fields[index]) or 0 end
local phase, epoch, waitUntil, openings, opened = field(1), field(2), field(3), field(4), field(5)
local closedAt, round, permits, successes, early, earlyAt = field(6), field(7), field(8), field(9), field(10), field(11)
local changed, forget = false, false
local write = {}

-- An epoch is never given twice, also when the data was lost in between.
local function become(to)
  phase, epoch, early, earlyAt = to, math.max(epoch + 1, micros), 0, now
  changed, forget = true, true
end

local function open()
  if phase == 0 and now - closedAt >= opened then openings = 0 end
  opened = math.floor(math.min(rules.maxOpenDuration, rules.openDuration * 2 ^ math.min(openings, 60)) * batch.openShare + 0.5)
  openings = openings + 1
  waitUntil = now + opened
  become(1)
end

local function close(at)
  closedAt = at
  become(0)
end

local isWorse = phase == 0 and proposal.isOpen and proposal.waitMillis > 0
if not known or proposal.when == "always" or (proposal.when == "ifWorse" and isWorse) then
  openings, opened = proposal.openings, proposal.openMillis
  if proposal.isOpen then
    waitUntil = now + math.min(proposal.waitMillis, rules.maxOpenDuration)
    become(1)
  else close(now - proposal.closedMillis) end
end

-- A clock that was set back makes no wait longer than the rules do.
if phase == 1 then waitUntil = math.min(waitUntil, now + rules.maxOpenDuration) end
if phase == 2 then waitUntil = math.min(waitUntil, now + rules.halfOpenDuration) end

-- Those that were early are so until the last result of their batch is counted.
local earlyBefore = early
-- No attempt takes so long: what is left over then is of processes that died.
local isLeft = now - earlyAt < ${maxEarlyMillis}

local function trips(calls, failures, slow, isLast)
  if calls < rules.minimumCalls then return false end
  if isLeft then calls = calls + (isLast and early or math.max(early, earlyBefore)) end
  return (failures > 0 and failures >= rules.failureRate * calls) or (slow > 0 and slow >= rules.slowCallRate * calls)
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
  if #results == 0 and trips(calls, failures, slow, true) then return open() end
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
  if #results == 0 and trips(calls, failures, slow, true) then return open() end
  write = { "slot" .. (current % ${slotCount}), string.format("%.0f:%d:%d:%d", current, mine[1], mine[2], mine[3]) }
end

if batch.epoch == epoch then
  if #results > 0 or batch.early ~= 0 then changed = true end
  if phase == 0 and batch.early ~= 0 then early, earlyAt = math.max(0, early + batch.early), now end
  if phase == 2 then
    for result in string.gmatch(results, ".") do
      if result == "0" or (result == "2" and rules.slowCallRate > 1) then
        successes = successes + 1
        if successes >= rules.successThreshold then close(now) break end
      else open() break end
    end
    if phase == 2 and batch.returned > 0 and batch.round == round then
      permits = math.min(rules.halfOpenCalls, permits + batch.returned)
      changed = true
    end
  elseif phase == 0 and batch.tripped then open()
  elseif phase == 0 and (#results > 0 or batch.returned > 0) then
    if size > 0 then countCalls() else countTime() end
  end
end

local granted = 0
if batch.ask and phase ~= 0 and (now >= waitUntil or phase == 2) then
  if now >= waitUntil then
    round, permits, waitUntil = round + 1, rules.halfOpenCalls, now + rules.halfOpenDuration
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
    "early", int(early), "earlyAt", int(earlyAt))
  if #write > 0 then redis.call("HSET", key, unpack(write)) end
  redis.call("PEXPIRE", key, int(batch.idleMillis))
end

local wait = 0
if phase ~= 0 then wait = math.max(0, math.ceil(waitUntil - now)) end
return { phase, epoch, wait, openings, opened, permits, granted }
`

/** `savings` and `progress` once more, in the language of Redis: a part of the script, with what stands before it in scope. */
import * as progress from "./progress.ts"
import * as savings from "./savings.ts"
import { epsilon } from "./State.ts"

export const lua = `
local function shareOf(priority)
  local all = 0
  for _, one in ipairs(priorities) do
    if one == priority or now - self.asked[one] <= ${savings.activeMillis} then all = all + weights[one] end
  end
  return weights[priority] / all
end

local function waitFor(short, perMinute)
  return short <= ${epsilon} and 0 or (short - ${epsilon}) * minute / perMinute
end

-- The place of what this process saves for a class, 0 where it does not.
local function placeOf(priority)
  for index, one in ipairs(self.savings) do
    if one.process == sender.process and one.priority == priority then return index end
  end
  return 0
end

local function isBefore(other, pass, index)
  local before = self.savings[other].pass
  return before < pass or (before == pass and other < index)
end

local function isFirst(index)
  local mine = self.savings[index]
  for other, one in ipairs(self.savings) do
    if one.priority == mine.priority and other ~= index and isBefore(other, mine.pass, index) then return false end
  end
  return true
end

local function keptBy(dimension, bucket, room, mine, pass, priority)
  local kept, growing = 0, 0
  for index, one in ipairs(self.savings) do
    local need = math.min(one.need[dimension], bucket.capacity)
    if one.priority == priority then
      if index ~= mine and isBefore(index, pass, mine == 0 and math.huge or mine) then kept = kept + need end
    elseif isFirst(index) then
      local share = shareOf(one.priority)
      local before = rank[one.priority] < rank[priority] and one.found[dimension] or 0
      local saved = before + math.max(0, now - one.since) * share * bucket.perMinute / minute
      kept = kept + math.min(need, saved)
      if saved < need then growing = growing + share end
    end
  end
  if kept < room then return kept, growing end
  return room, 0
end

local function roomIn(priority, usage, reserved, pass)
  local savings = {}
  for _, one in ipairs(self.savings) do
    if now - one.at <= ${savings.forgetMillis} then savings[#savings + 1] = one end
  end
  self.savings = savings
  local mine, share = placeOf(priority), shareOf(priority)
  if mine > 0 then self.savings[mine].pass = pass end
  local since = mine > 0 and isFirst(mine) and self.savings[mine].since
  local beside, saved = 0, since and 0 or math.huge
  for _, dimension in ipairs(dimensions) do
    local bucket, amount = self.buckets[dimension], usage[dimension] + reserved[dimension]
    if bucket and amount ~= 0 then
      local need = math.min(amount, bucket.capacity)
      local short = need - (bucket.level - self.reserved[dimension])
      local kept, growing = keptBy(dimension, bucket, bucket.capacity - need, mine, pass, priority)
      beside = math.max(beside, waitFor(short + kept, bucket.perMinute * (1 - growing)))
      if since then
        local own = waitFor(need, bucket.perMinute * share) - math.max(0, now - since)
        saved = math.max(saved, own, waitFor(short, bucket.perMinute))
      end
    end
  end
  return math.min(beside, saved)
end

local function begin(priority, usage, reserved, pass)
  local mine, need, found = placeOf(priority), zero(), zero()
  for _, dimension in ipairs(dimensions) do
    local bucket = self.buckets[dimension]
    need[dimension] = usage[dimension] + reserved[dimension]
    if bucket and mine == 0 then
      local kept = keptBy(dimension, bucket, math.huge, mine, pass, priority)
      found[dimension] = math.max(0, bucket.level - self.reserved[dimension] - kept)
    end
  end
  if mine > 0 then self.savings[mine].need, self.savings[mine].at = need, now
  else
    self.savings[#self.savings + 1] = {
      process = sender.process, priority = priority, need = need, found = found, pass = pass, since = now, at = now
    }
  end
end

local function finish(priority)
  local mine = placeOf(priority)
  if mine == 0 then return end
  local wasFirst = isFirst(mine)
  table.remove(self.savings, mine)
  if not wasFirst then return end
  for index, one in ipairs(self.savings) do
    if one.priority == priority and isFirst(index) then
      one.since = now
      return
    end
  end
end

local function costOf(ask)
  local minutes = 0
  for _, dimension in ipairs(dimensions) do
    local bucket = self.buckets[dimension]
    if bucket then minutes = math.max(minutes, (ask.usage[dimension] + ask.reserve[dimension]) / bucket.perMinute) end
  end
  return minutes / (ask.weight or 1)
end

-- How far the flow of an ask is, and whether that is too far.
local function standing(ask, priority)
  if not ask.flow then return 0, false end
  local flows, least, most, count = self.flows[priority], math.huge, 0, 0
  for name, one in pairs(flows) do
    if now - one.at > ${progress.flowMillis} then flows[name] = nil
    else
      most, count = math.max(most, one.pass), count + 1
      if now - one.at <= ${progress.recentMillis} then least = math.min(least, one.pass) end
    end
  end
  local mine = flows[ask.flow]
  local pass = mine and mine.pass or (least == math.huge and most or least)
  if mine or count < ${progress.maxFlows} then flows[ask.flow] = { pass = pass, at = now } end
  local slack = ${progress.slackRequests} * costOf(ask) + ${progress.slackMinutes} / (ask.weight or 1)
  return pass, pass > least + slack
end

local function served(ask, priority)
  local mine = ask.flow and self.flows[priority][ask.flow]
  if mine then self.flows[priority][ask.flow] = { pass = mine.pass + costOf(ask), at = now } end
end
`

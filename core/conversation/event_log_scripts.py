"""The event log's scripts, each one step of Redis. Their keys are those of `Keys` in
core/conversation/event_log.py, in that order."""

APPEND = """
local log, meta, partial, words, thinking = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local kind, data, channel, new_epoch, max_events = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local expires, role = tonumber(ARGV[6]), ARGV[7]
local generation, attempt, seq = ARGV[8], tonumber(ARGV[9]), tonumber(ARGV[10])
local text, word, answer, written, retracts = ARGV[11], ARGV[12], ARGV[13], tonumber(ARGV[14]), ARGV[15]
local thought, thought_before, forgets, thought_for = ARGV[16], tonumber(ARGV[17]), ARGV[18] == '1', ARGV[19]

local known = redis.call('HMGET', meta, 'generation', 'attempt', 'seq', 'expires')
if role == 'begin' then
  -- A front end that did not see its answer begins again; the second time changes nothing.
  if known[1] == generation then
    return {(redis.call('HGET', meta, 'start') or 0) + 1, redis.call('HGET', meta, 'epoch')}
  end
  if redis.call('HEXISTS', meta, 'ended:' .. generation) == 1 then return {-3, ''} end
  redis.call('HSET', meta, 'generation', generation, 'attempt', attempt, 'seq', seq,
             'answer', answer, 'start', redis.call('HGET', meta, 'offset') or 0)
  redis.call('DEL', partial, thinking)
  redis.call('HDEL', meta, 'thought_for')
elseif role ~= '' then
  if known[1] ~= generation and role == 'end' and written == 0 and thought_before == 0 then
    -- Nobody misses the end of what nobody has seen; but a front end that is late must not begin it any more.
    redis.call('HSET', meta, 'ended:' .. generation, 1)
    redis.call('PEXPIREAT', meta, math.max(expires, tonumber(known[4] or 0)))
    return {tonumber(redis.call('HGET', meta, 'offset') or 0), redis.call('HGET', meta, 'epoch') or ''}
  end
  if known[1] ~= generation then return {-2, ''} end
  -- Fencing: a newer attempt writes now.
  if tonumber(known[2]) > attempt then return {-1, ''} end
  -- A producer that did not see its answer sends again; the second time changes nothing.
  if tonumber(known[2]) == attempt and tonumber(known[3]) >= seq then
    return {tonumber(redis.call('HGET', meta, 'offset')), redis.call('HGET', meta, 'epoch')}
  end
  -- A Redis that came back with an older state has forgotten what readers have seen.
  if redis.call('STRLEN', partial) ~= written then return {-2, ''} end
  if redis.call('STRLEN', thinking) ~= thought_before then return {-2, ''} end
  redis.call('HSET', meta, 'attempt', attempt, 'seq', seq, 'thought_for', thought_for)
end

redis.call('HSETNX', meta, 'epoch', new_epoch)
local epoch = redis.call('HGET', meta, 'epoch')
local offset = redis.call('HINCRBY', meta, 'offset', 1)
redis.call('XADD', log, 'MAXLEN', '~', max_events, offset .. '-0', 'type', kind, 'data', data)
if text ~= '' then redis.call('APPEND', partial, text) end
if forgets then redis.call('DEL', thinking) end
if thought ~= '' then redis.call('APPEND', thinking, thought) end
-- A word's place is kept apart, so that nobody has to look for it among the words, of which each may have megabytes.
if word ~= '' then
  local place, id = redis.call('RPUSH', words, word) - 1, string.match(word, '^{"id":"([^"]+)"')
  if id then redis.call('HINCRBY', meta, 'placed', redis.call('HSET', meta, 'place:' .. id, place)) end
end
if retracts ~= '' then
  local last = redis.call('LINDEX', words, -1)
  if last and string.match(last, '^{"id":"([^"]+)"') == retracts then
    redis.call('RPOP', words)
    redis.call('HINCRBY', meta, 'placed', -redis.call('HDEL', meta, 'place:' .. retracts))
  end
end
if role == 'end' then
  redis.call('DEL', partial, thinking)
  redis.call('HDEL', meta, 'answer', 'start', 'thought_for')
end

expires = math.max(expires, tonumber(known[4] or 0))
redis.call('HSET', meta, 'expires', expires)
for i = 1, #KEYS do redis.call('PEXPIREAT', KEYS[i], expires) end

redis.call('PUBLISH', channel, cjson.encode({type = kind, data = data, id = epoch .. '-' .. offset}))
return {offset, epoch}
"""

TAKE_OVER = """
local known = redis.call('HMGET', KEYS[2], 'generation', 'attempt')
if known[1] ~= ARGV[1] then return {-2, '', '', 0} end
if tonumber(known[2]) > tonumber(ARGV[2]) then return {-1, '', '', 0} end
redis.call('HSET', KEYS[2], 'attempt', ARGV[2], 'seq', 0)
return {0, redis.call('GET', KEYS[3]) or '', redis.call('GET', KEYS[5]) or '',
        tonumber(redis.call('HGET', KEYS[2], 'thought_for') or 0)}
"""

# Another epoch: readers of the lost log are told to read the conversation again. What Redis still has of the words
# of an anonymous session stays.
RESET = """
local known = redis.call('HMGET', KEYS[2], 'generation', 'attempt', 'expires', 'seq')
-- Ids of a session's generations grow: a greater one is the next.
if known[1] and known[1] > ARGV[1] then return -1 end
if redis.call('HEXISTS', KEYS[2], 'ended:' .. ARGV[1]) == 1 then return -1 end
if known[1] == ARGV[1] then
  local attempt = tonumber(known[2])
  -- With the terminal event in it, there is nothing to begin.
  if attempt > tonumber(ARGV[2]) or (attempt == tonumber(ARGV[2]) and tonumber(known[4]) >= tonumber(ARGV[6])) then
    return -1
  end
end
redis.call('DEL', KEYS[1], KEYS[3], KEYS[5])
redis.call('HSET', KEYS[2], 'generation', ARGV[1], 'attempt', ARGV[2], 'seq', 0, 'answer', ARGV[3], 'start', 0,
           'epoch', ARGV[4], 'offset', 0, 'thought_for', 0,
           'expires', math.max(tonumber(ARGV[5]), tonumber(known[3] or 0)))
redis.call('PEXPIREAT', KEYS[2], redis.call('HGET', KEYS[2], 'expires'))
return 0
"""

REQUEST_STOP = """
if redis.call('HGET', KEYS[2], 'generation') == ARGV[1] then redis.call('HSET', KEYS[2], 'stop', ARGV[1]) end
"""

TOUCH = """
local expires = math.max(tonumber(ARGV[1]), tonumber(redis.call('HGET', KEYS[2], 'expires') or 0))
if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('HSET', KEYS[2], 'expires', expires) end
for i = 1, #KEYS do redis.call('PEXPIREAT', KEYS[i], expires) end
"""

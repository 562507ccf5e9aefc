"""Scripts that read the tree of an anonymous session's messages: a list of them in the order of time, in which each
names the one that it follows. The places of all are in the session's hash, beside the log.

A message's id and parent are the first fields of its stored form (core/conversation/message.py). One without a parent
has been written by the version before, and follows the one before it in the list. Parents come before their children,
so every walk ends, whatever the store holds.
"""

READ = """
local words_key, meta_key = KEYS[1], KEYS[2]
local function word_at(place) return place >= 0 and redis.call('LINDEX', words_key, place) end
local function id_of(word) return string.match(word, '^{"id":"([^"]+)"') end

-- The place of a message among those before `below`, and the message. Where the log does not know the places of all,
-- they have been put there by an older version, or the hash was damaged: then it is looked for among the newest.
local function find(id, below, max_searched)
  local known = redis.pcall('HMGET', meta_key, 'placed', 'place:' .. id)
  local placed, place = tonumber(known[1] or nil), tonumber(known[2] or nil)
  if place and place < below then
    local word = word_at(place)
    if word and id_of(word) == id then return place, word end
  end
  if placed == redis.call('LLEN', words_key) then return end
  for at = below - 1, math.max(0, below - max_searched), -1 do
    local word = word_at(at)
    if word and id_of(word) == id then return at, word end
  end
end

-- The place of the message that one at this place follows, that message, and its id: empty at the beginning.
local function parent_of(word, place, max_searched)
  if string.find(word, '^{"id":"[^"]+","parent":null') then return -1, nil, '' end
  local parent = string.match(word, '^{"id":"[^"]+","parent":"([^"]+)"')
  if parent then
    local at, above = find(parent, place, max_searched)
    if at then return at, above, parent end
    -- What can't be read is passed over.
    above = word_at(place - 1)
    if not above or id_of(above) then return -1, nil, parent end
    return place - 1, above, parent
  end
  local above = word_at(place - 1)
  return above and place - 1 or -1, above, above and id_of(above) or ''
end
"""

BRANCH = (
    READ
    + """
-- No more than so many messages of a branch, newest first, and none beyond so many bytes but the one that passes
-- them: the place to go on from, and each message with what it follows.
local count, from, leaf, since = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
local max_messages, max_bytes, max_searched = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local place, word
if count < 0 then
  count = redis.call('LLEN', words_key)
  local turned_to = redis.pcall('HMGET', meta_key, 'leaf', 'leaf_since')
  leaf, since = turned_to[1] or '', turned_to[2] or ''
end
if from == '' then
  place, word = count - 1, word_at(count - 1)
  if word and since ~= '' and id_of(word) == since then
    local chosen, at = find(leaf, count, max_searched)
    if chosen then place, word = chosen, at end
  end
elseif tonumber(from) then
  place, word = tonumber(from), word_at(tonumber(from))
else
  place, word = find(from, count, max_searched)
end
local found, size = {-1}, 0
while word do
  local at, above, parent = parent_of(word, place, max_searched)
  found[#found + 1], found[#found + 2], size = word, parent, size + #word
  place, word = at, above
  if #found - 1 >= 2 * max_messages or size >= max_bytes then break end
end
if word then found[1] = place end
return found
"""
)

PARENT = (
    READ
    + """
-- The place of a message, the place of the one that it follows, and that one's id; or nothing.
local count = tonumber(ARGV[1])
if count < 0 then count = redis.call('LLEN', words_key) end
local place, word = find(ARGV[2], count, tonumber(ARGV[3]))
if not place then return {} end
local at, _, parent = parent_of(word, place, tonumber(ARGV[3]))
return {place, at, parent}
"""
)

EDGES = (
    READ
    + """
-- The ids of messages from one place to before another, each with what it follows.
local edges = {}
for place = tonumber(ARGV[1]), tonumber(ARGV[2]) - 1 do
  local word = word_at(place)
  local id = word and id_of(word)
  if id then
    local parent = string.match(word, '^{"id":"[^"]+","parent":"([^"]+)"')
    local begins = string.find(word, '^{"id":"[^"]+","parent":null')
    if not parent and not begins then
      local above = word_at(place - 1)
      parent = above and id_of(above)
    end
    edges[#edges + 1], edges[#edges + 2] = id, parent or ''
  end
end
return edges
"""
)

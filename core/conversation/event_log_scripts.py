"""The event log's scripts: one for each thing that is done to a log, each an atomic step of Redis.

A script is a body and the types of its arguments. Lua knows the session's keys as `log_key`, `meta_key` and so on,
after the fields of `Keys`, and each argument by its field's name, so no position is written down twice.
"""

from typing import Any, NamedTuple, get_type_hints
from uuid import UUID

from core.conversation.keys import Keys, keys
from core.conversation.partial_answer import Delta, Size
from core.conversation.position import Producer
from core.stores.redis import Redis, ScriptCall

FENCED = -1
LOG_LOST = -2
ENDED_BEFORE = -3
MOVED_ON = -4
"""What a script returns in place of an offset when it refuses; core/conversation/event_log.py raises them."""


class Announcement(NamedTuple):
    """An event, and how long the log lives with it."""

    kind: str
    data: str
    channel: str
    max_events: int
    expires: int
    """Unix time in milliseconds."""


class NewLog(NamedTuple):
    """What a log begins with that an event begins."""

    new_epoch: str


class Beginning(NamedTuple):
    """What a generation begins with."""

    answer: str
    """The empty answer, as readers of the conversation get it."""
    question: str
    """An anonymous session's question, which is kept with the event; empty for an owned session, and where the
    question is there already."""
    text: str
    """What there is of the answer, if the generation goes on with one."""
    thinking: str
    thinking_ms: int
    leaf: str
    """The id of an anonymous session's answer that the generation goes on with: it ends the current branch."""


class Ending(NamedTuple):
    """What a generation leaves."""

    message: str
    """An anonymous session's answer, which is kept with the event; else empty."""
    retracts: str
    """The id of an anonymous session's question that is retracted, or empty."""


class Carrying(NamedTuple):
    """What a handover leaves to be written on."""

    answer: str
    """The empty answer with its new model, as readers of the conversation get it."""


class Turn(NamedTuple):
    """To which branch an anonymous session's holder turns."""

    leaf: str
    """The id of the message that it ends with."""
    leaf_since: str
    """The id of the newest message."""


class Reset(NamedTuple):
    """What a generation's log begins with when Redis has lost it."""

    answer: str
    new_epoch: str
    expires: int
    """Unix time in milliseconds."""
    terminal_seq: int
    waited: bool
    """Whether the generation's id is older than its turn."""


class Target(NamedTuple):
    """The generation that is meant."""

    generation_id: UUID


class Expiry(NamedTuple):
    """How long a log lives."""

    expires: int
    """Unix time in milliseconds."""


MEND = """
-- A key of another type is as good as gone, and so is a log whose numbers are none, that has lost its meta, or with
-- entries beyond its newest event. An anonymous session's messages stay. All scripts begin with this but the one that
-- runs for every word: where that fails, the log is reset.
do
  local kinds = {'stream', 'hash', 'string', 'list', 'string', 'hash'}
  for i, kind in ipairs(kinds) do
    local found = redis.call('TYPE', KEYS[i]).ok
    if found ~= kind and found ~= 'none' then redis.call('DEL', KEYS[i]) end
  end
  local epoch, generation, placed = unpack(redis.call('HMGET', meta_key, 'epoch', 'generation', 'placed'))
  local numbers = redis.call('HMGET', meta_key, 'offset', 'attempt', 'seq', 'start', 'expires', 'thought_for')
  local offset, attempt, seq = unpack(numbers)
  local sound = not epoch == not offset and (not epoch or (#epoch <= 20 and string.match(epoch, '^%w+$')))
  sound = sound and (not generation or (#generation == 36 and attempt and seq))
  for i = 1, #numbers do
    sound = sound and (not numbers[i] or (#numbers[i] <= 15 and string.match(numbers[i], '^%d+$')))
  end
  if sound and redis.call('EXISTS', log_key) == 1 then
    local last = redis.call('XREVRANGE', log_key, '+', '-', 'COUNT', 1)[1]
    sound = not last or tonumber(string.match(last[1], '^%d+')) <= tonumber(offset or 0)
  end
  if not sound then redis.call('DEL', log_key, meta_key, partial_key, thinking_key) end
  if placed and not string.match(placed, '^-?%d+$') then redis.call('HDEL', meta_key, 'placed') end
end
"""

KNOWN = """
local known = redis.call('HMGET', meta_key, 'generation', 'attempt', 'seq', 'expires', 'epoch', 'offset')
local known_generation, known_attempt, known_seq = known[1], tonumber(known[2]), tonumber(known[3])
local known_expires, epoch, offset = tonumber(known[4] or 0), known[5], tonumber(known[6] or 0)
"""

FENCE = """
if known_generation ~= generation_id or not epoch then return {LOG_LOST, ''} end
-- Fencing: a newer attempt writes now.
if known_attempt > attempt then return {FENCED, ''} end
-- A producer that did not see its answer sends again; the second time changes nothing.
if known_attempt == attempt and known_seq >= seq then return {offset, epoch} end
"""

ID_OF = """
local function id_of(message) return message and string.match(message, '^{"id":"([^"]+)"') end
"""

# A message's place is kept apart, and so are the messages that follow it, so that no reader has to look for them
# among the messages, of which each may have megabytes. One that goes on is replaced where it stands.
KEEP_MESSAGE = (
    ID_OF
    + """
-- The id of what a message follows: empty at the beginning, nil where its writer did not know of that.
local function parent_of(message)
  if string.find(message, '^{"id":"[^"]+","parent":null') then return '' end
  return string.match(message, '^{"id":"[^"]+","parent":"([^"]+)"')
end
local function place_of(id) return tonumber(redis.call('HGET', meta_key, 'place:' .. id) or nil) end
local function add_child(parent, id, place)
  local ids = redis.call('HGET', meta_key, 'children:' .. parent)
  if not ids then
    -- The first one may be of such a writer's.
    local at = parent == '' and 0 or (place_of(parent) or place) + 1
    local first = at < place and redis.call('LINDEX', words_key, at)
    if first and id_of(first) and not parent_of(first) then ids = id_of(first) end
  end
  redis.call('HSET', meta_key, 'children:' .. parent, ids and ids .. ' ' .. id or id)
end
local function keep(message)
  local id = id_of(message)
  local place = id and place_of(id)
  if place and id_of(redis.call('LINDEX', words_key, place)) == id then
    redis.call('LSET', words_key, place, message)
    return
  end
  place = redis.call('RPUSH', words_key, message) - 1
  if not id then return end
  redis.call('HINCRBY', meta_key, 'placed', redis.call('HSET', meta_key, 'place:' .. id, place))
  local parent = parent_of(message)
  if parent then add_child(parent, id, place) end
end
"""
)

# What else changes in the hash is in `changes`, so that one command writes it all.
RECORD = """
offset = offset + 1
expires = math.max(expires, known_expires)
redis.call('HSET', meta_key, 'epoch', epoch, 'offset', offset, 'expires', expires, unpack(changes))
redis.call('XADD', log_key, 'MAXLEN', '~', max_events, offset .. '-0', 'type', kind, 'data', data)
"""

EXTEND = """
for i = 1, #KEYS do redis.call('PEXPIREAT', KEYS[i], expires) end
"""

PUBLISH = """
redis.call('PUBLISH', channel, cjson.encode({type = kind, data = data, id = epoch .. '-' .. offset}))
return {offset, epoch}
"""

ANNOUNCE = RECORD + EXTEND + PUBLISH

APPEND = (
    MEND
    + KNOWN
    + """
epoch = epoch or new_epoch
local changes = {}
"""
    + ANNOUNCE
)

BEGIN = (
    MEND
    + KNOWN
    + KEEP_MESSAGE
    + """
-- A front end that did not see its answer begins again; the second time changes nothing.
if known_generation == generation_id then
  return {(redis.call('HGET', meta_key, 'start') or 0) + 1, epoch}
end
if redis.call('HEXISTS', meta_key, 'ended:' .. generation_id) == 1 then return {ENDED_BEFORE, ''} end
epoch = epoch or new_epoch
local changes = {'attempt', attempt, 'seq', seq, 'answer', answer, 'start', offset}
-- First: a Redis without memory refuses only what a script writes first, and this is what must not begin there.
redis.call('HSET', meta_key, 'generation', generation_id)
redis.call('DEL', partial_key, thinking_key)
redis.call('HDEL', meta_key, 'thought_for')
if question ~= '' then keep(question) end
if text ~= '' then redis.call('SET', partial_key, text) end
if thinking ~= '' then redis.call('SET', thinking_key, thinking) end
if thinking_ms > 0 then redis.call('HSET', meta_key, 'thought_for', thinking_ms) end
local newest = leaf ~= '' and id_of(redis.call('LINDEX', words_key, -1))
if newest then redis.call('HSET', meta_key, 'leaf', leaf, 'leaf_since', newest) end
"""
    + ANNOUNCE
)

TURN_TO = (
    MEND
    + KNOWN
    + ID_OF
    + """
-- Something is being written, or has been since the branch was looked for.
if redis.call('HEXISTS', meta_key, 'answer') == 1 then return {MOVED_ON, ''} end
if id_of(redis.call('LINDEX', words_key, -1)) ~= leaf_since then return {MOVED_ON, ''} end
epoch = epoch or new_epoch
local changes = {'leaf', leaf, 'leaf_since', leaf_since}
"""
    + ANNOUNCE
)

# The frequent one: six commands for words of the answer, or of its thinking. The answer of APPEND tells what it was
# added to, and a key lives as long as the log from its first event on, so neither costs a command each time.
WRITE = (
    KNOWN
    + FENCE
    + """
local function holds(key, size) return redis.call('STRLEN', key) == size end
local function add(key, size, words)
  local length = redis.call('APPEND', key, words)
  if length == #words then redis.call('PEXPIREAT', key, math.max(expires, known_expires)) end
  if length - #words == size then return true end
  redis.call('SET', key, string.sub(redis.call('GET', key), 1, length - #words), 'KEEPTTL')
end
-- A Redis that came back with an older state has forgotten what readers have seen. What stays is looked at first, so
-- that a refusal changes nothing.
if text == '' and not holds(partial_key, text_size) then return {LOG_LOST, ''} end
if (thinking == '' or resets_thinking) and not holds(thinking_key, thinking_size) then return {LOG_LOST, ''} end
if resets_thinking then
  redis.call('DEL', thinking_key)
  thinking_size = 0
end
if text ~= '' and not add(partial_key, text_size, text) then return {LOG_LOST, ''} end
if thinking ~= '' and not add(thinking_key, thinking_size, thinking) then return {LOG_LOST, ''} end
local changes = {'attempt', attempt, 'seq', seq, 'thought_for', thinking_ms}
"""
    + RECORD
    + "if expires > known_expires or offset == 1 then"
    + EXTEND
    + "end"
    + PUBLISH
)

# A change of the answer's model: rare, and so apart from what runs for every word.
HAND_OVER = (
    MEND
    + KNOWN
    + FENCE
    + """
if redis.call('STRLEN', partial_key) ~= text_size then return {LOG_LOST, ''} end
if resets_thinking then redis.call('DEL', thinking_key)
elseif redis.call('STRLEN', thinking_key) ~= thinking_size then return {LOG_LOST, ''} end
local changes = {'attempt', attempt, 'seq', seq, 'thought_for', thinking_ms, 'answer', answer}
"""
    + ANNOUNCE
)

END = (
    MEND
    + KNOWN
    + KEEP_MESSAGE
    + """
if known_generation ~= generation_id and text_size == 0 and thinking_size == 0 then
  -- No reader misses the end of what none has seen; but a front end that is late must not begin it any more.
  redis.call('HSET', meta_key, 'ended:' .. generation_id, 1)
  redis.call('PEXPIREAT', meta_key, math.max(expires, known_expires))
  return {offset, epoch or ''}
end
"""
    + FENCE
    + """
if redis.call('STRLEN', partial_key) ~= text_size then return {LOG_LOST, ''} end
if redis.call('STRLEN', thinking_key) ~= thinking_size then return {LOG_LOST, ''} end
local changes = {'attempt', attempt, 'seq', seq}
redis.call('DEL', partial_key, thinking_key)
redis.call('HDEL', meta_key, 'answer', 'start', 'thought_for')
if message ~= '' then keep(message) end
if retracts ~= '' then
  local last = redis.call('LINDEX', words_key, -1)
  if id_of(last) == retracts then
    redis.call('RPOP', words_key)
    redis.call('HINCRBY', meta_key, 'placed', -redis.call('HDEL', meta_key, 'place:' .. retracts))
    local name = 'children:' .. (parent_of(last) or '')
    local ids = redis.call('HGET', meta_key, name)
    local left = ids and string.match(ids, '^(.+) ' .. string.gsub(retracts, '%-', '%%-') .. '$')
    if left then redis.call('HSET', meta_key, name, left) end
    if ids == retracts then redis.call('HDEL', meta_key, name) end
  end
end
"""
    + ANNOUNCE
)

TAKE_OVER = (
    MEND
    + KNOWN
    + """
if known_generation ~= generation_id then return {LOG_LOST, '', '', 0} end
if known_attempt > attempt then return {FENCED, '', '', 0} end
redis.call('HSET', meta_key, 'attempt', attempt, 'seq', seq)
return {0, redis.call('GET', partial_key) or '', redis.call('GET', thinking_key) or '',
        tonumber(redis.call('HGET', meta_key, 'thought_for') or 0)}
"""
)

# Another epoch: readers of the lost log are told to read the conversation again. What Redis still has of the messages
# of an anonymous session stays.
RESET = (
    MEND
    + KNOWN
    + """
-- Ids of a session's generations grow: a greater one is the next. Of one that has waited it may be the one before;
-- its row is still its own, and if that has just ended, the next one finds its log lost, and resets it in turn.
if known_generation and known_generation > generation_id and not waited then return FENCED end
if redis.call('HEXISTS', meta_key, 'ended:' .. generation_id) == 1 then return FENCED end
if known_generation == generation_id then
  -- With the terminal event in it, there is nothing to begin.
  if known_attempt > attempt or (known_attempt == attempt and known_seq >= terminal_seq) then return FENCED end
end
expires = math.max(expires, known_expires)
redis.call('HSET', meta_key, 'generation', generation_id, 'attempt', attempt, 'seq', seq, 'answer', answer,
           'start', 0, 'epoch', new_epoch, 'offset', 0, 'thought_for', 0, 'expires', expires)
redis.call('DEL', log_key, partial_key, thinking_key)
redis.call('PEXPIREAT', meta_key, expires)
return 0
"""
)

REQUEST_STOP = (
    MEND
    + """
if redis.call('HGET', meta_key, 'generation') == generation_id then
  redis.call('HSET', meta_key, 'stop', generation_id)
end
"""
)

REQUEST_HANDOVER = (
    MEND
    + """
if redis.call('HGET', meta_key, 'generation') == generation_id then
  redis.call('HSET', meta_key, 'handover', generation_id)
end
"""
)

# Of an answer that no worker has begun.
RENAME_MODEL = (
    MEND
    + """
local generation, attempt = unpack(redis.call('HMGET', meta_key, 'generation', 'attempt'))
if generation == generation_id and attempt == '0' then redis.call('HSET', meta_key, 'answer', answer) end
"""
)

# Beside the log, of which MEND throws all away that it can't read.
KEEP_WAITING = (
    MEND
    + """
expires = math.max(expires, tonumber(redis.call('HGET', meta_key, 'expires') or 0))
redis.call('HSET', meta_key, 'waiting:' .. words_id, words)
redis.call('PEXPIREAT', meta_key, expires)
"""
)

TOUCH = (
    MEND
    + """
expires = math.max(expires, tonumber(redis.call('HGET', meta_key, 'expires') or 0))
if redis.call('EXISTS', meta_key) == 1 then redis.call('HSET', meta_key, 'expires', expires) end
for i = 1, #KEYS do redis.call('PEXPIREAT', KEYS[i], expires) end
"""
)


class WaitingWords(NamedTuple):
    """An anonymous session's question that waits."""

    words_id: UUID
    words: str


Arguments = tuple[str | int | UUID, ...]


class LogScript:
    """A script that runs on one session's keys."""

    def __init__(self, redis: Redis, body: str, *arguments: type[Arguments]) -> None:
        """`arguments`: NamedTuples of strings, integers, booleans and UUIDs, in the order of the values of a call."""
        self._script = redis.register_script(_declarations(arguments) + body)

    def __call__(self, session_id: UUID, *values: Arguments) -> Any:
        """Run it; what it returns. Raises Unavailable."""
        return self._script(keys(session_id), _flat(values))

    def call(self, session_id: UUID, *values: Arguments) -> ScriptCall:
        """It, with what it is to be run with: for those who run many together."""
        return ScriptCall(self._script, keys(session_id), _flat(values))


ANNOUNCE = "for number = 2, #ARGV do redis.call('PUBLISH', ARGV[number], ARGV[1]) end"
"""Announces a message, the first argument, on many channels: one command for all of them."""


class LogScripts:
    """All scripts, for one client."""

    def __init__(self, redis: Redis) -> None:
        self.append = LogScript(redis, APPEND, Announcement, NewLog)
        self.begin = LogScript(redis, BEGIN, Announcement, NewLog, Producer, Beginning)
        self.turn_to = LogScript(redis, TURN_TO, Announcement, NewLog, Turn)
        self.write = LogScript(redis, WRITE, Announcement, Producer, Size, Delta)
        self.hand_over = LogScript(redis, HAND_OVER, Announcement, Producer, Size, Delta, Carrying)
        self.request_handover = LogScript(redis, REQUEST_HANDOVER, Target)
        self.rename_model = LogScript(redis, RENAME_MODEL, Target, Carrying)
        self.end = LogScript(redis, END, Announcement, Producer, Size, Ending)
        self.take_over = LogScript(redis, TAKE_OVER, Producer)
        self.reset = LogScript(redis, RESET, Producer, Reset)
        self.request_stop = LogScript(redis, REQUEST_STOP, Target)
        self.keep_waiting = LogScript(redis, KEEP_WAITING, WaitingWords, Expiry)
        self.touch = LogScript(redis, TOUCH, Expiry)


def _declarations(arguments: tuple[type[Arguments], ...]) -> str:
    """Lua that gives the keys and the arguments their names."""
    codes = f"{FENCED}, {LOG_LOST}, {ENDED_BEFORE}, {MOVED_ON}"
    lines = [f"local FENCED, LOG_LOST, ENDED_BEFORE, MOVED_ON = {codes}"]
    lines += [f"local {name}_key = KEYS[{number}]" for number, name in enumerate(Keys._fields, 1)]
    fields = [field for each in arguments for field in get_type_hints(each).items()]
    lines += [f"local {name} = {_decoded(kind, f'ARGV[{number}]')}" for number, (name, kind) in enumerate(fields, 1)]
    return "\n".join(lines)


def _decoded(kind: type, argument: str) -> str:
    if kind is bool:
        return f"{argument} == '1'"
    return f"tonumber({argument})" if kind is int else argument


def _flat(values: tuple[Arguments, ...]) -> list[str | int]:
    return [_encoded(each) for value in values for each in value]


def _encoded(value: str | int | UUID) -> str | int:
    if isinstance(value, bool):
        return int(value)
    return str(value) if isinstance(value, UUID) else value

-- Append one batch of events to one shard of the log: number, store, publish. Nothing comes between.
-- What the keys and values mean is described in log.py.
--
-- KEYS[1]  {events:<shard>}:meta
-- ARGV[1]  the shard's number
-- ARGV[2]  an epoch, taken if the log has none yet, or has lost its end
-- ARGV[3]  the host's name, as JSON
-- ARGV[4]  how many events a stream keeps
-- ARGV[5]  how long it is kept after its last event, in seconds
-- ARGV[6]  how many events the index keeps
-- ARGV[7]  the channel that gets the format of the Go system too, or ''
-- ARGV[8]  who sends this batch
-- ARGV[9]  the batch's number among those of the same sender, ascending
-- ARGV[10] how long to remember this batch and the events' keys, in seconds
-- ARGV[11] the epoch of the last Position that the sender has seen, ARGV[12] its number
-- ARGV[13…] for each event: account ID, head, its idempotency key or ''
-- Answers  {epoch, how many streams had to be repaired, position of the first event, its Seq, position of the second, …}
--          with an error's text and 0 for an event that Redis would not take.
local meta, shard, host = KEYS[1], ARGV[1], ARGV[3]
local keep, expire, keep_index, go_channel = ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local batch, remember = tonumber(ARGV[9]), ARGV[10]
local count = (#ARGV - 12) / 3

local prefix = '{events:' .. shard .. '}:'
local index, times, last_ids = prefix .. 'index', prefix .. 'times', prefix .. 'last'
local sender = prefix .. 'batch:' .. ARGV[8]

local remembered = redis.call('GET', sender)
if remembered then
    local number, answers = unpack(cmsgpack.unpack(remembered))
    if number == batch then
        return answers
    elseif number > batch then
        return redis.error_reply('STALE batch ' .. batch .. ' comes after batch ' .. number)
    end
end

local function decimal(number)
    return string.format('%.0f', number)
end

-- XADD, also to a key that someone else has spoiled. What is of another type goes aside. In a stream, whose entries must
-- ascend, nothing of ours stands after the event before this one: what does is foreign, and goes.
local repaired = 0
local function add(key, position, seq, ...)
    local id = position .. '-' .. seq
    local done = redis.pcall('XADD', key, ...)
    if type(done) ~= 'table' or not done.err then
        return
    end
    if string.find(done.err, 'OOM', 1, true) then
        error(done.err)
    end
    repaired = repaired + 1
    if redis.call('TYPE', key).ok ~= 'stream' then
        redis.call('RENAME', key, key .. ':damaged')
    else
        local floor = decimal(tonumber(position) - 1) .. '-18446744073709551615'
        for _, entry in ipairs(redis.call('XRANGE', key, '(' .. floor, '+')) do
            redis.call('XDEL', key, entry[1])
        end
        local set = redis.pcall('XSETID', key, floor)
        if set.err then
            redis.call('RENAME', key, key .. ':damaged')
        end
    end
    redis.call('XADD', key, ...)
end

-- The Go system's event has a string for Data, with the host at its end.
local function go_format(id, head)
    local data_from = string.len('{"ID":,"Timestamp":"2021-02-06T17:35:30.000123Z","Data":') + string.len(id) + 1
    local text = string.sub(head, data_from)
    if string.sub(text, 1, 1) ~= '"' then
        text = cjson.encode(text)
    end
    return string.sub(head, 1, data_from - 1) .. string.sub(text, 1, -2) .. ' [' .. string.sub(host, 2, -2) .. ']"}'
end

-- Where the event with this key stands; what is no such thing counts as if it were not there.
local function standing(text)
    local at, seq = string.match(type(text) == 'string' and text or '', '^(%d+) (%d+)$')
    return at and {tonumber(at), tonumber(seq)}
end

-- Which events are here for the first time? And for the others: where does the first one stand, in the log or in this
-- batch?
local known, first_with = {}, {}
for i = 1, count do
    local key = ARGV[12 + 3 * i]
    if key ~= '' then
        key = prefix .. 'key:' .. ARGV[10 + 3 * i] .. ':' .. key
        known[i] = first_with[key] or standing(redis.pcall('GET', key))
        first_with[key] = first_with[key] or i
    end
end

redis.call('HSETNX', meta, 'epoch', ARGV[2]) -- always: without memory, this refuses the batch as a whole
local epoch, ticked, counted = unpack(redis.call('HMGET', meta, 'epoch', 'ticked', 'position'))
local position = tonumber(counted or 0)
-- A log that lost its end would give again Positions that somebody has seen already: it is another log from here on.
if epoch == ARGV[11] and position < tonumber(ARGV[12]) then
    epoch = ARGV[2]
    redis.call('HSET', meta, 'epoch', epoch)
end
local now = redis.call('TIME')
local micros = now[1] .. string.format('%06d', now[2])
local before_all = position
local listening = go_channel ~= '' and redis.pcall('PUBSUB', 'NUMSUB', go_channel)
local go_listens = listening and not listening.err and listening[2] > 0

local last = {} -- account ID -> {position, Seq} of its last event
local function append(i)
    local id, head, key = ARGV[10 + 3 * i], ARGV[11 + 3 * i], ARGV[12 + 3 * i]
    local stream, number = prefix .. id, decimal(position + 1)
    local before = last[id]
    if not before then
        local at, seq_before = string.match(redis.call('HGET', last_ids, id) or '0-0', '^(%d+)-(%d+)$')
        if not at then -- somebody else wrote there; the stream knows, too
            local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
            at, seq_before = string.match(newest and newest[1] or '0-0', '^(%d+)-(%d+)$')
        end
        before = {at, tonumber(seq_before)}
        before.expired = redis.call('EXPIRE', stream, expire) == 0 and before[2] > 0
    end
    local seq = decimal(before[2] + 1)
    local event = head .. ',"Host":' .. host .. ',"Position":"' .. epoch .. '-' .. shard .. '-' .. number
        .. '","Seq":' .. seq .. '}'
    local after = before[1] .. (before.expired and ' expired' or '')
    add(stream, number, seq, 'MAXLEN', '=', keep, number .. '-' .. seq, 'event', event, 'after', after)
    position = position + 1
    if not last[id] then
        redis.call('EXPIRE', stream, expire)
    end
    last[id] = {number, before[2] + 1}
    -- pcall from here on: what is stored is stored, even if the index is spoiled for good, or this user may not publish.
    pcall(add, index, number, id, 'MAXLEN', '~', keep_index, number .. '-' .. id, 'seq', seq)
    if key ~= '' then
        redis.pcall('SET', prefix .. 'key:' .. id .. ':' .. key, number .. ' ' .. seq, 'EX', remember)
    end
    redis.pcall('PUBLISH', 'events:' .. id, event)
    if go_listens then
        redis.pcall('PUBLISH', go_channel, go_format(id, head))
    end
    return position, before[2] + 1
end

local answers = {epoch, 0}
for i = 1, count do
    local at, seq
    if not known[i] then
        local done
        done, at, seq = pcall(append, i)
        if not done then
            at, seq = type(at) == 'table' and at.err or tostring(at), 0
        end
    elseif type(known[i]) == 'number' then
        at, seq = answers[1 + 2 * known[i]], answers[2 + 2 * known[i]]
    else
        at, seq = unpack(known[i])
    end
    answers[1 + 2 * i], answers[2 + 2 * i] = at, seq
end
answers[2] = repaired
if position > before_all then
    redis.call('HSET', meta, 'position', decimal(position), 'appended', micros)
    local millis = string.sub(micros, 1, -4)
    if tonumber(millis) >= tonumber(ticked or 0) + 1000 then
        local oldest = decimal(tonumber(millis) - 1000 * tonumber(expire))
        redis.call('HSET', meta, 'ticked', millis)
        redis.pcall('XADD', times, 'MINID', '~', oldest, millis .. '-0', 'before', decimal(before_all))
        redis.pcall('EXPIRE', times, expire)
    end
end
for id, entry in pairs(last) do
    redis.call('HSET', last_ids, id, entry[1] .. '-' .. decimal(entry[2]))
end
redis.pcall('EXPIRE', index, expire)
redis.pcall('SET', sender, cmsgpack.pack({batch, answers}), 'EX', remember)
return answers

-- Append one batch of events to one shard of the log: number, store, publish. Nothing comes between, but Redis takes
-- nothing back: an error after the first event was stored begins with PARTIAL, any other means that none was.
-- What the keys and values mean is described in log.py.
--
-- KEYS[1]  {events:<shard>}:meta
-- ARGV[1]  the shard's number
-- ARGV[2]  an epoch, taken if the log has none yet
-- ARGV[3]  the host's name, as JSON
-- ARGV[4]  how many events a stream keeps
-- ARGV[5]  how long a stream is kept after its last event, in seconds
-- ARGV[6]  the channel that gets the format of the Go system too, or ''
-- ARGV[7…] for each event: account ID, head
-- Answers  {position of the first event, its Seq, position of the second, …}
local meta, shard, host = KEYS[1], ARGV[1], ARGV[3]
local keep, expire, go_channel = ARGV[4], ARGV[5], ARGV[6]
local count = (#ARGV - 6) / 2

redis.call('HSETNX', meta, 'epoch', ARGV[2])
local epoch = redis.call('HGET', meta, 'epoch')
local last = redis.call('HINCRBY', meta, 'position', count)
local now = redis.call('TIME')
redis.call('HSET', meta, 'appended', now[1] .. string.format('%06d', now[2]))

local go_listens = go_channel ~= '' and redis.call('PUBSUB', 'NUMSUB', go_channel)[2] > 0

-- The Go system's event has a string for Data, with the host at its end.
local function go_format(id, head)
    local data_from = string.len('{"ID":,"Timestamp":"2021-02-06T17:35:30.000123Z","Data":') + string.len(id) + 1
    local text = string.sub(head, data_from)
    if string.sub(text, 1, 1) ~= '"' then
        text = cjson.encode(text)
    end
    return string.sub(head, 1, data_from - 1) .. string.sub(text, 1, -2) .. ' [' .. string.sub(host, 2, -2) .. ']"}'
end

local answers = {}
local function append(i)
    local id, head = ARGV[5 + 2 * i], ARGV[6 + 2 * i]
    local number = string.format('%.0f', last - count + i)
    local position = epoch .. '-' .. shard .. '-' .. number
    local seq = string.format('%.0f', redis.call('HINCRBY', '{events:' .. shard .. '}:seq', id, 1))
    local event = head .. ',"Host":' .. host .. ',"Position":"' .. position .. '","Seq":' .. seq .. '}'
    local stream = '{events:' .. shard .. '}:' .. id
    redis.call('XADD', stream, 'MAXLEN', '=', keep, number .. '-' .. seq, 'event', event)
    redis.call('EXPIRE', stream, expire)
    -- pcall: what is stored is stored, even if this user may not publish on these channels.
    redis.pcall('PUBLISH', 'events:' .. id, event)
    if go_listens then
        redis.pcall('PUBLISH', go_channel, go_format(id, head))
    end
    answers[2 * i - 1], answers[2 * i] = position, tonumber(seq)
end

for i = 1, count do
    local done, why = pcall(append, i)
    if not done then
        local text = type(why) == 'table' and why.err or tostring(why)
        return redis.error_reply(i > 1 and 'PARTIAL ' .. text or text)
    end
end
return answers

-- What wrk sends and reports. Arguments: how many accounts there are, `random` or `sequence`, and the first of them.
local accounts, in_sequence, account

function init(arguments)
  accounts = tonumber(arguments[1])
  in_sequence = arguments[2] == "sequence"
  account = tonumber(arguments[3]) - 1
  math.randomseed(os.time())
end

function request()
  if in_sequence then
    account = account % accounts + 1
  else
    account = math.random(accounts)
  end
  return "PUT /" .. account .. "?data=test%20data HTTP/1.1\r\nHost: tracker\r\n\r\n"
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "status": %d, "broken": %d, "timeout": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write, errors.timeout))
end

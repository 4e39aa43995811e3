-- What wrk sends and reports. Argument: how many accounts there are.
local accounts

function init(arguments)
  accounts = tonumber(arguments[1])
  math.randomseed(os.time())
end

function request()
  return "PUT /" .. math.random(accounts) .. "?data=test%20data HTTP/1.1\r\nHost: tracker\r\n\r\n"
end

function done(summary, latency, requests)
  local errors = summary.errors
  local accepted = summary.requests - errors.status
  io.write(string.format(
    '{"accepted": %d, "rate": %f, "p50": %f, "p99": %f, "status": %d, "broken": %d, "timeout": %d}\n',
    accepted, accepted / summary.duration * 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status, errors.connect + errors.read + errors.write, errors.timeout))
end

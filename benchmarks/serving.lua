-- Sends the bodies of a file, one after another and each once, and prints what came of it as JSON.
--   wrk -t1 -c8 -d3s -s serving.lua http://127.0.0.1:8000/v1/score -- bodies.jsonl [again]
-- `again` begins anew at the end of the file; without it the round ends there.
-- One thread only: every thread would send the same bodies.

local requests = {}
local begins_again = false
local asked = false
local threads = {}
issued = 0

function setup(thread)
  threads[#threads + 1] = thread
end

function init(args)
  begins_again = args[2] == "again"
  local headers = { ["Content-Type"] = "application/json" }
  for line in io.lines(args[1]) do
    -- Whole requests, so that nothing is formatted while the clock runs.
    requests[#requests + 1] = wrk.format("POST", nil, headers, line)
  end
end

function request()
  if not asked then
    -- wrk asks for one request that it does not send, to learn how many a string holds.
    asked = true
    return requests[1]
  end
  if issued == #requests and not begins_again then
    wrk.thread:stop()
    return requests[1]
  end
  issued = issued + 1
  return requests[(issued - 1) % #requests + 1]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\nRESULT {"answered": %d, "issued": %d, "seconds": %.6f, "p50_us": %d, "p95_us": %d, '
      .. '"p99_us": %d, "refused": %d, "broken": %d, "slow": %d}\n',
    summary.requests, threads[1]:get("issued"), summary.duration / 1e6, latency:percentile(50),
    latency:percentile(95), latency:percentile(99), errors.status,
    errors.connect + errors.read + errors.write, errors.timeout))
end

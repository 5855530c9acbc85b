package backends

import "github.com/redis/go-redis/v9"

// The fence key's value is "term epoch tokenEpoch tokenCounter handle last
// seq": the fence, the greatest token given out, which open backend raised it,
// and whose commit was the last one, the how manyth of that backend. The
// number makes a commit that arrives twice harmless, and the handle one that
// arrives after its sender has given up on it. Raising the fence leaves the
// last commit, so that its sender can still learn of it; and a refusal names
// it, so that the sender knows whether its commit, which the client may have
// sent twice, was carried out before.
//
// The store's id is the field "id" of the side hash, which a script has at hand
// anyway, and which a version that knows of no ids leaves alone. Without a fence
// the store counts as one without an id.

// raiseScript: KEYS fence side; ARGV term epoch tokenEpoch tokenCounter handle
// id, and what that may replace ("*": anything); see [Claim].
var raiseScript = redis.NewScript(`
local cur = redis.call('GET', KEYS[1])
local stored, id = redis.call('HGET', KEYS[2], 'id'), ARGV[6]
local have = cur and stored or ''
if id ~= '' and have ~= id then
  local may = false
  for i = 7, #ARGV do may = may or ARGV[i] == have or ARGV[i] == '*' end
  if not may then return {'OTHER', have} end
end
local t, e, te, tc, last, s = 0, 0, 0, 0, '-', '0'
if cur then
  local a, b, c, d, f, g = string.match(cur, '^(%d+) (%d+) (%d+) (%d+) %S+ (%S+) (%d+)$')
  if not a then return redis.error_reply('ERR the fence of lockcluster is not readable') end
  t, e, te, tc, last, s = tonumber(a), tonumber(b), tonumber(c), tonumber(d), f, g
end
local mt, me = tonumber(ARGV[1]), tonumber(ARGV[2])
if mt < t or (mt == t and me < e) then return {'FENCED', string.format('%.0f.%.0f', t, e), last, s} end
local nte, ntc = math.max(te, tonumber(ARGV[3])), math.max(tc, tonumber(ARGV[4]))
redis.call('SET', KEYS[1], string.format('%.0f %.0f %.0f %.0f %s %s %s', mt, me, nte, ntc, ARGV[5], last, s))
if id ~= '' and stored ~= id then redis.call('HSET', KEYS[2], 'id', id) end
return {'OK', string.format('%.0f', te), string.format('%.0f', tc), last, s}
`)

// commitScript: KEYS fence side record...; ARGV term epoch tokenEpoch
// tokenCounter handle seq id (of the store, "" for any), and for each record:
// field of the side hash, "1" if it is left out where old does not fit, old
// ("0", or "1" and the value), new (alike), side (alike).
var commitScript = redis.NewScript(`
local cur = redis.call('GET', KEYS[1])
local have = cur and redis.call('HGET', KEYS[2], 'id') or ''
if ARGV[7] ~= '' and have ~= ARGV[7] then return {'OTHER', have} end
if not cur then return {'TAKEN'} end
local a, b, c, d, h, last, s = string.match(cur, '^(%d+) (%d+) (%d+) (%d+) (%S+) (%S+) (%d+)$')
if not a then return redis.error_reply('ERR the fence of lockcluster is not readable') end
local t, e, te, tc = tonumber(a), tonumber(b), tonumber(c), tonumber(d)
local mt, me, seq = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[6])
if last == ARGV[5] and tonumber(s) == seq then return {'OK'} end
if mt < t or (mt == t and me < e) then return {'FENCED', string.format('%.0f.%.0f', t, e), last, s} end
if mt ~= t or me ~= e or h ~= ARGV[5] then return {'TAKEN', '', last, s} end
if (last == h and tonumber(s) or 0) ~= seq - 1 then return {'TAKEN', '', last, s} end
redis.call('HLEN', KEYS[2])
local i, todo = 8, {}
local function arg()
  local has, v = ARGV[i], ARGV[i + 1]
  i = i + 2
  if has == '0' then return false end
  return v
end
for n = 3, #KEYS do
  local field, soft = ARGV[i], ARGV[i + 1]
  i = i + 2
  local old, new, side = arg(), arg(), arg()
  if redis.pcall('GET', KEYS[n]) == old then
    todo[#todo + 1] = {KEYS[n], old, new, field, side}
  elseif soft == '0' then
    return {'CHANGED'}
  end
end
for _, w in ipairs(todo) do
  if not w[3] then redis.call('DEL', w[1]) elseif w[3] ~= w[2] then redis.call('SET', w[1], w[3]) end
  if w[5] then redis.call('HSET', KEYS[2], w[4], w[5]) else redis.call('HDEL', KEYS[2], w[4]) end
end
te, tc = math.max(te, tonumber(ARGV[3])), math.max(tc, tonumber(ARGV[4]))
redis.call('SET', KEYS[1], string.format('%.0f %.0f %.0f %.0f %s %s %.0f', t, e, te, tc, h, h, seq))
return {'OK'}
`)

// pair appends what the script's arg() reads.
func pair(args []any, v []byte) []any {
	if v == nil {
		return append(args, "0", "")
	}
	return append(args, "1", v)
}

-- The store's half of replication, inside Redis: what core/merge.c does to a cell, for all keys of a
-- batch at once (replica/batch.h says what a batch is, replica/link_message.c how it travels).
--
-- Loaded as a Redis Function, or, where there are none, called by EVALSHA. A script is atomic: a batch
-- is applied whole or not at all, so nothing may fail after the first write.
--
-- Numbers are doubles here: all of them are whole and below 2^53, where sums, products and floor(a / b)
-- are exact. Nothing is ever told as text that Lua formatted, but whole numbers that Redis formats.
--
-- Keys of a partition, all in one slot by their tag {mete:NAMESPACE:PARTITION}:
--   TAG node:ID      8 bytes incarnation, 7 bytes number of its last batch, what that was granted
--   TAG usage:ID     units admitted by a tenant, decimal
--   TAG name         a cell: epoch, value, demand, when that was summed (us), when the key expires (ms)
-- and of the namespace, tag {mete:NAMESPACE}: a hash of its constants and of the nodes that were heard.
-- What a key of ours must look like is checked; what is another's is left alone.

local CELL, CELL_BYTES = '<I7I7I5I7I6', 32
local MAX, DEMAND_MAX, HALF_US = 9007199254740991, 1099511627775, 50000
local ALIVE_US, FORGET_US = 3000000, 3600000000
local NODE_MS, USAGE_MS, NAMESPACE_MS = '604800000', '8640000000', '2764800000'

-- While a library is loaded, Redis keeps these out of its sight: the first call looks them up.
local floor, pack, parse, call

local function begin()
    floor, pack, parse, call = math.floor, struct.pack, struct.unpack, redis.call
end

local function foreign(name)
    return redis.error_reply('METEFOREIGN ' .. name)
end

-- Time may be told only where nothing but tests can be meant.
local function store_us(keys, told)
    if told ~= 0 then
        if string.sub(keys[1], 1, 11) ~= '{mete:test-' then
            return nil
        end
        return told
    end
    local now = call('TIME')
    return now[1] * 1000000 + now[2]
end

-- merge_demand(). Here and in merge(), x - x % 1 is floor(x) without a call.
local function demand_after(demand, passed_us, wanted)
    local left = 0
    if demand > 0 and passed_us < 40 * HALF_US then
        if passed_us >= HALF_US then
            demand = floor(demand / 2 ^ floor(passed_us / HALF_US))
            passed_us = passed_us % HALF_US
        end
        local part, whole = 512 * HALF_US - 157 * passed_us, 512 * HALF_US + 198 * passed_us
        local rest = demand % whole
        local more = rest * part / whole
        left = (demand - rest) / whole * part + more - more % 1
    end
    left = left + wanted * 64
    return left < DEMAND_MAX and left or DEMAND_MAX
end

-- limit_merge() of a window or calendar.
local function merge_count(epoch, value, charge)
    if charge >= 0 then
        value = value + charge
        return epoch, value < MAX and value or MAX
    elseif value > 0 then
        value = value + charge
        return epoch + 1, value > 0 and value or 0
    end
    return epoch, value
end

-- limit_merge() of a bucket.
local function merge_bucket(epoch, value, charge, ahead, cap, now)
    local most = now + cap
    if most > MAX then
        most = MAX
    end
    if value > most then
        epoch, value = epoch + 1, most
    end
    if charge < 0 then
        if value <= now then
            return epoch, value
        end
        value = value + charge
        return epoch + 1, value > now and value or now
    end
    if charge == 0 and ahead <= 0 then
        return epoch, value
    end
    local first = now + ahead
    if value < first then
        value = first
    end
    value = value + charge
    return epoch, value < most and value or most
end

local function cost_us(row, units)
    return units * row.unit_us + floor((units * row.unit_ticks + 15999) / 16000)
end

local function grant_bucket(row, value, wanted, now)
    local begin = value > now and value or now
    local room = now + row.most - begin
    local low, high = 0, wanted
    if room < 0 then
        room = 0
    end
    if row.unit_us > 0 and floor(room / row.unit_us) < high then
        high = floor(room / row.unit_us)
    end
    while low < high do
        local middle = floor((low + high + 1) / 2)
        if cost_us(row, middle) <= room then
            low = middle
        else
            high = middle - 1
        end
    end
    if low > 0 then
        value = begin + cost_us(row, low)
    end
    return low, value
end

local function in_view(row, previous, now)
    local length = row.window_us
    local left = length - now % length
    if previous > row.most then
        previous = row.most
    end
    while length >= 268435456 do
        length, left = floor(length / 2), floor(left / 2) + 1
    end
    if left > length then
        left = length
    end
    return floor((previous * left + length - 1) / length)
end

local function is_present(row, now)
    if row.kind == 3 then
        return floor(now / 1000000) < row.window
    elseif row.window_us == 0 then
        return false
    end
    return floor(now / row.window_us) % (row.kind == 2 and 65536 or 4294967296) == row.window
end

local function grant_count(row, value, previous, wanted, now)
    if not is_present(row, now) then
        return 0, value
    end
    local room = row.most - value
    if row.kind == 2 then
        room = room - in_view(row, previous, now)
    end
    local units = room < wanted and room or wanted
    if units < 0 then
        units = 0
    end
    return units, value + units
end

-- How long a cell is kept, after replica/batch.h.
local function lives_ms(row, epoch, value, now)
    if row.kind ~= 0 or epoch == 0 and value <= now then
        return row.expiry
    elseif epoch ~= 0 then
        return row.longest
    end
    return row.expiry + floor((value - now + 999) / 1000)
end

-- Writes a cell. An expiry is moved only when too little of it is left, and then by half as much again: so
-- a cell that is busy is mostly one short write. False: the name is another's.
local function write_moved(name, is_there, epoch, value, demand, now, row)
    local ms = lives_ms(row, epoch, value, now)
    ms = ms + floor(ms / 2) + 1000
    local bytes = pack(CELL, epoch, value, demand, now, floor(now / 1000) + ms)
    if not is_there then
        return call('SET', name, bytes, 'NX', 'PX', ms)
    end
    call('SETRANGE', name, '0', bytes)
    call('PEXPIRE', name, ms)
    return true
end

-- What the node's record says of this batch: as enum merge_batch, and what it was granted, by place, if it
-- is a repeat.
local function admit(record, incarnation, sequence)
    if not record or string.sub(record, 1, 8) ~= incarnation then
        return 3
    end
    local last = parse('<I7', record, 9)
    if last == 0 then
        return 3
    elseif sequence <= last then
        if sequence < last or #record <= 15 then
            return 1
        end
        local pairs_of, granted = cmsgpack.unpack(string.sub(record, 16)), {}
        for i = 1, #pairs_of, 2 do
            granted[pairs_of[i]] = pairs_of[i + 1]
        end
        return 1, granted
    end
    return sequence == last + 1 and 0 or 2
end

-- Is every key that is not a cell ours, or not there yet? Returns the name of one that is not.
local function stranger(keys, values, usages)
    local record = values[1]
    if record and #record < 15 or not record and call('EXISTS', keys[1]) == 1 then
        return keys[1]
    end
    for i = 2, 1 + usages do
        local value = values[i]
        if value and not string.match(value, '^-?%d+$') or not value and call('EXISTS', keys[i]) == 1 then
            return keys[i]
        end
    end
end

local function read_rows(a, at, count, now)
    local rows = {}
    for i = 0, count - 1 do
        local row = {usage = a[at], kind = a[at + 1] % 4, asks = a[at + 1] >= 4, cap = a[at + 2], expiry = a[at + 3],
                   unit_us = a[at + 4], unit_ticks = a[at + 5], most = a[at + 6], window_us = a[at + 7],
                   window = a[at + 8], longest = a[at + 3] + floor((a[at + 2] + 999) / 1000), units = 0}
        row.highest = row.kind == 0 and now + row.cap < MAX and now + row.cap or MAX
        row.late_ms = floor(now / 1000) + row.longest
        rows[2 * i], rows[2 * i + 1] = row, row
        at = at + 9
    end
    return rows, at
end

-- What happens to few keys: a reset, a refund, a bucket beyond its cap.
local function merge_rare(row, head, epoch, value, a, at, now)
    if head % 2 == 1 then
        epoch, value = epoch + 1, 0
    end
    if row.kind == 0 then
        return merge_bucket(epoch, value, a[at + 3], a[at + 4], row.cap, now)
    end
    return merge_count(epoch, value, a[at + 3])
end

local function grant(row, value, previous, asked, now)
    if row.kind == 0 then
        return grant_bucket(row, value, asked, now)
    end
    return grant_count(row, value, previous, asked, now)
end

-- Units of the window before, as it is or as this batch has just made it.
local function units_before(name, bytes, fresh)
    local units = 0
    if bytes and #bytes == CELL_BYTES then
        local _
        _, units = parse(CELL, bytes)
    end
    return fresh[name] or units
end

-- The usage counters and the record of the node.
local function account(keys, values, sums, sequence, incarnation, grants)
    local is_time = sequence % 64 == 0
    for usage, units in pairs(sums) do
        if units ~= 0 then
            call('INCRBY', keys[2 + usage], units)
            if is_time or not values[2 + usage] then
                call('PEXPIRE', keys[2 + usage], USAGE_MS)
            end
        end
    end
    local record = incarnation .. pack('<I7', sequence)
    if grants or is_time or not values[1] or #values[1] ~= 15 then
        call('SET', keys[1], record .. (grants and cmsgpack.pack(grants) or ''), 'PX', NODE_MS)
    else
        call('SETRANGE', keys[1], '0', record)
    end
end

-- The loop is written for the interpreter: what is used for each key is local, what keys of a row have in
-- common is looked up when the row changes, and nothing is called that can be said in place.
local function merge(keys, args)
    begin()
    local a = cmsgpack.unpack(args[1])
    local now = store_us(keys, a[1])
    if not now then
        return redis.error_reply('METETIME only a namespace that begins with test- may be told the time')
    end
    local sequence, incarnation, usages, count = a[2], a[3], a[4], a[6]
    local rows, at = read_rows(a, 7, a[5], now)
    local values = call('MGET', unpack(keys))
    local strange = stranger(keys, values, usages)
    if strange then
        return foreign(strange)
    end
    local outcome, known = admit(values[1], incarnation, sequence)
    local applies = outcome ~= 1
    local answer, extras, sums, grants, fresh = {outcome, now, 0, count}, {}, {}, nil, {}
    local name_at, out, now_ms = 2 + usages, 5, floor(now / 1000)
    local call, parse, pack, cell_format, cell_bytes = call, parse, pack, CELL, CELL_BYTES
    local half_us, half_512, demand_max = HALF_US, 512 * HALF_US, DEMAND_MAX
    local last, row, is_bucket, asks, highest, late_ms
    for i = 1, count do
        local head = a[at]
        if head ~= last then
            last, row = head, rows[head]
            is_bucket, asks, highest, late_ms = row.kind == 0, row.asks, row.highest, row.late_ms
        end
        local name, bytes = keys[name_at], values[name_at]
        local epoch, value, demand, demand_at, expires = 0, 0, 0, now, 0
        local is_there, previous, granted = false, 0, 0
        name_at = name_at + 1
        if bytes then
            if #bytes == cell_bytes then
                is_there = true
                epoch, value, demand, demand_at, expires = parse(cell_format, bytes)
            else
                answer[3] = i
            end
        end
        if row.kind == 2 then
            previous = units_before(keys[name_at], values[name_at], fresh)
            name_at = name_at + 1
        end
        local passed, wanted = now - demand_at, applies and a[at + 6] or 0
        if passed >= half_us then
            demand = demand_after(demand, passed, wanted)
        else
            if demand > 0 and passed > 0 then
                local whole = half_512 + 198 * passed
                local rest, part = demand % whole, half_512 - 157 * passed
                local more = rest * part / whole
                demand = (demand - rest) / whole * part + more - more % 1
            end
            demand = demand + wanted * 64
            demand = demand < demand_max and demand or demand_max
        end
        if applies then
            local old_epoch, old_value = epoch, value
            local base_epoch, base_value, charge = a[at + 1], a[at + 2], a[at + 3]
            if base_epoch > epoch or base_epoch == epoch and base_value > value then
                epoch, value = base_epoch, base_value
            end
            if charge < 0 or value > highest or head % 2 == 1 then
                epoch, value = merge_rare(row, head, epoch, value, a, at, now)
            elseif is_bucket then
                local ahead = a[at + 4]
                if charge > 0 or ahead > 0 then
                    value = (value < now + ahead and now + ahead or value) + charge
                    value = value < highest and value or highest
                end
            else
                value = value + charge < MAX and value + charge or MAX
            end
            if asks and a[at + 7] > 0 then
                granted, value = grant(row, value, previous, a[at + 7], now)
                grants = grants or {}
                grants[#grants + 1] = i
                grants[#grants + 1] = granted
            end
            if a[at + 5] ~= 0 then
                row.units = row.units + a[at + 5]
            end
            if bytes and not is_there then
                epoch = epoch -- another's: neither read nor written
            elseif epoch ~= old_epoch or value ~= old_value or wanted > 0 then
                if expires >= late_ms or
                    expires > 0 and expires >= now_ms + lives_ms(row, epoch, value, now) then
                    call('SETRANGE', name, '0', pack(cell_format, epoch, value, demand, now, expires))
                elseif not write_moved(name, is_there, epoch, value, demand, now, row) then
                    answer[3] = i
                end
            end
            if row.kind == 2 then
                fresh[name] = value
            end
        elseif known then
            granted = known[i] or 0
        end
        answer[out], answer[out + 1], answer[out + 2] = epoch, value, demand
        if previous > 0 or granted > 0 then
            extras[#extras + 1] = i
            extras[#extras + 1] = previous
            extras[#extras + 1] = granted
        end
        out, at = out + 3, at + (asks and 8 or 7)
    end
    if applies then
        for i = 0, 2 * a[5] - 2, 2 do
            sums[rows[i].usage] = (sums[rows[i].usage] or 0) + rows[i].units
        end
        account(keys, values, sums, sequence, incarnation, grants)
    end
    for i = 1, #extras do
        answer[out], out = extras[i], out + 1
    end
    return cmsgpack.pack(answer)
end

-- What a user must be allowed to call, tried on a name like those of cells. Looked at before anything is
-- written: a batch that was refused in its middle would be half applied. (Redis 7 can tell.)
local NEEDED = {{'time'}, {'mget', ''}, {'set', '', 'v'}, {'setrange', '', '0', 'v'}, {'pexpire', '', '1'},
                {'incrby', '', '1'}, {'exists', ''}, {'hgetall', ''}, {'hset', '', 'f', 'v'}, {'hdel', '', 'f'}}

local function forbidden(name)
    for _, words in ipairs(redis.acl_check_cmd and NEEDED or {}) do
        local command = {unpack(words)}
        command[2] = command[2] and name
        if not redis.acl_check_cmd(unpack(command)) then
            return redis.error_reply('NOPERM ' .. words[1])
        end
    end
end

-- A node says that it is there. Arguments: node id, token of its process, number of partitions, version of
-- this library, told time, 1 to leave. Answers what is wrong ('' if nothing), the number of nodes that
-- were heard within 3 s, the time, and a detail: another version that is there too.
local function beat(keys, args)
    begin()
    local node, token, partitions, version = args[1], args[2], args[3], args[4]
    local refusal = forbidden(string.sub(keys[1], 1, -2) .. ':0}x')
    if refusal then
        return refusal
    end
    local now = store_us(keys, tonumber(args[5]))
    local all = now and redis.pcall('HGETALL', keys[1]) or nil
    if not now then
        return redis.error_reply('METETIME')
    elseif all.err then
        return string.find(all.err, 'WRONGTYPE') and foreign(keys[1]) or all
    end
    local live, other, wrong, gone, told = 1, '', '', {}, string.format('%.0f', now)
    for i = 1, #all, 2 do
        local field, value = all[i], all[i + 1]
        local id = string.match(field, '^node:(.*)$')
        local its_token, its_version, its_us = string.match(value, '^(%S+) (%S+) (%d+)$')
        local age = its_us and now - tonumber(its_us) or FORGET_US
        if field == 'partitions' and value ~= partitions then
            return {'partitions', 0, told, value}
        elseif id == node then
            if its_token ~= token and age < ALIVE_US then
                wrong = 'taken'
            end
        elseif id and age < ALIVE_US then
            live = live + 1
            if its_version ~= version then
                other = id .. ' ' .. its_version
            end
        elseif id and age >= FORGET_US then
            gone[#gone + 1] = field
        end
    end
    if wrong ~= '' then
        return {wrong, live, told, ''}
    elseif args[6] == '1' then
        call('HDEL', keys[1], 'node:' .. node)
        return {'', live - 1, told, ''}
    end
    call('HSET', keys[1], 'partitions', partitions, 'node:' .. node, token .. ' ' .. version .. ' ' .. told)
    if #gone > 0 then
        call('HDEL', keys[1], unpack(gone, 1, math.min(#gone, 1000)))
    end
    call('PEXPIRE', keys[1], NAMESPACE_MS)
    return {'', live, told, other}
end

if redis.register_function then
    redis.register_function(LIBRARY .. '_merge', merge)
    redis.register_function(LIBRARY .. '_beat', beat)
else
    return (#ARGV == 1 and merge or beat)(KEYS, ARGV)
end

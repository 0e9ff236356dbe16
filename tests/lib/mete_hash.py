"""The hashes that the protocol names, in plain Python and from their published descriptions.

FNV-1a (32 bit), SipHash-2-4 (Aumasson and Bernstein, 2012) and XXH3-128 with a seed (xxHash specification, any
length). Slow and obvious on purpose: they judge the C code and share nothing with it.
"""
import struct

M32 = 0xFFFFFFFF
M64 = 0xFFFFFFFFFFFFFFFF


def fnv1a(data):
    """32-bit FNV-1a of bytes."""
    h = 2166136261
    for byte in data:
        h = (h ^ byte) * 16777619 & M32
    return h


def siphash24(key, data):
    """SipHash-2-4 of bytes under a key of 16 bytes, as 8 bytes."""
    k0, k1 = struct.unpack("<QQ", key)
    v0, v1, v2, v3 = k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573
    words = struct.unpack(f"<{len(data) // 8 + 1}Q", data + bytes(7 - len(data) % 8) + bytes([len(data) & 0xFF]))
    for word in words + (None,):
        if word is None:
            v2 ^= 0xFF
        else:
            v3 ^= word
        for _ in range(4 if word is None else 2):
            v0 = v0 + v1 & M64
            v2 = v2 + v3 & M64
            v1 = (v1 << 13 | v1 >> 51) & M64 ^ v0
            v3 = (v3 << 16 | v3 >> 48) & M64 ^ v2
            v0 = (v0 << 32 | v0 >> 32) & M64
            v2 = v2 + v1 & M64
            v0 = v0 + v3 & M64
            v1 = (v1 << 17 | v1 >> 47) & M64 ^ v2
            v3 = (v3 << 21 | v3 >> 43) & M64 ^ v0
            v2 = (v2 << 32 | v2 >> 32) & M64
        v0 ^= word or 0
    return struct.pack("<Q", v0 ^ v1 ^ v2 ^ v3)


# --- XXH3 ---

P32_1, P32_2, P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
P64_1, P64_2, P64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P64_4, P64_5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
MX1, MX2 = 0x165667919E3779F9, 0x9FB21C651E98DF25

SECRET = bytes.fromhex("""
    b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221
    b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8
    a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb
    170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e""")


def _u32(data, at):
    return struct.unpack_from("<I", data, at)[0]


def _u64(data, at):
    return struct.unpack_from("<Q", data, at)[0]


def _swap32(x):
    return int.from_bytes(x.to_bytes(4, "little"), "big")


def _swap64(x):
    return int.from_bytes(x.to_bytes(8, "little"), "big")


def _fold(a, b):
    product = a * b
    return (product ^ product >> 64) & M64


def _avalanche64(h):
    """The finish of XXH64."""
    h = (h ^ h >> 33) * P64_2 & M64
    h = (h ^ h >> 29) * P64_3 & M64
    return h ^ h >> 32


def _avalanche(h):
    """The finish of XXH3."""
    h = (h ^ h >> 37) * MX1 & M64
    return h ^ h >> 32


def _xxh3_0_to_16(data, seed):
    size = len(data)
    if size == 0:
        return (_avalanche64(seed ^ _u64(SECRET, 64) ^ _u64(SECRET, 72)),
                _avalanche64(seed ^ _u64(SECRET, 80) ^ _u64(SECRET, 88)))
    if size <= 3:
        low = data[0] << 16 | data[size >> 1] << 24 | data[size - 1] | size << 8
        high = _swap32(low)
        high = (high << 13 | high >> 19) & M32
        low ^= ((_u32(SECRET, 0) ^ _u32(SECRET, 4)) + seed) & M64
        high ^= ((_u32(SECRET, 8) ^ _u32(SECRET, 12)) - seed) & M64
        return _avalanche64(low), _avalanche64(high)
    if size <= 8:
        seed ^= _swap32(seed & M32) << 32
        both = _u32(data, 0) | _u32(data, size - 4) << 32
        both ^= ((_u64(SECRET, 16) ^ _u64(SECRET, 24)) + seed) & M64
        product = both * (P64_1 + (size << 2))
        low, high = product & M64, product >> 64 & M64
        high = (high + (low << 1)) & M64
        low ^= high >> 3
        low = (low ^ low >> 35) * MX2 & M64
        return low ^ low >> 28, _avalanche(high)
    first, last = _u64(data, 0), _u64(data, size - 8)
    product = (first ^ last ^ ((_u64(SECRET, 32) ^ _u64(SECRET, 40)) - seed) & M64) * P64_1
    low, high = product & M64, product >> 64
    low = (low + ((size - 1) << 54)) & M64
    last ^= ((_u64(SECRET, 48) ^ _u64(SECRET, 56)) + seed) & M64
    high = (high + last + (last & M32) * (P32_2 - 1)) & M64
    low ^= _swap64(high)
    product = low * P64_2
    return _avalanche(product & M64), _avalanche(((product >> 64) + high * P64_2) & M64)


def _mix16(data, at, secret_at, seed):
    return _fold(_u64(data, at) ^ (_u64(SECRET, secret_at) + seed) & M64,
                 _u64(data, at + 8) ^ (_u64(SECRET, secret_at + 8) - seed) & M64)


def _mix32(low, high, data, one, two, secret_at, seed):
    low = (low + _mix16(data, one, secret_at, seed)) & M64
    low ^= (_u64(data, two) + _u64(data, two + 8)) & M64
    high = (high + _mix16(data, two, secret_at + 16, seed)) & M64
    high ^= (_u64(data, one) + _u64(data, one + 8)) & M64
    return low, high


def _xxh3_17_to_240(data, seed):
    size = len(data)
    low, high = size * P64_1 & M64, 0
    if size <= 128:
        for i in range((size - 1) // 32, -1, -1):
            low, high = _mix32(low, high, data, 16 * i, size - 16 * (i + 1), 32 * i, seed)
    else:
        for i in range(4):
            low, high = _mix32(low, high, data, 32 * i, 32 * i + 16, 32 * i, seed)
        low, high = _avalanche(low), _avalanche(high)
        for i in range(4, size // 32):
            low, high = _mix32(low, high, data, 32 * i, 32 * i + 16, 3 + 32 * (i - 4), seed)
        low, high = _mix32(low, high, data, size - 16, size - 32, 136 - 17 - 16, -seed & M64)
    return (_avalanche((low + high) & M64),
            -_avalanche((low * P64_1 + high * P64_4 + (size - seed) * P64_2) & M64) & M64)


def _accumulate(acc, data, at, secret, secret_at):
    for i in range(8):
        value = _u64(data, at + 8 * i)
        keyed = value ^ _u64(secret, secret_at + 8 * i)
        acc[i ^ 1] = (acc[i ^ 1] + value) & M64
        acc[i] = (acc[i] + (keyed & M32) * (keyed >> 32)) & M64


def _merge(acc, secret, secret_at, start):
    for i in range(0, 8, 2):
        start += _fold(acc[i] ^ _u64(secret, secret_at + 8 * i), acc[i + 1] ^ _u64(secret, secret_at + 8 * i + 8))
    return _avalanche(start & M64)


def _xxh3_long(data, seed):
    secret = b"".join(struct.pack("<QQ", (_u64(SECRET, i) + seed) & M64, (_u64(SECRET, i + 8) - seed) & M64)
                      for i in range(0, 192, 16))
    acc = [P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1]
    size = len(data)
    blocks = (size - 1) // 1024
    for block in range(blocks):
        for stripe in range(16):
            _accumulate(acc, data, block * 1024 + stripe * 64, secret, stripe * 8)
        for i in range(8):
            mixed = acc[i] ^ acc[i] >> 47 ^ _u64(secret, 128 + 8 * i)
            acc[i] = mixed * P32_1 & M64
    for stripe in range((size - 1 - blocks * 1024) // 64):
        _accumulate(acc, data, blocks * 1024 + stripe * 64, secret, stripe * 8)
    _accumulate(acc, data, size - 64, secret, 192 - 64 - 7)
    return (_merge(acc, secret, 11, size * P64_1 & M64),
            _merge(acc, secret, 192 - 64 - 11, ~(size * P64_2) & M64))


def xxh3_128(data, seed=0):
    """XXH3-128 of bytes with a 64-bit seed, as 16 bytes, low 64 bits first, each little endian."""
    size = len(data)
    form = _xxh3_0_to_16 if size <= 16 else _xxh3_17_to_240 if size <= 240 else _xxh3_long
    return struct.pack("<QQ", *form(data, seed))

/* The program on the interface, run by the kernel on frames: it takes ours and nothing else. Judged
 * by a model that reads a frame the plain way, over made frames and over random changes of them.
 * Needs the right to load programs; skipped with the reason where it is missing. */
#include "lib/random.h"
#include "net/xdp_program.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "net/frame.h"
#include "net/xdp_carry.h"
#include "unit/frames.h"

#define PORT 6383

struct loaded {
    int map, socket, program;
    struct xdp_program text;
    struct sockaddr_storage targets[4];
};

static struct loaded plain, tagged;
static const char *reason;

static void add_target(struct loaded *loaded, const char *address, uint16_t port)
{
    struct sockaddr_storage *target = &loaded->targets[loaded->text.target_count++];
    struct sockaddr_in *v4 = (struct sockaddr_in *)target;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)target;
    if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
    } else {
        assert_int_equal(inet_pton(AF_INET6, address, &v6->sin6_addr), 1);
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
    }
}

/* The slot of queue 0 holds a socket, so that what is taken is told from what is passed on. */
static int load(struct loaded *loaded, uint16_t vlan)
{
    static struct bpf_insn insns[XDP_PROGRAM_MAX_INSNS];
    static char log[65536];
    const uint32_t zero = 0;
    LIBBPF_OPTS(bpf_prog_load_opts, options, .log_level = 1, .log_buf = log,
                .log_size = sizeof(log));
    loaded->map = bpf_map_create(BPF_MAP_TYPE_XSKMAP, "test", 4, 4, 1, NULL);
    loaded->socket = socket(AF_XDP, SOCK_RAW, 0);
    if (loaded->map < 0 || loaded->socket < 0)
        return loaded->map < 0 ? loaded->map : -errno;
    int result = bpf_map_update_elem(loaded->map, &zero, &loaded->socket, 0);
    if (result)
        return result;
    memcpy(loaded->text.mac, frames_own_mac, 6);
    loaded->text.vlan = vlan;
    loaded->text.sockets_map = loaded->map;
    loaded->text.carry_map = -1;
    if (vlan) /* with answers or without, as long as none waits */
        loaded->text.carry_map =
            bpf_map_create(BPF_MAP_TYPE_ARRAY, "test", 4, sizeof(struct xdp_carry_shared), 1, NULL);
    if (vlan && loaded->text.carry_map < 0)
        return loaded->text.carry_map;
    loaded->text.targets = loaded->targets;
    add_target(loaded, "192.0.2.1", PORT);
    add_target(loaded, "2001:db8::1", PORT);
    add_target(loaded, "198.51.100.9", 7000);
    add_target(loaded, "fe80::9", 7001);
    const unsigned count = xdp_program_write(&loaded->text, insns);
    loaded->program = bpf_prog_load(BPF_PROG_TYPE_XDP, "test", "GPL", insns, count, &options);
    if (loaded->program < 0 && loaded->program != -EPERM)
        print_error("%s\n", log);
    return loaded->program < 0 ? loaded->program : 0;
}

static int load_both(void **state)
{
    (void)state;
    int result = load(&plain, 0);
    if (!result)
        result = load(&tagged, 100);
    if (result == -EPERM || result == -EAFNOSUPPORT || result == -ENOSYS) {
        reason = strerror(-result);
        return 0;
    }
    return result;
}

static void need_rights(void)
{
    if (reason) {
        print_message("no right to load programs: %s\n", reason);
        skip();
    }
}

static bool is_taken(const struct loaded *loaded, const struct made_frame *frame)
{
    static uint8_t out[FRAMES_ROOM + 256];
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame->bytes, .data_size_in = frame->len,
                .data_out = out, .data_size_out = sizeof(out), .repeat = 1);
    assert_int_equal(bpf_prog_test_run_opts(loaded->program, &options), 0);
    assert_int_equal(options.data_size_out, frame->len);
    assert_memory_equal(out, frame->bytes, frame->len);
    assert_true(options.retval == XDP_PASS || options.retval == XDP_REDIRECT);
    return options.retval == XDP_REDIRECT;
}

/* ---- the model ---- */

static uint32_t get16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

static bool is_target(const struct loaded *loaded, int family, const uint8_t *address,
                      const uint8_t *port)
{
    for (unsigned i = 0; i < loaded->text.target_count; i++) {
        const struct sockaddr_in *v4 = (const void *)&loaded->targets[i];
        const struct sockaddr_in6 *v6 = (const void *)&loaded->targets[i];
        if (loaded->targets[i].ss_family == family && memcmp(&v4->sin_port, port, 2) == 0 &&
            (family == AF_INET ? memcmp(&v4->sin_addr, address, 4)
                               : memcmp(&v6->sin6_addr, address, 16)) == 0)
            return true;
    }
    return false;
}

static bool ought_to_be_taken(const struct loaded *loaded, const struct made_frame *frame)
{
    static const uint8_t zeroes[8];
    const uint8_t *at = frame->bytes;
    uint32_t tag = 0, ip = 14;
    bool has_tag = frame->len >= 42 && get16(at + 12) == 0x8100;
    if (has_tag) {
        tag = get16(at + 14) & 0xFFF;
        ip = 18;
    }
    if (frame->len < ip + 28 || memcmp(at, frames_own_mac, 6) != 0 ||
        (loaded->text.vlan && !has_tag) || tag != loaded->text.vlan)
        return false;
    const uint8_t *header = at + ip;
    if (get16(header - 2) == 0x0800)
        return header[0] == 0x45 && header[9] == 17 && (get16(header + 6) & 0x3FFF) == 0 &&
               header[12] != 0 && header[12] != 127 && header[12] < 224 &&
               is_target(loaded, AF_INET, header + 16, header + 22);
    if (get16(header - 2) == 0x86DD && frame->len >= ip + 48)
        return header[0] >> 4 == 6 && header[6] == 17 && get16(header + 46) != 0 &&
               header[8] != 0xFF && memcmp(header + 8, zeroes, 8) != 0 &&
               is_target(loaded, AF_INET6, header + 24, header + 42);
    return false;
}

/* ---- */

struct judged {
    const char *what;
    struct frame_recipe recipe;
    bool by_plain, by_tagged;
};

static void recipes(void **state)
{
    (void)state;
    need_rights();
#define TO(address, port, number) .target = address, .target_port = port, .tag = number
    static const struct judged cases[] = {
        {"ours", {.source = "192.0.2.7", TO("192.0.2.1", PORT, -1)}, true, false},
        {"ours, priority tag", {.source = "192.0.2.7", TO("192.0.2.1", PORT, 0xE000)}, true, false},
        {"ours, tag 100", {.source = "192.0.2.7", TO("192.0.2.1", PORT, 0x6064)}, false, true},
        {"ours, tag 101", {.source = "192.0.2.7", TO("192.0.2.1", PORT, 101)}, false, false},
        {"ours by IPv6", {.source = "2001:db8::7", TO("2001:db8::1", PORT, -1)}, true, false},
        {"ours by IPv6, tag 100",
         {.source = "2001:db8::7", TO("2001:db8::1", PORT, 100)},
         false,
         true},
        {"link-local", {.source = "fe80::7", TO("fe80::9", 7001, -1)}, true, false},
        {"second address", {.source = "192.0.2.7", TO("198.51.100.9", 7000, -1)}, true, false},
        {"its port at the first", {.source = "192.0.2.7", TO("192.0.2.1", 7000, -1)}, false, false},
        {"another port", {.source = "192.0.2.7", TO("192.0.2.1", 53, -1)}, false, false},
        {"another host", {.source = "192.0.2.7", TO("192.0.2.2", PORT, -1)}, false, false},
        {"another host by IPv6",
         {.source = "2001:db8::7", TO("2001:db8::2", PORT, -1)},
         false,
         false},
        {"from loopback", {.source = "127.0.0.1", TO("192.0.2.1", PORT, -1)}, false, false},
        {"from multicast", {.source = "224.0.0.1", TO("192.0.2.1", PORT, -1)}, false, false},
        {"from ::1", {.source = "::1", TO("2001:db8::1", PORT, -1)}, false, false},
        {"from IPv4 in disguise",
         {.source = "::ffff:127.0.0.1", TO("2001:db8::1", PORT, -1)},
         false,
         false},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct frame_recipe recipe = cases[i].recipe;
        struct made_frame frame;
        recipe.source_port = 40000;
        recipe.payload_len = 56;
        frames_make(&recipe, &frame);
        if (is_taken(&plain, &frame) != cases[i].by_plain ||
            is_taken(&tagged, &frame) != cases[i].by_tagged)
            fail_msg("%s", cases[i].what);
    }
}

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static void change(struct made_frame *frame, uint64_t *seed)
{
    const uint64_t how = next_random(seed);
    const uint32_t headers = frame->payload;
    if (how % 4 == 0)
        frame->len = (uint32_t)(how >> 8) % (frame->len + 1);
    else
        for (uint64_t i = 0; i <= how % 3; i++) {
            const uint64_t where = next_random(seed);
            frame->bytes[where % headers] = (uint8_t)(where >> 32);
        }
    if (frame->len < 14)
        frame->len = 14; /* the kernel takes none shorter */
}

/* What is taken is also never foreign to who reads it. */
static void random_changes(void **state)
{
    (void)state;
    need_rights();
    const uint64_t first = random_seed(1), count = random_count(20000);
    uint64_t seed = first * 2654435769u + 1, taken = 0;
    for (uint64_t i = 0; i < count; i++) {
        const bool is_v6 = i % 2;
        const struct frame_recipe recipe = {
            .source = is_v6 ? "2001:db8::7" : "192.0.2.7",
            .target = is_v6 ? "2001:db8::1" : "192.0.2.1",
            .source_port = 40000,
            .target_port = PORT,
            .tag = i % 3 == 0   ? -1
                   : i % 3 == 1 ? 100
                                : 0,
            .payload_len = (uint32_t)(i % 60),
            .has_no_sum = i % 16 == 5,
        };
        struct made_frame frame;
        struct frame read;
        frames_make(&recipe, &frame);
        if (i % 8)
            change(&frame, &seed);
        struct loaded *loaded = i % 5 < 3 ? &plain : &tagged;
        const bool is = is_taken(loaded, &frame);
        if (is != ought_to_be_taken(loaded, &frame))
            fail_msg("METE_SEED=%llu: frame %llu", (unsigned long long)first,
                     (unsigned long long)i);
        if (is)
            assert_int_not_equal(frame_decode(frame.bytes, frame.len, &read), FRAME_FOREIGN);
        taken += is;
    }
    assert_in_range(taken, count / 20, count / 2); /* or nothing was tried */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recipes),
        cmocka_unit_test(random_changes),
    };
    return cmocka_run_group_tests(tests, load_both, NULL);
}

/* The program on the interface and the worker's side of net/xdp_carry.h, over one map, run by the
 * kernel on frames: every answer leaves once and whole, every question is found once and whole,
 * whatever the two do in turn. Needs the right to load programs; skipped with the reason where it
 * is missing. */
#include "lib/random.h"
#include "net/xdp_carry.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "net/xdp_program.h"
#include "unit/frames.h"

#define PORT 6383
#define QUEUES 2u
#define LEAST 60u /* bytes of an answer here */

static const char *reason;
static int program;
static struct xdp_carry_shared *shared;
static struct xdp_carry carry;
static struct sockaddr_in target;

static int make_maps(struct xdp_program *text)
{
    LIBBPF_OPTS(bpf_map_create_opts, mapped, .map_flags = BPF_F_MMAPABLE);
    const uint32_t zero = 0;
    int one = socket(AF_XDP, SOCK_RAW, 0);
    text->sockets_map = bpf_map_create(BPF_MAP_TYPE_XSKMAP, "test", 4, 4, 1, NULL);
    text->carry_map =
        bpf_map_create(BPF_MAP_TYPE_ARRAY, "test", 4, sizeof(*shared), QUEUES, &mapped);
    if (one < 0 || text->sockets_map < 0 || text->carry_map < 0)
        return one < 0 ? -errno : text->sockets_map < 0 ? text->sockets_map : text->carry_map;
    void *area = mmap(NULL, QUEUES * sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED,
                      text->carry_map, 0);
    if (area == MAP_FAILED)
        return -errno;
    shared = area;
    return bpf_map_update_elem(text->sockets_map, &zero, &one, 0);
}

static int load(void **state)
{
    static struct bpf_insn insns[XDP_PROGRAM_MAX_INSNS];
    static char log[65536];
    LIBBPF_OPTS(bpf_prog_load_opts, options, .log_level = 1, .log_buf = log,
                .log_size = sizeof(log));
    struct sockaddr_storage targets[1] = {0};
    struct xdp_program text = {.targets = targets, .target_count = 1};
    (void)state;
    target = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(PORT)};
    inet_pton(AF_INET, "192.0.2.1", &target.sin_addr);
    memcpy(targets, &target, sizeof(target));
    memcpy(text.mac, frames_own_mac, 6);
    int result = make_maps(&text);
    if (!result) {
        const unsigned count = xdp_program_write(&text, insns);
        program = bpf_prog_load(BPF_PROG_TYPE_XDP, "test", "GPL", insns, count, &options);
        result = program < 0 ? program : 0;
    }
    if (result == -EPERM || result == -EAFNOSUPPORT || result == -ENOSYS) {
        reason = strerror(-result);
        return 0;
    }
    if (result)
        print_error("%s\n", log);
    return result;
}

static int begin(void **state)
{
    (void)state;
    if (reason) {
        print_message("no right to load programs: %s\n", reason);
        return 0;
    }
    memset(shared, 0, QUEUES * sizeof(*shared));
    xdp_carry_init(&carry, &shared[0]);
    return 0;
}

static void need_rights(void)
{
    if (reason)
        skip();
}

/* ---- both sides ---- */

struct bytes {
    uint32_t len;
    uint8_t at[FRAMES_ROOM];
};

/* Bytes that tell one number from all others. */
static void fill(uint8_t *at, uint32_t len, uint64_t number)
{
    for (uint32_t i = 0; i < len; i++)
        at[i] = (uint8_t)(number >> 8 * (i % 3)) ^ (uint8_t)i;
}

static void make_question(uint64_t number, uint32_t payload_len, struct bytes *ret)
{
    const struct frame_recipe recipe = {.source = "192.0.2.7",
                                        .target = "192.0.2.1",
                                        .source_port = 40000,
                                        .target_port = PORT,
                                        .tag = -1,
                                        .payload_len = payload_len};
    struct made_frame frame;
    frames_make(&recipe, &frame);
    fill(frame.bytes + frame.payload, payload_len, number);
    ret->len = frame.len;
    memcpy(ret->at, frame.bytes, frame.len);
}

/* What the program says of a frame and makes of it. */
static uint32_t run(const struct bytes *in, struct bytes *ret_out)
{
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = in->at, .data_size_in = in->len,
                .data_out = ret_out->at, .data_size_out = sizeof(ret_out->at), .repeat = 1);
    assert_int_equal(bpf_prog_test_run_opts(program, &options), 0);
    ret_out->len = options.data_size_out;
    return options.retval;
}

static void assert_same(const struct bytes *one, const uint8_t *other, uint32_t len)
{
    assert_int_equal(one->len, len);
    assert_memory_equal(one->at, other, len);
}

static bool offer(uint64_t number, uint32_t len)
{
    uint32_t word;
    if (!xdp_carry_get(&carry, &word))
        return false;
    fill(xdp_carry_frame(&carry, word), len, number);
    xdp_carry_offer(&carry, word, len);
    return true;
}

static void assert_is_answer(const struct bytes *frame, uint64_t number, uint32_t len)
{
    struct bytes expected;
    fill(expected.at, len, number);
    assert_same(frame, expected.at, len);
}

/* ---- one at a time ---- */

static void nothing_waits(void **state)
{
    struct bytes in, out;
    (void)state;
    need_rights();
    make_question(1, 56, &in);
    assert_int_equal(run(&in, &out), XDP_REDIRECT);
    assert_same(&out, in.at, in.len);
    assert_true(xdp_carry_is_empty(&carry));
}

/* Answers of every length into questions of every length. */
static void exchange(void **state)
{
    static const uint32_t lengths[] = {0, 1, 14, 18, 56, 100, 213, 214};
    uint64_t number = 0;
    struct bytes in, out;
    (void)state;
    need_rights();
    for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
        for (uint32_t len = XDP_CARRY_LEAST_BYTES; len <= XDP_CARRY_FRAME_BYTES; len += 7) {
            make_question(number, lengths[i], &in);
            assert_true(offer(++number, len));
            assert_int_equal(run(&in, &out), XDP_REDIRECT); /* not published */
            xdp_carry_publish(&carry);
            assert_int_equal(xdp_carry_waiting(&carry), 1);
            assert_int_equal(run(&in, &out), XDP_TX);
            assert_is_answer(&out, number, len);
            const uint32_t word = xdp_carry_peek(&carry);
            assert_true(word & XDP_CARRY_CAME);
            assert_same(&in, xdp_carry_frame(&carry, word), xdp_carry_len(word));
            xdp_carry_take(&carry);
            xdp_carry_free(&carry, word);
            assert_true(xdp_carry_is_empty(&carry));
        }
}

static void too_long(void **state)
{
    struct bytes in, out;
    (void)state;
    need_rights();
    offer(1, LEAST);
    xdp_carry_publish(&carry);
    for (uint32_t payload = 215; payload < 1500; payload += 257) {
        make_question(1, payload, &in);
        assert_int_equal(run(&in, &out), XDP_REDIRECT);
        assert_same(&out, in.at, in.len);
        assert_int_equal(xdp_carry_waiting(&carry), 1);
    }
}

/* What is not ours is not exchanged, and another queue's answers are another's. */
static void only_ours(void **state)
{
    struct bytes in, out;
    (void)state;
    need_rights();
    offer(1, LEAST);
    xdp_carry_publish(&carry);
    make_question(1, 56, &in);
    in.at[37] ^= 1; /* another port */
    assert_int_equal(run(&in, &out), XDP_PASS);
    assert_same(&out, in.at, in.len);
    assert_int_equal(xdp_carry_waiting(&carry), 1);
    xdp_carry_init(&carry, &shared[1]);
    offer(1, LEAST);
    xdp_carry_publish(&carry);
    in.at[37] ^= 1;
    assert_int_equal(run(&in, &out), XDP_TX);
    assert_int_equal(xdp_carry_waiting(&carry), 1);
}

static void the_first_frame_wakes(void **state)
{
    struct bytes in, out;
    (void)state;
    need_rights();
    make_question(1, 56, &in);
    offer(1, LEAST);
    offer(2, LEAST);
    xdp_carry_publish(&carry);
    xdp_carry_set_asleep(&carry, true);
    assert_int_equal(run(&in, &out), XDP_REDIRECT);
    assert_same(&out, in.at, in.len);
    assert_int_equal(run(&in, &out), XDP_TX);
    assert_is_answer(&out, 1, LEAST);
    xdp_carry_set_asleep(&carry, true);
    xdp_carry_set_asleep(&carry, false);
    assert_int_equal(run(&in, &out), XDP_TX);
    assert_is_answer(&out, 2, LEAST);
}

/* Answers that were taken back are had by the worker, the oldest first. */
static void expect_unsent(uint64_t first, uint64_t last)
{
    for (uint64_t number = first; number <= last; number++) {
        const uint32_t word = xdp_carry_peek(&carry);
        struct bytes unsent = {.len = xdp_carry_len(word)};
        assert_true(word & XDP_CARRY_UNSENT);
        memcpy(unsent.at, xdp_carry_frame(&carry, word), unsent.len);
        assert_is_answer(&unsent, number, LEAST);
        xdp_carry_take(&carry);
        xdp_carry_free(&carry, word);
    }
    assert_int_equal(xdp_carry_peek(&carry), 0);
}

static void taken_back(void **state)
{
    struct bytes in, out;
    (void)state;
    need_rights();
    make_question(1, 56, &in);
    for (uint64_t number = 1; number <= 8; number++)
        offer(number, LEAST);
    xdp_carry_publish(&carry);
    xdp_carry_thin(&carry); /* they had no chance yet */
    assert_int_equal(xdp_carry_waiting(&carry), 8);
    xdp_carry_thin(&carry);
    expect_unsent(1, 4);
    assert_int_equal(run(&in, &out), XDP_TX);
    assert_is_answer(&out, 5, LEAST);
    xdp_carry_take_back(&carry);
    assert_int_equal(run(&in, &out), XDP_REDIRECT);
    assert_true(xdp_carry_peek(&carry) & XDP_CARRY_CAME);
    xdp_carry_free(&carry, xdp_carry_peek(&carry));
    xdp_carry_take(&carry);
    expect_unsent(6, 8);
    assert_true(xdp_carry_is_empty(&carry));
    assert_int_equal(carry.free_count, XDP_CARRY_PLACES);
}

static void nobody_waits_for_long(void **state)
{
    (void)state;
    need_rights();
    offer(1, LEAST);
    for (unsigned i = 0; i < XDP_CARRY_AGES; i++)
        xdp_carry_publish(&carry);
    assert_int_equal(xdp_carry_waiting(&carry), 1);
    xdp_carry_publish(&carry);
    assert_int_equal(xdp_carry_waiting(&carry), 0);
    expect_unsent(1, 1);
}

/* ---- all of it, at random ---- */

struct seen {
    uint64_t offered, left, asked, found; /* so many */
    uint64_t number[XDP_CARRY_PLACES];    /* of the answer in each place */
};

static uint32_t len_of(uint64_t number)
{
    return LEAST + (uint32_t)(number % 150);
}

static void note_answer(struct seen *seen, const struct bytes *frame, uint32_t position)
{
    uint64_t *number = &seen->number[position % XDP_CARRY_PLACES];
    assert_is_answer(frame, *number, len_of(*number));
    *number = 0; /* has left */
    seen->left++;
}

static void ask(struct seen *seen, uint64_t dice)
{
    struct bytes in, out;
    const uint32_t position = shared->claimed;
    make_question(seen->asked + 1, (uint32_t)(dice % 200), &in);
    const uint32_t verdict = run(&in, &out);
    if (verdict == XDP_REDIRECT) {
        assert_same(&out, in.at, in.len);
        return;
    }
    assert_int_equal(verdict, XDP_TX);
    seen->asked++;
    note_answer(seen, &out, position);
}

static void find(struct seen *seen)
{
    const uint32_t word = xdp_carry_peek(&carry);
    struct bytes frame = {.len = xdp_carry_len(word)};
    if (!word)
        return;
    memcpy(frame.at, xdp_carry_frame(&carry, word), frame.len);
    xdp_carry_take(&carry);
    if (word & XDP_CARRY_UNSENT) {
        note_answer(seen, &frame, carry.next - 1);
        xdp_carry_free(&carry, word);
        return;
    }
    struct bytes expected;
    make_question(++seen->found, frame.len - XDP_CARRY_LEAST_BYTES, &expected);
    assert_same(&frame, expected.at, expected.len);
    if (seen->found % 7 == 0) { /* no answer to it */
        xdp_carry_free(&carry, word);
        return;
    }
    seen->number[carry.offered % XDP_CARRY_PLACES] = ++seen->offered;
    fill(xdp_carry_frame(&carry, word), len_of(seen->offered), seen->offered);
    xdp_carry_offer(&carry, word, len_of(seen->offered));
}

static void offer_next(struct seen *seen)
{
    const uint32_t position = carry.offered;
    if (offer(seen->offered + 1, len_of(seen->offered + 1)))
        seen->number[position % XDP_CARRY_PLACES] = ++seen->offered;
}

static void step(struct seen *seen, uint64_t dice)
{
    const uint64_t what = dice % 16;
    if (what < 7)
        ask(seen, dice >> 8);
    else if (what < 12)
        find(seen);
    else if (what == 12)
        offer_next(seen);
    else if (what == 13)
        xdp_carry_publish(&carry);
    else if (what == 14 && dice >> 8 & 1)
        xdp_carry_set_asleep(&carry, dice >> 9 & 1);
    else if (what == 15 && (dice >> 8) % 8 == 0)
        dice >> 11 & 1 ? xdp_carry_thin(&carry) : xdp_carry_take_back(&carry);
}

/* Positions begin just before they wrap around. */
static void at_random(void **state)
{
    const uint64_t first = random_seed(1), count = random_count(60000);
    uint64_t dice = first * 2654435769u + 1;
    struct seen seen = {0};
    (void)state;
    need_rights();
    shared->offered = shared->claimed = (uint32_t)-700;
    xdp_carry_init(&carry, shared);
    print_message("METE_SEED=%llu\n", (unsigned long long)first);
    for (uint64_t i = 0; i < count; i++) {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        step(&seen, dice);
    }
    xdp_carry_publish(&carry);
    do {
        xdp_carry_take_back(&carry);
        find(&seen);
        xdp_carry_publish(&carry);
    } while (!xdp_carry_is_empty(&carry));
    assert_int_equal(seen.left, seen.offered);
    assert_int_equal(seen.found, seen.asked);
    assert_int_equal(carry.free_count, XDP_CARRY_PLACES);
    assert_true(seen.asked > count / 16); /* or nothing was tried */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(nothing_waits, begin),
        cmocka_unit_test_setup(exchange, begin),
        cmocka_unit_test_setup(too_long, begin),
        cmocka_unit_test_setup(only_ours, begin),
        cmocka_unit_test_setup(the_first_frame_wakes, begin),
        cmocka_unit_test_setup(taken_back, begin),
        cmocka_unit_test_setup(nobody_waits_for_long, begin),
        cmocka_unit_test_setup(at_random, begin),
    };
    return cmocka_run_group_tests(tests, load, NULL);
}

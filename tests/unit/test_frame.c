/* Frames: what is read from one is what its fields say, whatever is wrong with one is told, and an
 * answer goes back where the question came from, with lengths and checksums that a slow sum agrees
 * with. */
#include "net/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "unit/frames.h"

static const struct frame_recipe v4 = {.source = "192.0.2.7",
                                       .target = "192.0.2.1",
                                       .source_port = 40000,
                                       .target_port = 6383,
                                       .tag = -1,
                                       .payload_len = 56};
static const struct frame_recipe v6 = {.source = "2001:db8::7",
                                       .target = "2001:db8::1",
                                       .source_port = 40001,
                                       .target_port = 6383,
                                       .tag = -1,
                                       .payload_len = 56};

static enum frame_fate fate_of(const struct made_frame *made)
{
    struct frame frame;
    return frame_decode(made->bytes, made->len, &frame);
}

static void judge_recipe(const struct frame_recipe *recipe)
{
    struct made_frame made;
    struct frame frame;
    char text[64];
    frames_make(recipe, &made);
    assert_int_equal(frame_decode(made.bytes, made.len, &frame), FRAME_OK);
    assert_int_equal(frame.headers, made.payload);
    assert_int_equal(frame.len, recipe->payload_len);
    const bool is_v6 = frame.peer.any.sa_family == AF_INET6;
    inet_ntop(frame.peer.any.sa_family,
              is_v6 ? (void *)&frame.peer.v6.sin6_addr : (void *)&frame.peer.v4.sin_addr, text,
              sizeof(text));
    assert_string_equal(text, recipe->source);
    assert_int_equal(ntohs(frame.peer.v4.sin_port), recipe->source_port);

    for (uint32_t len = 0; len <= recipe->payload_len; len += 8) {
        struct made_frame answer = made;
        struct frame back;
        answer.len = frame_answer(answer.bytes, frame.headers, len);
        assert_int_equal(answer.len, made.payload + len);
        assert_memory_equal(answer.bytes, frames_peer_mac, 6);
        assert_memory_equal(answer.bytes + 6, frames_own_mac, 6);
        assert_memory_equal(answer.bytes + 12, made.bytes + 12, made.ip - 12); /* type and tag */
        assert_int_equal(frames_udp_sum(&answer), 0xFFFF);
        assert_int_not_equal(answer.bytes[made.udp + 6] | answer.bytes[made.udp + 7], 0);
        assert_int_equal(frame_decode(answer.bytes, answer.len, &back), FRAME_OK);
        inet_ntop(back.peer.any.sa_family,
                  is_v6 ? (void *)&back.peer.v6.sin6_addr : (void *)&back.peer.v4.sin_addr, text,
                  sizeof(text));
        assert_string_equal(text, recipe->target);
        assert_int_equal(ntohs(back.peer.v4.sin_port), recipe->target_port);
        assert_int_equal(back.len, len);
        assert_memory_equal(answer.bytes + made.payload, made.bytes + made.payload, len);
    }
}

static void read_and_answered(void **state)
{
    (void)state;
    static const int tags[] = {-1, 0, 7, 0xE064};
    for (unsigned i = 0; i < 2; i++)
        for (unsigned tag = 0; tag < 4; tag++)
            for (uint32_t len = 0; len <= 1232; len += len < 64 ? 1 : 97) {
                struct frame_recipe recipe = i ? v6 : v4;
                recipe.tag = tags[tag];
                recipe.payload_len = len;
                recipe.padding = len % 3 * 9;
                judge_recipe(&recipe);
            }
}

/* Whatever the bytes: a sum of 0 is sent as 0xFFFF. The source port is turned until that case
 * comes. */
static void never_without_a_sum(void **state)
{
    (void)state;
    unsigned seen = 0;
    for (unsigned port = 1; port < 65536; port++) {
        struct frame_recipe recipe = v6;
        struct made_frame made;
        recipe.source_port = (uint16_t)port;
        recipe.payload_len = 0;
        frames_make(&recipe, &made);
        frame_answer(made.bytes, made.payload, 0);
        assert_int_not_equal(made.bytes[made.udp + 6] | made.bytes[made.udp + 7], 0);
        seen += made.bytes[made.udp + 6] == 0xFF && made.bytes[made.udp + 7] == 0xFF;
    }
    assert_int_equal(seen, 1);
}

static void sums(void **state)
{
    (void)state;
    struct made_frame made;
    struct frame_recipe recipe = v4;
    frames_make(&recipe, &made);
    for (uint32_t bit = 0; bit < 8 * (8 + recipe.payload_len); bit++) { /* the length says more */
        if (bit / 8 == 4 || bit / 8 == 5)
            continue;
        made.bytes[made.udp + bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(fate_of(&made), FRAME_BAD_CHECKSUM);
        made.bytes[made.udp + bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (uint32_t bit = 0; bit < 8 * 20; bit++) {
        made.bytes[made.ip + bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_not_equal(fate_of(&made), FRAME_OK);
        made.bytes[made.ip + bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    recipe.has_no_sum = true;
    frames_make(&recipe, &made);
    assert_int_equal(fate_of(&made), FRAME_OK);
    recipe = v6;
    recipe.has_no_sum = true;
    frames_make(&recipe, &made);
    assert_int_equal(fate_of(&made), FRAME_BAD_CHECKSUM);
}

/* As the kernel leaves it to a network card: only the pseudo-header is summed. */
static void sums_left_to_a_card(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct made_frame made;
        frames_make(i ? &v6 : &v4, &made);
        const uint8_t length[2] = {0, 64};
        const uint32_t pseudo =
            frames_add(length, 2, frames_add(made.bytes + made.ip + (i ? 8 : 12), i ? 32 : 8, 17));
        frames_put16(made.bytes + made.udp + 6, pseudo);
        assert_int_equal(fate_of(&made), FRAME_OK);
        frames_put16(made.bytes + made.udp + 6, pseudo + 1);
        assert_int_equal(fate_of(&made), FRAME_BAD_CHECKSUM);
    }
}

static void lengths(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct frame_recipe recipe = i % 2 ? v6 : v4;
        struct made_frame made;
        recipe.tag = i / 2 ? 5 : -1;
        frames_make(&recipe, &made);
        const uint32_t whole = made.len;
        for (made.len = 0; made.len < whole; made.len++)
            assert_int_equal(fate_of(&made), FRAME_SHORT);
        static const uint16_t wrong[] = {0, 7, 8, 63, 65, 0xFFFF};
        for (unsigned j = 0; j < sizeof(wrong) / sizeof(wrong[0]); j++) {
            frames_make(&recipe, &made);
            frames_put16(made.bytes + made.udp + 4, wrong[j]);
            frames_put16(made.bytes + made.udp + 6, 0);
            assert_int_equal(fate_of(&made), FRAME_SHORT);
            frames_make(&recipe, &made);
            frames_put16(made.bytes + made.ip + (i % 2 ? 4 : 2), wrong[j]);
            if (i % 2 == 0)
                frames_sum_ip(&made);
            assert_int_equal(fate_of(&made), FRAME_SHORT);
        }
    }
}

static void foreign(void **state)
{
    (void)state;
    static const struct {
        bool is_v6;
        uint32_t at; /* in the IP header, or in the frame from 100 on */
        uint8_t value;
        enum frame_fate fate;
    } cases[] = {
        {false, 0, 0x46, FRAME_FOREIGN},     {false, 0, 0x44, FRAME_FOREIGN},
        {false, 0, 0x65, FRAME_FOREIGN},     {false, 6, 0x20, FRAME_FOREIGN},
        {false, 7, 0x01, FRAME_FOREIGN},     {false, 9, 6, FRAME_FOREIGN},
        {true, 0, 0x40, FRAME_FOREIGN},      {true, 6, 0, FRAME_FOREIGN},
        {true, 6, 44, FRAME_FOREIGN},        {true, 6, 6, FRAME_FOREIGN},
        {false, 112, 0x86, FRAME_FOREIGN},   {true, 113, 0x06, FRAME_FOREIGN},
        {false, 12, 127, FRAME_BAD_ADDRESS}, {false, 12, 0, FRAME_BAD_ADDRESS},
        {false, 12, 224, FRAME_BAD_ADDRESS}, {false, 12, 255, FRAME_BAD_ADDRESS},
        {true, 8, 0xFF, FRAME_BAD_ADDRESS},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct made_frame made;
        frames_make(cases[i].is_v6 ? &v6 : &v4, &made);
        made.bytes[cases[i].at < 100 ? made.ip + cases[i].at : cases[i].at - 100] = cases[i].value;
        if (!cases[i].is_v6 && cases[i].at < 100)
            frames_sum_ip(&made);
        assert_int_equal(fate_of(&made), cases[i].fate);
    }
    static const char *const sources[] = {"::", "::1", "::ffff:192.0.2.7", "::192.0.2.7"};
    for (unsigned i = 0; i < 4; i++) {
        struct frame_recipe recipe = v6;
        struct made_frame made;
        recipe.source = sources[i];
        frames_make(&recipe, &made);
        assert_int_equal(fate_of(&made), FRAME_BAD_ADDRESS);
    }
    struct frame_recipe recipe = v4;
    struct made_frame made;
    recipe.source_port = 0;
    frames_make(&recipe, &made);
    assert_int_equal(fate_of(&made), FRAME_BAD_ADDRESS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(read_and_answered),
        cmocka_unit_test(never_without_a_sum),
        cmocka_unit_test(sums),
        cmocka_unit_test(sums_left_to_a_card),
        cmocka_unit_test(lengths),
        cmocka_unit_test(foreign),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

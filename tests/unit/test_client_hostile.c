/* The C client against answers that are wrong, late, doubled, out of order or no answers at all,
 * and against every status. A random run at the end mixes all of it: METE_SEED and METE_COUNT
 * choose. */
#include "lib/random.h"
#include "unit/client_fake.h"

#include <stdlib.h>

/* One check in flight, taken by the fake. */
static void in_flight(struct fake *fake, struct mete_client *client, struct seen *seen,
                      struct taken *taken)
{
    *seen = (struct seen){0};
    assert_int_equal(submit(client, "alice", 9, 0, seen), 0);
    mete_client_flush(client);
    fake_take_type(fake, taken, METE_CHECK);
}

#define WRONG_COUNT 12u

/* Spoils a good result in one of the ways there are, signed again where the tag is not what is
 * wrong. Returns its length. */
static size_t spoil(unsigned wrong, const struct taken *taken, uint8_t *bytes, size_t len)
{
    uint64_t tag = mete_wire_tag(taken->bytes, taken->len);
    switch (wrong) {
    case 0: /* a bit of the tag */
        bytes[len - 1] ^= 0x80;
        return len;
    case 1: /* no tag */
        memset(bytes + len - METE_WIRE_TAG_BYTES, 0, METE_WIRE_TAG_BYTES);
        return len;
    case 2: /* another sequence number */
        bytes[4] ^= 1;
        break;
    case 3: /* another type */
        bytes[1] = METE_REFUND | METE_RESULT;
        break;
    case 4: /* another request's tag */
        tag++;
        break;
    case 5: /* MIN, not asked for */
        bytes[2] = METE_RESULT_MIN;
        bytes[15] = 0x20;
        len = 32;
        break;
    case 6: /* STATUS that says OK */
        bytes[2] = METE_RESULT_STATUS;
        bytes[3] = 0;
        bytes[15] = 0x20;
        len = 24;
        break;
    case 7: /* a request */
        memcpy(bytes, taken->bytes, taken->len);
        return taken->len;
    case 8: /* nothing */
        return 0;
    default: /* too long */
        return METE_WIRE_MAX_BYTES + 16;
    }
    mete_wire_sign_result(bytes, len, tag, NULL);
    return len;
}

/* Each way in which a result can be wrong: it is dropped and counted, the check goes on waiting,
 * and the good answer is then taken. */
static void test_wrong_results_are_dropped(void **state)
{
    (void)state;
    struct fake fake;
    struct taken taken, past;
    struct seen seen;
    fake_open(&fake);
    struct mete_client *client = fake_client(&fake, (struct mete_client_options){0});
    fake_meet(&fake, client);
    in_flight(&fake, client, &seen, &past);
    fake_allow(&fake, &past);
    assert_int_equal(mete_client_process(client), 1);
    in_flight(&fake, client, &seen, &taken);
    struct mete_verdict verdicts[2] = {{.flags = METE_VERDICT_ALLOW, .remaining = 1}};
    for (unsigned wrong = 0; wrong < WRONG_COUNT; wrong++) {
        uint8_t bytes[METE_WIRE_MAX_BYTES + 16] = {0};
        size_t len;
        if (wrong == WRONG_COUNT - 1) /* the answer to a request of the past */
            len = fake_result(&fake, &past, verdicts, 1, bytes);
        else if (wrong == WRONG_COUNT - 2) /* another n */
            len = fake_result(&fake, &taken, verdicts, 2, bytes);
        else
            len = spoil(wrong, &taken, bytes, fake_result(&fake, &taken, verdicts, 1, bytes));
        fake_send(&fake, &taken, bytes, len);
        assert_int_equal(mete_client_process(client), 0);
        assert_int_equal(mete_client_stats(client).dropped, wrong + 1);
    }
    fake_allow(&fake, &taken);
    assert_int_equal(mete_client_process(client), 1);
    assert_int_equal(seen.answer.remaining, 9);
    fake_allow(&fake, &taken); /* and once more: of no effect */
    assert_int_equal(mete_client_process(client), 0);
    assert_int_equal(mete_client_stats(client).dropped, WRONG_COUNT + 1);
    mete_client_close(client);
    close(fake.fd);
}

/* What a blocking call gave up is nobody's when its answer comes after all. */
static void test_late_for_a_blocking_call(void **state)
{
    (void)state;
    struct fake fake;
    struct taken taken;
    struct mete_answer answer;
    struct seen seen = {0};
    fake_open(&fake);
    struct mete_client *client =
        fake_client(&fake, (struct mete_client_options){.timeout_us = 300000});
    mete_client_check(client, "demo", "alice", 5, 8, &answer);
    assert_int_equal(answer.source, METE_SOURCE_TIMEOUT);
    fake_take_type(&fake, &taken, METE_CHECK);
    assert_int_equal(submit(client, "bob", 9, 0, &seen), 0); /* takes the place it had */
    fake_allow(&fake, &taken);
    assert_int_equal(mete_client_process(client), 0);
    assert_int_equal(mete_client_stats(client).dropped, 1);
    assert_int_equal(answer.source, METE_SOURCE_TIMEOUT);
    assert_int_equal(seen.count, 0);
    mete_client_close(client);
    close(fake.fd);
}

/* A forged HELLO result gives no seed; the good one does. */
static void test_wrong_hello_is_dropped(void **state)
{
    (void)state;
    struct fake fake;
    struct taken taken, hello;
    struct seen seen;
    fake_open(&fake);
    struct mete_client *client = fake_client(&fake, (struct mete_client_options){0});
    in_flight(&fake, client, &seen, &taken);
    fake_take(&fake, &hello, 0);
    struct taken forged = hello;
    forged.bytes[forged.len - 1] ^= 1;
    fake_hello(&fake, &forged);
    fake_allow(&fake, &taken);
    assert_int_equal(mete_client_process(client), 1);
    assert_int_equal(mete_client_stats(client).dropped, 1);
    in_flight(&fake, client, &seen, &taken);
    assert_int_equal(taken.header.flags, METE_FLAG_RAW_SUBJECT);
    fake_hello(&fake, &hello);
    mete_client_process(client);
    in_flight(&fake, client, &seen, &taken);
    assert_int_equal(taken.header.flags, 0);
    mete_client_close(client);
    close(fake.fd);
}

/* Statuses decide nothing: the fallback, with the status in sight. TABLE_FULL decides by ALLOW. */
static void test_statuses(void **state)
{
    (void)state;
    struct fake fake;
    struct taken taken;
    struct seen seen;
    fake_open(&fake);
    struct mete_client *client =
        fake_client(&fake, (struct mete_client_options){.fallback = METE_FALLBACK_DENY});
    fake_meet(&fake, client);
    static const uint8_t of_entry[] = {METE_STATUS_UNKNOWN_RULE, METE_STATUS_BAD_LIMIT,
                                       METE_STATUS_LIMITED, 200};
    for (unsigned i = 0; i < sizeof(of_entry); i++) {
        in_flight(&fake, client, &seen, &taken);
        fake_deny_with(&fake, &taken, of_entry[i]);
        assert_int_equal(mete_client_process(client), 1);
        assert_int_equal(seen.answer.source, METE_SOURCE_STATUS);
        assert_int_equal(seen.answer.status, of_entry[i]);
        assert_int_equal(seen.answer.allowed, 0);
    }
    static const uint8_t of_all[] = {METE_STATUS_UNSUPPORTED, METE_STATUS_SHED, 201};
    for (unsigned i = 0; i < sizeof(of_all); i++) {
        in_flight(&fake, client, &seen, &taken);
        fake_status(&fake, &taken, of_all[i]);
        assert_int_equal(mete_client_process(client), 1);
        assert_int_equal(seen.answer.source, METE_SOURCE_STATUS);
        assert_int_equal(seen.answer.status, of_all[i]);
    }
    for (uint8_t allow = 0; allow < 2; allow++) {
        struct mete_verdict full = {.status = METE_STATUS_TABLE_FULL, .flags = allow};
        in_flight(&fake, client, &seen, &taken);
        fake_answer(&fake, &taken, &full);
        assert_int_equal(mete_client_process(client), 1);
        assert_int_equal(seen.answer.source, METE_SOURCE_SERVER);
        assert_int_equal(seen.answer.status, METE_STATUS_TABLE_FULL);
        assert_int_equal(seen.answer.allowed, allow);
    }
    mete_client_close(client);
    close(fake.fd);
}

/* NEED_SUBJECT: asked again with the subject, and at once with it from then on. STALE: asked again
 * with the clock it told, once. */
static void test_asked_again(void **state)
{
    (void)state;
    struct fake fake;
    struct taken taken, again;
    struct seen seen;
    fake_open(&fake);
    struct mete_client *client = fake_client(&fake, (struct mete_client_options){0});
    fake_meet(&fake, client);
    in_flight(&fake, client, &seen, &taken);
    assert_int_equal(taken.header.flags, 0);
    fake_deny_with(&fake, &taken, METE_STATUS_NEED_SUBJECT);
    assert_int_equal(mete_client_process(client), 0);
    for (unsigned i = 0; i < 2; i++) {
        fake_take(&fake, &again, 0);
        assert_int_equal(again.header.flags, METE_FLAG_RAW_SUBJECT);
        assert_int_not_equal(again.header.sequence, taken.header.sequence);
        assert_memory_equal(fake_entry(&again, 0).subject, "alice", 5);
        fake_allow(&fake, &again);
        assert_int_equal(mete_client_process(client), 1);
        assert_int_equal(seen.answer.remaining, 9);
        submit(client, "alice", 9, 0, &seen);
        mete_client_flush(client);
    }
    fake_take(&fake, &taken, 0);
    fake_deny_with(&fake, &taken, METE_STATUS_NEED_SUBJECT); /* it had it: no third time */
    assert_int_equal(mete_client_process(client), 1);
    assert_int_equal(seen.answer.status, METE_STATUS_NEED_SUBJECT);

    fake.clock_ms = 77000000;
    in_flight(&fake, client, &seen, &taken);
    fake_status(&fake, &taken, METE_STATUS_STALE);
    assert_int_equal(mete_client_process(client), 0);
    fake_take(&fake, &again, 0);
    assert_true(again.header.clock_ms - 77000000 < 60000);
    fake_status(&fake, &again, METE_STATUS_STALE);
    assert_int_equal(mete_client_process(client), 1);
    assert_int_equal(seen.answer.status, METE_STATUS_STALE);
    mete_client_close(client);
    close(fake.fd);
}

/* What the numbers of a verdict become. */
static void test_numbers(void **state)
{
    (void)state;
    struct fake fake;
    struct taken taken;
    struct seen seen = {0};
    fake_open(&fake);
    struct mete_client *client =
        fake_client(&fake, (struct mete_client_options){.jitter_percent = 50});
    fake_meet(&fake, client);
    struct mete_verdict verdict = {.unit = METE_UNIT_MS | METE_UNIT_S << 4,
                                   .remaining = 4,
                                   .retry_after = 100,
                                   .reset_after = 5};
    uint64_t least = UINT64_MAX, most = 0;
    for (unsigned i = 0; i < 200; i++) {
        in_flight(&fake, client, &seen, &taken);
        fake_answer(&fake, &taken, &verdict);
        mete_client_process(client);
        least = seen.answer.retry_after_us < least ? seen.answer.retry_after_us : least;
        most = seen.answer.retry_after_us > most ? seen.answer.retry_after_us : most;
    }
    assert_int_equal(seen.answer.allowed, 0);
    assert_int_equal(seen.answer.remaining, 4);
    assert_int_equal(seen.answer.granted, 0);
    assert_int_equal(seen.answer.reset_after_us, 5000000);
    assert_true(least >= 100000 && most <= 150000 && most - least > 10000);
    verdict.retry_after = METE_WIRE_NEVER;
    in_flight(&fake, client, &seen, &taken);
    fake_answer(&fake, &taken, &verdict);
    mete_client_process(client);
    assert_true(seen.answer.retry_after_us == METE_NEVER);
    verdict =
        (struct mete_verdict){.flags = METE_VERDICT_ALLOW | METE_VERDICT_DELAY, .retry_after = 250};
    in_flight(&fake, client, &seen, &taken);
    fake_answer(&fake, &taken, &verdict);
    mete_client_process(client);
    assert_int_equal(seen.answer.delay_us, 250);
    assert_int_equal(seen.answer.granted, 9);
    verdict = (struct mete_verdict){
        .flags = METE_VERDICT_ALLOW | METE_VERDICT_GRANTED, .unit = 3, .retry_after = 5};
    submit(client, "alice", 9, METE_FLAG_AT_MOST, &seen);
    mete_client_flush(client);
    fake_take(&fake, &taken, 0);
    fake_answer(&fake, &taken, &verdict);
    mete_client_process(client);
    assert_int_equal(seen.answer.granted, 5);
    assert_int_equal(seen.answer.retry_after_us, 0);
    mete_client_close(client);
    close(fake.fd);
}

/* MIN, asked for: a bit each. */
static void test_min_result(void **state)
{
    (void)state;
    struct fake fake;
    struct taken taken;
    struct seen seen[10] = {0};
    uint8_t bytes[32] = {0};
    fake_open(&fake);
    struct mete_client *client = fake_client(&fake, (struct mete_client_options){0});
    fake_meet(&fake, client);
    for (unsigned i = 0; i < 10; i++)
        submit(client, "alice", 2, METE_FLAG_MIN_RESULT, &seen[i]);
    mete_client_flush(client);
    fake_take(&fake, &taken, 0);
    struct mete_result_header header = {.type = METE_CHECK | METE_RESULT,
                                        .flags = METE_RESULT_MIN,
                                        .n = 10,
                                        .sequence = taken.header.sequence,
                                        .boot = FAKE_BOOT};
    mete_wire_encode_result_header(bytes, &header);
    bytes[16] = 0x81;
    bytes[17] = 0x02;
    mete_wire_sign_result(bytes, 32, mete_wire_tag(taken.bytes, taken.len), NULL);
    fake_send(&fake, &taken, bytes, 32);
    assert_int_equal(mete_client_process(client), 10);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(seen[i].answer.source, METE_SOURCE_SERVER);
        assert_int_equal(seen[i].answer.allowed, i == 0 || i == 7 || i == 9);
    }
    mete_client_close(client);
    close(fake.fd);
}

#define PLACES 40u

struct place {
    struct seen seen;
    bool open;
    uint32_t cost;
};

static uint64_t random_state;

static unsigned random_below(unsigned n)
{
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)((random_state >> 33) % n);
}

static void finish(struct place *places)
{
    for (unsigned i = 0; i < PLACES; i++) {
        struct place *place = &places[i];
        assert_in_range(place->seen.count, 0, place->open);
        if (!place->seen.count)
            continue;
        if (place->seen.answer.source == METE_SOURCE_SERVER)
            assert_int_equal(place->seen.answer.remaining, place->cost);
        *place = (struct place){0};
    }
}

/* Answers one of those held, in one of the ways of a bad day. */
static void answer_somehow(struct fake *fake, const struct taken *taken)
{
    switch (taken->header.type == METE_HELLO ? 10 : random_below(10)) {
    case 0: /* lost */
        break;
    case 1: /* doubled */
        fake_allow(fake, taken);
        fake_allow(fake, taken);
        break;
    case 2:
        fake_deny_with(fake, taken, METE_STATUS_NEED_SUBJECT);
        break;
    case 3:
        fake_status(fake, taken, METE_STATUS_STALE);
        break;
    case 4:
        fake_send(fake, taken, taken->bytes, random_below((unsigned)taken->len));
        break;
    case 10:
        fake_hello(fake, taken);
        break;
    default:
        fake_allow(fake, taken);
    }
}

/* Submits, flushes, processes, answers in any order: whatever happens, each check is answered once,
 * with its own answer, and no place is lost. */
static void test_random(void **state)
{
    (void)state;
    uint64_t first = random_seed(1);
    unsigned steps = (unsigned)random_count(20000);
    static struct place places[PLACES];
    static struct taken held[16];
    unsigned held_count = 0;
    struct fake fake;
    fake_open(&fake);
    random_state = first;
    print_message("METE_SEED=%llu METE_COUNT=%u\n", (unsigned long long)first, steps);
    struct mete_client *client = fake_client(
        &fake, (struct mete_client_options){.timeout_us = 2000, .max_in_flight = PLACES});
    for (unsigned step = 0; step < steps; step++) {
        unsigned pick = random_below(PLACES);
        static const char *const subjects[] = {"a", "bob", "a much longer subject", "x"};
        switch (random_below(8)) {
        case 0:
            mete_client_flush(client);
            break;
        case 1:
            mete_client_process(client);
            finish(places);
            break;
        case 2:
        case 3:
            if (held_count < 16 && fake_take(&fake, &held[held_count], MSG_DONTWAIT))
                held_count++;
            break;
        case 4:
            if (held_count) {
                unsigned chosen = random_below(held_count);
                answer_somehow(&fake, &held[chosen]);
                held[chosen] = held[--held_count];
            }
            break;
        default:
            if (places[pick].open)
                break;
            places[pick].open = true;
            places[pick].cost = random_below(1000000);
            assert_int_equal(submit(client, subjects[random_below(4)], places[pick].cost,
                                    (uint8_t)random_below(2), &places[pick].seen),
                             0);
        }
    }
    for (unsigned open = 1; open;) {
        mete_client_process(client);
        finish(places);
        open = 0;
        for (unsigned i = 0; i < PLACES; i++)
            open += places[i].open;
    }
    for (unsigned i = 0; i < PLACES; i++)
        assert_int_equal(submit(client, "a", 1, 0, &places[i].seen), 0);
    mete_client_close(client);
    close(fake.fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_results_are_dropped),
        cmocka_unit_test(test_late_for_a_blocking_call),
        cmocka_unit_test(test_wrong_hello_is_dropped),
        cmocka_unit_test(test_statuses),
        cmocka_unit_test(test_asked_again),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_min_result),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

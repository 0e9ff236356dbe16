/* Three servers that a test plays, and a client of them. */
#ifndef TESTS_UNIT_CLIENT_TRIO_H
#define TESTS_UNIT_CLIENT_TRIO_H

#include "unit/client_fake.h"

#define COUNT 3u

struct trio {
    struct fake fakes[COUNT];
    const char *addresses[COUNT];
    struct mete_client *client;
};

static inline void begin(struct trio *trio, struct mete_client_options options)
{
    for (unsigned i = 0; i < COUNT; i++) {
        fake_open(&trio->fakes[i]);
        trio->addresses[i] = trio->fakes[i].address;
    }
    options.servers = trio->addresses;
    options.server_count = COUNT;
    trio->client = fake_client(NULL, options);
}

static inline void end(struct trio *trio)
{
    mete_client_close(trio->client);
    for (unsigned i = 0; i < COUNT; i++)
        close(trio->fakes[i].fd);
}

static inline struct mete_server_stats stats_of(const struct mete_client *client, unsigned index)
{
    struct mete_server_stats stats;
    assert_int_equal(mete_client_server_stats(client, index, &stats), 0);
    return stats;
}

/* Takes what came to one; HELLO is answered and not told. */
static inline bool take_check(struct fake *fake, struct taken *ret_taken)
{
    while (fake_take(fake, ret_taken, MSG_DONTWAIT)) {
        if (ret_taken->header.type != METE_HELLO)
            return true;
        fake_hello(fake, ret_taken);
    }
    return false;
}

/* Which of the servers gets the check, by bits; it is answered by those in `answering`. */
static inline unsigned ask_one(struct trio *trio, const char *subject, unsigned answering,
                               struct seen *seen)
{
    struct taken taken;
    unsigned asked = 0;
    *seen = (struct seen){0};
    assert_int_equal(submit(trio->client, subject, 7, 0, seen), 0);
    mete_client_flush(trio->client);
    while (!seen->count) {
        for (unsigned i = 0; i < COUNT; i++) {
            while (take_check(&trio->fakes[i], &taken)) {
                asked |= 1u << i;
                if (answering >> i & 1)
                    fake_allow(&trio->fakes[i], &taken);
            }
        }
        mete_client_process(trio->client);
    }
    return asked;
}

/* A subject whose first server is the one asked for. */
static inline void find_subject(struct trio *trio, unsigned home, char *ret_subject, size_t size)
{
    struct seen seen;
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(ret_subject, size, "one %u", i);
        if (ask_one(trio, ret_subject, 7, &seen) == 1u << home)
            return;
    }
    fail_msg("no subject for server %u", home);
}

#endif

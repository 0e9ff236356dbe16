/* The UDP front-end over an io that only remembers what it was given to send. */
#ifndef METE_TESTS_UDP_FIXTURE_H
#define METE_TESTS_UDP_FIXTURE_H

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "net/udp.h"

#define MAX_SENT 1024u
#define BOOT_ID 0x1122334455667788u

struct sent {
    const struct io_message *message;
    uint32_t offset, len, segment;
};

struct fake_io {
    struct io io;
    struct sent sent[MAX_SENT];
    unsigned count;
};

static void remember(struct io *io, const struct io_message *message, uint32_t offset, uint32_t len,
                     uint32_t segment)
{
    struct fake_io *fake = (struct fake_io *)io;
    assert_true(fake->count < MAX_SENT);
    assert_true(len > 0 && offset + len <= message->len);
    assert_true((len + segment - 1) / segment <= IO_MAX_SEGMENTS);
    fake->sent[fake->count++] = (struct sent){message, offset, len, segment};
}

static const struct io_operations fake_operations = {.name = "fake", .reply = remember};
static const struct instant now = {.now_ns = 5000000, .wall_ns = 1767225600000000000};

struct fixture {
    struct config *config;
    struct table *table;
    struct engine engine;
    struct counters *counters;
    struct rule_counters *rule_counters;
    struct secret_counters *secret_counters;
    struct tenant_keys *keys;
    struct repeat_set repeats;
    void *repeat_memory; /* NULL: repeats are not looked for */
    struct udp udp;
    struct fake_io fake;
    struct sockaddr_in peer;
};

/* Takes over what a test changed in the configuration: before the first datagram. */
static void start(struct fixture *f)
{
    keys_destroy(f->keys, f->config->tenant_count);
    assert_int_equal(keys_create(f->config, BOOT_ID, &f->keys), 0);
    struct udp_policy policy = {
        .config = f->config, .keys = f->keys, .secret_counters = f->secret_counters};
    struct udp_options udp = {.engine = &f->engine,
                              .repeats = f->repeat_memory ? &f->repeats : NULL,
                              .counters = f->counters,
                              .boot_id = BOOT_ID};
    udp_init(&f->udp, &policy, &udp);
}

/* From now on repeats are told. Before the first datagram. */
static inline void tell_repeats(struct fixture *f, uint32_t window_ms, uint32_t ahead_ms)
{
    struct repeat_options options = {
        .size = 1 << 20,
        .window_ms = window_ms,
        .ahead_ms = ahead_ms,
        .now_ms = (uint32_t)(now.now_ns / 1000000),
        .secret = {0x243F6A8885A308D3ull, 0x13198A2E03707344ull},
    };
    f->repeat_memory = options.memory = aligned_alloc(REPEAT_BUCKET_BYTES, options.size);
    memset(options.memory, 0, options.size);
    assert_int_equal(repeat_init(&f->repeats, &options), 0);
    start(f);
}

static struct fixture *make_fixture(const char *text)
{
    struct fixture *f = calloc(1, sizeof(*f));
    char error[256];
    f->config = config_parse("test", text, strlen(text), error, sizeof(error));
    assert_non_null(f->config);
    struct table_options options = {
        .entries = 4096, .owner_rows = f->config->index_count, .boot_id = BOOT_ID};
    assert_int_equal(table_create(&options, &f->table), 0);
    assert_int_equal(engine_bind_owners(f->table, f->config), 0);
    f->counters = aligned_alloc(128, sizeof(*f->counters));
    memset(f->counters, 0, sizeof(*f->counters));
    f->rule_counters = calloc(f->config->index_count, sizeof(*f->rule_counters));
    f->secret_counters = calloc(f->config->index_count, sizeof(*f->secret_counters));
    engine_init(&f->engine, f->config, f->table, 0, 1);
    f->engine.counters = f->counters;
    f->engine.rule_counters = f->rule_counters;
    f->fake.io.operations = &fake_operations;
    f->peer = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7F000001)};
    start(f);
    return f;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    keys_destroy(f->keys, f->config->tenant_count);
    table_destroy(f->table);
    config_destroy(f->config);
    free(f->counters);
    free(f->rule_counters);
    free(f->secret_counters);
    free(f->repeat_memory);
    free(f);
    return 0;
}

static uint64_t cell(const struct fixture *f, enum counter counter)
{
    return counter_read(&f->counters->cell[counter]);
}

static inline struct io_message message_of(struct fixture *f, uint8_t *data, size_t len,
                                           size_t segment)
{
    return (struct io_message){
        .data = data,
        .len = (uint32_t)len,
        .segment = (uint32_t)segment,
        .peer = (const struct sockaddr *)&f->peer,
    };
}

#endif

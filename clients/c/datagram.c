/* From checks to datagrams: keys and joining. Signing and sending: send.c.
 *
 * Checks that look alike (type, flags, form and size of entry) share a datagram. The form is the
 * 24-byte key when the tenant's seed is known, else the subject itself; rules that answered
 * NEED_SUBJECT get the subject always. One thread at a time. */
#include "internal.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

struct form {
    bool raw;
    unsigned entry_bytes; /* 0: cannot be sent in this form */
};

void mete_datagram_key(const struct mete_client *client, const void *subject, size_t subject_len,
                       struct mete_entry *ret_entry)
{
    XXH128_hash_t hash = XXH3_128bits_withSeed(subject, subject_len, client->seed);
    ret_entry->key_low = hash.low64;
    ret_entry->key_high = hash.high64;
}

void mete_datagram_remember_rule(struct mete_client *client, uint32_t rule)
{
    client->subject_rules[client->subject_rule_count++ % SUBJECT_RULES] = rule;
}

static bool needs_subject(const struct mete_client *client, uint32_t rule)
{
    for (uint32_t i = 0; i < SUBJECT_RULES && i < client->subject_rule_count; i++)
        if (client->subject_rules[i] == rule)
            return true;
    return false;
}

static unsigned raw_bytes(const struct check *check)
{
    return mete_wire_entry_raw(check->type, check->flags, check->subject_len);
}

static unsigned key_bytes(const struct check *check)
{
    return mete_wire_entry_fixed(check->type, check->flags);
}

static bool can_be_key(const struct mete_client *client, const struct check *check)
{
    return client->seed_known || check->has_key;
}

static struct form form_of(const struct mete_client *client, const struct check *check)
{
    bool raw =
        (!client->seed_known || needs_subject(client, check->entry.rule)) && raw_bytes(check) != 0;
    unsigned bytes = raw ? raw_bytes(check) : can_be_key(client, check) ? key_bytes(check) : 0;
    return (struct form){.raw = raw, .entry_bytes = bytes};
}

struct mete_entry mete_datagram_entry(const struct mete_client *client, const struct check *check,
                                      bool raw)
{
    const void *subject = check->long_subject ? check->long_subject : check->subject;
    struct mete_entry entry = check->entry;
    if (raw) {
        entry.subject = subject;
        entry.subject_len = (uint8_t)check->subject_len;
    } else if (!check->has_key) {
        mete_datagram_key(client, subject, check->subject_len, &entry);
    }
    return entry;
}

/* The form that all can have in one datagram; entry_bytes 0: there is none. */
static struct form common_form(const struct mete_client *client, const uint32_t *indices,
                               unsigned count)
{
    struct form common = {0};
    for (unsigned i = 0; i < count; i++)
        common.raw |= form_of(client, &client->checks[indices[i]]).raw;
    for (unsigned i = 0; i < count; i++) {
        const struct check *check = &client->checks[indices[i]];
        unsigned bytes = common.raw                  ? raw_bytes(check)
                         : can_be_key(client, check) ? key_bytes(check)
                                                     : 0;
        if (!bytes)
            return (struct form){0};
        if (common.entry_bytes < bytes)
            common.entry_bytes = bytes;
    }
    if (count * common.entry_bytes > ENTRIES_BYTES)
        common.entry_bytes = 0;
    return common;
}

bool mete_datagram_can_leave(const struct mete_client *client, const struct server *server,
                             const uint32_t *indices, unsigned count)
{
    if (client->vault && !server->mac)
        return false;
    return client->seed_known || common_form(client, indices, count).entry_bytes;
}

/* Sends what is ready, if it is asked for the non-blocking form, and the open batches of this form
 * that are due. */
static int send_due(struct mete_client *client, struct server *server, bool blocking,
                    int64_t now_ns)
{
    struct batch *due[READY_MAX + BATCH_COUNT];
    unsigned count = 0;
    if (!blocking) {
        while (count < server->ready_count) {
            due[count] = server->ready[count];
            count++;
        }
        server->ready_count = 0;
        server->due_ns = INT64_MAX;
    }
    for (unsigned i = 0; i < BATCH_COUNT; i++) {
        struct batch *batch = server->open[i];
        if (batch->header.n == 0 || batch->blocking != blocking)
            continue;
        if (batch->due_ns <= now_ns)
            due[count++] = batch;
        else if (batch->due_ns < server->due_ns)
            server->due_ns = batch->due_ns;
    }
    return count ? mete_send(client, server, due, count) : 0;
}

int mete_datagram_flush(struct mete_client *client, bool blocking)
{
    int sent = 0;
    for (uint32_t i = 0; i < client->server_count; i++)
        sent += send_due(client, &client->servers[i], blocking, INT64_MAX);
    return sent;
}

int mete_datagram_flush_due(struct mete_client *client, int64_t now_ns)
{
    int sent = 0;
    for (uint32_t i = 0; i < client->server_count; i++) {
        struct server *server = &client->servers[i];
        if (server->ready_count || server->due_ns <= now_ns)
            sent += send_due(client, server, false, now_ns);
    }
    return sent;
}

int64_t mete_datagram_due_ns(const struct mete_client *client)
{
    int64_t due_ns = INT64_MAX;
    for (uint32_t i = 0; i < client->server_count; i++)
        if (client->servers[i].due_ns < due_ns)
            due_ns = client->servers[i].due_ns;
    return due_ns;
}

/* A batch that is full makes room: it is sent, or waits for others that leave with it. */
static void close_batch(struct mete_client *client, struct server *server, struct batch *batch)
{
    if (!client->join_ns || batch->blocking) {
        mete_send(client, server, &batch, 1);
        return;
    }
    for (unsigned i = 0; i < BATCH_COUNT; i++) {
        if (server->open[i] != batch)
            continue;
        server->open[i] = server->ready[server->ready_count];
        server->open[i]->header.n = 0;
    }
    server->ready[server->ready_count++] = batch;
    /* Held back only while the server has twice as many to go on with: an idle server costs more
     * than a system call saves. */
    if (server->ready_count == READY_MAX || server->ready_count * 2 >= server->flight_count)
        send_due(client, server, false, 0);
}

/* The open batch that the check fits, or a new one; when all are taken, one of them is sent. */
static struct batch *find_batch(struct mete_client *client, struct server *server,
                                const struct check *check, struct form form)
{
    uint8_t flags = (uint8_t)(check->flags | (form.raw ? METE_FLAG_RAW_SUBJECT : 0));
    struct batch *unused = NULL;
    for (unsigned i = 0; i < BATCH_COUNT; i++) {
        struct batch *batch = server->open[i];
        if (batch->header.n == 0)
            unused = unused ? unused : batch;
        else if (batch->header.type == check->type && batch->header.flags == flags &&
                 batch->header.entry_bytes == form.entry_bytes &&
                 batch->blocking == check->blocking)
            return batch;
    }
    if (!unused) {
        unused = server->open[server->batch_oldest++ % BATCH_COUNT];
        mete_send(client, server, &unused, 1);
    }
    unused->blocking = check->blocking;
    unused->deadline_ns = 0;
    unused->due_ns = INT64_MAX;
    unused->header = (struct mete_header){
        .type = check->type, .flags = flags, .entry_bytes = (uint8_t)form.entry_bytes};
    return unused;
}

static void add(struct mete_client *client, struct server *server, uint32_t index, struct form form)
{
    struct check *check = &client->checks[index];
    struct batch *batch = find_batch(client, server, check, form);
    struct mete_entry entry = mete_datagram_entry(client, check, form.raw);
    check->batched = true;
    mete_wire_encode_entry(batch->bytes, &batch->header, batch->header.n, &entry);
    batch->checks[batch->header.n++] = index;
    if (batch->deadline_ns < check->deadline_ns)
        batch->deadline_ns = check->deadline_ns;
    int64_t due_ns =
        check->is_again ? 0 : check->deadline_ns - client->timeout_ns + client->join_ns;
    if (due_ns < batch->due_ns)
        batch->due_ns = due_ns;
    if (!batch->blocking && due_ns < server->due_ns)
        server->due_ns = due_ns;
    if ((batch->header.n + 1u) * form.entry_bytes > ENTRIES_BYTES)
        close_batch(client, server, batch);
}

void mete_datagram_add_one(struct mete_client *client, struct server *server, uint32_t index)
{
    add(client, server, index, form_of(client, &client->checks[index]));
}

bool mete_datagram_add(struct mete_client *client, struct server *server, const uint32_t *indices,
                       unsigned count, bool whole)
{
    struct form common = common_form(client, indices, count);
    if (!common.entry_bytes && whole)
        return false;
    for (unsigned i = 0; i < count; i++)
        add(client, server, indices[i],
            common.entry_bytes ? common : form_of(client, &client->checks[indices[i]]));
    return true;
}
